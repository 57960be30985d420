"""How kernels are compiled, and where the result is kept."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba


def _cache_folder() -> Path:
    """A folder of the user's, one for each state of the kernels' sources.

    Numba looks only at the file of the kernel itself: one that calls a step which has changed in
    another file would go on with the old step.
    """
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    base = os.environ.get("NUMBA_CACHE_DIR") or Path(caches) / "alphamill"
    folder = Path(base) / f"kernels-{digest.hexdigest()[:12]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # nowhere to keep it: compiled anew by each process
        folder = Path(tempfile.mkdtemp(prefix="alphamill-kernels-"))
    return folder


numba.config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]  # set by numba itself

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
