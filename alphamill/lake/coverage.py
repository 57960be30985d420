"""What of a range the lake has been told of, and what is still to ask for.

Each month's file states the range that was asked for, in one piece; what only the archive was asked
for, and does not have, is doubted and asked for again, and so is what an older version may have
missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from alphamill.errors import RetryLater
from alphamill.frames import BarSpan, Month, TimeRange, rows_within, union
from alphamill.lake.layout import AnySeries
from alphamill.lake.months import MonthFacts, Partition, read_partition, update_partition
from alphamill.lake.store import Lake, Unreadable


@dataclass(frozen=True, slots=True)
class Wanted(TimeRange):
    """doubt: a file covers these times, but what it lacks there may be at the exchange."""

    doubt: bool = False


def still_wanted(
    lake: Lake, series: AnySeries, asked: TimeRange, again: Iterable[TimeRange] = ()
) -> list[Wanted]:
    """What to ask for, in order; stretches that touch over a month's end are one.

    again: what is doubted although a file has it. A damaged file counts as none and will be
    replaced.
    """
    new: list[TimeRange] = []
    doubted = [part for one in again if (part := one.within(asked))]
    for month, part in asked.by_month():
        partition = _partition(lake, series, month)
        if partition is None:
            new.append(part)
            continue
        had = partition.facts.asked
        new += part.hull(had).without(had)  # up to it: what a file covers is one piece
        doubted += [one for doubt in partition.facts.unverified if (one := doubt.within(part))]
    wanted = [Wanted(one.start_ms, one.end_ms) for one in union(new)]
    wanted += [Wanted(one.start_ms, one.end_ms, doubt=True) for one in union(doubted)]
    return sorted(wanted, key=lambda one: one.start_ms)


def _partition(lake: Lake, series: AnySeries, month: Month) -> Partition | None:
    try:
        return read_partition(lake, series, month)
    except Unreadable:
        return None


def extend(
    lake: Lake,
    series: AnySeries,
    answered: TimeRange,
    rows: pa.Table,
    source: str,
    doubts: Sequence[TimeRange],
    off_grid: Sequence[int],
    merge: Callable[[list[pa.Table]], pa.Table],
    describe: Callable[[MonthFacts, pa.Table], MonthFacts],
) -> None:
    """Put an answer beside what the lake has, month by month.

    rows: all that there is of `answered`. doubts: where only the archive was asked. off_grid: times
    of rows that were left out. merge: tables to one in order, of which the later wins. describe:
    what a month's rows add to its facts.
    Raises RetryLater where the answer does not touch what is there.
    """

    def extended(
        part: TimeRange, present: tuple[Partition, pa.Table] | None
    ) -> tuple[pa.Table, MonthFacts]:
        strays = [time_ms for time_ms in off_grid if part.start_ms <= time_ms < part.end_ms]
        before = present[0] if present else None
        facts = _joined(series, part, source, doubts, strays, before)
        table = rows_within(rows, part)
        table = merge([present[1], table] if present else [table])
        return table, describe(facts, table)

    for month, part in answered.by_month():
        update_partition(lake, series, month, partial(extended, part))


def _joined(
    series: AnySeries,
    answered: TimeRange,
    source: str,
    doubts: Sequence[TimeRange],
    off_grid: Sequence[int],
    present: Partition | None,
) -> MonthFacts:
    """The facts of a month with an answer beside what is there now; of unknown numbers of bars.

    Another worker may have written it. Raises RetryLater if the two do not touch: what lies between
    would count as asked for.
    """
    unverified = [part for doubt in doubts if (part := doubt.within(answered))]
    sources, strays = {source}, {*off_grid}
    if present is not None:
        had = present.facts
        if not answered.touches(had.asked):
            where = f"{series.folder(series.kind)} {present.month}"
            raise RetryLater(f"{where} was written by another worker", counts=False)
        unverified += [left for doubt in had.unverified for left in doubt.without(answered)]
        sources |= {*had.source.split("+")}
        strays |= {*had.off_grid}
        answered = answered.hull(had.asked)
    unverified.sort(key=lambda one: one.start_ms)
    return MonthFacts(
        source="+".join(sorted(sources)),
        asked=answered,
        unverified=tuple(BarSpan(one.start_ms, one.end_ms, 0) for one in unverified),
        off_grid=tuple(sorted(strays)),
    )
