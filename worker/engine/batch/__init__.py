"""The running batch: who is in it, which cache pages each has, and one step after another."""
