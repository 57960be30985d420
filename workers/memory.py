"""How a fetch worker's memory is allocated: given back to the system rather than kept by threads.

Its threads each take some 20 MB for a month and drop it. What Arrow's allocator and glibc keep of
that for the next month came to 424 MB after 1,200 months on 8 threads; this holds it at 340 MB for
five per cent more time (benchmarks/fetch_memory.py). Evaluation wants the opposite, and has it.
"""

from __future__ import annotations

import ctypes

import pyarrow as pa

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_MMAP_FROM_BYTES = 1 << 20  # fixed: by itself it grows to 32 MB, and what is below is kept


def give_back_freed_memory() -> None:
    """For this process; without effect on glibc's part where there is no glibc."""
    pa.set_memory_pool(pa.system_memory_pool())
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _MMAP_FROM_BYTES)
