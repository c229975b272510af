"""The encoder in 8-bit whole numbers, on CPUs: products by oneDNN, what lies between them compiled by numba."""
