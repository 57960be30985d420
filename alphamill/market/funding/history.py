"""A range of settlements: the archive's monthly files first, and REST for the rest.

A page of REST's that is empty is asked for a second time before anyone believes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import pyarrow as pa

from alphamill.clock import Clock
from alphamill.frames import FUNDING, Market, TimeRange, rows_within, times_ms
from alphamill.market.archive_first import (
    SHORT_MS,
    ArchiveMonth,
    FetchedPart,
    FileArchive,
    archive_first,
)
from alphamill.market.exchange import SETTLE_MS
from alphamill.market.funding.api import PAGE_ROWS
from alphamill.market.funding.archive_file import FundingFile, holes
from alphamill.market.funding.parse import LONGEST_MS, merge_funding

_TIMES_ASKED = 2  # for a page that is empty

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
        rest = partial(self._from_rest, symbol)
        return archive_first(asked, months, rest, merge_funding, "settlements", self.clock)

    def _archive_months(self, symbol: str, asked: TimeRange) -> Iterator[ArchiveMonth]:
        if self.archive is None:
            return
        for month, part in asked.by_month():
            if month.end_ms > self.clock.now_ms() or part.length_ms <= SHORT_MS:
                continue
            found = ArchiveMonth(part)
            table = found.read(self.archive, FundingFile(self.market, symbol, month))
            if table is not None and table.num_rows:
                found.table = rows_within(table.select(FUNDING.names), part)
                missing = holes(table, month.range)
                found.holes = [hole for one in missing if (hole := one.within(part))]
            yield found

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
            part = TimeRange(cursor_ms, _answered_until_ms(table, until_ms))
            yield FetchedPart(part, table, now_ms, requests, damaged=damaged, notes=notes)
            cursor_ms, requests, damaged, notes = part.end_ms, 0, (), ()


def _answered_until_ms(table: pa.Table, until_ms: int) -> int:
    """Where a page's settlements are known to end: at the last, unless no other can follow."""
    if not table.num_rows:
        return until_ms
    last_ms = int(times_ms(table)[-1])
    whole = table.num_rows < PAGE_ROWS and until_ms - last_ms <= LONGEST_MS
    return until_ms if whole else last_ms + 1
