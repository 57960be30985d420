"""A range of settlements: the archive's monthly files first, and REST for the rest.

REST is asked, too, for what a file may lack: the archive has lost rows of other data that the
exchange has. A page that is empty is asked for a second time before anyone believes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import pyarrow as pa

from alphamill.clock import Clock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import FUNDING, Market, Month, months_between
from alphamill.market.archive import Damaged, FundingArchive
from alphamill.market.funding.api import PAGE_ROWS
from alphamill.market.funding.archive_file import FundingFile, holes
from alphamill.market.funding.parse import LONGEST_MS, funding_between, merge_funding
from alphamill.market.klines.archive_file import DAY_MS
from alphamill.market.klines.confirm_absent import SETTLE_MS
from alphamill.market.klines.parse import times_ms

_SHORT_MS = 7 * DAY_MS  # a shorter part of a month does not pay for the month's file
_TIMES_ASKED = 2  # for a page that is empty


class FundingExchange(Protocol):
    """Settlements of one futures market. Any call may raise RetryLater, GiveUp, Misconfigured."""

    def reached_ms(self, wanted_ms: int) -> int:
        """A time that the exchange's clock has reached; asked anew if it is before `wanted_ms`."""

    def page(self, symbol: str, start_ms: int, end_ms: int) -> pa.Table:
        """FUNDING: the oldest 1000 settlements stamped start_ms <= t < end_ms."""


@dataclass(frozen=True, slots=True)
class FundingPart:
    """All settlements of [start_ms, end_ms) and how they were had; fields as those of `Part`."""

    start_ms: int
    end_ms: int
    table: pa.Table
    server_time_ms: int
    requests: int = 0
    source: str = "rest"
    files: int = 0
    damaged: tuple[Damaged, ...] = ()
    notes: tuple[str, ...] = ()
    unverified: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class _InVain:
    """What the archive was asked for and did not give."""

    damaged: list[Damaged] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FundingHistory:
    """One market's settlements, whatever their source; `archive` is None where there is none."""

    market: Market
    exchange: FundingExchange
    archive: FundingArchive | None
    clock: Clock

    def parts(self, symbol: str, start_ms: int, end_ms: int) -> Iterator[FundingPart]:
        """Adjoining parts in order of time: a file's month, or one page of REST's.

        The last may end early, at what the exchange must have published by now.
        """
        left_ms, in_vain = start_ms, _InVain()
        for month in months_between(start_ms, end_ms) if self.archive else ():
            part = self._of_file(symbol, month, start_ms, end_ms, in_vain)
            if part is None:
                continue
            yield from self._of_rest(symbol, left_ms, part.start_ms, in_vain)
            yield part
            left_ms, in_vain = part.end_ms, _InVain()
        yield from self._of_rest(symbol, left_ms, end_ms, in_vain)

    def _of_file(
        self, symbol: str, month: Month, start_ms: int, end_ms: int, in_vain: _InVain
    ) -> FundingPart | None:
        start_ms, end_ms = max(start_ms, month.start_ms), min(end_ms, month.end_ms)
        if month.end_ms > self.clock.now_ms() or end_ms - start_ms <= _SHORT_MS:
            return None
        file = FundingFile(self.market, symbol, month)
        try:
            table = self.archive.read(file) if self.archive else None
        except Damaged as damaged:
            in_vain.damaged.append(damaged)
            return None
        except RetryLater as error:
            in_vain.notes.append(f"archive: {error.reason}")
            return None
        if table is None or not table.num_rows:
            return None
        had = table.select(FUNDING.names).cast(FUNDING)
        part = FundingPart(start_ms, end_ms, had, end_ms, source=file.source, files=1)
        return self._completed(symbol, part, holes(table, month.start_ms, month.end_ms))

    def _completed(
        self, symbol: str, part: FundingPart, missing: list[tuple[int, int]]
    ) -> FundingPart:
        """The file's settlements within the part, and REST's where it may lack some."""
        tables, sources, requests = [part.table], {part.source}, 0
        doubts: tuple[tuple[int, int], ...] = ()
        notes: tuple[str, ...] = ()
        spans = [(max(a, part.start_ms), min(b, part.end_ms)) for a, b in missing]
        spans = [(a, b) for a, b in spans if a < b]
        for at, span in enumerate(spans):
            try:
                found = list(self._of_rest(symbol, *span, _InVain()))
            except GiveUp as error:
                doubts = tuple(spans[at:])
                notes = (f"settlements that the archive lacks could not be asked for: {error}",)
                break
            requests += sum(one.requests for one in found)
            tables += [one.table for one in found]
            sources |= {one.source for one in found if one.table.num_rows}
        return replace(
            part,
            table=funding_between(merge_funding(tables), part.start_ms, part.end_ms),
            requests=requests,
            source="+".join(sorted(sources)),
            notes=notes,
            unverified=doubts,
        )

    def _of_rest(
        self, symbol: str, start_ms: int, end_ms: int, in_vain: _InVain
    ) -> Iterator[FundingPart]:
        if start_ms >= end_ms:
            return
        now_ms = self.exchange.reached_ms(end_ms + SETTLE_MS)
        until_ms, cursor_ms, asked = min(end_ms, now_ms - SETTLE_MS), start_ms, 0
        while cursor_ms < until_ms:
            table = self.exchange.page(symbol, cursor_ms, until_ms)
            asked += 1
            reached_ms = _answered_until_ms(table, until_ms)
            if not table.num_rows and asked < _TIMES_ASKED:
                continue
            said = tuple(in_vain.damaged), tuple(dict.fromkeys(in_vain.notes))
            yield FundingPart(
                cursor_ms, reached_ms, table, now_ms, asked, damaged=said[0], notes=said[1]
            )
            cursor_ms, asked, in_vain = reached_ms, 0, _InVain()


def _answered_until_ms(table: pa.Table, until_ms: int) -> int:
    """Where a page's settlements are known to end: at the last, unless no other can follow."""
    if not table.num_rows:
        return until_ms
    last_ms = int(times_ms(table, "funding_time")[-1])
    whole = table.num_rows < PAGE_ROWS and until_ms - last_ms <= LONGEST_MS
    return until_ms if whole else last_ms + 1
