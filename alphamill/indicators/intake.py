"""What is read of a frame of klines: open times, and columns as the arrays loops are compiled for.

Each column that pandas hands out costs as much as an indicator of 1,000 bars: a small frame is
asked for all of its values at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd

Number = TypeVar("Number", np.int64, np.float64)

_AT_ONCE_VALUES = 65_536  # in a frame of more, copying what is not needed costs more than asking


def times_ms(open_time: pd.Series[Any]) -> IntArray:
    """UTC epoch milliseconds, never written to, of integers that are such or of timestamps."""
    if open_time.dtype.kind == "i":
        return _writable(open_time.to_numpy().astype(np.int64, copy=False))
    return _writable(open_time.to_numpy(dtype="datetime64[ms]").view(np.int64))  # UTC


def float_columns(klines: pd.DataFrame, fields: Iterable[str]) -> dict[str, FloatArray]:
    """Contiguous float64, never written to; NaN for a field that the frame lacks."""
    names = klines.columns
    rows = _all_values(klines)
    columns = {}
    for field in fields:
        if field not in names:
            columns[field] = np.full(len(klines), np.nan)
        elif rows is None:
            columns[field] = _column(klines[field])
        else:
            columns[field] = rows[names.get_loc(field)]
    return columns


def _all_values(klines: pd.DataFrame) -> FloatArray | None:
    """One row a column; None for a large frame, and one with columns that are no numbers."""
    if klines.size > _AT_ONCE_VALUES or not klines.columns.is_unique:
        return None
    try:
        values = klines.to_numpy(np.float64).T
    except (TypeError, ValueError, OverflowError):
        return None
    return values if values.flags.carray else np.array(values, order="C")


def _column(column: pd.Series[Any]) -> FloatArray:
    if column.dtype != np.float64:
        return np.array(column.to_numpy(dtype=np.float64, na_value=np.nan))
    return _writable(column.to_numpy())


def _writable(values: NDArray[Number]) -> NDArray[Number]:
    """Contiguous; writable in name only, since kernels are compiled for one kind of array."""
    values = np.ascontiguousarray(values)
    flags = values.flags
    if not flags.writeable:
        try:
            flags.writeable = True
        except ValueError:  # the memory itself is read-only
            return values.copy()
    return values
