"""A range of settlements: the archive's monthly files first, and REST for the rest.

What REST does not have is asked for a second time before anyone believes it: a page that is empty,
and a stretch of a page without a settlement that is longer than any interval. Where a page may be
cut, the next begins with its last instant anew, since that may have payments on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import pyarrow as pa

from alphamill.clock import Clock
from alphamill.errors import GiveUp
from alphamill.frames import (
    FUNDING,
    SPECIAL_FUNDING_FROM,
    Market,
    Month,
    TimeRange,
    rows_within,
    times_ms,
)
from alphamill.market.archive_first import (
    SHORT_MS,
    ArchiveMonth,
    FetchedPart,
    FileArchive,
    archive_first,
)
from alphamill.market.exchange import SETTLE_MS
from alphamill.market.funding.archive_file import FundingFile, holes
from alphamill.market.funding.parse import (
    LONGEST_MS,
    MINUTE_MS,
    merge_funding,
    payments,
    settled_ms,
)

_TIMES_ASKED = 2  # for what is not there
_ROUND = 100  # venues cap pages at such numbers of rows, and not all at the documented one

FundingArchive = FileArchive[FundingFile]


class FundingExchange(Protocol):
    """Settlements of one futures market. Any call may raise RetryLater, GiveUp, Misconfigured."""

    def reached_ms(self, wanted_ms: int) -> int:
        """A time that the exchange's clock has reached; asked anew if it is before `wanted_ms`."""

    def page(self, symbol: str, start_ms: int, end_ms: int) -> pa.Table:
        """FUNDING: the oldest 1000 settlements stamped start_ms <= t < end_ms."""


@dataclass(frozen=True, slots=True)
class FundingHistory:
    """One market's settlements, whatever their source; `archive` is None where there is none."""

    market: Market
    exchange: FundingExchange
    archive: FundingArchive | None
    clock: Clock

    def parts(self, symbol: str, asked: TimeRange) -> Iterator[FetchedPart]:
        """Adjoining parts in order of time: a file's month, or one page of REST's.

        The last may end early, at what the exchange must have published by now.
        """
        months = self._archive_months(symbol, asked)
        rest = partial(self._from_rest_or_files, symbol)
        return archive_first(asked, months, rest, merge_funding, "settlements", self.clock)

    def _archive_months(self, symbol: str, asked: TimeRange) -> Iterator[ArchiveMonth]:
        if self.archive is None:
            return
        for month, part in asked.by_month():
            if month.end_ms > self.clock.now_ms() or part.length_ms <= SHORT_MS:
                continue
            if self._may_have_special(month):
                return  # its files cannot say that they have every payment
            found = ArchiveMonth(part)
            table = found.read(self.archive, FundingFile(self.market, symbol, month))
            if table is not None and table.num_rows:
                found.table = _of_file(table, month, part)
                missing = holes(table, month.range)
                found.holes = [hole for one in missing if (hole := one.within(part))]
            yield found

    def _from_rest_or_files(
        self, symbol: str, asked: TimeRange, in_vain: Sequence[ArchiveMonth]
    ) -> Iterator[FetchedPart]:
        """REST's answer; where it refuses one, what files say of what only it could vouch for."""
        done_ms = asked.start_ms
        try:
            for part in self._from_rest(symbol, asked, in_vain):
                done_ms = part.range.end_ms
                yield part
        except GiveUp as refusal:
            for part in self._unvouched(symbol, TimeRange(done_ms, asked.end_ms), refusal):
                done_ms = part.range.end_ms
                yield part
            if done_ms < asked.end_ms:
                raise

    def _unvouched(self, symbol: str, asked: TimeRange, refusal: GiveUp) -> Iterator[FetchedPart]:
        """Months of files that may lack a Special payment, up to the first that there is none of.

        All of it stays unverified: the rows are in the lake, and count as not known.
        """
        for month, part in asked.by_month():
            over = month.end_ms <= self.clock.now_ms()
            if self.archive is None or not over or not self._may_have_special(month):
                return
            found = ArchiveMonth(part)
            table = found.read(self.archive, FundingFile(self.market, symbol, month))
            if table is None or not table.num_rows:
                return
            why = f"whether that is all that was paid could not be asked for: {refusal}"
            yield FetchedPart(
                part,
                _of_file(table, month, part),
                self.clock.now_ms(),
                source="archive-monthly",
                files=1,
                notes=(f"{month}: {why}",),
                unverified=(part,),
            )

    def _may_have_special(self, month: Month) -> bool:
        return self.market is Market.USD_M and month >= SPECIAL_FUNDING_FROM

    def _from_rest(
        self, symbol: str, asked: TimeRange, in_vain: Sequence[ArchiveMonth]
    ) -> Iterator[FetchedPart]:
        damaged = tuple(one for month in in_vain for one in month.damaged)
        notes = tuple(dict.fromkeys(note for month in in_vain for note in month.notes))
        now_ms = self.exchange.reached_ms(asked.end_ms + SETTLE_MS)
        until_ms, cursor_ms, requests = min(asked.end_ms, now_ms - SETTLE_MS), asked.start_ms, 0
        while cursor_ms < until_ms:
            table = self.exchange.page(symbol, cursor_ms, until_ms)
            requests += 1
            if not table.num_rows and requests < _TIMES_ASKED:
                continue
            table, answered_ms = _certain(table, until_ms)
            part = TimeRange(cursor_ms, answered_ms)
            while (silence := _silence(table, part)) is not None:
                again = self.exchange.page(symbol, silence.start_ms, silence.end_ms)
                table, had = merge_funding([table, again]), table.num_rows
                requests += 1
                if table.num_rows == had:
                    break
            yield FetchedPart(part, table, now_ms, requests, damaged=damaged, notes=notes)
            cursor_ms, requests, damaged, notes = part.end_ms, 0, (), ()


def _of_file(table: pa.Table, month: Month, part: TimeRange) -> pa.Table:
    """FUNDING of a month's file, within a part of the month.

    What was settled at the month's first instant and is stamped a little before it is in no other
    file, and by its stamp in no part of this month: it is kept as of that instant.
    """
    rows = payments(table.select(FUNDING.names))
    stamps = np.maximum(times_ms(rows), month.start_ms)
    stamped = pa.array(stamps).view(FUNDING.field("funding_time").type)
    return rows_within(rows.set_column(0, FUNDING.field("funding_time"), stamped), part)


def _certain(table: pa.Table, until_ms: int) -> tuple[pa.Table, int]:
    """The rows of a page that are all there are up to a time, and that time.

    A page that may be cut is known up to its last instant, which is left for the next.
    """
    if not table.num_rows:
        return table, until_ms
    times = times_ms(table)
    minutes = settled_ms(times)
    if until_ms - int(times[-1]) <= LONGEST_MS and table.num_rows % _ROUND:
        return table, until_ms
    first_of_last = int(np.searchsorted(minutes, minutes[-1]))
    if first_of_last:
        return table.slice(0, first_of_last), int(times[first_of_last])
    return table, int(times[-1]) + 1


def _silence(table: pa.Table, answered: TimeRange) -> TimeRange | None:
    """From the first to the last stretch of an answer that lacks a settlement; None for none."""
    edges = np.concatenate(([answered.start_ms], times_ms(table), [answered.end_ms]))
    longer = np.flatnonzero(np.diff(edges) > LONGEST_MS + MINUTE_MS)
    if not table.num_rows or not longer.size:
        return None
    return TimeRange(int(edges[longer[0]]), int(edges[longer[-1] + 1]))
