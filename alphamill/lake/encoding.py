"""How a column of floats is laid out in a parquet file: chosen by compressing a sample of it.

Only encodings that every reader knows. BYTE_STREAM_SPLIT would save 3 to 4 % of a month of klines,
and Spark 3.5 and fastparquet refuse a file that has it. What is left to choose is how far zstd
looks: decimals of five digits repeat further apart than decimals of two, and a name tells none of
that. Measured on recorded 1m bars, a column's choice from 4,096 values in its middle was the one
that its whole month would have made, for 0.3 ms a column.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import pyarrow as pa

from alphamill.frames import FloatArray

_SAMPLE = 4096


@dataclass(frozen=True, slots=True)
class Layout:
    """A parquet encoding (None: a dictionary) and the zstd level that goes with it."""

    encoding: str | None
    level: int


_PLAIN = Layout("PLAIN", 1)
# Level 3 finds digits that repeat further apart than level 1 looks, for half as much time again;
# level 9 would save three per cent of a month for four times the time. A sample repeats less than
# its month does, so it is searched at level 4.
_SEARCHED = Layout("PLAIN", 3)
_SEARCH_LEVEL = 4
_SEARCH_PAYS = 0.9  # of the size without
_WHOLE = Layout("DELTA_BINARY_PACKED", 1)
_SMALL = Layout("PLAIN", 1)
_TEXT = Layout(None, 6)


def layout_of(column: pa.ChunkedArray) -> Layout:
    """The layout of one column. Equal columns have equal layouts."""
    kind = column.type
    if pa.types.is_float64(kind):
        return _layout_of_floats(_sample(column))
    if pa.types.is_timestamp(kind) or pa.types.is_integer(kind):
        return _WHOLE if kind.bit_width >= 32 else _SMALL
    return _SMALL if pa.types.is_floating(kind) else _TEXT


def _sample(column: pa.ChunkedArray) -> FloatArray:
    middle = column.slice(max(0, len(column) - _SAMPLE) // 2, _SAMPLE)
    values: FloatArray = np.ascontiguousarray(middle.drop_null().to_numpy())
    return values


def _layout_of_floats(values: FloatArray) -> Layout:
    if not values.size:
        return _PLAIN
    pays = _packed(values, _SEARCH_LEVEL) < _SEARCH_PAYS * _packed(values, 1)
    return _SEARCHED if pays else _PLAIN


def _packed(data: np.ndarray, level: int) -> int:
    return _zstd(level).compress(pa.py_buffer(data)).size  # type: ignore[no-any-return]


@cache
def _zstd(level: int) -> pa.Codec:
    return pa.Codec("zstd", level)
