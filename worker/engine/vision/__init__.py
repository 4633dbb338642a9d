"""Pictures: cut into tiles, encoded by the vision tower, and kept for the next question."""
