"""When each bar came: the record, its shape in the lake, and what many of them sum up to.

The contract, for who writes and reads them:

- A record is one thing that was learned of one bar by one follower: that it came by stream, that it
  had not come when it was waited for no longer (absent), that it came by REST, or that what had
  come was not what the exchange's API has (`revised`). `of_stream` makes it of what KlineStreams
  tells, `of_rest` of a bar that was asked for, `reread` of a bar that was read again.
- Records are appended, never edited: a follower that dies loses none that it has written. Of the
  records of one bar the last written is what is known of it, and it holds all that the ones before
  it said that is still true; `latest` picks it. The order of the rows of a file is the order in
  which they were written.
- Times are UTC epoch milliseconds. `received_ms` is the follower's own clock, `skew_ms` that clock
  less the exchange's as it was known then; `lag_ms` is the difference on the exchange's clock. An
  absent bar has no time of receipt, and counts as missing, not as late.
- A file holds one market and interval in the shape of ARRIVALS, in the order written; which live
  it was followed for is not in it, since lives share a follower.
- Numbers of bars (shares, percentiles) count bars, not records.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa

from alphamill import grid
from alphamill.frames import Interval
from alphamill.market.stream.expected import Standing
from alphamill.market.stream.streams import Absent, Closed

_TIME = pa.timestamp("ms", tz="UTC")

ARRIVALS = pa.schema(
    [
        pa.field("symbol", pa.string(), nullable=False),
        pa.field("interval", pa.string(), nullable=False),
        pa.field("open_time", _TIME, nullable=False),  # of the bar
        pa.field("end_time", _TIME, nullable=False),  # where the next bar opens
        pa.field("source", pa.string()),  # "stream", "rest"; null while it is absent
        pa.field("received_time", _TIME),  # the follower's clock; null while it is absent
        pa.field("skew_ms", pa.int64()),  # that clock less the exchange's then
        pa.field("closed_by", pa.string(), nullable=False),  # ClosedBy
        pa.field("event_time", _TIME),  # of the frame that closed it, the exchange's clock
        pa.field("connection", pa.int64()),  # the follower's number of it
        pa.field("absent_time", _TIME),  # when it was named absent, the exchange's clock
        pa.field("reason", pa.string(), nullable=False),  # why absent; "" if it never was
        pa.field("revised", pa.bool_()),  # other numbers later; null until it was read again
    ]
)


class Source(StrEnum):
    """Where a bar came from."""

    STREAM = "stream"
    REST = "rest"


class ClosedBy(StrEnum):
    """What said that the bar is final."""

    FLAG = "flag"  # x in a kline event, before it was named absent
    LATE_FLAG = "late flag"  # and after that
    REST = "rest"  # the exchange's clock had passed its end when it was asked for
    NOTHING = "nothing"  # it is absent


@dataclass(frozen=True, slots=True)
class Arrival:
    """One record; the module says what it means. Fields as the columns of ARRIVALS."""

    symbol: str
    interval: Interval
    open_ms: int
    end_ms: int
    source: Source | None
    received_ms: int | None
    skew_ms: int | None
    closed_by: ClosedBy
    event_ms: int | None = None
    connection: int | None = None
    absent_ms: int | None = None
    reason: str = ""
    revised: bool | None = None

    @property
    def lag_ms(self) -> int | None:
        """From the bar's end to its receipt, on the exchange's clock; None while it is absent."""
        if self.received_ms is None:
            return None
        return self.received_ms - (self.skew_ms or 0) - self.end_ms

    @property
    def key(self) -> tuple[str, Interval, int]:
        """Which bar it is of."""
        return self.symbol, self.interval, self.open_ms


def of_stream(event: Closed | Absent, before: Arrival | None = None) -> Arrival:
    """What a stream told, or did not tell in time. before: the last record of the same bar.

    A bar that had come by REST first keeps that: the frame came too late to matter.
    """
    if isinstance(event, Absent):
        return Arrival(
            symbol=event.symbol,
            interval=event.interval,
            open_ms=event.open_ms,
            end_ms=event.end_ms,
            source=None,
            received_ms=None,
            skew_ms=None,
            closed_by=ClosedBy.NOTHING,
            absent_ms=event.at_ms,
            reason=event.reason,
        )
    if before is not None and event.standing is Standing.CHANGED:
        return replace(before, revised=True)
    if before is not None and before.source is Source.REST:
        return before
    late = event.standing is Standing.LATE
    return Arrival(
        symbol=event.bar.symbol,
        interval=event.bar.interval,
        open_ms=event.bar.open_ms,
        end_ms=event.bar.end_ms,
        source=Source.STREAM,
        received_ms=event.received_ms,
        skew_ms=event.skew_ms,
        closed_by=ClosedBy.LATE_FLAG if late else ClosedBy.FLAG,
        event_ms=event.bar.event_ms,
        connection=event.connection,
        absent_ms=before.absent_ms if before else None,
        reason=before.reason if before else "",
    )


def of_rest(
    symbol: str,
    interval: Interval,
    open_ms: int,
    received_ms: int,
    skew_ms: int,
    before: Arrival | None = None,
) -> Arrival:
    """A closed bar that was asked for has come. before: the last record of the same bar."""
    return Arrival(
        symbol=symbol,
        interval=interval,
        open_ms=open_ms,
        end_ms=grid.next_ms(interval, open_ms),
        source=Source.REST,
        received_ms=received_ms,
        skew_ms=skew_ms,
        closed_by=ClosedBy.REST,
        absent_ms=before.absent_ms if before else None,
        reason=before.reason if before else "",
    )


def reread(before: Arrival, same: bool) -> Arrival:
    """The bar was read again where its numbers are final, and they were the same or not.

    Once revised it stays so.
    """
    return replace(before, revised=bool(before.revised) or not same)


def latest(records: Iterable[Arrival]) -> list[Arrival]:
    """The last record of each bar, in the order in which the bars were first spoken of."""
    last: dict[tuple[str, Interval, int], Arrival] = {}
    for record in records:
        last[record.key] = record
    return list(last.values())


_COLUMNS = {
    "open_ms": "open_time",
    "end_ms": "end_time",
    "received_ms": "received_time",
    "event_ms": "event_time",
    "absent_ms": "absent_time",
}


def arrivals_table(records: Sequence[Arrival]) -> pa.Table:
    """ARRIVALS, a row a record, in order."""
    columns = {_COLUMNS.get(one.name, one.name): one.name for one in fields(Arrival)}
    arrays = [
        pa.array([getattr(record, columns[field.name]) for record in records], field.type)
        for field in ARRIVALS
    ]
    return pa.Table.from_arrays(arrays, schema=ARRIVALS)


def arrivals_of(table: pa.Table) -> list[Arrival]:
    """The records of a table of the shape ARRIVALS; ValueError for another shape."""
    if table.schema.names != ARRIVALS.names:
        raise ValueError(f"columns {table.schema.names}, not {ARRIVALS.names}")
    names = {column: name for name, column in _COLUMNS.items()}
    columns: dict[str, list[Any]] = {}
    for name in ARRIVALS.names:
        values = table.column(name)
        if pa.types.is_timestamp(values.type):
            values = values.cast(pa.int64())
        columns[names.get(name, name)] = values.to_pylist()
    rows = zip(*columns.values(), strict=True)
    return [_record(dict(zip(columns, row, strict=True))) for row in rows]


def _record(row: dict[str, Any]) -> Arrival:
    row["interval"] = Interval(row["interval"])
    row["closed_by"] = ClosedBy(row["closed_by"])
    row["source"] = Source(row["source"]) if row["source"] else None
    return Arrival(**row)


@dataclass(frozen=True, slots=True)
class Lags:
    """Of many bars. Milliseconds; None where no bar came.

    missing: bars that never came. late: that came after they had been named absent. revised: whose
    numbers were others later, of the `reread` that were read again. p99_ms is a lag that was met:
    at most one bar in a hundred came later. by_source, reasons: bars, the latter of those that were
    named absent, whether they came then or not.
    """

    bars: int
    missing: int
    late: int
    revised: int
    reread: int
    median_ms: float | None
    p99_ms: int | None
    longest_ms: int | None
    by_source: Counter[str]
    reasons: Counter[str]

    @property
    def missing_frac(self) -> float | None:
        """Share of the bars that never came; None of no bars."""
        return self.missing / self.bars if self.bars else None


def lags_of(records: Iterable[Arrival]) -> Lags:
    """What the records say, each bar counted once."""
    bars = latest(records)
    lags = np.array([one.lag_ms for one in bars if one.lag_ms is not None], dtype=np.int64)
    return Lags(
        bars=len(bars),
        missing=len(bars) - lags.size,
        late=sum(one.absent_ms is not None and one.source is not None for one in bars),
        revised=sum(one.revised is True for one in bars),
        reread=sum(one.revised is not None for one in bars),
        median_ms=float(np.median(lags)) if lags.size else None,
        p99_ms=int(np.percentile(lags, 99, method="higher")) if lags.size else None,
        longest_ms=int(lags.max()) if lags.size else None,
        by_source=Counter(one.source.value for one in bars if one.source is not None),
        reasons=Counter(one.reason for one in bars if one.reason),
    )


def worst_symbols(records: Iterable[Arrival], most: int) -> list[tuple[str, Lags]]:
    """Symbols by how they came, the worst first: by share missing, then by 99th percentile."""
    by_symbol: defaultdict[str, list[Arrival]] = defaultdict(list)
    for record in records:
        by_symbol[record.symbol].append(record)
    found = [(symbol, lags_of(its)) for symbol, its in by_symbol.items()]
    found.sort(key=lambda one: (-(one[1].missing_frac or 0.0), -(one[1].p99_ms or 0), one[0]))
    return found[:most]
