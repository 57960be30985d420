"""The fundingRate endpoints: what a query means, the rows, and a synthetic market's settlements."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.frames import IntArray
from alphamill.sim.exchange.print_rows import number_text
from alphamill.sim.exchange.query import (
    NUMBER,
    SYMBOL,
    ApiError,
    Parameter,
    read_parameters,
    whole_number,
)
from alphamill.sim.market.bars import Bars, Settlements

CSV_HEADER = "calc_time,funding_interval_hours,last_funding_rate"
_HOUR_MS = 3_600_000
_MAX_LIMIT = 1000
_STAMPED_WITHIN_MS = 30  # a settlement is stamped up to so long after its hour
_USUAL_RATE, _MOST = 0.0001, 0.02
_PARAMETERS = (
    Parameter("symbol", SYMBOL, mandatory=True),
    Parameter("startTime", NUMBER),
    Parameter("endTime", NUMBER),
    Parameter("limit", NUMBER),
)
# Hours between settlements in the first and in the second half of a contract's life.
_HOURS = ((8, 8), (8, 4), (4, 1), (8, 8))


@dataclass(frozen=True, slots=True)
class FundingQuery:
    """A checked query; times are milliseconds, both ends included."""

    symbol: str
    start_ms: int | None
    end_ms: int | None
    limit: int


def read_funding_query(pairs: Sequence[tuple[str, str]]) -> FundingQuery:
    """The query of a fundingRate request; raises ApiError."""
    values = read_parameters(pairs, _PARAMETERS)
    limit = whole_number(values, "limit")
    if limit == 0:
        raise ApiError(-1130, "Data sent for parameter 'limit' is not valid.")
    start_ms, end_ms = whole_number(values, "startTime"), whole_number(values, "endTime")
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise ApiError(-1023, "Start time is greater than end time.")
    return FundingQuery(values["symbol"], start_ms, end_ms, min(limit or 100, _MAX_LIMIT))


def select_funding(query: FundingQuery, known: Settlements, now_ms: int) -> Settlements:
    """What answers at `now_ms`: the oldest of a range with a start, else the latest."""
    until_ms = now_ms if query.end_ms is None else min(now_ms, query.end_ms)
    stop = int(np.searchsorted(known.stamp_ms, until_ms, side="right"))
    if query.start_ms is None:
        return known.rows(max(0, stop - query.limit), stop)
    first = int(np.searchsorted(known.stamp_ms, query.start_ms, side="left"))
    return known.rows(first, min(max(first, stop), first + query.limit))


def funding_rows(symbol: str, found: Settlements) -> str:
    """As the exchange prints them."""
    rows = zip(found.stamp_ms.tolist(), found.rate.tolist(), found.mark.tolist(), strict=True)
    texts = [
        f'{{"symbol":"{symbol}","fundingTime":{stamp},"fundingRate":"{number_text(rate)}",'
        f'"markPrice":"{number_text(mark)}"}}'
        for stamp, rate, mark in rows
    ]
    return f"[{','.join(texts)}]"


def funding_csv(found: Settlements) -> str:
    """The text of an archive's file."""
    rows = zip(found.stamp_ms.tolist(), found.hours.tolist(), found.rate.tolist(), strict=True)
    lines = [f"{stamp},{hours},{number_text(rate)}" for stamp, hours, rate in rows]
    return "\n".join([CSV_HEADER, *lines]) + "\n"


def synthetic_funding(symbol: str, bars: Bars, seed: int) -> Settlements:
    """Settlements from the first bar to the last one's end, as irregular as the exchange's.

    Some contracts change their interval half way; rates lean to what longs usually pay.
    """
    tag = zlib.crc32(symbol.encode())
    rng = np.random.Generator(np.random.PCG64([seed, tag]))
    times, hours = _hours(bars, *_HOURS[tag % len(_HOURS)])
    noise = sum(rng.random(len(times)) for _ in range(4)) - 2.0
    rate = np.clip(np.round(_USUAL_RATE + 0.0004 * noise, 8), -_MOST, _MOST)
    stamps = times + rng.integers(0, _STAMPED_WITHIN_MS, len(times))
    at = np.maximum(np.searchsorted(bars.open_ms, times, side="right") - 1, 0)
    return Settlements(stamps, rate, hours, bars.open[at])


def _hours(bars: Bars, before: int, after: int) -> tuple[IntArray, IntArray]:
    """When funding is settled, and the hours since the settlement before."""
    first, last = int(bars.open_ms[0]), int(bars.open_ms[-1] + np.diff(bars.open_ms[-2:]).sum())
    day_ms = 24 * _HOUR_MS
    middle = (first + (last - first) // 2) // day_ms * day_ms
    early = np.arange(-(-first // day_ms) * day_ms, middle, before * _HOUR_MS, dtype=np.int64)
    late = np.arange(middle, last + 1, after * _HOUR_MS, dtype=np.int64)
    times = np.concatenate((early, late))
    hours = np.concatenate((np.full(len(early), before), np.full(len(late), after)))
    if len(early) and len(late):
        hours[len(early)] = before  # the first of the new interval ends one of the old
    return times, hours.astype(np.int64)
