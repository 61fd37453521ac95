"""Mistakes one could make in the package, each with the tests that must notice it.

``make mutants`` makes them one by one in a copy of the package. The C++ kernels are left out: each would have to be
compiled anew; their oracles are in `tests/reference`.
"""
