"""Hourly closes of who belonged when, from the lake, and what of them the lake lacks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alphamill.evaluation.ranks import divide
from alphamill.frames import FloatArray, IntArray, Interval, Market, Month, TimeRange, union
from alphamill.frames.tables import times_ms
from alphamill.lake import Lake, Series, load_partition
from alphamill.lake.listings import symbol_of

HOUR_MS = 3_600_000
_READERS = 8

Lists = Mapping[Month, Sequence[str]]
"""Who belongs in a month, by the exchange's names."""


@dataclass(frozen=True, slots=True)
class Closes:
    """Hourly closes on a full grid, NaN where there is no bar; nothing is filled.

    times_ms: when a bar closes, UTC epoch milliseconds, an hour apart. values: float64 (bars,
    symbols). known: by symbol, the closing times of which the lake was told all that there is.
    """

    times_ms: IntArray
    symbols: tuple[str, ...]
    values: FloatArray
    known: Mapping[str, Sequence[TimeRange]] = field(default_factory=dict)

    def row(self, time_ms: int) -> int:
        """The row of a closing time, which may lie outside of the grid."""
        return (time_ms - int(self.times_ms[0])) // HOUR_MS

    def change(self, rows: IntArray, hours: int) -> FloatArray:
        """Return of each symbol from these rows to `hours` later, or from earlier where negative.

        (rows, symbols); both ends must be there.
        """
        first, last = self._at(rows + min(hours, 0)), self._at(rows + max(hours, 0))
        there = np.isfinite(first) & np.isfinite(last)
        return divide(last, first, there) - 1.0

    def _at(self, rows: IntArray) -> FloatArray:
        inside = (rows >= 0) & (rows < len(self.values))
        found = self.values[np.clip(rows, 0, len(self.values) - 1)]
        found[~inside] = np.nan
        return found

    def belonging(self, rows: IntArray, lists: Lists) -> NDArray[np.bool_]:
        """Who belongs at the closing times of these rows: (rows, symbols)."""
        column = {symbol: at for at, symbol in enumerate(self.symbols)}
        inside = np.zeros((len(rows), len(self.symbols)), dtype=np.bool_)
        times = self.times_ms[rows]
        for month, names in lists.items():
            begin, end = np.searchsorted(times, [month.start_ms, month.end_ms])
            inside[begin:end, [column[name] for name in names]] = True
        return inside


def needed(
    lists: Lists, decided: TimeRange, back_h: int, ahead_h: int
) -> dict[str, list[TimeRange]]:
    """By symbol, the closing times that decisions of a range look at, while it belongs."""
    found: dict[str, list[TimeRange]] = defaultdict(list)
    for month, names in lists.items():
        part = month.range.within(decided)
        if part is None:
            continue
        around = TimeRange(part.start_ms - back_h * HOUR_MS, part.end_ms + ahead_h * HOUR_MS)
        for name in names:
            found[name].append(around)
    return {symbol: union(parts) for symbol, parts in found.items()}


def read_closes(
    lake: Lake, lists: Lists, back_h: int, ahead_h: int, ends_ms: Mapping[str, int] | None = None
) -> Closes:
    """Of every member, the months around those in which it belongs: back_h before, ahead_h after.

    ends_ms: when a symbol's last bar closed, where somebody knows; afterwards there is none.
    A damaged file counts as none, and its month as never asked for.
    """
    wanted = _months(lists, back_h, ahead_h)
    first = min(month for _, month in wanted).start_ms
    last = max(month for _, month in wanted).end_ms
    symbols = tuple(sorted({symbol for symbol, _ in wanted}))
    column = {symbol: at for at, symbol in enumerate(symbols)}
    # A bar that opens at `first` closes an hour later.
    grid = first + HOUR_MS * np.arange(1, (last - first) // HOUR_MS + 1, dtype=np.int64)
    values = np.full((len(grid), len(symbols)), np.nan)
    known: dict[str, list[TimeRange]] = defaultdict(list)

    def read(one: tuple[str, Month]) -> None:
        symbol, month = one
        series = Series(Market.SPOT, symbol_of(symbol), Interval.H1)
        found = load_partition(lake, series, month, ["open_time", "close"])
        if found is None:
            return
        partition, table = found
        rows = (times_ms(table) - first) // HOUR_MS
        values[rows, column[symbol]] = table["close"].to_numpy()
        asked = partition.facts.asked
        known[symbol].append(TimeRange(asked.start_ms + HOUR_MS, asked.end_ms + HOUR_MS))

    with ThreadPoolExecutor(_READERS) as readers:
        list(readers.map(read, wanted))
    for symbol, end_ms in (ends_ms or {}).items():
        if symbol in column:
            known[symbol].append(TimeRange(end_ms, max(end_ms, last + HOUR_MS)))
    return Closes(grid, symbols, values, {symbol: union(parts) for symbol, parts in known.items()})


def _months(lists: Lists, back_h: int, ahead_h: int) -> list[tuple[str, Month]]:
    found: dict[tuple[str, Month], None] = {}
    for month, names in lists.items():
        around = TimeRange(
            month.start_ms - (back_h + 1) * HOUR_MS, month.end_ms + ahead_h * HOUR_MS
        )
        for near, _ in around.by_month():
            found.update(dict.fromkeys((name, near) for name in names))
    return list(found)


def lacking(closes: Closes, wanted: Mapping[str, Sequence[TimeRange]]) -> dict[str, TimeRange]:
    """By symbol, from the first to the last of these times of which the lake was never told."""
    found = {}
    for symbol, parts in wanted.items():
        known = closes.known.get(symbol, ())
        left = [one for part in parts for one in part.without(*known)]
        if left:
            found[symbol] = TimeRange(left[0].start_ms, left[-1].end_ms)
    return found


def lacking_text(lacked: Mapping[str, TimeRange], of: int) -> str:
    """What is lacking, in words; of: how many symbols were looked at."""
    names = sorted(lacked)
    some = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    first = Month.of_ms(min(one.start_ms for one in lacked.values()) - 1)
    last = Month.of_ms(max(one.end_ms for one in lacked.values()) - HOUR_MS - 1)
    return f"the lake lacks 1h bars of {len(names)} of {of} symbols, {first} to {last} ({some})"
