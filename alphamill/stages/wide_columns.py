"""What a panel has beside bars, by what could be known as each bar closed.

A value of bar t is one that was out when the bar closed, at the latest: the fields of an expression
are read at the close, and traded on from the next open. What holds until the next is told, as an
open interest, is carried for so long and no longer: the exchange loses rows, hours and days.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.factors.wide import WIDE_FIELDS
from alphamill.frames import METRICS_FROM, FloatArray, IntArray, Interval, Market, Wide, times_ms
from alphamill.grid import DAY_MS
from alphamill.lake import IndexSeries, Lake, MarkSeries, MetricsSeries, PremiumSeries, read_series
from alphamill.lake.days import DaySeries, read_day
from alphamill.market.funding.parse import LONGEST_MS, MINUTE_MS, REGULAR, settled_ms
from alphamill.stages.columns import Column
from alphamill.stages.funding import read_funding

CARRY_MS = 30 * 60_000
"""How old, since it was out, a value of metrics may be at a bar's close; six are lost at most."""
_HOUR_MS = 3_600_000
_PRICES = {Wide.PREMIUM: PremiumSeries, Wide.MARK: MarkSeries, Wide.INDEX: IndexSeries}


@dataclass(frozen=True, slots=True)
class Bars:
    """Where the values are for: the bars of a panel. open_ms: a step of `interval` apart."""

    lake: Lake
    market: Market
    interval: Interval
    open_ms: IntArray

    @property
    def close_ms(self) -> IntArray:
        """When each is over."""
        return self.open_ms + self.interval.ms


def wide_fields(
    bars: Bars, columns: Collection[Column], kinds: Collection[Wide], wanted: Collection[str]
) -> Iterator[tuple[str, FloatArray]]:
    """The wanted fields of these kinds of data, float64 (bars, columns); NaN where not known."""
    for kind in Wide:
        names = [one for one in wanted if WIDE_FIELDS[one].of is kind and kind in kinds]
        if not names:
            continue
        found = [_of_column(bars, column, kind, names) for column in columns]
        for name in names:
            yield name, np.stack([values[name] for values in found], axis=1)


def _of_column(
    bars: Bars, column: Column, kind: Wide, names: Sequence[str]
) -> Mapping[str, FloatArray]:
    if kind is Wide.METRICS:
        found = _metrics(bars, column.symbol)
    elif kind is Wide.FUNDING:
        found = _funding(bars, column.symbol)
    elif kind is Wide.FLOW:
        found = _flow(bars, column.symbol, names)
    else:
        found = _prices(bars, column.symbol, kind)
    if column.listing is not None:  # what is told of the symbol before and after is another coin's
        others = ~column.listing.holds(bars.open_ms)
        for values in found.values():
            values[others] = np.nan
    return found


def _metrics(bars: Bars, symbol: str) -> dict[str, FloatArray]:
    closes = bars.close_ms
    start_ms = max(METRICS_FROM.start_ms, int(closes[0]) - CARRY_MS - _HOUR_MS)
    series = MetricsSeries(bars.market, symbol)
    table = read_series(bars.lake, series, start_ms, max(start_ms, int(closes[-1])))
    out_ms = times_ms(table, "available_time")
    names = [one.name for one in WIDE_FIELDS.values() if one.of is Wide.METRICS]
    return {name: as_known(out_ms, table[name].to_numpy(), closes, CARRY_MS) for name in names}


def as_known(
    out_ms: IntArray, values: FloatArray, closes_ms: IntArray, carry_ms: int
) -> FloatArray:
    """The last value that was out at each close and is no older than that; NaN for none.

    out_ms: from when each value could be known, ascending. A NaN among the values is none.
    """
    told = np.isfinite(values)
    out_ms, values = out_ms[told], values[told]
    last = np.searchsorted(out_ms, closes_ms, side="right") - 1
    found: FloatArray = np.full(len(closes_ms), np.nan)
    held = last >= 0
    held[held] = closes_ms[held] - out_ms[last[held]] <= carry_ms
    found[held] = values[last[held]]
    return found


def _prices(bars: Bars, symbol: str, kind: Wide) -> dict[str, FloatArray]:
    """At each bar's close, of the bar of that very time; nothing is carried, as with bars."""
    series = _PRICES[kind](bars.market, symbol, bars.interval)
    start_ms, end_ms = int(bars.open_ms[0]), int(bars.close_ms[-1])
    table = read_series(bars.lake, series, start_ms, end_ms, ["open_time", "close"])
    rows, beside = np.divmod(times_ms(table) - start_ms, bars.interval.ms)
    here = beside == 0
    found = np.full(len(bars.open_ms), np.nan)
    found[rows[here]] = table["close"].to_numpy()[here]
    (name,) = (one.name for one in WIDE_FIELDS.values() if one.of is kind)
    return {name: found}


def _flow(bars: Bars, symbol: str, names: Sequence[str]) -> dict[str, FloatArray]:
    """Of each bar's own trades, which are all known at its close; of a bar cut off nothing is."""
    series = DaySeries.flow(bars.market, bars.interval, symbol)
    start_ms, end_ms = int(bars.open_ms[0]), int(bars.close_ms[-1])
    found = {name: np.full(len(bars.open_ms), np.nan) for name in names}
    for day_ms in range(start_ms // DAY_MS * DAY_MS, end_ms, DAY_MS):
        held = read_day(bars.lake, series, day_ms, ["open_time", *names, "complete"])
        if held is None:
            continue
        table = held[0].filter(held[0]["complete"])
        open_ms = times_ms(table) // 1000  # the lake has microseconds of them
        rows, beside = np.divmod(open_ms - start_ms, bars.interval.ms)
        here = (beside == 0) & (rows >= 0) & (rows < len(bars.open_ms))
        for name in names:
            found[name][rows[here]] = table[name].to_numpy()[here]
    return found


def _funding(bars: Bars, symbol: str) -> dict[str, FloatArray]:
    """What was settled before each close; that of the very close is published a moment after it.

    Not known is what may have been settled since: a stretch that the lake does not know, or that is
    longer than any interval. Dividends are no rates.
    """
    closes = bars.close_ms
    start_ms = int(closes[0]) - 2 * LONGEST_MS - MINUTE_MS
    held = read_funding(bars.lake, bars.market, symbol, start_ms, int(closes[-1]))
    kinds = np.array([kind or REGULAR for kind in held.table["rate_type"].to_pylist()], dtype=str)
    regular = kinds == REGULAR
    settled = settled_ms(times_ms(held.table))[regular]
    rates = held.table["funding_rate"].to_numpy()[regular]
    last = np.searchsorted(settled, closes, side="left") - 1
    known = _known_since(settled, last, closes, [(one.start_ms, one.end_ms) for one in held.known])
    rate, hours = np.full(len(closes), np.nan), np.full(len(closes), np.nan)
    rate[known] = rates[last[known]]
    apart = np.diff(settled, prepend=settled[:1]) / _HOUR_MS
    spaced = np.zeros(len(settled), dtype=bool)
    for start, end in ((one.start_ms, one.end_ms) for one in held.known):
        spaced[1:] |= (settled[:-1] >= start - MINUTE_MS) & (settled[1:] < end)
    usable = known.copy()
    usable[known] = spaced[last[known]] & (apart[last[known]] * _HOUR_MS <= LONGEST_MS)
    hours[usable] = apart[last[usable]]
    return {"last_funding_rate": rate, "funding_interval_hours": hours}


def _known_since(
    settled: IntArray, last: IntArray, closes: IntArray, known: Collection[tuple[int, int]]
) -> np.ndarray:
    """Whether all is known from the last settlement to the close, and that is not too long."""
    there = last >= 0
    since = np.where(there, settled[np.maximum(last, 0)] if settled.size else 0, 0)
    told = np.zeros(len(closes), dtype=bool)
    for start_ms, end_ms in known:
        told |= (since >= start_ms - MINUTE_MS) & (closes <= end_ms + MINUTE_MS)
    result: np.ndarray = there & told & (closes - since <= LONGEST_MS)
    return result
