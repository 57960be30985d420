"""Market data in the lake: a month a file, which says what was asked for and not there."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import pyarrow as pa

from alphamill.frames import (
    SPECIAL_FUNDING_FROM,
    BarSpan,
    Interval,
    Market,
    Month,
    TimeRange,
    months_between,
    rows_within,
    times_ms,
)
from alphamill.lake.layout import AnySeries, FundingSeries, MetricsSeries, Series
from alphamill.lake.store import Lake, Stored, Unreadable

FORMAT = "1"
_RATE_TYPES = "kept"  # what a file of funding says that has a row for each payment of an instant
_GRID_3D = "1 modulo 3"  # and one of 3d bars whose writer knew at which days since the epoch
_READERS = 4  # months read side by side


@dataclass(frozen=True, slots=True)
class MonthFacts:
    """What is known of a month of a series beyond its rows.

    Every bar of `asked` had closed when the exchange was asked, and every settlement of it was
    published: one that is not in the file was not there. unverified: parts of it that only the
    archive was asked for and has nothing of; the exchange was asked for all the rest.

    gaps: the bars of `asked` that are not there, unverified ones included. halts: flat bars without
    volume. How many settlements there should be is not known, so that a month of funding has
    neither, and what is unverified of it counts 0 bars. off_grid: open times of rows that the
    exchange has where no bar can open, which were left out.
    """

    source: str  # "rest", "archive-monthly", "archive-daily", or several joined by "+"
    asked: TimeRange
    gaps: tuple[BarSpan, ...] = ()
    halts: tuple[BarSpan, ...] = ()
    unverified: tuple[BarSpan, ...] = ()
    off_grid: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Partition:
    """One month as its file states it.

    expected: bars of the range asked for, rows plus the bars of all gaps.
    first_ms, last_ms: open times of its first and last bar; None without bars.
    """

    month: Month
    rows: int
    expected: int
    facts: MonthFacts
    first_ms: int | None
    last_ms: int | None
    content_hash: str

    @property
    def complete(self) -> bool:
        """Whether the exchange was asked for the whole month."""
        return _is_complete(self.month, self.facts)


def write_klines(
    lake: Lake,
    market: Market,
    symbol: str,
    interval: Interval,
    month: Month,
    table: pa.Table,
    facts: MonthFacts,
) -> str:
    """Put a month of KLINES in place; the key. ValueError for bars of another month or order."""
    series = Series(market, symbol, interval)
    key = series.key(series.kind, month)
    lake.write(key, *_stored(series, month, table, facts))
    return key


def update_partition(
    lake: Lake,
    series: AnySeries,
    month: Month,
    change: Callable[[tuple[Partition, pa.Table] | None], tuple[pa.Table, MonthFacts] | None],
) -> None:
    """Replace a month by what `change` makes of it; see `Lake.update`. Damaged counts as absent."""
    key = series.key(series.kind, month)

    def changed(before: Stored | None) -> Stored | None:
        present = None
        if before is not None:
            with contextlib.suppress(Unreadable):
                present = _partition(series, month, before[1], key), before[0]
        after = change(present)
        return None if after is None else _stored(series, month, *after)

    lake.update(key, changed)


def _stored(series: AnySeries, month: Month, table: pa.Table, facts: MonthFacts) -> Stored:
    table = table.select(series.schema.names).cast(series.schema).combine_chunks()
    times = times_ms(table)
    if times.size and not (month.start_ms <= times[0] and times[-1] < month.end_ms):
        raise ValueError(f"{series.folder(series.kind)}: rows from outside {month}")
    if not series.in_order(table):
        raise ValueError(f"{series.folder(series.kind)} {month}: rows out of order or twice")
    return table, _metadata(month, table, facts) | _known_since(series)


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
    return read_series(lake, Series(market, symbol, interval), start_ms, end_ms, columns)


def read_series(
    lake: Lake,
    series: Series | MetricsSeries,
    start_ms: int,
    end_ms: int,
    columns: Sequence[str] | None = None,
) -> pa.Table:
    """As `read_klines`, of any series of bars: its schema, or some of its columns."""
    names = series.schema.names if columns is None else [*columns]
    schema = pa.schema([series.schema.field(name) for name in names])
    asked = TimeRange(start_ms, max(start_ms, end_ms))

    def of_month(month: Month) -> pa.Table | None:
        key = series.key(series.kind, month)
        try:
            table = lake.read(key, [*dict.fromkeys(["open_time", *names])])
        except FileNotFoundError:
            return None
        return rows_within(table, asked).select(names).cast(schema)

    months = months_between(start_ms, end_ms)
    # Decoding lets go of the interpreter, and on S3 a month is mostly waiting.
    with ThreadPoolExecutor(_READERS) as readers:
        tables = [table for table in readers.map(of_month, months) if table is not None]
    return pa.concat_tables([schema.empty_table(), *tables])


def read_partition(lake: Lake, series: AnySeries, month: Month) -> Partition | None:
    """What the lake has of a month; None for no file. Raises Unreadable for a damaged one."""
    key = series.key(series.kind, month)
    try:
        return _partition(series, month, lake.metadata(key), key)
    except FileNotFoundError:
        return None


def kinds_kept(lake: Lake, series: FundingSeries, month: Month) -> bool | None:
    """Whether a month of funding has all payments of an instant; None if there is no month."""
    try:
        return lake.metadata(series.key(series.kind, month)).get("rate_types") == _RATE_TYPES
    except (FileNotFoundError, Unreadable):
        return None


def load_partition(
    lake: Lake, series: AnySeries, month: Month, columns: Sequence[str] | None = None
) -> tuple[Partition, pa.Table] | None:
    """A month with its rows, of one version of its file; None for no file or a damaged one."""
    key = series.key(series.kind, month)
    try:
        table, metadata = lake.load(key, columns)
        return _partition(series, month, metadata, key), table
    except (FileNotFoundError, Unreadable):
        return None


def _partition(series: AnySeries, month: Month, metadata: Mapping[str, str], key: str) -> Partition:
    try:
        return partition_of(series, month, metadata)
    except (KeyError, ValueError, TypeError) as error:
        raise Unreadable(f"{key} does not say what it holds ({error!r}); fetch it again") from error


def partition_of(series: AnySeries, month: Month, metadata: Mapping[str, str]) -> Partition:
    """From a file's metadata. KeyError, ValueError or TypeError if it was not written here."""
    if metadata["format"] != FORMAT:
        raise ValueError(f"format {metadata['format']}")
    facts = MonthFacts(
        source=metadata["source"],
        asked=TimeRange(int(metadata["asked_start_ms"]), int(metadata["asked_end_ms"])),
        gaps=_read_ranges(metadata["gaps"]),
        halts=_read_ranges(metadata["halts"]),
        unverified=_read_ranges(metadata.get("unverified", "[]")),
        off_grid=tuple(json.loads(metadata.get("off_grid", "[]"))),
    )
    known = _known_since(series)
    if any(metadata.get(name) != value for name, value in known.items()):
        facts = _doubted(series, facts, int(metadata["rows"]))
    return Partition(
        month=month,
        rows=int(metadata["rows"]),
        expected=int(metadata["expected"]),
        facts=facts,
        first_ms=int(metadata["first_ms"]) if metadata["first_ms"] else None,
        last_ms=int(metadata["last_ms"]) if metadata["last_ms"] else None,
        content_hash=metadata["content_hash"],
    )


def _known_since(series: AnySeries) -> dict[str, str]:
    """What a file says whose writer knew what versions before it did not; nothing for most."""
    if isinstance(series, Series):
        return {"grid": _GRID_3D} if series.interval is Interval.D3 else {}
    return {} if isinstance(series, MetricsSeries) else {"rate_types": _RATE_TYPES}


def _doubted(series: AnySeries, facts: MonthFacts, rows: int) -> MonthFacts:
    """Those of a month whose writer did not know: what may be wrong there is unverified.

    Of several payments of funding at one instant one was kept and the others lost. 3d bars were
    asked for on a grid that the exchange does not have, which lost the first bar of one range in
    three and called it absent: a month without a gap has lost none.
    """
    asked, bars = facts.asked, sum(gap.bars for gap in facts.gaps)
    start_ms = asked.start_ms
    if not isinstance(series, Series):
        start_ms = max(start_ms, SPECIAL_FUNDING_FROM.start_ms)
        lost = series.market is Market.USD_M and start_ms < asked.end_ms
    else:
        lost = bars > 0 or rows == 0
    if not lost:
        return facts
    return replace(facts, unverified=(*facts.unverified, BarSpan(start_ms, asked.end_ms, bars)))


def content_hash(table: pa.Table) -> str:
    """sha256 of the values, column by column, whatever the file's encoding or chunks."""
    digest = hashlib.sha256()
    for name in table.column_names:
        column = table[name].combine_chunks()
        digest.update(f"{name}:{column.type}:{len(column)};".encode())
        if pa.types.is_string(column.type):
            digest.update(json.dumps(column.to_pylist()).encode())
            continue
        if column.null_count:
            digest.update(column.is_null().to_numpy(zero_copy_only=False).tobytes())
            column = column.cast(_plain(column.type)).fill_null(0)
        digest.update(column.cast(_plain(column.type)).to_numpy().tobytes())
    return digest.hexdigest()


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_boolean(kind):
        return pa.uint8()
    return pa.int64() if pa.types.is_timestamp(kind) else kind


def _metadata(month: Month, table: pa.Table, facts: MonthFacts) -> dict[str, str]:
    times = times_ms(table)
    rare = {"unverified": _ranges_text(facts.unverified)} if facts.unverified else {}
    if facts.off_grid:
        rare["off_grid"] = json.dumps(facts.off_grid)
    return rare | {
        "format": FORMAT,
        "source": facts.source,
        "rows": str(table.num_rows),
        "expected": str(table.num_rows + sum(gap.bars for gap in facts.gaps)),
        "gaps": _ranges_text(facts.gaps),
        "halts": _ranges_text(facts.halts),
        "asked_start_ms": str(facts.asked.start_ms),
        "asked_end_ms": str(facts.asked.end_ms),
        "complete": "true" if _is_complete(month, facts) else "false",
        "first_ms": str(times[0]) if times.size else "",
        "last_ms": str(times[-1]) if times.size else "",
        "content_hash": content_hash(table),
    }


def _is_complete(month: Month, facts: MonthFacts) -> bool:
    return facts.asked == month.range and not facts.unverified


def _ranges_text(ranges: tuple[BarSpan, ...]) -> str:
    rows = [[one.start_ms, one.end_ms, one.bars] for one in ranges]
    return json.dumps(rows, separators=(",", ":"))


def _read_ranges(text: str) -> tuple[BarSpan, ...]:
    return tuple(BarSpan(*row) for row in json.loads(text))
