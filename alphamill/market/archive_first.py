"""A range of the past from wherever it costs least: the archive's files, and REST for the rest.

What the archive does not have, REST is asked for, and so is everything that its files may lack: the
archive has lost rows that the exchange has (binance-public-data issues 84, 230, 262), so only the
exchange says that something does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import pyarrow as pa

from alphamill.clock import Clock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import TimeRange
from alphamill.market.archive import ArchiveFile, Damaged

SHORT_MS = 7 * 86_400_000  # a shorter part of a month does not pay for the month's file
_MANY_HOLES = 20  # more than these are asked for as one stretch

File = TypeVar("File", bound=ArchiveFile, contravariant=True)


class FileArchive(Protocol[File]):
    """Files of the past, of one kind."""

    def read(self, file: File) -> pa.Table | None:
        """What the file holds, or None if it is not there. Raises Damaged, RetryLater."""


@dataclass(frozen=True, slots=True)
class FetchedPart:
    """All rows of `range` and how they were had.

    table: KLINES, FUNDING or METRICS. server_time_ms: a time that the exchange's clock had reached
    before its latest rows were asked for. requests: of the exchange's API. source: "rest",
    "archive-monthly", "archive-daily", or several joined by "+". files: archive files used.
    damaged: files that could not be. notes: what else there is to say of the archive, and of REST.
    unverified: stretches that the archive lacks and that REST refused to answer for, as it does
    where Binance is barred or the symbol was removed. off_grid: open times of rows left out.
    """

    range: TimeRange
    table: pa.Table
    server_time_ms: int
    requests: int = 0
    source: str = "rest"
    files: int = 0
    damaged: tuple[Damaged, ...] = ()
    notes: tuple[str, ...] = ()
    unverified: tuple[TimeRange, ...] = ()
    off_grid: tuple[int, ...] = ()


@dataclass(slots=True)
class ArchiveMonth:
    """What the archive gave of a part of one month, and what it was asked for in vain.

    table: rows of `range`; None if there was no file to use. holes: where it may lack some. absent:
    names of files that are not there. off_grid: open times of rows that its files have too much.
    """

    range: TimeRange
    table: pa.Table | None = None
    holes: list[TimeRange] = field(default_factory=list)
    files: int = 0
    sources: set[str] = field(default_factory=set)
    damaged: list[Damaged] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    off_grid: tuple[int, ...] = ()

    def read(self, archive: FileArchive[File], file: File) -> pa.Table | None:
        """The file's table if it was there and good; why it was of no use is put down."""
        try:
            table = archive.read(file)
        except Damaged as damaged:
            self.damaged.append(damaged)
            return None
        except RetryLater as error:
            self.notes.append(f"archive: {error.reason}")
            return None
        if table is None:
            self.absent.append(file.stem)
        else:
            self.files += 1
            self.sources.add(file.source)
        return table

    def absences(self) -> list[str]:
        """In words, for a month that has rows: which of its files were looked for in vain."""
        if not self.absent:
            return []
        more = f" and {len(self.absent) - 1} more" if len(self.absent) > 1 else ""
        return [f"the archive has no {self.absent[0]}.zip{more}"]


Rest = Callable[[TimeRange, Sequence[ArchiveMonth]], Iterable[FetchedPart]]


def archive_first(
    asked: TimeRange,
    months: Iterable[ArchiveMonth],
    rest: Rest,
    merge: Callable[[list[pa.Table]], pa.Table],
    rows: str,
    clock: Clock,
) -> Iterator[FetchedPart]:
    """Parts of `asked` that adjoin each other, in order of time.

    A part is a month that the archive has something of, or one of REST's between two. rest: asks it
    for a stretch, told of the months for which the archive was asked in vain; raises as it does.
    merge: tables to one in order, of which the later wins. rows: "bars", or what they are called.
    """
    left_ms, in_vain = asked.start_ms, list[ArchiveMonth]()
    for month in months:
        if month.table is None:
            in_vain.append(month)
            continue
        if left_ms < month.range.start_ms:
            yield from rest(TimeRange(left_ms, month.range.start_ms), in_vain)
        yield _completed(month, rest, merge, rows, clock)
        left_ms, in_vain = month.range.end_ms, []
    if left_ms < asked.end_ms:
        yield from rest(TimeRange(left_ms, asked.end_ms), in_vain)


def _completed(
    month: ArchiveMonth,
    rest: Rest,
    merge: Callable[[list[pa.Table]], pa.Table],
    rows: str,
    clock: Clock,
) -> FetchedPart:
    """The archive's rows, and REST's where there are none."""
    now_ms, holes, unverified = clock.now_ms(), month.holes, tuple[TimeRange, ...]()
    if len(holes) > _MANY_HOLES:
        holes = [holes[0].hull(holes[-1])]
    found: list[FetchedPart] = []
    notes = [*month.notes, *month.absences()]
    for at, hole in enumerate(holes):
        try:
            found += [*rest(hole, ())]
        except GiveUp as error:
            notes.append(f"{rows} that the archive lacks could not be asked for: {error}")
            unverified = tuple(holes[at:])
            break
        if found and hole.end_ms == month.range.end_ms:
            now_ms = found[-1].server_time_ms
    unverified += tuple(one for part in found for one in part.unverified)
    sources = month.sources | {part.source for part in found if part.table.num_rows}
    off_grid = {*month.off_grid, *(time_ms for part in found for time_ms in part.off_grid)}
    return FetchedPart(
        month.range,
        merge([*(part.table for part in found), month.table]),
        now_ms,
        requests=sum(part.requests for part in found),
        source="+".join(sorted(sources)),
        files=month.files,
        damaged=tuple(month.damaged),
        notes=tuple(notes),
        unverified=unverified,
        off_grid=tuple(sorted(off_grid)),
    )
