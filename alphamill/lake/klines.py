"""Klines in the lake: a month a file, with what was asked for and what was not there beside it.

A month of funding is kept in the same way, by the functions that take a series of either kind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from alphamill.frames import KLINES, IntArray, Interval, Market, Month, months_between
from alphamill.lake.layout import AnySeries, Series, klines_key
from alphamill.lake.store import Lake, Stored, Unreadable

FORMAT = "1"
_READERS = 4  # months read side by side


@dataclass(frozen=True, slots=True)
class Span:
    """`bars` bars with start_ms <= open time < end_ms."""

    start_ms: int
    end_ms: int
    bars: int


@dataclass(frozen=True, slots=True)
class KlineFacts:
    """What is known of a month beyond its bars.

    Every bar with asked_start_ms <= open time < asked_end_ms had closed when the exchange was
    asked: one that is not in the file was not there. complete: that range is the whole month.
    gaps: the bars within it that are not there. unverified: those gaps, or parts of them, that only
    the archive was asked for; the exchange was asked for all others and does not have them. halts:
    flat bars without volume.

    Of funding: rows are settlements. How many there should be is not known, so gaps and halts are
    empty and an unverified span has 0 bars.
    """

    source: str  # "rest", "archive-monthly", "archive-daily", or several joined by "+"
    asked_start_ms: int
    asked_end_ms: int
    gaps: tuple[Span, ...] = ()
    halts: tuple[Span, ...] = ()
    complete: bool = False
    unverified: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class Partition:
    """One month as its file states it.

    expected: bars of the range asked for, rows plus the bars of all gaps.
    first_ms, last_ms: open times of its first and last bar; None without bars.
    """

    month: Month
    rows: int
    expected: int
    facts: KlineFacts
    first_ms: int | None
    last_ms: int | None
    content_hash: str


def write_klines(
    lake: Lake,
    market: Market,
    symbol: str,
    interval: Interval,
    month: Month,
    table: pa.Table,
    facts: KlineFacts,
) -> str:
    """Put a month of KLINES in place; the key. ValueError for bars of another month or order."""
    key = klines_key(market, symbol, interval, month)
    lake.write(key, *_stored(Series(market, symbol, interval), month, table, facts))
    return key


def update_partition(
    lake: Lake,
    series: AnySeries,
    month: Month,
    change: Callable[[tuple[Partition, pa.Table] | None], tuple[pa.Table, KlineFacts] | None],
) -> None:
    """Replace a month by what `change` makes of it; see `Lake.update`. Damaged counts as absent."""
    key = series.key(series.kind, month)

    def changed(before: Stored | None) -> Stored | None:
        after = change(_loaded(month, before, key))
        return None if after is None else _stored(series, month, *after)

    lake.update(key, changed)


def _loaded(month: Month, stored: Stored | None, key: str) -> tuple[Partition, pa.Table] | None:
    if stored is None:
        return None
    try:
        return _partition(month, stored[1], key), stored[0]
    except Unreadable:
        return None


def _stored(series: AnySeries, month: Month, table: pa.Table, facts: KlineFacts) -> Stored:
    table = table.select(series.schema.names).cast(series.schema).combine_chunks()
    times = _times(table)
    if times.size and not (month.start_ms <= times[0] and times[-1] < month.end_ms):
        raise ValueError(f"{series.folder(series.kind)}: rows from outside {month}")
    if not (np.diff(times) > 0).all():
        raise ValueError(f"{series.folder(series.kind)} {month}: rows out of order or twice")
    return table, _metadata(table, facts)


def read_klines(
    lake: Lake,
    market: Market,
    symbol: str,
    interval: Interval,
    start_ms: int,
    end_ms: int,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """Bars with start_ms <= open_time < end_ms in order: KLINES, or some of its columns.

    Months that the lake does not have give no rows; nothing is filled.
    """
    names = KLINES.names if columns is None else [*columns]
    schema = pa.schema([KLINES.field(name) for name in names])

    def of_month(month: Month) -> pa.Table | None:
        key = klines_key(market, symbol, interval, month)
        try:
            table = lake.read(key, [*dict.fromkeys(["open_time", *names])])
        except FileNotFoundError:
            return None
        times = table["open_time"].cast(pa.int64()).to_numpy()
        first, last = np.searchsorted(times, [start_ms, end_ms])
        return table.slice(first, last - first).select(names).cast(schema)

    months = months_between(start_ms, end_ms)
    # Decoding lets go of the interpreter, and on S3 a month is mostly waiting.
    with ThreadPoolExecutor(_READERS) as readers:
        tables = [table for table in readers.map(of_month, months) if table is not None]
    return pa.concat_tables([schema.empty_table(), *tables])


def read_partition(lake: Lake, series: AnySeries, month: Month) -> Partition | None:
    """What the lake has of a month; None for no file. Raises Unreadable for a damaged one."""
    key = series.key(series.kind, month)
    try:
        return _partition(month, lake.metadata(key), key)
    except FileNotFoundError:
        return None


def load_partition(
    lake: Lake, series: AnySeries, month: Month, columns: Sequence[str] | None = None
) -> tuple[Partition, pa.Table] | None:
    """As `read_partition`, with the bars of the same version of the file."""
    key = series.key(series.kind, month)
    try:
        table, metadata = lake.load(key, columns)
    except FileNotFoundError:
        return None
    return _partition(month, metadata, key), table


def _partition(month: Month, metadata: Mapping[str, str], key: str) -> Partition:
    try:
        return partition_of(month, metadata)
    except (KeyError, ValueError, TypeError) as error:
        raise Unreadable(f"{key} does not say what it holds ({error!r}); fetch it again") from error


def partition_of(month: Month, metadata: Mapping[str, str]) -> Partition:
    """From a file's metadata. KeyError, ValueError or TypeError if it was not written here."""
    if metadata["format"] != FORMAT:
        raise ValueError(f"format {metadata['format']}")
    facts = KlineFacts(
        source=metadata["source"],
        asked_start_ms=int(metadata["asked_start_ms"]),
        asked_end_ms=int(metadata["asked_end_ms"]),
        gaps=tuple(Span(*span) for span in json.loads(metadata["gaps"])),
        halts=tuple(Span(*span) for span in json.loads(metadata["halts"])),
        complete=metadata["complete"] == "true",
        unverified=tuple(Span(*span) for span in json.loads(metadata.get("unverified", "[]"))),
    )
    return Partition(
        month=month,
        rows=int(metadata["rows"]),
        expected=int(metadata["expected"]),
        facts=facts,
        first_ms=int(metadata["first_ms"]) if metadata["first_ms"] else None,
        last_ms=int(metadata["last_ms"]) if metadata["last_ms"] else None,
        content_hash=metadata["content_hash"],
    )


def content_hash(table: pa.Table) -> str:
    """sha256 of the values, column by column, whatever the file's encoding or chunks."""
    digest = hashlib.sha256()
    for name in table.column_names:
        column = table[name].combine_chunks()
        digest.update(f"{name}:{column.type}:{len(column)};".encode())
        if column.null_count:
            digest.update(column.is_null().to_numpy(zero_copy_only=False).tobytes())
            column = column.cast(_plain(column.type)).fill_null(0)
        digest.update(column.cast(_plain(column.type)).to_numpy().tobytes())
    return digest.hexdigest()


def _plain(kind: pa.DataType) -> pa.DataType:
    return pa.int64() if pa.types.is_timestamp(kind) else kind


def _metadata(table: pa.Table, facts: KlineFacts) -> dict[str, str]:
    times = _times(table)
    doubts = {"unverified": _spans(facts.unverified)} if facts.unverified else {}
    return doubts | {
        "format": FORMAT,
        "source": facts.source,
        "rows": str(table.num_rows),
        "expected": str(table.num_rows + sum(gap.bars for gap in facts.gaps)),
        "gaps": _spans(facts.gaps),
        "halts": _spans(facts.halts),
        "asked_start_ms": str(facts.asked_start_ms),
        "asked_end_ms": str(facts.asked_end_ms),
        "complete": "true" if facts.complete else "false",
        "first_ms": str(times[0]) if times.size else "",
        "last_ms": str(times[-1]) if times.size else "",
        "content_hash": content_hash(table),
    }


def _times(table: pa.Table) -> IntArray:
    """The first column, by which rows are ordered, as UTC epoch milliseconds."""
    times: IntArray = table.column(0).cast(pa.int64()).to_numpy()
    return times


def _spans(spans: tuple[Span, ...]) -> str:
    rows = [[span.start_ms, span.end_ms, span.bars] for span in spans]
    return json.dumps(rows, separators=(",", ":"))
