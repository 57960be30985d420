"""Binance's REST API for past trades, in pages by id.

Pages by time lose trades: the next page's start cuts a millisecond in two or repeats it. On futures
the API reaches 48 hours back, and individual trades by id are only for who has a key.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

import msgspec

from alphamill.bars import Layout, Trades, TradeSource
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Market
from alphamill.market.binance import Binance
from alphamill.market.venues import VENUES

PAGE_ROWS = 1000
LOOK_BACK_MS = 48 * 3_600_000  # of futures; 24 h until 2026-08-13
_ROWS = msgspec.json.Decoder(list[dict[str, Any]])


class TradeExchange(Protocol):
    """Past trades of one market. Any call may raise RetryLater, GiveUp or Misconfigured."""

    def reached_ms(self, wanted_ms: int) -> int:
        """A time that the exchange's clock has reached; asked anew if it is before `wanted_ms`."""

    def onboard_ms(self, symbol: str) -> int | None:
        """When it was listed, where the exchange says so. Raises GiveUp for an unknown symbol."""

    def contract_usd(self, symbol: str) -> int | None:
        """What a contract of COIN-M is worth, in US dollars; None where nobody says, as of spot."""

    def aggregates_since(self, symbol: str, start_ms: int) -> Trades:
        """The oldest page of those whose first fill was at `start_ms` or later; may be empty."""

    def page(self, symbol: str, source: TradeSource, from_id: int) -> Trades:
        """The page that begins with the first id that is `from_id` or above; may be empty."""


class BinanceTrades:
    """A `TradeExchange` over a market's client; safe to share between threads."""

    def __init__(self, api: Binance, market: Market) -> None:
        self._api = api
        self._market = market
        self._venue = VENUES[market]

    def reached_ms(self, wanted_ms: int) -> int:
        """See `Binance.reached_ms`."""
        return self._api.reached_ms(wanted_ms)

    def onboard_ms(self, symbol: str) -> int | None:
        """From exchangeInfo; see the Protocol."""
        info = self._api.symbols().get(symbol)
        return info.onboard_ms if info else None

    def contract_usd(self, symbol: str) -> int | None:
        """From exchangeInfo, which no longer has contracts that were removed."""
        info = self._api.symbols().get(symbol)
        return info.contract_usd if info else None

    def aggregates_since(self, symbol: str, start_ms: int) -> Trades:
        """GET {prefix}/aggTrades, "Compressed/Aggregate trades list"; weight 4, futures 20."""
        return self._aggregates({"symbol": symbol, "startTime": start_ms, "limit": PAGE_ROWS})

    def page(self, symbol: str, source: TradeSource, from_id: int) -> Trades:
        """GET {prefix}/aggTrades; on spot GET {prefix}/historicalTrades, "Old trade lookup", 25.

        Raises GiveUp for individual trades of futures, whose historicalTrades wants a key.
        """
        query: dict[str, str | int] = {"symbol": symbol, "fromId": from_id, "limit": PAGE_ROWS}
        if source is TradeSource.AGG_TRADES:
            return self._aggregates(query)
        if self._venue.old_trades_weight is None:
            raise GiveUp(f"{symbol}: the API has no individual trades of {self._market} to page")
        read = partial(self._read, source, symbol)
        return self._api.ask("/historicalTrades", query, self._venue.old_trades_weight, read)

    def _aggregates(self, query: dict[str, str | int]) -> Trades:
        read = partial(self._read, TradeSource.AGG_TRADES, str(query["symbol"]))
        return self._api.ask("/aggTrades", query, self._venue.agg_trades_weight, read)

    def _read(self, source: TradeSource, symbol: str, body: bytes) -> Trades:
        from alphamill.bars import parse_trade_rows  # compiled code, for who has trades to read

        try:
            page = parse_trade_rows(_ROWS.decode(body), Layout(self._market, source))
        except (ValueError, msgspec.MsgspecError) as error:
            raise RetryLater(f"{symbol}: malformed {source} ({error})", 5.0) from error
        if (page.id[1:] <= page.id[:-1]).any():
            raise RetryLater(f"{symbol}: {source} out of order", 5.0)
        return page
