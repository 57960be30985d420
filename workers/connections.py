"""Connections of a worker process to Redis, to exchanges and to lakes, without what asks models.

A process that asks none, as the one that follows lives, is spared the 5 MB of code that does.
"""

from __future__ import annotations

from functools import cached_property

from alphamill.clock import SystemClock
from alphamill.frames import Market, Wide
from alphamill.lake import Lake
from alphamill.limits import ExchangeGate, RedisLimiter, binance_pool, data_pool, funding_pool
from alphamill.market import (
    Archive,
    Binance,
    BinanceFunding,
    BinanceMetrics,
    BinancePrices,
    BinanceTrades,
)
from alphamill.market.klines.of import PRICES_OF
from alphamill.redis_address import open_as
from alphamill.redis_pipelining import PipelinedRedis
from alphamill.settings import Settings

MAX_WAIT_S = 2.0
"""How long a thread sleeps for its turn: meanwhile nobody else can use it, and longer waits go back
to the queue."""
# But a job of many pages begins anew when it goes back, and the last tenth of each of the
# exchange's windows may be empty (pace and guard): waiting it out saves the pages.
_WINDOW_END_FRAC = 0.15
_FIRST_WEIGHT_LIMIT = 1200  # until exchangeInfo has told the real one


class Connections:
    """Of one process. Thread-safe; each opens on first use, and so after a fork."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = SystemClock()
        self._exchanges: dict[Market, Binance] = {}
        self._fundings: dict[Market, BinanceFunding] = {}
        self._metrics: dict[Market, BinanceMetrics] = {}
        self._archives: dict[str, Archive] = {}
        self._lakes: dict[str, Lake] = {}

    @cached_property
    def redis(self) -> PipelinedRedis:
        return open_as(
            PipelinedRedis,
            self.settings.redis_url,
            socket_timeout=30,
            socket_connect_timeout=5,
            socket_keepalive=True,
            health_check_interval=25,
        )

    @cached_property
    def limiter(self) -> RedisLimiter:
        return RedisLimiter(self.redis)

    @property
    def _patience_s(self) -> float:
        """How long a thread sleeps for its turn at the exchange."""
        return max(MAX_WAIT_S, _WINDOW_END_FRAC * self.settings.binance.window_s)

    def exchange(self, market: Market) -> Binance:
        """The client of a market, paced over all workers of this egress."""
        found = self._exchanges.get(market)
        if found is None:
            binance = self.settings.binance
            pool = binance_pool(binance, market, _FIRST_WEIGHT_LIMIT)
            gate = ExchangeGate(self.limiter, pool, binance.weight_frac, self._patience_s)
            found = Binance(market, binance.url(market), gate, self.clock, binance.timeout_s)
            found = self._exchanges.setdefault(market, found)
        return found

    def funding(self, market: Market) -> BinanceFunding:
        """Past funding of a futures market: its client, with fundingRate's own limit beside."""
        found = self._fundings.get(market)
        if found is None:
            binance = self.settings.binance
            pool = funding_pool(binance, market, _FIRST_WEIGHT_LIMIT)
            gate = ExchangeGate(self.limiter, pool, binance.weight_frac, self._patience_s)
            found = BinanceFunding(self.exchange(market), gate)
            found = self._fundings.setdefault(market, found)
        return found

    def prices(self, market: Market, kind: Wide) -> BinancePrices:
        """Klines of a kind of price of a futures market, by its client."""
        return BinancePrices(self.exchange(market), PRICES_OF[kind])

    def metrics(self, market: Market) -> BinanceMetrics:
        """Metrics of a futures market: its client, with the limit of /futures/data beside."""
        found = self._metrics.get(market)
        if found is None:
            binance = self.settings.binance
            pool = data_pool(binance, market, _FIRST_WEIGHT_LIMIT)
            gate = ExchangeGate(self.limiter, pool, binance.weight_frac, self._patience_s)
            found = BinanceMetrics(self.exchange(market), market, gate)
            found = self._metrics.setdefault(market, found)
        return found

    def trades(self, market: Market) -> BinanceTrades:
        """Past trades of a market: its client, under the market's own limit."""
        return BinanceTrades(self.exchange(market), market)

    def archive(self, market: Market) -> Archive | None:
        """The archive of a market, if it is to be used."""
        binance = self.settings.binance
        url = binance.archive_for(binance.url(market))
        if not url:
            return None
        if url not in self._archives:
            self._archives.setdefault(url, Archive(url, self.clock, binance.timeout_s))
        return self._archives[url]

    def lake(self, uri: str) -> Lake:
        """The lake at `uri`."""
        return self._lakes.setdefault(uri, Lake(uri))
