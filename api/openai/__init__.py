"""The routes of OpenAI's clients: chat completions, files and batches."""
