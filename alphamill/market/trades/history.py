"""A day of trades from wherever it can be had, to a reader, piece by piece.

The archive's daily file comes first, its month's file where there is no good daily one, and the API
for the rest: rows that a file lacks by its ids, the end of a file that falls silent early, days
that the archive does not have yet. Ids of futures' trades say nothing, since self-trade prevention
burns some; those of aggregates say all.

A reader that took a part of a source that turned out to be of no use is left behind, and the next
source gets a new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, Protocol, TypeVar

from alphamill.bars import Layout, OutOfOrder, Trades, TradeSource, in_order
from alphamill.clock import Clock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Market, TimeRange
from alphamill.market.archive import Damaged, PutAside, ZippedFile
from alphamill.market.exchange import SETTLE_MS
from alphamill.market.trades.api import TradeExchange
from alphamill.market.trades.archive_file import TradeFile
from alphamill.market.trades.completed import CompletedFile, rows_of
from alphamill.market.trades.pages import DayPages, is_of_who_has_a_key

ReaderT = TypeVar("ReaderT", bound="Reader")


class Reader(Protocol):
    """What takes a day's trades, in order of their ids."""

    def add(self, trades: Trades, /) -> object:
        """Raises OutOfOrder for ids that descend."""


class TradeArchive(Protocol):
    """Files of trades."""

    def put_aside(self, file: ZippedFile) -> AbstractContextManager[PutAside | None]:
        """See `Archive.put_aside`."""


class PagesKept(Protocol):
    """Pages of the API that an earlier attempt at the day had."""

    def held(self, first: int) -> Iterator[Trades]:
        """Those from that id on, in order and without a break."""

    def keep(self, page: Trades) -> None:
        """The page behind them. RetryLater: the rest is for another attempt."""


class NothingKept:
    """No page of before, and none for later."""

    def held(self, first: int) -> Iterator[Trades]:  # noqa: ARG002
        return iter(())

    def keep(self, page: Trades) -> None: ...


@dataclass(slots=True)
class DayRead(Generic[ReaderT]):
    """A part of a day, all of whose trades `reader` has.

    range: what is answered: from its start, up to what must have been told by now. source:
    "archive-daily", "archive-monthly", "rest", or several joined by "+". requests: of the API.
    files: of the archive. lacking: ids that are rows and that nobody had. disordered: whether a
    file's rows had to be put in order. notes: what else there is to say.
    """

    reader: ReaderT
    range: TimeRange
    source: str
    requests: int = 0
    files: int = 0
    lacking: int = 0
    disordered: bool = False
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Tried:
    """The API, and what the archive was asked for in vain, in words."""

    pages: DayPages
    why: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    unwell: RetryLater | None = None


@dataclass(frozen=True, slots=True)
class TradeHistory:
    """One market's trades, whatever their source; `archive` is None where there is none to use.

    keep: is given every file that cannot be trusted. pages: of a day that the API alone has.
    """

    market: Market
    exchange: TradeExchange
    archive: TradeArchive | None
    clock: Clock
    keep: Callable[[Damaged], None] = lambda _: None
    pages: PagesKept = field(default_factory=NothingKept)

    def read(
        self, symbol: str, source: TradeSource, asked: TimeRange, begin: Callable[[], ReaderT]
    ) -> DayRead[ReaderT]:
        """The trades of `asked`, which lies within one day, given to a reader that `begin` makes.

        Raises GiveUp, in one line, where nobody has them; RetryLater; Misconfigured.
        """
        layout = Layout(self.market, source)
        tried = _Tried(DayPages(self.exchange, self.clock, layout, symbol, asked))
        if asked.end_ms <= self.clock.now_ms():
            for file in self._files(symbol, source, asked):
                found = self._of_file(file, begin, tried)
                if found is not None:
                    return found
        return self._of_api(begin, tried)

    def _files(self, symbol: str, source: TradeSource, asked: TimeRange) -> Iterator[TradeFile]:
        if self.archive is None:
            return
        daily = TradeFile.of_day(self.market, symbol, source, asked.start_ms)
        yield daily
        if daily.month.end_ms <= self.clock.now_ms():
            yield daily.monthly

    def _of_file(
        self, file: TradeFile, begin: Callable[[], ReaderT], tried: _Tried
    ) -> DayRead[ReaderT] | None:
        """None where the file is of no use; why is put down."""
        assert self.archive is not None  # noqa: S101  else there are no files
        requests = tried.pages.requests
        try:
            with self.archive.put_aside(file) as aside:
                if aside is not None:
                    return self._of_aside(aside, file, begin, tried)
                tried.why.append(f"the archive has no {file.stem}.zip")
        except Damaged as damaged:
            self.keep(damaged)
            tried.why.append(f"quarantined {damaged}")
            tried.notes.append(f"quarantined {damaged}")
        except RetryLater as error:
            if tried.pages.requests > requests:
                raise  # it is the API that is not well
            tried.unwell = error
            tried.notes.append(f"archive: {error.reason}")
        return None

    def _of_aside(
        self, aside: PutAside, file: TradeFile, begin: Callable[[], ReaderT], tried: _Tried
    ) -> DayRead[ReaderT] | None:
        asked, completed = tried.pages.asked, CompletedFile(file, tried.pages)
        disordered, reader = False, begin()
        try:
            rows = _fed(reader, completed.rows(rows_of(aside, file, asked)))
        except OutOfOrder:
            disordered, reader = True, begin()
            completed = CompletedFile(file, tried.pages)
            ordered = in_order(lambda: rows_of(aside, file, asked))
            rows = _fed(reader, completed.rows(ordered))
        if not rows:
            tried.why.append(f"{file.stem}.zip has no trade of that time")
            return None
        notes = [*tried.notes, *completed.said()]
        if not aside.checked:
            notes.append(f"{file.stem}.zip has no CHECKSUM; its own sums are right")
        if disordered:
            notes.append(f"{file.stem}.zip is out of order: put in order by id")
        return DayRead(
            reader,
            asked,
            f"{file.kept_as}+rest" if tried.pages.rows else file.kept_as,
            tried.pages.requests,
            1,
            completed.lacking,
            disordered,
            notes,
        )

    def _of_api(self, begin: Callable[[], ReaderT], tried: _Tried) -> DayRead[ReaderT]:
        pages, reader, lacking = tried.pages, begin(), 0
        asked = pages.asked
        if tried.unwell is None and asked.end_ms <= self._onboard_ms(pages.symbol):
            notes = [*tried.notes, f"{pages.symbol} was not listed yet"]
            return DayRead(reader, asked, "rest", notes=notes)
        _check_reach(tried)
        now_ms = self.exchange.reached_ms(asked.end_ms + SETTLE_MS)
        end_ms = max(asked.start_ms, min(asked.end_ms, now_ms - SETTLE_MS))
        pages.asked = TimeRange(asked.start_ms, end_ms)
        first = pages.first_id()
        expected = first
        for page in self._pages(pages, first) if first is not None else ():
            if expected is not None and pages.layout.ids_are_contiguous:
                lacking += int(page.id[-1]) + 1 - expected - len(page)
                expected = int(page.id[-1]) + 1
            reader.add(page)
        notes = [*tried.notes, *([f"the API lacks {lacking:,} ids"] if lacking else [])]
        return DayRead(reader, pages.asked, "rest", pages.requests, lacking=lacking, notes=notes)

    def _pages(self, pages: DayPages, first: int) -> Iterator[Trades]:
        """All from an id on; what comes from the exchange is kept once the reader has it."""
        for page in self.pages.held(first):
            first = int(page.id[-1]) + 1
            within = page.within(1000 * pages.asked.start_ms, 1000 * pages.asked.end_ms)
            if len(within):
                yield within
        for page in pages.since(first):
            yield page
            self.pages.keep(page)

    def _onboard_ms(self, symbol: str) -> int:
        """When futures were listed; spot does not say it."""
        return (self.exchange.onboard_ms(symbol) or 0) if self.market.has_funding else 0


def _fed(reader: Reader, pieces: Iterable[Trades]) -> int:
    """How many rows the reader was given."""
    rows = 0
    for piece in pieces:
        reader.add(piece)
        rows += len(piece)
    return rows


def _check_reach(tried: _Tried) -> None:
    """Raise GiveUp, or what kept the archive from answering, where the API has no answer."""
    pages = tried.pages
    if is_of_who_has_a_key(pages.layout):
        lacks = "the API gives individual trades of futures only to who has a key"
        if not pages.too_old:
            lacks += "; --source aggTrades has the last 48 h"
    elif pages.too_old:
        lacks = f"the API of {pages.layout.market} reaches back 48 h only"
    else:
        return
    if tried.unwell is not None:
        raise tried.unwell
    day = datetime.fromtimestamp(pages.asked.start_ms / 1000, UTC).date().isoformat()
    why = "; ".join([*tried.why, lacks])
    raise GiveUp(f"{pages.symbol} {day}: no trades to be had: {why}")
