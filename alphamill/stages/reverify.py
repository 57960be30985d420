"""reverify: compare bars that the lake has with those of today's API and archive; keep changes.

Both are read anew. Where they disagree the API is believed and the disagreement is said; where the
API refuses to answer (Binance is barred, or the symbol was removed) the archive stands alone, and
then a bar that it lacks says nothing.

The exchange corrects bars years later (spot 1h of 2021-04-23 01:00 differs between 2021 and 2023 on
119 of 126 symbols). Every difference is recorded before the bars are replaced, so that a worker
that dies in between leaves a record of a change to come, never a change without a record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from alphamill.errors import GiveUp
from alphamill.frames import IntArray, TimeRange, months_between, rows_within, times_ms
from alphamill.jobs import Facts, ReverifyJob
from alphamill.lake import (
    AnySeries,
    Change,
    Lake,
    MonthFacts,
    Partition,
    Series,
    bar_change,
    load_partition,
    record_corrections,
    update_partition,
)
from alphamill.market import FetchedPart, KlineHistory, confirmed_klines
from alphamill.market.klines.history import strays_note
from alphamill.market.klines.parse import merge_klines
from alphamill.stages.bring import keep_damaged
from alphamill.stages.fetch import FetchDeps, describe


@dataclass(frozen=True, slots=True)
class ReverifyFacts(Facts):
    """What was found, in bars of the lake.

    compared: bars asked for again. corrected: bars with another value. appeared: bars that the
    exchange now has. vanished: bars that it has no longer, which the lake keeps. key: of the
    record of changes, or its folder for several months. note: "" or why nothing was compared.
    files: of the archive. archive_note: "" or what could not be compared with what.
    """

    compared: int
    corrected: int
    appeared: int
    vanished: int
    requests: int
    key: str
    note: str = ""
    files: int = 0
    archive_note: str = ""

    @property
    def landed(self) -> dict[str, int]:
        names = ("compared", "corrected", "appeared", "vanished", "requests")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Compared:
    """How one kind of data is compared with the exchange's of today.

    today: all of a range, read anew; what is unverified of it says nothing of what it lacks.
    differences: of the lake's rows from today's. merge: tables to one in order, of which the later
    wins. describe: what a month's rows add to its facts. rows: what they are called.
    """

    series: AnySeries
    today: Callable[[TimeRange], FetchedPart]
    differences: Callable[[pa.Table, pa.Table], list[Change]]
    merge: Callable[[list[pa.Table]], pa.Table]
    describe: Callable[[MonthFacts, pa.Table], MonthFacts]
    rows: str


def run(job: ReverifyJob, deps: FetchDeps) -> ReverifyFacts:
    """Compare what the lake has of the job's range. A damaged or absent month is left to fetch."""
    series = Series(job.market, job.symbol, job.interval)
    today, describe_bars = partial(_today, series, deps), partial(describe, series.interval)
    of = Compared(series, today, differences, merge_klines, describe_bars, "bars")
    return compare(TimeRange(job.start_ms, job.end_ms), of, deps.lake)


def compare(asked: TimeRange, of: Compared, lake: Lake) -> ReverifyFacts:
    """Compare what the lake has of a range, month by month; record what differs, then replace it.

    What the exchange no longer has is recorded and stays.
    """
    series = of.series
    found: Counter[str] = Counter()
    keys: list[str] = []
    parts: list[FetchedPart] = []
    for month in months_between(asked.start_ms, asked.end_ms):
        present = load_partition(lake, series, month)
        covered = present[0].facts.asked.within(asked) if present else None
        if present is None or covered is None:
            continue
        had = rows_within(present[1], covered)
        today = of.today(covered)
        changes = [
            change
            for change in of.differences(had, today.table)
            if change.kind != "vanished" or not _holds(today.unverified, change.open_ms)
        ]
        seen = today.server_time_ms, today.source
        keep_damaged(lake, series, today.damaged, today.server_time_ms)
        keys.append(record_corrections(lake, series, month, changes, *seen))
        if any(change.kind != "vanished" for change in changes):
            update_partition(lake, series, month, partial(_replaced, of, today))
        found.update(_counts(changes), compared=had.num_rows)
        parts.append(today)
    return ReverifyFacts(
        compared=found["compared"],
        corrected=found["corrected"],
        appeared=found["appeared"],
        vanished=found["vanished"],
        requests=sum(part.requests for part in parts),
        key=keys[0] if len(keys) == 1 else series.folder("corrections"),
        note="" if keys else f"the lake has no such {of.rows}; fetch them first",
        files=sum(part.files for part in parts),
        archive_note="; ".join(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _holds(ranges: Sequence[TimeRange], time_ms: int) -> bool:
    return any(one.start_ms <= time_ms < one.end_ms for one in ranges)


def _today(series: Series, deps: FetchDeps, asked: TimeRange) -> FetchedPart:
    """Both sources' bars, the API's over the archive's; unverified if only the archive answered.

    Raises as the API does if it is alone.
    """
    history = KlineHistory(series.market, deps.exchange, deps.archive, deps.clock)
    months = list(history.archive_months(series.symbol, series.interval, asked))
    filed = merge_klines([month.table for month in months if month.table is not None])
    damaged = tuple(one for month in months for one in month.damaged)
    sources = {source for month in months for source in month.sources}
    notes = [note for month in months for note in month.notes]
    notes += [f"quarantined {one}" for one in damaged]
    strays = {time_ms for month in months for time_ms in month.off_grid}
    files, requests, now_ms = sum(month.files for month in months), 0, deps.clock.now_ms()
    table, unverified = filed, tuple[TimeRange, ...]((asked,))
    try:
        rest = confirmed_klines(
            deps.exchange, series.symbol, series.interval, asked.start_ms, asked.end_ms
        )
    except GiveUp as error:
        if not files:
            raise
        notes.append(f"compared with the archive alone: {error}")
    else:
        requests, now_ms, unverified = rest.requests, rest.server_time_ms, ()
        sources.add(rest.source)
        strays |= {*rest.off_grid}
        apart = {one.open_ms for one in differences(filed, rest.table) if one.kind == "corrected"}
        if apart:
            notes.append(f"the archive differs from the API in {len(apart)} bars; the API's count")
        table = merge_klines([filed, rest.table])
    notes += strays_note(series.interval, sorted(strays))
    source = "+".join(sorted(sources))
    how = requests, source, files, damaged, tuple(notes), unverified
    return FetchedPart(asked, table, now_ms, *how)


def differences(had: pa.Table, now: pa.Table) -> list[Change]:
    """Every value that differs, by the time of its row; one that came or went is one change.

    Both tables have a time as their first column, ascending, and numbers or times as the others.
    """
    old_ms, new_ms = times_ms(had), times_ms(now)
    changes = [bar_change(int(t), appeared=False) for t in np.setdiff1d(old_ms, new_ms)]
    changes += [bar_change(int(t), appeared=True) for t in np.setdiff1d(new_ms, old_ms)]
    common = np.intersect1d(old_ms, new_ms)
    for name in had.column_names[1:]:
        old, new = _values(had, name, old_ms, common), _values(now, name, new_ms, common)
        changes += [
            Change(int(common[at]), name, float(old[at]), float(new[at]))
            for at in np.flatnonzero((old != new) & ~(np.isnan(old) & np.isnan(new)))
        ]
    return sorted(changes, key=lambda change: (change.open_ms, change.column))


def _values(table: pa.Table, name: str, times: IntArray, wanted: IntArray) -> Any:
    column = table[name]
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return column.to_numpy().astype(np.float64)[np.searchsorted(times, wanted)]


def _counts(changes: list[Change]) -> dict[str, int]:
    kinds = {(change.open_ms, change.kind) for change in changes}
    return dict(Counter(kind for _, kind in kinds))


def _replaced(
    of: Compared, now: FetchedPart, present: tuple[Partition, pa.Table] | None
) -> tuple[pa.Table, MonthFacts] | None:
    """The exchange's rows over those that are there. A row that it no longer has stays.

    Binance's store has lost bars that were published and came back; what was once traded on is not
    thrown away because of one answer. The record says that it vanished.
    """
    if present is None:
        return None  # deleted meanwhile: fetch brings it anew
    partition, rows = present
    within = rows_within(now.table, now.range)
    rows = of.merge([rows, within])
    sources = sorted({*partition.facts.source.split("+"), *now.source.split("+")})
    return rows, of.describe(replace(partition.facts, source="+".join(sources)), rows)
