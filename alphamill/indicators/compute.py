"""From the klines of one symbol to one column an indicator, never across a hole in time."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import KLINE_FIELDS, FloatArray, IntArray, Interval
from alphamill.indicators import momentum, orderflow, trend, volatility, volume
from alphamill.indicators.bars import Bars
from alphamill.indicators.registry import INDICATORS, Indicator

if TYPE_CHECKING:
    import pandas as pd

FAMILIES = (trend, momentum, volatility, volume, orderflow)  # importing them fills the registry

_PRICES = ("open", "high", "low", "close")
_WHOLE = {"taker_buy_base": "volume", "taker_buy_quote": "quote_volume"}
_FINISHED_TOGETHER = 4096  # bars of all columns
_ROUNDING = 1e-9  # a value this far outside its range, relative to it, is put on the range's end

Mask = NDArray[np.bool_]


def indicator_names(interval: Interval | None = None) -> tuple[str, ...]:
    """The columns that exist for bars of this length, in the registry's order."""
    return tuple(name for name, record in INDICATORS.items() if record.exists_at(interval))


def history_bars(interval: Interval) -> int:
    """Bars before a bar that settle all of its indicators, wherever the history starts."""
    return max(INDICATORS[name].history_bars(interval) for name in indicator_names(interval))


def compute_indicators(
    klines: pd.DataFrame, names: Collection[str] | None = None, interval: Interval | None = None
) -> pd.DataFrame:
    """Indicators of one symbol: one float64 column a name, rows and index as in `klines`.

    klines: KLINES columns, strictly ascending `open_time` (UTC timestamps or epoch milliseconds);
        a kline field that is not there makes the indicators that need it NaN.
    names: which columns (default: all that exist at the interval).
    interval: the bars' length (default: the shortest step seen; columns over a span of time, like
        returns_1d, need it known).

    No indicator runs across a hole: after a missing bar, and after a bar whose inputs are NaN, not
    positive or contradictory, each one starts anew and is NaN for its `warmup_bars`. Never inf.
    Raises ValueError on unordered times, an unknown name, or a name that the interval lacks.
    """
    import pandas as pd  # here, so that reading the registry's names does not cost it

    times_ms = _times_ms(klines["open_time"])
    interval = interval or _infer_interval(times_ms)
    records = _records(names, interval)
    columns = {field: _float_column(klines, field) for field in KLINE_FIELDS}
    steps = _steps(times_ms, interval)
    stretches = _Stretches(columns, steps, interval)
    matrix = np.full((len(records), len(klines)), np.nan)
    for row, record in zip(matrix, records, strict=True):
        for start, bars in stretches.of(record.inputs):
            if len(bars) > record.warmup_bars(interval):
                row[start : start + len(bars)] = record.compute(bars)
    _finish(matrix, records)
    columns_index = _column_index(tuple(record.name for record in records))
    return pd.DataFrame(matrix.T, index=klines.index, columns=columns_index, copy=False)


@cache
def _column_index(names: tuple[str, ...]) -> pd.Index[str]:
    import pandas as pd

    return pd.Index(names)


class _Stretches:
    """Unbroken stretches of bars; indicators that need the same bars share their intermediates."""

    def __init__(
        self, columns: dict[str, FloatArray], steps: IntArray, interval: Interval | None
    ) -> None:
        self._columns = columns
        self._steps = steps
        self._interval = interval
        self._priced = _usable_prices(columns)
        self._usable: dict[str, Mask] = {}
        self._cut: dict[bytes, list[tuple[int, Bars]]] = {}
        self._by_inputs: dict[tuple[str, ...], list[tuple[int, Bars]]] = {}

    def of(self, inputs: tuple[str, ...]) -> Sequence[tuple[int, Bars]]:
        """(first row, bars) of each stretch in which prices and `inputs` are usable."""
        if inputs not in self._by_inputs:
            mask = self._priced
            for field in inputs:
                mask = mask & _usable_amounts(self._columns, field)
            key = mask.tobytes()
            if key not in self._cut:
                self._cut[key] = [
                    (start, self._slice(start, end)) for start, end in _runs(mask, self._steps)
                ]
            self._by_inputs[inputs] = self._cut[key]
        return self._by_inputs[inputs]

    def _slice(self, start: int, end: int) -> Bars:
        columns = {field: values[start:end] for field, values in self._columns.items()}
        return Bars(columns, self._interval)


def _runs(usable: Mask, steps: IntArray) -> Iterator[tuple[int, int]]:
    """[start, end) of each run of usable rows that are one step apart."""
    n = len(usable)
    if n == 0:
        return
    breaks = np.flatnonzero((np.diff(steps) != 1) | (usable[1:] != usable[:-1])) + 1
    for start, end in pairwise([0, *breaks.tolist(), n]):
        if usable[start]:
            yield start, end


def _usable_prices(columns: dict[str, FloatArray]) -> Mask:
    """Finite, positive, and low <= open, close <= high; comparisons with NaN are False."""
    first, high, low, close = (columns[field] for field in _PRICES)
    bounded = (low > 0) & (high < np.inf)
    ordered = (low <= np.minimum(first, close)) & (np.maximum(first, close) <= high)
    result: Mask = bounded & ordered
    return result


def _usable_amounts(columns: dict[str, FloatArray], field: str) -> Mask:
    """Finite, not negative, and a part not larger than its whole."""
    values = columns[field]
    usable: Mask = (values >= 0) & (values < np.inf)
    if field in _WHOLE:
        usable &= values <= columns[_WHOLE[field]] * (1 + _ROUNDING)
    return usable


def _finish(matrix: FloatArray, records: Sequence[Indicator]) -> None:
    """Rows without inf, and without rounding's last digit beyond their record's range."""
    largest = np.finfo(np.float64).max
    low = np.array([max(record.low, -largest) for record in records])[:, None]
    high = np.array([min(record.high, largest) for record in records])[:, None]
    for start in range(0, matrix.shape[1], _FINISHED_TOGETHER):
        part = matrix[:, start : start + _FINISHED_TOGETHER]
        for beyond in ((part < low).any(axis=1), (part > high).any(axis=1)):
            for row in np.flatnonzero(beyond):
                _put_in_range(part[row], records[int(row)])


def _put_in_range(values: FloatArray, record: Indicator) -> None:
    values[np.isinf(values)] = np.nan
    for end, beyond in ((record.low, values < record.low), (record.high, values > record.high)):
        slack = _ROUNDING * max(1.0, abs(end))
        values[beyond & (np.abs(values - end) <= slack)] = end


def _records(names: Collection[str] | None, interval: Interval | None) -> list[Indicator]:
    if names is None:
        return [INDICATORS[name] for name in indicator_names(interval)]
    for name in names:
        if name not in INDICATORS:
            raise ValueError(f"unknown indicator {name!r}")
        if not INDICATORS[name].exists_at(interval):
            raise ValueError(f"indicator {name} does not exist at interval {interval}")
    return [INDICATORS[name] for name in names]


def _float_column(klines: pd.DataFrame, field: str) -> FloatArray:
    if field not in klines:
        return np.full(len(klines), np.nan)
    return np.ascontiguousarray(klines[field].to_numpy(dtype=np.float64, na_value=np.nan))


def _times_ms(open_time: pd.Series[Any]) -> IntArray:
    whole = open_time if open_time.dtype.kind == "i" else open_time.dt.as_unit("ms")
    times = np.asarray(whole.astype("int64"), dtype=np.int64)
    if len(times) > 1 and (np.diff(times) <= 0).any():
        raise ValueError("open_time is not strictly ascending")
    return times


_DAY_MS = 86_400_000
_BY_MS = {interval.ms: interval for interval in Interval if interval is not Interval.MO1}


def _infer_interval(times_ms: IntArray) -> Interval | None:
    if len(times_ms) < 2:
        return None
    shortest = int(np.diff(times_ms).min())
    if 28 * _DAY_MS <= shortest <= 31 * _DAY_MS and shortest not in _BY_MS:
        return Interval.MO1
    return _BY_MS.get(shortest)


def _steps(times_ms: IntArray, interval: Interval | None) -> IntArray:
    """The bar number of each time: neighbours differ by 1. A bar off the grid neighbours none."""
    if interval is Interval.MO1:
        return times_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
    step_ms = interval.ms if interval else int(np.diff(times_ms).min(initial=1 << 62))
    offset = times_ms - (times_ms[0] if len(times_ms) else 0)
    return np.where(offset % step_ms == 0, offset // step_ms, -np.arange(1, len(offset) + 1) * 2)
