"""Functions compiled by numba for the processor at hand, on torch's own threads."""
