"""Compiled loops over one series of bars; importing any module in here loads numba.

How the window kernels work: the sum (mean, spread, ...) of 1, 2, 4, 8, ... bars is made of two of
the one before, and those are put together to the window's length. So a value depends on its own
window alone, wherever history starts; what leaves a window leaves no trace; the work grows with the
logarithm of the length; and every loop runs over neighbouring bars, several at a time.
"""
