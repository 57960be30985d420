"""A range of metrics: the archive's daily files first, and REST for what it may still have.

REST reaches back 30 days. What a file lacks that is older than that was never published, as far as
anyone can say: it is absent, and looked at again by --verify alone, since the exchange has filled
such holes later. Where a file could not be read, or no archive is to be used, it is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeAlias

import pyarrow as pa

from alphamill.clock import Clock
from alphamill.errors import AlphamillError
from alphamill.frames import METRICS, Interval, Market, TimeRange, rows_within, times_ms
from alphamill.grid import DAY_MS, ceil_ms, floor_ms
from alphamill.market.archive_first import ArchiveMonth, FetchedPart, FileArchive, archive_first
from alphamill.market.exchange import SETTLE_MS
from alphamill.market.kinds import is_dated
from alphamill.market.klines.parse import find_gaps, merge_rows
from alphamill.market.metrics.api import PAGE_ROWS, REACH_MS, REQUESTS_A_PAGE
from alphamill.market.metrics.archive_file import MetricsFile
from alphamill.market.metrics.labels import PUBLISHED_AFTER_MS, STEP_MS

STEP = Interval.M5
_SAFE_DAYS = 1  # today's file is not looked for: it comes on the next day
_AT_ONCE = 4  # files of a month under way: to the real archive they are mostly waiting
_MARGIN_MS = 3_600_000  # of REST's reach, which moves on while a job waits for its turn
_PUBLISHED_MS = PUBLISHED_AFTER_MS + SETTLE_MS  # five minutes that ended so long ago are out
_TIMES_ASKED = 2  # for what is not there

MetricsArchive = FileArchive[MetricsFile]
merge_metrics = partial(merge_rows, schema=METRICS)
"""All rows of several tables in order, each once; for the same five minutes the later wins."""


class MetricsExchange(Protocol):
    """Metrics of one futures market. Any call may raise RetryLater, GiveUp, Misconfigured."""

    def reached_ms(self, wanted_ms: int) -> int:
        """A time that the exchange's clock has reached; asked anew if it is before `wanted_ms`."""

    def page(self, symbol: str, start_ms: int, end_ms: int) -> pa.Table:
        """METRICS of five minutes that begin at start_ms <= t < end_ms, at most PAGE_ROWS."""


@dataclass(frozen=True, slots=True)
class MetricsHistory:
    """One market's metrics, whatever their source; `archive` is None where there is none to use."""

    market: Market
    exchange: MetricsExchange
    archive: MetricsArchive | None
    clock: Clock

    def parts(self, symbol: str, asked: TimeRange) -> Iterator[FetchedPart]:
        """Adjoining parts in order of time: the files of a month, or one page of REST's.

        The last may end early, at what the exchange must have published by now.
        """
        months = self._archive_months(symbol, asked)
        rest = partial(self._from_rest, symbol)
        for part in archive_first(asked, months, rest, merge_metrics, "metrics", self.clock):
            yield replace(part, range=_answered(part))

    def _archive_months(self, symbol: str, asked: TimeRange) -> Iterator[ArchiveMonth]:
        if self.archive is None:
            return
        safe_ms = (self.clock.now_ms() // DAY_MS + 1 - _SAFE_DAYS) * DAY_MS
        for month, part in asked.by_month():
            found = ArchiveMonth(part)
            until_ms = min(part.end_ms, safe_ms)
            first = (part.start_ms - month.start_ms) // DAY_MS + 1
            last = (until_ms - 1 - month.start_ms) // DAY_MS + 1
            days = [MetricsFile(self.market, symbol, month, day) for day in range(first, last + 1)]
            tables, doubted = self._read(found, days)
            if tables:
                found.table = rows_within(merge_metrics(tables), part)
                reach_ms = self._reach_ms(symbol)
                for gap in find_gaps(found.table, STEP, part):
                    recent = gap.within(TimeRange(reach_ms, max(reach_ms, gap.end_ms)))
                    unread = [one for day in doubted if (one := day.within(gap))]
                    found.holes += [*([recent] if recent else []), *unread]
                found.holes = _in_order(found.holes)
            yield found

    def _read(
        self, found: ArchiveMonth, days: Sequence[MetricsFile]
    ) -> tuple[list[pa.Table], list[TimeRange]]:
        """The days' tables, and the days whose file may be there and could not be read."""
        archive = self.archive
        if archive is None or not days:
            return [], []
        with ThreadPoolExecutor(_AT_ONCE) as readers:
            answers = list(readers.map(partial(_asked, archive), days))
        tables, doubted = [], []
        for file, answer in zip(days, answers, strict=True):
            table = found.read(_Answered(answer), file)
            if table is not None:
                tables.append(table)
            elif isinstance(answer, AlphamillError):
                doubted.append(file.range)
        found.notes = list(dict.fromkeys(found.notes))
        return tables, doubted

    def _reach_ms(self, symbol: str) -> int:
        """How far back REST can be asked; of what it does not tell apart, not at all."""
        now_ms = self.clock.now_ms()
        if self.market is Market.COIN_M and is_dated(symbol):
            return ceil_ms(STEP, now_ms)
        return ceil_ms(STEP, now_ms - REACH_MS + _MARGIN_MS)

    def _from_rest(
        self, symbol: str, asked: TimeRange, in_vain: Sequence[ArchiveMonth]
    ) -> Iterator[FetchedPart]:
        damaged = tuple(one for month in in_vain for one in month.damaged)
        notes = [note for month in in_vain for note in month.notes]
        reach_ms = self._reach_ms(symbol)
        if asked.start_ms < reach_ms:
            old = TimeRange(asked.start_ms, min(asked.end_ms, reach_ms))
            yield self._beyond_reach(old, in_vain, damaged, notes)
            damaged, notes = (), []
            if asked.end_ms <= reach_ms:
                return
        now_ms = self.exchange.reached_ms(asked.end_ms + _PUBLISHED_MS)
        until_ms = min(asked.end_ms, floor_ms(STEP, now_ms - _PUBLISHED_MS))
        cursor_ms = max(asked.start_ms, reach_ms)
        while cursor_ms < until_ms:
            part = TimeRange(cursor_ms, min(until_ms, cursor_ms + PAGE_ROWS * STEP_MS))
            table, pages = self.exchange.page(symbol, part.start_ms, part.end_ms), 1
            while not table.num_rows and pages < _TIMES_ASKED:
                table, pages = self.exchange.page(symbol, part.start_ms, part.end_ms), pages + 1
            told = tuple(dict.fromkeys(notes))
            requests = pages * REQUESTS_A_PAGE
            yield FetchedPart(part, table, now_ms, requests, damaged=damaged, notes=told)
            cursor_ms, damaged, notes = part.end_ms, (), []

    def _beyond_reach(
        self,
        old: TimeRange,
        in_vain: Sequence[ArchiveMonth],
        damaged: tuple[object, ...],
        notes: list[str],
    ) -> FetchedPart:
        """Nothing, of a time of which the archive has no file and REST tells no more."""
        looked = bool(in_vain) and not damaged and not any(month.notes for month in in_vain)
        if self.archive is None:
            notes = [*notes, "the API has metrics of 30 days only, and no archive is to be used"]
        elif looked:
            first = next((name for month in in_vain for name in month.absent), "")
            notes = [*notes, f"the archive has no metrics of then ({first}.zip, ...)"]
        return FetchedPart(
            old,
            METRICS.empty_table(),
            self.clock.now_ms(),
            source="archive-daily" if looked else "rest",
            damaged=tuple(one for month in in_vain for one in month.damaged),
            notes=tuple(dict.fromkeys(notes)),
            unverified=() if looked else (old,),
        )


_Answer: TypeAlias = pa.Table | AlphamillError | None


def _asked(archive: MetricsArchive, file: MetricsFile) -> _Answer:
    try:
        return archive.read(file)
    except AlphamillError as error:
        return error


@dataclass(frozen=True, slots=True)
class _Answered:
    """An archive that was asked already."""

    answer: _Answer

    def read(self, _file: MetricsFile) -> pa.Table | None:
        if isinstance(self.answer, AlphamillError):
            raise self.answer
        return self.answer


def _answered(part: FetchedPart) -> TimeRange:
    """The stretch of it in which an absent row is known not to be at the exchange."""
    settled_ms = floor_ms(STEP, part.server_time_ms - _PUBLISHED_MS)
    if part.table.num_rows:
        settled_ms = max(settled_ms, int(times_ms(part.table)[-1]) + STEP_MS)
    start_ms = part.range.start_ms
    return TimeRange(start_ms, max(start_ms, min(part.range.end_ms, settled_ms)))


def _in_order(holes: Sequence[TimeRange]) -> list[TimeRange]:
    """Each stretch once; of two that overlap the later is cut."""
    found: list[TimeRange] = []
    for one in sorted(holes, key=lambda hole: hole.start_ms):
        found += one.without(*found)
    return found
