"""From the klines of one symbol to one column an indicator, never across a hole in time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray, IntArray, Interval
from alphamill.indicators import kernels, momentum, orderflow, trailing, trend, volatility, volume
from alphamill.indicators.bars import Bars
from alphamill.indicators.columns import OutputColumns, read_columns, read_times_ms
from alphamill.indicators.registry import DAY_MS, INDICATORS, Indicator

if TYPE_CHECKING:
    import pandas as pd

# importing them fills the registry
FAMILIES = (trend, momentum, trailing, volatility, volume, orderflow)

_PRICES = ("open", "high", "low", "close")
_WHOLES = {"taker_buy_base": "volume", "taker_buy_quote": "quote_volume"}  # of which they are parts
# Rows worked on together: what one indicator leaves is in the cache for the next.
_PART_BARS = 16_384

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
    times_ms = read_times_ms(klines["open_time"])
    shortest_ms, longest_ms = _steps(times_ms)
    interval = interval or _interval_of(shortest_ms)
    plan = _plan(None if names is None else tuple(names), interval)
    output = _fill(plan, times_ms, read_columns(klines, plan.fields), shortest_ms, longest_ms)
    return output.frame(klines.index, plan.names)


def compute_arrays(
    times_ms: IntArray, columns: dict[str, FloatArray], names: tuple[str, ...], interval: Interval
) -> FloatArray:
    """`compute_indicators` without frames: float64 (names, bars) for at most LONG_BARS bars.

    columns: float64 (bars,), C-contiguous, the `fields_of` these names; times_ms: int64 (bars,).
    """
    output = _fill(_plan(names, interval), times_ms, columns, *_steps(times_ms))
    return output.matrix


def fields_of(names: tuple[str, ...], interval: Interval) -> frozenset[str]:
    """Kline columns that indicators are computed from."""
    return _plan(names, interval).fields


def _steps(times_ms: IntArray) -> tuple[int, int]:
    """The shortest and the longest step in time."""
    shortest_ms, longest_ms = kernels.bars.step_range(times_ms)
    if shortest_ms <= 0:
        raise ValueError("open_time is not strictly ascending")
    return shortest_ms, longest_ms


def _fill(
    plan: _Plan,
    times_ms: IntArray,
    columns: dict[str, FloatArray],
    shortest_ms: int,
    longest_ms: int,
) -> OutputColumns:
    n_bars = len(times_ms)
    breaks = _breaks(times_ms, plan.interval, shortest_ms, longest_ms)
    output = OutputColumns(n_bars, plan.lows, plan.highs)
    for numbers, runs in _cuts(plan, columns, breaks):
        done = 0
        for start, end in runs:
            output.blank(numbers, done, start)
            first_number = _bar_number(times_ms, plan.interval, shortest_ms, start)
            _Stretch(plan, output, numbers, start, end).fill(columns, first_number)
            done = end
        output.blank(numbers, done, n_bars)
    return output


def _cuts(
    plan: _Plan, columns: dict[str, FloatArray], breaks: IntArray
) -> Iterator[tuple[IntArray, Iterable[tuple[int, int]]]]:
    """Numbers of the records that need the same bars, and the unbroken runs of these bars."""
    priced = _usable_prices(columns)
    usable: dict[str, Mask] = {}
    rows_of: dict[bytes, list[int]] = {}
    for inputs, rows in plan.rows_by_inputs:
        mask = priced
        for field in inputs:
            if field not in usable:
                usable[field] = _usable_amounts(columns, field)
            mask = mask & usable[field]
        rows_of.setdefault(mask.tobytes(), []).extend(rows)
    for cut, rows in rows_of.items():
        runs = _runs(cut, breaks)
        everything = len(rows) == len(plan.records)
        yield plan.numbers if everything else np.array(sorted(rows)), runs


class _Stretch:
    """Rows of the result over one unbroken run of bars.

    A long run is taken in parts, so that what indicators share is still in the cache and the
    memory of one part serves the next.
    """

    def __init__(
        self, plan: _Plan, output: OutputColumns, numbers: IntArray, start: int, end: int
    ) -> None:
        self._plan = plan
        self._output = output
        self._numbers = numbers
        self._start = start
        self._end = end
        self._work = [
            (plan.records[number], plan.warmups_bars[number], row)
            for number, row in zip(numbers.tolist(), output.rows(numbers, start, end), strict=True)
        ]

    def fill(self, columns: dict[str, FloatArray], first_number: int) -> None:
        """Every indicator into its row, within its range; NaN before it has warmed up."""
        own = {field: values[self._start : self._end] for field, values in columns.items()}
        buffers = {record.name: row for record, _, row in self._work}
        stretch = Bars(own, self._plan.interval, first_number, buffers)
        for start in range(0, stretch.n_bars, _PART_BARS):
            end = min(start + _PART_BARS, stretch.n_bars)
            self._fill_part(stretch.part(max(0, start - self._plan.lead_bars), end), start, end)

    def _fill_part(self, bars: Bars, start: int, end: int) -> None:
        n_bars = bars.n_bars
        lead_bars = n_bars - (end - start)
        for record, warmup_bars, row in self._work:
            if n_bars <= warmup_bars:
                row[start:end] = np.nan
            elif end - start == len(row):
                row[...] = record.compute(bars)
            else:
                row[start:end] = record.compute(bars)[lead_bars:]
        self._output.keep_in_range(self._numbers, self._start + start, self._start + end)


def _runs(cut: bytes, breaks: IntArray) -> Iterator[tuple[int, int]]:
    """[start, end) of each run of usable rows, whose bytes are not 0, without a break in it."""
    n = len(cut)
    if n == 0:
        return
    if not len(breaks) and b"\0" not in cut:
        yield 0, n
        return
    usable = np.frombuffer(cut, dtype=np.bool_)
    changes = np.flatnonzero(usable[1:] != usable[:-1]) + 1
    cuts = np.union1d(breaks, changes) if len(breaks) else changes
    for start, end in pairwise([0, *cuts.tolist(), n]):
        if usable[start]:
            yield start, end


def _usable_prices(columns: dict[str, FloatArray]) -> Mask:
    """Finite, positive, and low <= open, close <= high."""
    prices = columns["high"], columns["low"], columns["close"]
    mask = np.empty(len(columns["close"]), dtype=np.bool_)
    kernels.bars.usable_prices(columns["open"], prices, mask)
    return mask


def _usable_amounts(columns: dict[str, FloatArray], field: str) -> Mask:
    """Finite, not negative, and a part not larger than its whole."""
    values, whole = columns[field], columns[_WHOLES.get(field, field)]
    mask = np.empty(len(values), dtype=np.bool_)
    kernels.bars.usable_amounts(values, whole, mask)
    return mask


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a call computes.

    numbers: of all the records.
    rows_by_inputs: numbers of the records that need the same kline columns.
    lead_bars: bars before a row that any window ending there spans.
    fields: kline columns that it reads.
    """

    interval: Interval | None
    records: tuple[Indicator, ...]
    warmups_bars: tuple[int, ...]
    numbers: IntArray
    rows_by_inputs: tuple[tuple[tuple[str, ...], list[int]], ...]
    lead_bars: int
    lows: FloatArray
    highs: FloatArray
    fields: frozenset[str]
    names: tuple[str, ...]


@lru_cache(maxsize=64)
def _plan(names: tuple[str, ...] | None, interval: Interval | None) -> _Plan:
    """Raises ValueError on a name that is unknown or does not exist at the interval."""
    names = indicator_names(interval) if names is None else names
    for name in names:
        if name not in INDICATORS:
            raise ValueError(f"unknown indicator {name!r}")
        if not INDICATORS[name].exists_at(interval):
            raise ValueError(f"indicator {name} does not exist at interval {interval}")
    records = tuple(INDICATORS[name] for name in names)
    rows_by_inputs: dict[tuple[str, ...], list[int]] = {}
    for row, record in enumerate(records):
        rows_by_inputs.setdefault(record.inputs, []).append(row)
    fields = {*_PRICES, *(field for record in records for field in record.inputs)}
    fields |= {_WHOLES[field] for field in fields & _WHOLES.keys()}
    warmups_bars = tuple(record.warmup_bars(interval) for record in records)
    return _Plan(
        interval=interval,
        records=records,
        warmups_bars=warmups_bars,
        numbers=np.arange(len(records)),
        rows_by_inputs=tuple(rows_by_inputs.items()),
        lead_bars=max(warmups_bars, default=0),
        lows=np.array([record.low for record in records]),
        highs=np.array([record.high for record in records]),
        fields=frozenset(fields),
        names=names,
    )


_BY_MS = {interval.ms: interval for interval in Interval if interval is not Interval.MO1}


def _interval_of(shortest_ms: int) -> Interval | None:
    """The interval whose bars are that far apart; None for one that Binance does not have."""
    if 28 * DAY_MS <= shortest_ms <= 31 * DAY_MS and shortest_ms not in _BY_MS:
        return Interval.MO1
    return _BY_MS.get(shortest_ms)


def _months(times_ms: IntArray) -> IntArray:
    """Months since the epoch."""
    return times_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)


def _bar_number(times_ms: IntArray, interval: Interval | None, shortest_ms: int, row: int) -> int:
    """How many bars lie between the epoch and this row."""
    if interval is Interval.MO1:
        return int(_months(times_ms[row]))
    return int(times_ms[row]) // (interval.ms if interval else shortest_ms)


def _breaks(
    times_ms: IntArray, interval: Interval | None, shortest_ms: int, longest_ms: int
) -> IntArray:
    """Rows that do not follow on the row before. A bar off the grid neighbours none."""
    if interval is Interval.MO1:
        return np.flatnonzero(np.diff(_months(times_ms)) != 1) + 1
    step_ms = interval.ms if interval else shortest_ms
    if step_ms == shortest_ms == longest_ms:
        return np.empty(0, dtype=np.int64)
    off_grid = (times_ms[1:] - times_ms[:1]) % step_ms != 0
    return np.flatnonzero((np.diff(times_ms) != step_ms) | off_grid) + 1
