"""Settlements of funding: the exchange's rows read strictly, in order, each once.

Funding is settled on the hour, every 8, 4 or 1 hours as the exchange sees fit, and stamped some
milliseconds off; so nothing here counts on an interval, and two rows within a minute are one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa

from alphamill.errors import RetryLater
from alphamill.frames import FUNDING, FloatArray, IntArray, times_ms
from alphamill.market.klines.parse import in_ms

LONGEST_MS = 8 * 3_600_000  # no interval between settlements is longer
MINUTE_MS = 60_000


class _Row(msgspec.Struct, rename="camel"):
    """One settlement; its mark price, which older rows and the archive lack, is left alone."""

    symbol: str
    funding_time: int
    funding_rate: float


# Not strict: the rate is a string, which is read as Python's float() reads it.
_PAGE = msgspec.json.Decoder(list[_Row], strict=False)


def parse_funding(body: bytes, symbol: str) -> pa.Table:
    """FUNDING of a reply to fundingRate. Raises RetryLater for anything malformed."""
    try:
        rows = _PAGE.decode(body)
        others = {row.symbol for row in rows} - {symbol}
        if others:
            raise ValueError(f"rows of {sorted(others)[0][:40]!r}")
        return funding_table([row.funding_time for row in rows], [row.funding_rate for row in rows])
    except (msgspec.MsgspecError, ValueError) as error:
        raise RetryLater(f"{symbol}: malformed funding ({error})", 5.0) from error


def funding_table(times: Sequence[int], rates: Sequence[float] | FloatArray) -> pa.Table:
    """FUNDING in order; the later row of one minute wins. ValueError for what cannot be."""
    try:
        stamps = in_ms(np.array(times, dtype=np.int64))
    except OverflowError as error:
        raise ValueError("fundingTime is past 64 bits") from error
    values = np.array(rates, dtype=np.float64)
    if stamps.size and stamps.min() <= 0:
        raise ValueError("fundingTime is not after 1970")
    if not np.isfinite(values).all():
        raise ValueError("fundingRate is not finite")
    columns = [pa.array(stamps).view(FUNDING.field("funding_time").type), pa.array(values)]
    return merge_funding([pa.Table.from_arrays(columns, schema=FUNDING)])


def merge_funding(tables: Sequence[pa.Table]) -> pa.Table:
    """All settlements in order, each once; for the same minute the later table wins."""
    table = pa.concat_tables([FUNDING.empty_table(), *tables]).combine_chunks()
    minutes = settled_ms(times_ms(table))
    if (np.diff(minutes) > 0).all():
        return table
    _, last = np.unique(minutes[::-1], return_index=True)
    return table.take(minutes.size - 1 - last)


def settled_ms(stamps: IntArray) -> IntArray:
    """When funding was settled, by the times that the exchange stamps: the nearest minute."""
    minutes: IntArray = (stamps + MINUTE_MS // 2) // MINUTE_MS * MINUTE_MS
    return minutes
