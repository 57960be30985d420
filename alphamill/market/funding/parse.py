"""Settlements of funding: the exchange's rows read strictly, in order, each payment once.

Funding is settled on the hour, every 8, 4 or 1 hours as the exchange sees fit, and stamped some
milliseconds off; so nothing here counts on an interval, and rows within a minute are of one
instant. An instant may have several payments: since 2026-07 a stock's dividend is paid as a row of
rateType "Special" beside the "Regular" one, and both are owed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
import pyarrow as pa

from alphamill.errors import RetryLater
from alphamill.frames import FUNDING, FloatArray, IntArray, times_ms
from alphamill.market.klines.parse import in_ms

LONGEST_MS = 8 * 3_600_000  # no interval between settlements is longer
MINUTE_MS = 60_000
REGULAR = "Regular"  # a contract has one such rate an instant


class _Row(msgspec.Struct, rename="camel"):
    """One payment; its mark price, which older rows and the archive lack, is left alone."""

    symbol: str
    funding_time: int
    funding_rate: float
    rate_type: str | None = None  # since 2026-07-28


# Not strict: the rate is a string, which is read as Python's float() reads it.
_PAGE = msgspec.json.Decoder(list[_Row], strict=False)


def parse_funding(body: bytes, symbol: str) -> pa.Table:
    """FUNDING of a reply to fundingRate. Raises RetryLater for anything malformed."""
    try:
        rows = _PAGE.decode(body)
        others = {row.symbol for row in rows} - {symbol}
        if others:
            raise ValueError(f"rows of {sorted(others)[0][:40]!r}")
        return funding_table(
            [row.funding_time for row in rows],
            [row.funding_rate for row in rows],
            [row.rate_type or None for row in rows],
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise RetryLater(f"{symbol}: malformed funding ({error})", 5.0) from error


def funding_table(
    times: Sequence[int],
    rates: Sequence[float] | FloatArray,
    kinds: Sequence[str | None] | None = None,
) -> pa.Table:
    """FUNDING of the rows of one answer; see `payments`. ValueError for what cannot be."""
    return payments(funding_rows(times, rates, kinds))


def funding_rows(
    times: Sequence[int],
    rates: Sequence[float] | FloatArray,
    kinds: Sequence[str | None] | None = None,
) -> pa.Table:
    """Rows as they were sent, in order of time. ValueError for what cannot be."""
    try:
        stamps = in_ms(np.array(times, dtype=np.int64))
    except OverflowError as error:
        raise ValueError("fundingTime is past 64 bits") from error
    values = np.array(rates, dtype=np.float64)
    if stamps.size and stamps.min() <= 0:
        raise ValueError("fundingTime is not after 1970")
    if not np.isfinite(values).all():
        raise ValueError("fundingRate is not finite")
    columns = [
        pa.array(stamps).view(FUNDING.field("funding_time").type),
        pa.array(values),
        pa.array(kinds or [None] * len(stamps), pa.string()),
    ]
    table = pa.Table.from_arrays(columns, schema=FUNDING)
    return table.take(np.argsort(stamps, kind="stable"))


def payments(rows: pa.Table) -> pa.Table:
    """FUNDING of the rows of one answer, in order of time: one row an instant and kind.

    Rows of one instant, kind and rate are one that was sent twice. Others are payments of their
    own, and of one kind (several dividends, or kinds that were not stated) they are added up. Only
    the Regular rate of an instant cannot be two: ValueError.
    """
    minutes = settled_ms(times_ms(rows))
    if (np.diff(minutes) > 0).all():
        return rows
    stamps, rates = times_ms(rows).tolist(), rows["funding_rate"].to_pylist()
    paid: dict[tuple[int, str | None], dict[float, int]] = {}
    for minute, kind, rate, stamp in zip(
        minutes.tolist(), rows["rate_type"].to_pylist(), rates, stamps, strict=True
    ):
        paid.setdefault((minute, kind), {})[rate] = stamp
    for (minute, kind), once in paid.items():
        if kind == REGULAR and len(once) > 1:
            raise ValueError(f"{len(once)} Regular rates at {minute}")
    found = [(max(once.values()), kind or "", math.fsum(once)) for (_, kind), once in paid.items()]
    found.sort()
    return funding_rows(
        [stamp for stamp, _, _ in found],
        [rate for _, _, rate in found],
        [kind or None for _, kind, _ in found],
    )


def merge_funding(tables: Sequence[pa.Table]) -> pa.Table:
    """All payments in order, each once, of several answers.

    For the same instant and kind the later table wins. What states no kind, as the archive, gives
    way to what does: its row may be the sum, or one of the two.
    """
    table = pa.concat_tables([FUNDING.empty_table(), *map(as_funding, tables)]).combine_chunks()
    minutes = settled_ms(times_ms(table))
    if (np.diff(minutes) > 0).all():
        return table
    kinds, codes = np.unique(
        table["rate_type"].fill_null("").to_numpy().astype(str), return_inverse=True
    )
    order = np.lexsort((np.arange(len(minutes)), codes, minutes))
    later = np.append((np.diff(minutes[order]) != 0) | (np.diff(codes[order]) != 0), True)
    kept = order[later]
    stated = kinds[codes] != ""
    kept = kept[stated[kept] | ~np.isin(minutes[kept], minutes[stated])]
    return table.take(kept[np.lexsort((codes[kept], times_ms(table)[kept]))])


def as_funding(table: pa.Table) -> pa.Table:
    """FUNDING of a table that may have been written before kinds of rates were kept."""
    if "rate_type" not in table.column_names:
        table = table.append_column("rate_type", pa.nulls(table.num_rows, pa.string()))
    return table.select(FUNDING.names).cast(FUNDING)


def settled_ms(stamps: IntArray) -> IntArray:
    """When funding was settled, by the times that the exchange stamps: the nearest minute."""
    minutes: IntArray = (stamps + MINUTE_MS // 2) // MINUTE_MS * MINUTE_MS
    return minutes
