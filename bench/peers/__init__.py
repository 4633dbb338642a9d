"""Other engines that serve the same checkpoint over HTTP, raced with this system by turns."""
