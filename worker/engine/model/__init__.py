"""The model: loading, its layers as the engine runs them, and its weights in fewer bits."""
