"""Compiled loops over one series of bars; a module of them is imported when first used.

Importing any of them loads numba, which neither the registry nor a reader of it needs.

How the window kernels work: the sum (mean, spread, ...) of 1, 2, 4, 8, ... bars is made of two of
the one before, and those are put together to the window's length. So a value depends on its own
window alone, wherever history starts; what leaves a window leaves no trace; the work grows with the
logarithm of the length; and every loop runs over neighbouring bars, several at a time.
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING

from alphamill.frames import FloatArray

__all__ = ["GRID", "HighLowClose", "Pair", "Triple", "bars", "oscillators", "recursive", "windows"]

GRID = 2.0**-48
"""Sums and differences of prices that differ by no more than this fraction of the price are equal.

Prices are decimals: as doubles each is off by at most u = 2**-53 of itself (2u once scaled), so two
sums of three prices that are equal as decimals differ by at most 12u (24u) of them, and what is
unequal differs by a tick, a third of one for a mean of three. 2**-48 is 32u: it ties all that is
equal and nothing else, as long as a price has at most 13 digits.
"""

Pair = tuple[FloatArray, FloatArray]
Triple = tuple[FloatArray, FloatArray, FloatArray]
HighLowClose = Triple

if TYPE_CHECKING:
    from alphamill.indicators.kernels import bars, oscillators, recursive, windows
else:

    def __getattr__(name: str) -> ModuleType:
        if name in __all__:
            return import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
