"""Kernels of the library: compiling and calling them, their memory, and matrix multiplication."""
