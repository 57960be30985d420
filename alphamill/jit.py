"""How kernels are compiled, and where the result is kept; importing this loads numba."""

# ruff: noqa: SLF001  numba's cache has no public way in

from __future__ import annotations

import fcntl
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import IndexDataCacheFile
from numba.core.compiler_lock import global_compiler_lock

from alphamill.kernel_cache import kernel_cache_folder

# An attribute that numba itself sets.
numba.config.CACHE_DIR = str(kernel_cache_folder())  # type: ignore[attr-defined]

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
        _compile_once(compiled, f"{kept._index_path}.compiling")
    return compiled


def _compile_once(compiled: Any, lock_path: str) -> None:
    """Of the processes that want a kernel, let one compile it; the rest wait and load its code.

    Else each worker that starts on an empty cache compiles all that it needs by itself, and two on
    two cores take twice the processor's time.
    """
    compile_or_load = compiled.compile

    def compile_alone(signature: Any) -> Any:
        with global_compiler_lock, _alone(lock_path):
            return compile_or_load(signature)  # looks for it in the cache first

    compiled.compile = compile_alone


_held: set[str] = set()


@contextmanager
def _alone(lock_path: str) -> Iterator[None]:
    """While no other process is in here with the same path; under numba's own lock.

    Who compiles a kernel waits for the steps that it calls and for nothing else: kernels call no
    kernel that calls them, so that nobody waits in a circle. A process that dies lets go.
    """
    if lock_path in _held:
        yield
        return
    try:
        lock = Path(lock_path).open("w")  # noqa: SIM115  closed below
    except OSError:  # a cache that cannot be written to is shared by nobody
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _held.add(lock_path)
        try:
            yield
        finally:
            _held.discard(lock_path)
            fcntl.flock(lock, fcntl.LOCK_UN)  # even where a fork has kept the file open


def inline(function: F) -> F:
    """A scalar step of a kernel."""
    compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy", inline="never")(
        function
    )
    return cast("F", _shared(compiled))


def fused(function: F) -> F:
    """A small step whose code becomes part of its caller's, since a call costs as much."""
    compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy", forceinline=True)(
        function
    )
    return cast("F", _shared(compiled))
