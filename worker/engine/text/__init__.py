"""Text: prompts into tokens, and tokens into text as they arrive."""
