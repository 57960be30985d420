"""The simulated exchange's trades without sockets: an API and an archive for `TradeHistory`."""

import io
import json
from contextlib import contextmanager

from alphamill.bars import Layout, TradeSource, parse_trade_rows
from alphamill.clock import ManualClock
from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market
from alphamill.market.archive import Damaged, PutAside
from alphamill.sim.exchange import FUTURES_STREAMS, ArchiveFault, Limits
from alphamill.sim.exchange.api import ExchangeApi
from alphamill.sim.exchange.archive import SimulatedArchive
from alphamill.sim.market import DEFAULT_START_MS, SyntheticMarket, SyntheticSource
from alphamill.sim.market.coins import Coin

DAY = 86_400_000
START = DEFAULT_START_MS + 24 * DAY  # 2023-01-25: the month's file is small
PREFIXES = {Market.SPOT: "/api/v3", Market.USD_M: "/fapi/v1", Market.COIN_M: "/dapi/v1"}
BURNED = {Market.USD_M: FUTURES_STREAMS.burned_frac, Market.COIN_M: FUTURES_STREAMS.burned_frac}
# Some sixty trades an hour, in which some aggregates are several.
SMALL = Coin("TRXUSDT", 0.055, 5, 0.006, 1.0, 100_000.0)


def small_market(days=8, start_ms=START, interval=Interval.H1):
    """One coin of few trades."""
    end_ms = start_ms + days * DAY
    return SyntheticSource(
        SyntheticMarket(
            coins=(SMALL,), interval=interval, planted=(), start_ms=start_ms, end_ms=end_ms
        )
    )


class SimTrades:
    """A `TradeExchange` and a `TradeArchive` over a source; remembers what it was asked.

    refuses: raised by every page of the API. faults: as of --archive-fault.
    """

    def __init__(self, source, market, now_ms, faults=(), refuses=None):
        self.market, self.refuses = market, refuses
        self.clock = ManualClock(now_ms)
        limits = dict.fromkeys(Market, Limits(weight=10**9, requests=None))
        self.api = ExchangeApi(source, limits, self.clock.now_ms, burned_fracs=BURNED)
        found = tuple(map(ArchiveFault.parse, faults))
        self.files = SimulatedArchive(source, self.clock.now_ms, found, BURNED)
        self.queries, self.stems = [], []
        self.contracts_usd = {}

    def reached_ms(self, wanted_ms):
        return self.clock.now_ms()

    def onboard_ms(self, symbol):
        if self.refuses:
            raise self.refuses
        return START

    def contract_usd(self, symbol):
        return self.contracts_usd.get(symbol)

    def aggregates_since(self, symbol, start_ms):
        return self._ask("aggTrades", symbol, startTime=start_ms)

    def page(self, symbol, source, from_id):
        name = "aggTrades" if source is TradeSource.AGG_TRADES else "historicalTrades"
        return self._ask(name, symbol, fromId=from_id)

    def _ask(self, name, symbol, **query):
        self.queries.append((name, *query.items()))
        if self.refuses:
            raise self.refuses
        pairs = [("symbol", symbol), ("limit", "1000"), *((k, str(v)) for k, v in query.items())]
        reply = self.api.reply(f"{PREFIXES[self.market]}/{name}", pairs, "1.2.3.4")
        told = json.loads(reply.body)
        if reply.status != 200:
            raise GiveUp(told["msg"])
        source = TradeSource.AGG_TRADES if name == "aggTrades" else TradeSource.TRADES
        return parse_trade_rows(told, Layout(self.market, source))

    @contextmanager
    def put_aside(self, file):
        self.stems.append(file.stem)
        content, said = (self.files.body(f"/{file.path}{end}") for end in ("", ".CHECKSUM"))
        if content is None:
            yield None
            return
        sha256 = said.decode().split()[0] if said else ""
        yield PutAside(file.stem, io.BytesIO(content), said is not None, sha256)


class Taken:
    """A reader that keeps every piece, and refuses ids that descend as a builder does."""

    def __init__(self):
        self.pieces = []

    def add(self, trades):
        if len(trades):
            self.pieces.append(trades)

    @property
    def ids(self):
        return [number for piece in self.pieces for number in piece.id.tolist()]


__all__ = ["DAY", "SMALL", "START", "Damaged", "SimTrades", "Taken", "small_market"]
