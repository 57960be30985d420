"""Compiled kernels over trades; importing any module in here loads numba."""
