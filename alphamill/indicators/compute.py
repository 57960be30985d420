"""From the klines of one symbol to one column an indicator, never across a hole in time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray, IntArray, Interval
from alphamill.indicators import momentum, orderflow, trailing, trend, volatility, volume
from alphamill.indicators.bars import Bars
from alphamill.indicators.registry import INDICATORS, Indicator
from alphamill.indicators.rolling import loops

if TYPE_CHECKING:
    import pandas as pd

# importing them fills the registry
FAMILIES = (trend, momentum, trailing, volatility, volume, orderflow)

_PRICES = ("open", "high", "low", "close")
_WHOLE = {"taker_buy_base": "volume", "taker_buy_quote": "quote_volume"}
_LONG_BARS = 500_000  # from here on fresh memory costs more than computing a few series again
_ROUNDING = 1e-9  # how far a part may exceed its whole, relative to it

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
    steps_ms = times_ms[1:] - times_ms[:-1]
    shortest_ms = int(steps_ms.min(initial=_NO_STEP))
    if shortest_ms <= 0:
        raise ValueError("open_time is not strictly ascending")
    interval = interval or _interval_of(shortest_ms)
    plan = _plan(None if names is None else tuple(names), interval)
    columns = {field: _float_column(klines, field) for field in plan.fields}
    breaks = _breaks(times_ms, steps_ms, interval, shortest_ms)
    numbers = partial(_bar_number, times_ms, interval, shortest_ms)
    stretches = _Stretches(columns, breaks, interval, numbers)
    matrix = np.empty((len(plan.records), len(klines)))
    family = ""
    for row, record, warmup_bars in zip(matrix, plan.records, plan.warmups_bars, strict=True):
        if record.family != family and len(klines) > _LONG_BARS:
            stretches.forget()
        family = record.family
        _fill(row, record, warmup_bars, stretches.of(record.inputs))
    return pd.DataFrame(matrix.T, index=klines.index, columns=plan.columns, copy=False)


def _fill(
    row: FloatArray, record: Indicator, warmup_bars: int, stretches: Sequence[tuple[int, Bars]]
) -> None:
    """One indicator into its row: within its range, and NaN where no stretch warms it up."""
    done = 0
    for start, bars in stretches:
        if bars.n_bars > warmup_bars:
            if done < start:
                row[done:start] = np.nan
            done = start + bars.n_bars
            loops("bars").keep_in_range(
                record.compute(bars), record.low, record.high, row[start:done]
            )
    if done < len(row):
        row[done:] = np.nan


class _Stretches:
    """Unbroken stretches of bars; indicators that need the same bars share their intermediates."""

    def __init__(
        self,
        columns: dict[str, FloatArray],
        breaks: IntArray,
        interval: Interval | None,
        numbers: Callable[[int], int],
    ) -> None:
        self._columns = columns
        self._breaks = breaks
        self._interval = interval
        self._numbers = numbers
        self._priced = _usable_prices(columns)
        self._usable: dict[str, Mask] = {}
        self._cut: dict[bytes, list[tuple[int, Bars]]] = {}
        self._by_inputs: dict[tuple[str, ...], list[tuple[int, Bars]]] = {}

    def of(self, inputs: tuple[str, ...]) -> Sequence[tuple[int, Bars]]:
        """(first row, bars) of each stretch in which prices and `inputs` are usable."""
        if inputs not in self._by_inputs:
            mask = self._priced
            for field in inputs:
                if field not in self._usable:
                    self._usable[field] = _usable_amounts(self._columns, field)
                mask = mask & self._usable[field]
            key = mask.tobytes()
            if key not in self._cut:
                self._cut[key] = [
                    (start, self._slice(start, end)) for start, end in _runs(mask, self._breaks)
                ]
            self._by_inputs[inputs] = self._cut[key]
        return self._by_inputs[inputs]

    def forget(self) -> None:
        """Free the intermediates."""
        for stretches in self._cut.values():
            for _, bars in stretches:
                bars.forget()

    def _slice(self, start: int, end: int) -> Bars:
        columns = {field: values[start:end] for field, values in self._columns.items()}
        return Bars(columns, self._interval, self._numbers(start))


def _runs(usable: Mask, breaks: IntArray) -> Iterator[tuple[int, int]]:
    """[start, end) of each run of usable rows without a break in it."""
    n = len(usable)
    if n == 0:
        return
    if not len(breaks) and usable.all():
        yield 0, n
        return
    changes = np.flatnonzero(usable[1:] != usable[:-1]) + 1
    cuts = np.union1d(breaks, changes) if len(breaks) else changes
    for start, end in pairwise([0, *cuts.tolist(), n]):
        if usable[start]:
            yield start, end


def _usable_prices(columns: dict[str, FloatArray]) -> Mask:
    """Finite, positive, and low <= open, close <= high."""
    mask = np.empty(len(columns["close"]), dtype=np.bool_)
    loops("bars").usable_prices(*(columns[field] for field in _PRICES), mask)
    return mask


def _usable_amounts(columns: dict[str, FloatArray], field: str) -> Mask:
    """Finite, not negative, and a part not larger than its whole."""
    values = columns[field]
    usable: Mask = (values >= 0) & (values < np.inf)
    if field in _WHOLE:
        usable &= values <= columns[_WHOLE[field]] * (1 + _ROUNDING)
    return usable


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a call computes. fields: kline columns that it reads."""

    records: tuple[Indicator, ...]
    warmups_bars: tuple[int, ...]
    fields: frozenset[str]
    columns: pd.Index[str]


@lru_cache(maxsize=64)
def _plan(names: tuple[str, ...] | None, interval: Interval | None) -> _Plan:
    """Raises ValueError on a name that is unknown or does not exist at the interval."""
    import pandas as pd

    names = indicator_names(interval) if names is None else names
    for name in names:
        if name not in INDICATORS:
            raise ValueError(f"unknown indicator {name!r}")
        if not INDICATORS[name].exists_at(interval):
            raise ValueError(f"indicator {name} does not exist at interval {interval}")
    records = tuple(INDICATORS[name] for name in names)
    fields = {*_PRICES, *(field for record in records for field in record.inputs)}
    fields |= {_WHOLE[field] for field in fields & _WHOLE.keys()}
    warmups_bars = tuple(record.warmup_bars(interval) for record in records)
    return _Plan(records, warmups_bars, frozenset(fields), pd.Index(names))


def _float_column(klines: pd.DataFrame, field: str) -> FloatArray:
    """Contiguous; writable in name only, since kernels are compiled for one kind of array."""
    if field not in klines:
        return np.full(len(klines), np.nan)
    column = klines[field]
    if column.dtype != np.float64:
        return np.array(column.to_numpy(dtype=np.float64, na_value=np.nan))
    values = np.ascontiguousarray(column.to_numpy())
    if not values.flags.writeable:
        try:
            values.flags.writeable = True
        except ValueError:  # the memory itself is read-only
            return values.copy()
    return values


def _times_ms(open_time: pd.Series[Any]) -> IntArray:
    if open_time.dtype.kind == "i":
        return open_time.to_numpy(dtype=np.int64)
    return open_time.to_numpy(dtype="datetime64[ms]").view(np.int64)  # UTC


_DAY_MS = 86_400_000
_NO_STEP = 1 << 62
_BY_MS = {interval.ms: interval for interval in Interval if interval is not Interval.MO1}


def _interval_of(shortest_ms: int) -> Interval | None:
    """The interval whose bars are that far apart; None for one that Binance does not have."""
    if 28 * _DAY_MS <= shortest_ms <= 31 * _DAY_MS and shortest_ms not in _BY_MS:
        return Interval.MO1
    return _BY_MS.get(shortest_ms)


def _bar_number(times_ms: IntArray, interval: Interval | None, shortest_ms: int, row: int) -> int:
    """How many bars lie between the epoch and this row."""
    if interval is Interval.MO1:
        return int(times_ms[row].astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64))
    return int(times_ms[row]) // (interval.ms if interval else shortest_ms)


def _breaks(
    times_ms: IntArray, steps_ms: IntArray, interval: Interval | None, shortest_ms: int
) -> IntArray:
    """Rows that do not follow on the row before. A bar off the grid neighbours none."""
    if interval is Interval.MO1:
        months = times_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
        return np.flatnonzero(np.diff(months) != 1) + 1
    step_ms = interval.ms if interval else shortest_ms
    if step_ms == shortest_ms == steps_ms.max(initial=0):
        return np.empty(0, dtype=np.int64)
    off_grid = (times_ms[1:] - times_ms[:1]) % step_ms != 0
    return np.flatnonzero((steps_ms != step_ms) | off_grid) + 1
