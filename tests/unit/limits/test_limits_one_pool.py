"""Runs on both futures markets against an exchange that counts them together, in virtual time."""

import json

import pytest
from requests.structures import CaseInsensitiveDict

from alphamill.clock import ManualClock
from alphamill.frames import Market
from alphamill.limits import ExchangeGate, MemoryLimiter, binance_pool
from alphamill.market.replies import Reply
from alphamill.market.venues import VENUES
from alphamill.settings import BinanceSettings
from alphamill.sim.exchange import ExchangeConfig
from alphamill.sim.exchange.api import ExchangeApi
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named

HOUR = 3_600_000
START = 1_700_000_000_000
AMPLE = 1_000_000  # requests a minute
MINUTES = 5


@pytest.fixture(scope="module")
def source():
    coins, end_ms = coins_named(["BTCUSDT"]), START - START % HOUR
    market = SyntheticMarket(coins=coins, start_ms=end_ms - 600 * HOUR, end_ms=end_ms, planted=())
    return SyntheticSource(market)


class Fetching:
    """Pages of one market, one after the other, as its client sends and reports them."""

    def __init__(self, market, symbol, limiter, api, settings):
        self.venue, self.symbol, self.api = VENUES[market], symbol, api
        self.gate = ExchangeGate(limiter, binance_pool(settings, market, 1200), max_wait_s=120.0)
        info = json.loads(self.ask("exchangeInfo", [], self.venue.info_weight).body)
        self.gate.configure(info["rateLimits"][0]["limit"])

    def ask(self, endpoint, pairs, weight):
        slot = self.gate.reserve(weight)
        answer = self.api.reply(f"{self.venue.prefix}/{endpoint}", pairs, "1.2.3.4")
        reply = Reply(answer.status, answer.body, CaseInsensitiveDict(answer.headers))
        self.gate.observe(slot, reply.used_weight())
        return answer

    def page(self):
        page = self.venue.page(10_000)
        named = {"symbol": self.symbol, "interval": "1h", "limit": str(page.limit)}
        return self.ask("klines", list(named.items()), page.weight).status


@pytest.mark.parametrize(
    "urls",
    [{}, {"um_url": "http://127.0.0.1:80", "cm_url": "http://127.0.0.1/"}],
    ids=["the exchange's own hosts", "one other host"],
)
def test_both_markets_at_once_use_the_limit_and_none_is_refused(source, urls):
    clock, config = ManualClock(START), ExchangeConfig()
    limits = dict.fromkeys(Market, config.futures_limits)
    api, limiter = ExchangeApi(source, limits, clock.now_ms), MemoryLimiter(clock)
    settings = BinanceSettings(requests_per_minute=AMPLE, **urls)
    runs = [
        Fetching(Market.USD_M, "BTCUSDT", limiter, api, settings),
        Fetching(Market.COIN_M, "BTCUSD_PERP", limiter, api, settings),
    ]
    first_ms = (START // 60_000 + 1) * 60_000
    while clock.now_ms() < first_ms + MINUTES * 60_000:
        assert [run.page() for run in runs] == [200, 200]
    used = [w["weight"] for w in api.stats()["windows"] if w["start_ms"] >= first_ms][:MINUTES]
    assert len(used) == MINUTES
    assert min(used) >= 0.97 * 2400
    assert api.stats()["totals"]["refused"] == 0
