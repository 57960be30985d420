"""What of a range the lake has been told of, and what is still to ask for.

Each month's file states the range that was asked for, in one piece; what only the archive was asked
for, and does not have, is doubted and asked for again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alphamill.errors import RetryLater
from alphamill.frames import Month, months_between
from alphamill.lake import AnySeries, Lake, Partition, Unreadable, read_partition


@dataclass(frozen=True, slots=True)
class Range:
    """doubt: only the archive was asked for these times, and has nothing there."""

    start_ms: int
    end_ms: int
    doubt: bool = False

    def touches(self, other: Range) -> bool:
        """Whether the two overlap or adjoin."""
        return self.start_ms <= other.end_ms and other.start_ms <= self.end_ms

    def hull(self, other: Range) -> Range:
        """The least range that holds both."""
        start_ms, end_ms = min(self.start_ms, other.start_ms), max(self.end_ms, other.end_ms)
        return Range(start_ms, end_ms, self.doubt)

    def without(self, other: Range) -> list[Range]:
        """What is left of it before and after `other`."""
        parts = (
            Range(self.start_ms, min(self.end_ms, other.start_ms), self.doubt),
            Range(max(self.start_ms, other.end_ms), self.end_ms, self.doubt),
        )
        return [part for part in parts if part.start_ms < part.end_ms]

    def within(self, other: Range) -> list[Range]:
        """The part of it that lies in `other`, if there is one."""
        start_ms, end_ms = max(self.start_ms, other.start_ms), min(self.end_ms, other.end_ms)
        return [Range(start_ms, end_ms, self.doubt)] if start_ms < end_ms else []


def not_had(lake: Lake, series: AnySeries, start_ms: int, end_ms: int) -> list[Range]:
    """What to ask for, in order; stretches that touch over a month's end are one.

    A damaged file counts as none and will be replaced.
    """
    stretches: list[Range] = []
    for month in months_between(start_ms, end_ms):
        asked = Range(max(start_ms, month.start_ms), min(end_ms, month.end_ms))
        for stretch in _not_in(asked, _partition(lake, series, month)):
            last = stretches[-1] if stretches else None
            if last and last.end_ms == stretch.start_ms and last.doubt == stretch.doubt:
                stretches[-1] = last.hull(stretch)
            else:
                stretches.append(stretch)
    return stretches


def _partition(lake: Lake, series: AnySeries, month: Month) -> Partition | None:
    try:
        return read_partition(lake, series, month)
    except Unreadable:
        return None


def _not_in(asked: Range, partition: Partition | None) -> list[Range]:
    """The parts of `asked` before and after what the partition covers, and what it doubts."""
    if partition is None:
        return [asked]
    had = covered_by(partition)
    parts = []
    if asked.start_ms < had.start_ms:
        parts.append(Range(asked.start_ms, had.start_ms))
    parts += [part for doubt in doubts_of(partition) for part in doubt.within(asked)]
    if had.end_ms < asked.end_ms:
        parts.append(Range(had.end_ms, asked.end_ms))
    return parts


@dataclass(frozen=True, slots=True)
class Joined:
    """A month's file with an answer merged into it."""

    covered: Range
    source: str
    doubts: tuple[Range, ...]


def joined(
    series: AnySeries,
    answered: Range,
    source: str,
    doubts: Sequence[Range],
    present: Partition | None,
) -> Joined:
    """The answer beside what is there now, which another worker may have written.

    Raises RetryLater if the two do not touch: what lies between would count as asked for.
    """
    own = [part for doubt in doubts for part in doubt.within(answered)]
    if present is None:
        return Joined(answered, source, tuple(own))
    had = covered_by(present)
    if not answered.touches(had):
        where = f"{series.folder(series.kind)} {present.month}"
        raise RetryLater(f"{where} was written by another worker", counts=False)
    kept = [left for doubt in doubts_of(present) for left in doubt.without(answered)]
    sources = {source, *present.facts.source.split("+")}
    return Joined(answered.hull(had), "+".join(sorted(sources)), (*kept, *own))


def doubts_of(partition: Partition) -> list[Range]:
    """What a month's file doubts."""
    return [Range(span.start_ms, span.end_ms, doubt=True) for span in partition.facts.unverified]


def covered_by(partition: Partition) -> Range:
    """What a month's file was asked for, doubts included."""
    return Range(partition.facts.asked_start_ms, partition.facts.asked_end_ms)
