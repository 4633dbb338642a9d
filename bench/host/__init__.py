"""What a decode step takes on the host alone: the batch, with a model that does nothing."""
