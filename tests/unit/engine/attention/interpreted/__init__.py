"""Tests of Triton's kernels in its interpreter, which must be on before Triton is imported:
test_gpu_kernels.py runs them in a process of their own."""
