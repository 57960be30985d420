"""A file's bytes in memory that is Arrow's own.

Arrow's threads may drop the last hold on what they decoded when the interpreter has begun to end.
Memory of a Python object then wants the interpreter's lock, and the process dies of SIGABRT behind
an answer that was right ("terminate called without an active exception", apache/arrow#34314; with
pyarrow 26.0.1 on Python 3.11 two of 32 `alphamill replay 1` on a loaded machine). Arrow's own does
not.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa


def owned(data: bytes) -> pa.Buffer:
    """A copy of the bytes."""
    buffer = pa.allocate_buffer(len(data))
    if data:  # an empty view has no other form
        memoryview(buffer).cast("B")[:] = data
    return buffer


def owned_file(path: Path) -> pa.Buffer:
    """All of a file, read once. Raises OSError as `open` does."""
    with path.open("rb", buffering=0) as file:
        buffer = pa.allocate_buffer(os.fstat(file.fileno()).st_size)
        left = memoryview(buffer)
        while left:
            count = file.readinto(left)
            if not count:
                raise OSError(f"{path} became shorter while it was read")
            left = left[count:]
    return buffer
