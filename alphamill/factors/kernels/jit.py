"""How kernels are compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])

NOISE = 4 * 2.0**-52
"""A spread below this fraction of the level is rounding, not a spread."""

TIE = 2.0**-40
"""Values that agree to this fraction (12 digits) tie in a ranking."""


def kernel(function: F) -> F:
    """Compiled on first use, cached on disk, without the GIL, never reordering arithmetic."""
    compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return cast("F", compiled)


def inline(function: F) -> F:
    """A scalar step of a kernel."""
    compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy", inline="never")(
        function
    )
    return cast("F", compiled)
