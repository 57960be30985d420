"""What the API is asked for a day of trades, page by page, and what it refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from alphamill.bars import Layout, Trades, TradeSource
from alphamill.clock import Clock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import TimeRange
from alphamill.market.trades.api import LOOK_BACK_MS, TradeExchange

_TIMES_ASKED = 2  # for what is not there


@dataclass(slots=True)
class DayPages:
    """The API's trades of one symbol within one day.

    requests: made so far. rows: had so far. refusal: why it is not asked any more, or "".
    """

    exchange: TradeExchange
    clock: Clock
    layout: Layout
    symbol: str
    asked: TimeRange
    requests: int = 0
    rows: int = 0
    refusal: str = ""

    @property
    def too_old(self) -> bool:
        """Whether the day began before what the API of futures reaches back to."""
        futures = self.layout.market.has_funding
        return futures and self.asked.start_ms < self.clock.now_ms() - LOOK_BACK_MS

    @property
    def by_id(self) -> bool:
        """Whether rows that a file lacks can be known and had."""
        if not self.refusal and not self.layout.ids_are_contiguous:
            self.refusal = "the API has no individual trades of futures to page"
        elif not self.refusal and self.too_old:
            self.refusal = f"the API of {self.layout.market} reaches back 48 h only"
        return not self.refusal

    def first_id(self) -> int | None:
        """Of the day's first row; None if there is none so late yet."""
        for _ in range(_TIMES_ASKED):
            self.requests += 1
            found = self.exchange.aggregates_since(self.symbol, self.asked.start_ms)
            if len(found):
                fills = found.id if self.layout.aggregates else found.first_id
                assert fills is not None  # noqa: S101  aggregates have them
                return int(fills[0])
        return None

    def first_id_if_any(self) -> int | None:
        """Likewise; None where the API refuses, which is put down."""
        try:
            return self.first_id()
        except GiveUp as error:
            self.refusal = str(error)
            return None

    def since(self, first: int) -> Iterator[Trades]:
        """Pages from an id on, up to the end of the time asked for."""
        start_us, end_us = 1000 * self.asked.start_ms, 1000 * self.asked.end_ms
        while len(page := self._page(first)):
            within = page.within(start_us, end_us)
            if len(within):
                self.rows += len(within)
                yield within
            if int(page.time_us[-1]) >= end_us:
                return
            first = int(page.id[-1]) + 1

    def between(self, first: int, stop: int) -> Iterator[Trades]:
        """Rows with first <= id < stop, as far as there are any."""
        while first < stop:
            try:
                page = self._page(first)
            except GiveUp as error:
                self.refusal = str(error)
                return
            page = page[page.id < stop]
            if not len(page):
                return
            self.rows += len(page)
            yield page
            first = int(page.id[-1]) + 1

    def _page(self, first: int) -> Trades:
        """Asked for twice where it is empty. Raises RetryLater for ids before `first`."""
        for again in range(_TIMES_ASKED):
            self.requests += 1
            page = self.exchange.page(self.symbol, self.layout.source, first)
            if len(page) or again:
                break
        if len(page) and page.id[0] < first:
            raise RetryLater(f"{self.symbol}: trades from before those that were asked for", 5.0)
        return page


def is_of_who_has_a_key(layout: Layout) -> bool:
    """Whether the API gives these rows only to who has a key."""
    return layout.source is TradeSource.TRADES and layout.market.has_funding
