"""What a process does without, and gives back, where many threads or months make it dear."""

from __future__ import annotations

import ctypes
import sys
from importlib.abc import MetaPathFinder

import pyarrow as pa

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_MMAP_FROM_BYTES = 1 << 20  # fixed: by itself it grows to 32 MB, and what is below is kept


def give_back_freed_memory() -> None:
    """Have this process's allocators give memory back rather than keep it for the next month.

    A fetch worker's threads each take some 20 MB for a month and drop it. What Arrow's allocator
    and glibc keep of that came to 424 MB after 1,200 months on 8 threads; this holds it at 340 MB
    for five per cent more time (benchmarks/fetch_memory.py). Evaluation wants the opposite, and has
    it. Without effect on glibc's part where there is no glibc.
    """
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_FROM_BYTES)


def leave_libraries_out() -> None:
    """Keep this process without pandas and scipy: 50 MB, and a quarter of a second.

    pyarrow loads pandas where it is installed when it makes its first array, to see whether it was
    given one of pandas', and remembers where it is not. numba looks for scipy's linear algebra when
    it loads its first kernel, and does without. Who fetches, and who follows, has use for neither.
    """
    if "scipy" not in sys.modules:
        sys.modules["scipy"] = None  # type: ignore[assignment]  # importing it: ImportError
    absent = _NoPandas()
    sys.meta_path.insert(0, absent)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(absent)


class _NoPandas(MetaPathFinder):
    def find_spec(self, name: str, _path: object = None, _target: object = None) -> None:
        """Say of pandas that it is not installed, and nothing of anything else."""
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)
