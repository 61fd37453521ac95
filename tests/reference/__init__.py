"""Slow, obvious numpy versions of the compiled kernels, written from the papers and never used outside the tests."""
