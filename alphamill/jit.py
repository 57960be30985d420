"""How kernels are compiled, and where the result is kept; importing this loads numba."""

# ruff: noqa: SLF001  numba's cache has no public way in

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import IndexDataCacheFile

_SOURCES = ("jit.py", "factors/kernels/*.py", "indicators/kernels/*.py")


def _cache_folder() -> Path:
    """A folder of the user's, one for each state of the kernels' sources.

    Numba looks only at the file of the kernel itself: one that calls a step which has changed in
    another file would go on with the old step.
    """
    digest = hashlib.sha256()
    for pattern in _SOURCES:
        for source in sorted(Path(__file__).parent.glob(pattern)):
            digest.update(source.read_bytes())
    try:
        caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        base = os.environ.get("NUMBA_CACHE_DIR") or Path(caches) / "alphamill"
        folder = Path(base) / f"kernels-{digest.hexdigest()[:12]}"
        folder.mkdir(parents=True, exist_ok=True)
    except (
        OSError,
        RuntimeError,
    ):  # no HOME and no such user, or nowhere to keep it: compiled anew by each process
        folder = Path(tempfile.mkdtemp(prefix="alphamill-kernels-"))
    return folder


numba.config.CACHE_DIR = str(_cache_folder())  # type: ignore[attr-defined]  # set by numba itself

F = TypeVar("F", bound=Callable[..., object])


class SharedCacheFile(IndexDataCacheFile):
    """Numba's cache of one function, safe to fill by several processes at once.

    Numba reads the index, picks the next free file name and writes the index back without a lock:
    two workers that start on an empty cache can give one name to the code of two signatures, and
    a third then runs the wrong one. Here that is one step, and the index never names a file that
    is not yet there.
    """

    def save(self, key: Any, data: Any) -> None:
        """Keep `data` under `key`."""
        numba_file: Any = self  # whose methods have no types
        with Path(f"{numba_file._index_path}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            overloads = numba_file._load_index()
            taken = set(overloads.values())
            names = (numba_file._data_name(i) for i in itertools.count(1))
            name = overloads.get(key) or next(name for name in names if name not in taken)
            numba_file._save_data(name, data)
            if key not in overloads:
                numba_file._save_index({**overloads, key: name})


def kernel(function: F) -> F:
    """Compiled on first use, cached on disk, without the GIL, never reordering arithmetic."""
    compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    return cast("F", _shared(compiled))


def _shared(compiled: Any) -> Any:
    kept = getattr(compiled._cache, "_cache_file", None)
    if type(kept) is IndexDataCacheFile:
        kept.__class__ = SharedCacheFile
    return compiled


def inline(function: F) -> F:
    """A scalar step of a kernel."""
    compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy", inline="never")(
        function
    )
    return cast("F", _shared(compiled))
