"""Binance's REST API for past funding, under its own limit beside the request weight."""

from __future__ import annotations

from functools import partial

import pyarrow as pa

from alphamill.errors import RetryLater
from alphamill.frames import TimeRange, rows_within, times_ms
from alphamill.market.binance import Binance
from alphamill.market.exchange import RequestGate
from alphamill.market.funding.parse import parse_funding

PAGE_ROWS = 1000
_WEIGHT = 1  # the documentation counts requests; the API counts weight as well


class BinanceFunding:
    """A `FundingExchange` over a futures market's client; safe to share between threads.

    gate: passes a request only if the market's weight and the limit of fundingRate have room.
    """

    def __init__(self, api: Binance, gate: RequestGate) -> None:
        self._api = api
        self._gate = gate

    def reached_ms(self, wanted_ms: int) -> int:
        """See `Binance.reached_ms`."""
        return self._api.reached_ms(wanted_ms)

    def page(self, symbol: str, start_ms: int, end_ms: int) -> pa.Table:
        """GET {prefix}/fundingRate, "Get Funding Rate History"; 500 requests in 5 minutes.

        That limit is an address's, shared with fundingInfo. The oldest 1000 settlements stamped
        start_ms <= t < end_ms, ascending. Raises GiveUp for a symbol that the exchange does not
        have, RetryLater for all that may pass.
        """
        self._gate.configure(self._api.weight_limit())
        query: dict[str, str | int] = {
            "symbol": symbol,
            "startTime": start_ms,
            "endTime": end_ms - 1,
            "limit": PAGE_ROWS,
        }
        read = partial(parse_funding, symbol=symbol)
        table = self._api.ask("/fundingRate", query, _WEIGHT, read, self._gate)
        times = times_ms(table)
        if times.size and times[0] < start_ms:
            raise RetryLater(f"{symbol}: funding from before the range that was asked for", 5.0)
        return rows_within(table, TimeRange(start_ms, end_ms))
