"""Numbers with names, and the fast kernels."""
