"""Which columns a run's panel has: a coin each, whatever names it was traded under.

See `lake.listings`: a symbol is one column unless its bars say that it was given again, or that it
traded no more. Most symbols' open times and volumes show that neither can be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from alphamill.frames import IntArray, Interval, times_ms
from alphamill.grid import off_grid
from alphamill.jobs import RunSpec
from alphamill.lake import Lake, read_klines
from alphamill.lake.listings import (
    COLUMNS,
    SILENT_MS,
    Listing,
    Quiet,
    find_listings,
    listing_name,
    quiet_of,
)


@dataclass(frozen=True, slots=True)
class Column:
    """One coin under a symbol.

    open_ms: of its bars. ended: it trades no more before the last bar of any symbol. listing: None
    where it is all of the symbol's bars. mixed: a bar of the coin before, or a flat one, stands
    directly before its first, so that stored indicators of the symbol run over both.
    """

    name: str
    symbol: str
    open_ms: IntArray
    ended: bool
    listing: Listing | None = None
    mixed: bool = False


def columns_of(lake: Lake, spec: RunSpec, interval: Interval) -> tuple[Column, ...] | None:
    """Of the run's range at an interval of fixed length, by symbol and time.

    None without a bar; empty where no bar has a trade.
    """
    seen = {symbol: _seen(lake, spec, symbol, interval) for symbol in sorted(set(spec.symbols))}
    there = {symbol: found for symbol, found in seen.items() if found is not None}
    if not there:
        return None
    until_ms = max(quiet.end_ms for _, quiet in there.values())
    last_ms = until_ms - interval.ms - max(SILENT_MS, 2 * interval.ms)  # of who did not end
    columns: list[Column] = []
    for symbol, (open_ms, quiet) in there.items():
        if quiet.doubtful(until_ms):
            columns += _cut(lake, spec, symbol, interval, until_ms, last_ms)
        else:
            columns.append(Column(symbol, symbol, open_ms, bool(open_ms[-1] < last_ms)))
    return tuple(columns)


def _seen(
    lake: Lake, spec: RunSpec, symbol: str, interval: Interval
) -> tuple[IntArray, Quiet] | None:
    """Open times of a symbol's bars, and when none trades; None without a bar."""
    where, names = (lake, spec.market, symbol, interval), ["open_time", "volume"]
    table = _on_grid(read_klines(*where, spec.start_ms, spec.end_ms, names), interval)
    if not table.num_rows:
        return None
    open_ms = times_ms(table)
    return open_ms, quiet_of(open_ms, table["volume"].to_numpy(), interval)


def _on_grid(table: pa.Table, interval: Interval) -> pa.Table:
    """Without bars that open where none can."""
    beside = off_grid(interval, times_ms(table))
    return table.filter(pa.array(~beside)) if beside.any() else table


def _cut(
    lake: Lake, spec: RunSpec, symbol: str, interval: Interval, until_ms: int, last_ms: int
) -> Iterator[Column]:
    where = lake, spec.market, symbol, interval
    bars = _on_grid(read_klines(*where, spec.start_ms, spec.end_ms, COLUMNS), interval)
    every_ms = times_ms(bars)
    listings = find_listings(bars, interval, until_ms)
    for listing in listings:
        open_ms = every_ms[listing.holds(every_ms)]
        row = int(np.searchsorted(every_ms, listing.start_ms))
        goes_on = open_ms[-1] == every_ms[-1] and open_ms[-1] >= last_ms
        yield Column(
            name=listing_name(symbol, listing),
            symbol=symbol,
            open_ms=open_ms,
            ended=not goes_on,
            listing=listing,
            mixed=bool(row > 0 and every_ms[row] - every_ms[row - 1] == interval.ms),
        )
