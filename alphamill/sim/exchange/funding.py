"""The fundingRate endpoints: what a query means, and the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.sim.exchange.messages import (
    RANGE_PARAMETERS,
    ApiError,
    read_limit,
    read_parameters,
    whole_number,
)
from alphamill.sim.exchange.print_rows import number_text
from alphamill.sim.market import Settlements

CSV_HEADER = "calc_time,funding_interval_hours,last_funding_rate"
_MAX_LIMIT = 1000
_MARKED_FROM_MS = 1_698_739_200_000  # 2023-10-31 08:00: older rows have no mark price


@dataclass(frozen=True, slots=True)
class FundingQuery:
    """A checked query; times are milliseconds, both ends included."""

    symbol: str
    start_ms: int | None
    end_ms: int | None
    limit: int


def read_funding_query(pairs: Sequence[tuple[str, str]]) -> FundingQuery:
    """The query of a fundingRate request; raises ApiError."""
    values = read_parameters(pairs, RANGE_PARAMETERS)
    limit = read_limit(values, 100, _MAX_LIMIT)
    start_ms, end_ms = whole_number(values, "startTime"), whole_number(values, "endTime")
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        raise ApiError(-1023, "Start time is greater than end time.")
    return FundingQuery(values["symbol"], start_ms, end_ms, limit)


def select_funding(query: FundingQuery, known: Settlements, now_ms: int) -> Settlements:
    """What answers at `now_ms`: the oldest of a range with a start, else the latest."""
    until_ms = now_ms if query.end_ms is None else min(now_ms, query.end_ms)
    stop = int(np.searchsorted(known.stamp_ms, until_ms, side="right"))
    if query.start_ms is None:
        return known.rows(max(0, stop - query.limit), stop)
    first = int(np.searchsorted(known.stamp_ms, query.start_ms, side="left"))
    return known.rows(first, min(max(first, stop), first + query.limit))


def print_funding(symbol: str, found: Settlements) -> str:
    """As the exchange prints them."""
    rows = zip(
        found.stamp_ms.tolist(),
        found.rate.tolist(),
        found.mark.tolist(),
        found.special.tolist(),
        strict=True,
    )
    texts = [
        f'{{"symbol":"{symbol}","fundingTime":{stamp},"fundingRate":"{number_text(rate)}",'
        f'"markPrice":"{number_text(mark) if stamp >= _MARKED_FROM_MS else ""}",'
        f'"rateType":"{"Special" if special else "Regular"}"}}'
        for stamp, rate, mark, special in rows
    ]
    return f"[{','.join(texts)}]"


def funding_csv(found: Settlements) -> str:
    """The text of an archive's file, which states no rateType: both rows of an instant stand there.

    What the real files hold of a Special payment is not known.
    """
    rows = zip(found.stamp_ms.tolist(), found.hours.tolist(), found.rate.tolist(), strict=True)
    lines = [f"{stamp},{hours},{number_text(rate)}" for stamp, hours, rate in rows]
    return "\n".join([CSV_HEADER, *lines]) + "\n"
