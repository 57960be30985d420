"""Bars that are not there, asked for twice.

An exchange under load has answered 200 with an empty page where bars were, and what a fetch finds
absent is not asked for again. So a stretch that an empty page could be hiding is asked for a second
time before anyone believes it. A short gap between two bars came within one page and is believed.
"""

from __future__ import annotations

from alphamill.frames import Interval, TimeRange
from alphamill.grid import floor_ms
from alphamill.market.exchange import SETTLE_MS, Klines, KlineSource
from alphamill.market.klines.parse import find_gaps, merge_klines

_PAGE_BARS = 100  # the smallest page that any market is asked for


def confirmed_klines(
    exchange: KlineSource, symbol: str, interval: Interval, start_ms: int, end_ms: int
) -> Klines:
    """As `KlineSource.klines`, with a second answer for what the first may have kept back."""
    first = exchange.klines(symbol, interval, start_ms, end_ms)
    settled_ms = floor_ms(interval, first.server_time_ms - SETTLE_MS)
    until_ms = min(end_ms, settled_ms)
    if until_ms <= start_ms:
        return first
    table, requests, off_grid = first.table, first.requests, {*first.off_grid}
    for gap in find_gaps(table, interval, TimeRange(start_ms, until_ms)):
        if gap.bars < _PAGE_BARS and gap.end_ms < until_ms:
            continue
        again = exchange.klines(symbol, interval, gap.start_ms, min(gap.end_ms, until_ms))
        requests += again.requests
        off_grid |= {*again.off_grid}
        if again.table.num_rows:
            table = merge_klines([table, again.table])
    strays = tuple(sorted(off_grid))
    return Klines(table, first.server_time_ms, requests, first.source, strays)
