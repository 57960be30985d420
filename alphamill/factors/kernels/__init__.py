"""Compiled kernels over panels (bars, symbols); importing any module in here loads numba.

How the window kernels work: time is cut into blocks of the window's length. Each block keeps the
state of all its suffixes; the next block grows a prefix; a window is one suffix merged with one
prefix. Nothing is ever subtracted from a state, so what leaves a window leaves no trace, and a NaN
spoils exactly the windows that hold it.

Blocks are counted in absolute numbers of bars, not from a panel's first row (see `grid`): a value
has the same bits wherever history starts, since which bars were added first is the same.
"""

NOISE = 4 * 2.0**-52
"""A spread below this fraction of the level is rounding, not a spread."""

TIE = 2.0**-40
"""Computed values that agree to this fraction (12 digits) tie in a ranking; those as sent do so
where they are equal."""
