"""Which five minutes a row of metrics is of, and from when on a trader could know it.

A row says what was so at one moment, the end of five minutes (of takers: what they did in these).
Its label is that end in the files of USD-M up to 2026-06-24 and the start from 2026-06-25 on, and
always the start on COIN-M (binance-public-data issue 491); so "2026-06-25 00:00:00" stands in two
files and means two things. The API's documentation says "end", which it no longer is. Where it is
not certain that a label is the end it is taken for the start: five minutes late, never early.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from alphamill.frames import METRICS, FloatArray, IntArray, Market

STEP_MS = 300_000
_DAY_MS = 86_400_000
STARTS_FROM_MS = int(datetime(2026, 6, 25, tzinfo=UTC).timestamp() * 1000)
PUBLISHED_AFTER_MS = 60_000
"""How long after its five minutes a row is taken to be out. No source says how long it takes."""

VALUES = METRICS.names[2:]


def opens_of_file(labels_ms: IntArray, day_ms: int, market: Market) -> IntArray:
    """Where the five minutes begin that the rows of a day's file are of, by their labels.

    A file of ends has no label at the start of its day, or one at the start of the next as well.
    """
    at_start = bool((labels_ms == day_ms).any())
    at_end = bool((labels_ms == day_ms + _DAY_MS).any())
    ends = market is Market.USD_M and day_ms < STARTS_FROM_MS and (at_end or not at_start)
    return _opens(labels_ms if ends else labels_ms + STEP_MS)


def opens_of_reply(labels_ms: IntArray, market: Market) -> IntArray:
    """As `opens_of_file`, of rows of the API."""
    ends = (labels_ms < STARTS_FROM_MS) & (market is Market.USD_M)
    return _opens(np.where(ends, labels_ms, labels_ms + STEP_MS))


def _opens(moments_ms: IntArray) -> IntArray:
    """Of the five minutes at whose end the moments lie; one beside the grid counts as later."""
    opens: IntArray = -(-moments_ms // STEP_MS) * STEP_MS - STEP_MS
    return opens


def metrics_table(opens_ms: IntArray, values: dict[str, FloatArray]) -> pa.Table:
    """METRICS in order, each five minutes once (the later row wins); what is no number is null.

    An open interest of 0 is a hole of the exchange's (binance-public-data issue 350): a contract
    that is traded has one.
    """
    _, last = np.unique(opens_ms[::-1], return_index=True)
    rows = opens_ms.size - 1 - last
    opens = opens_ms[rows]
    columns = [
        pa.array(times).view(METRICS.field("open_time").type)
        for times in (opens, opens + STEP_MS + PUBLISHED_AFTER_MS)
    ]
    none = ~(values["open_interest"][rows] > 0)
    for name in VALUES:
        own = values[name][rows]
        missing = ~np.isfinite(own) | (own < 0)
        if name in ("open_interest", "open_interest_value"):
            missing |= none
        columns.append(pa.array(own, mask=missing))
    return pa.Table.from_arrays(columns, schema=METRICS)
