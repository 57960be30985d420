"""A range of bars from wherever they cost least: the archive's files, and REST for the rest.

Whole past months come from monthly files; months that have none, or whose monthly file is known to
be wrong, from daily ones. What the archive does not have, REST is asked for, and so is every gap
inside its files: the archive has lost bars that the exchange has (binance-public-data issues 84,
230, 262), so only the exchange says that a bar does not exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from alphamill.clock import Clock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Interval, Market, Month, months_between
from alphamill.market.archive import Damaged, KlineArchive
from alphamill.market.exchange import Exchange, Klines
from alphamill.market.klines.archive_file import DAY_MS, ArchiveFile
from alphamill.market.klines.confirm_absent import certain_klines
from alphamill.market.klines.parse import between, find_gaps, merge_klines

# Monthly files that differ from the daily ones and from the API: binance-public-data issue 475.
WRONG_MONTHS = frozenset({Month(2020, 12), Month(2021, 9)})
_SAFE_DAYS = 2  # today and yesterday are not looked for: a daily file comes on the next day
_SHORT_MS = 7 * DAY_MS  # a shorter part of a month does not pay for the month's file
_REST_PAGE_BARS = 1000  # a part of a month that one REST page holds does not pay for daily files
_ABSENT_DAYS = 2  # so many days in a row without a file end the search: not listed, or no longer
_MANY_GAPS = 20  # more than these are asked for as one stretch


@dataclass(frozen=True, slots=True)
class Part:
    """Bars of [start_ms, end_ms) and how they were had.

    files: archive files used. damaged: files that could not be. notes: what else there is to say of
    the archive, and of REST. unverified: stretches that the archive lacks and that REST refused to
    answer for, as it does where Binance is barred or the symbol was removed.
    """

    start_ms: int
    end_ms: int
    klines: Klines
    files: int = 0
    damaged: tuple[Damaged, ...] = ()
    notes: tuple[str, ...] = ()
    unverified: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class History:
    """One market's bars, whatever their source. `archive` is None where there is none to use."""

    market: Market
    exchange: Exchange
    archive: KlineArchive | None
    clock: Clock

    def parts(self, symbol: str, interval: Interval, start_ms: int, end_ms: int) -> Iterator[Part]:
        """Closed bars of [start_ms, end_ms) in adjoining parts, in order of time.

        A part is a month that the archive has something of, or a stretch of REST's between two.
        Raises what `Exchange.klines` raises; an archive that fails is noted and REST stands in.
        """
        left_ms, in_vain = start_ms, list[Search]()
        for search in self.searches(symbol, interval, start_ms, end_ms):
            if not search.tables:
                in_vain.append(search)
                continue
            if left_ms < search.start_ms:
                yield self._from_rest(symbol, interval, left_ms, search.start_ms, in_vain)
            yield self._completed(search)
            left_ms, in_vain = search.end_ms, []
        if left_ms < end_ms:
            yield self._from_rest(symbol, interval, left_ms, end_ms, in_vain)

    def searches(
        self, symbol: str, interval: Interval, start_ms: int, end_ms: int
    ) -> Iterator[Search]:
        """One a month, done. Bars of a day or longer have none: one REST page holds years."""
        if self.archive is None or interval.endswith(("d", "w", "M")):
            return
        safe_ms = self.clock.now_ms() // DAY_MS * DAY_MS - (_SAFE_DAYS - 1) * DAY_MS
        for month in months_between(start_ms, end_ms):
            part = max(start_ms, month.start_ms), min(end_ms, month.end_ms)
            search = Search(self.archive, self.market, symbol, interval, *part)
            search.run(month, safe_ms)
            yield search

    def _completed(self, search: Search) -> Part:
        """The archive's bars, and REST's where there is none."""
        table, sources = merge_klines(search.tables), set(search.sources)
        now_ms, requests, notes = self.clock.now_ms(), 0, [*search.notes, *search.absences()]
        holes = _holes(table, search)
        for at, (start_ms, end_ms) in enumerate(holes):
            try:
                rest = certain_klines(
                    self.exchange, search.symbol, search.interval, start_ms, end_ms
                )
            except GiveUp as error:
                notes.append(f"bars that the archive lacks could not be asked for: {error}")
                holes = holes[at:]
                break
            requests += rest.requests
            if end_ms == search.end_ms:
                now_ms = rest.server_time_ms
            if rest.table.num_rows:
                sources.add(rest.source)
                table = merge_klines([rest.table, table])
        else:
            holes = []
        return Part(
            search.start_ms,
            search.end_ms,
            Klines(table, now_ms, requests, "+".join(sorted(sources))),
            len(search.tables),
            tuple(search.damaged),
            tuple(notes),
            tuple(holes),
        )

    def _from_rest(
        self, symbol: str, interval: Interval, start_ms: int, end_ms: int, in_vain: list[Search]
    ) -> Part:
        klines = certain_klines(self.exchange, symbol, interval, start_ms, end_ms)
        damaged = tuple(one for search in in_vain for one in search.damaged)
        notes = [note for search in in_vain for note in search.notes]
        for search in in_vain:
            if between(klines.table, search.start_ms, search.end_ms).num_rows:
                notes.extend(search.absences())
        return Part(start_ms, end_ms, klines, 0, damaged, tuple(dict.fromkeys(notes)))


@dataclass(slots=True)
class Search:
    """What the archive has of a part of one month."""

    archive: KlineArchive
    market: Market
    symbol: str
    interval: Interval
    start_ms: int
    end_ms: int
    tables: list[pa.Table] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)
    damaged: list[Damaged] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)  # names of files that are not there

    def absences(self) -> list[str]:
        """In words, for a month that has bars: which of its files were looked for in vain."""
        if not self.absent:
            return []
        more = f" and {len(self.absent) - 1} more" if len(self.absent) > 1 else ""
        return [f"the archive has no {self.absent[0]}.zip{more}"]

    def run(self, month: Month, safe_ms: int) -> None:
        """Read the month's file, or its days' files before `safe_ms`, if they are worth it."""
        whole = month.end_ms <= safe_ms and self.end_ms - self.start_ms > _SHORT_MS
        if whole and month not in WRONG_MONTHS and self.interval is not Interval.S1:
            if self._read(ArchiveFile(self.market, self.symbol, self.interval, month)):
                return
            if self.damaged or self.notes:
                return  # only what is not there at all is looked for day by day
        end_ms = min(self.end_ms, safe_ms)
        if whole or (end_ms - self.start_ms) // self.interval.ms > _REST_PAGE_BARS:
            self._read_days(end_ms)

    def _read_days(self, end_ms: int) -> None:
        """Latest first: a coin that was listed within the month has its latest days."""
        absent = 0
        first_ms = self.start_ms // DAY_MS * DAY_MS
        for day_ms in range((end_ms - 1) // DAY_MS * DAY_MS, first_ms - 1, -DAY_MS):
            damaged = len(self.damaged)
            file = ArchiveFile.of_day(self.market, self.symbol, self.interval, day_ms)
            there = self._read(file) or len(self.damaged) > damaged
            absent = 0 if there else absent + 1
            if absent == _ABSENT_DAYS or self.notes:
                return

    def _read(self, file: ArchiveFile) -> bool:
        """Whether the file was there and good; why it was of no use is put down."""
        try:
            table = self.archive.read(file)
        except Damaged as damaged:
            self.damaged.append(damaged)
            return False
        except RetryLater as error:
            self.notes.append(f"archive: {error.reason}")
            return False
        if table is None:
            self.absent.append(file.stem)
            return False
        self.tables.append(between(table, self.start_ms, self.end_ms))
        self.sources.add(file.source)
        return True


def _holes(table: pa.Table, search: Search) -> list[tuple[int, int]]:
    """Stretches to ask REST for; the last ends where the search does, if bars are absent there."""
    gaps = find_gaps(table, search.interval, search.start_ms, search.end_ms)
    holes = [(gap.start_ms, min(gap.end_ms, search.end_ms)) for gap in gaps]
    return [(holes[0][0], holes[-1][1])] if len(holes) > _MANY_GAPS else holes
