"""Kernels written in Triton for CUDA. Importing a module of this folder needs `triton`."""
