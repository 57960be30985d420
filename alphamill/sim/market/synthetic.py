"""A seeded synthetic market behind the simulated exchange."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from alphamill.frames import IntArray, Interval, Market, Wide
from alphamill.sim.market.bars import Bars, Settlements, resample
from alphamill.sim.market.beside import Metrics, metrics_of, prices_of
from alphamill.sim.market.coins import SyntheticMarket
from alphamill.sim.market.instruments import Instrument, others
from alphamill.sim.market.price_paths import generate

_HOUR_MS = 3_600_000
_STAMPED_WITHIN_MS = 30  # a settlement is stamped up to so long after its hour
_USUAL_RATE, _MOST = 0.0001, 0.02
_DIVIDEND = -0.0013  # of the position, times 1 to 7
# Hours between settlements in the first and in the second half of a contract's life.
_HOURS = ((8, 8), (8, 4), (4, 1), (8, 8))


class SyntheticSource:
    """The market served as spot, as USD-M and, under names like BTCUSD_PERP, as COIN-M.

    Longer intervals than the market's own are summed from it; shorter ones do not exist.
    What a wide market has beside its coins comes after them.
    """

    def __init__(self, market: SyntheticMarket) -> None:
        self.market = market
        self._bars = generate(market)
        self._others = others(market, self._bars) if market.wide else {}
        self._funding: dict[tuple[Market, str], Settlements] = {}
        self._metrics: dict[tuple[Market, str], Metrics | None] = {}
        self._prices: dict[tuple[Market, str, Wide, Interval], Bars] = {}
        self._derived: dict[tuple[bool, str, Interval], Bars] = {}

    def symbols(self, market: Market) -> Sequence[str]:
        """In the order of the coins."""
        if market is not Market.COIN_M:
            return [*self._bars, *self._others.get(market, ())]
        return [_coin_margined_name(name) for name in self._bars if name.endswith("USDT")]

    def intervals(self, market: Market, symbol: str) -> Sequence[Interval]:
        """The market's own interval and every longer one that it divides; days make up months."""
        own = self.market.interval
        if symbol not in self.symbols(market):
            return []
        fixed = [other for other in Interval if other is not Interval.MO1]
        found = [other for other in fixed if other.ms >= own.ms and other.ms % own.ms == 0]
        return [*found, Interval.MO1] if Interval.D1 in found else found

    def bars(self, market: Market, symbol: str, interval: Interval) -> Bars | None:
        """All bars of the symbol, or None."""
        if interval not in self.intervals(market, symbol):
            return None
        coin_margined = market is Market.COIN_M
        name = symbol.replace("USD_PERP", "USDT") if coin_margined else symbol
        key = (coin_margined, name, interval)
        if key not in self._derived:
            bars = self._bars[name] if name in self._bars else self._others[market][name]
            if interval is not self.market.interval:
                bars = resample(bars, interval)
            self._derived[key] = _coin_margined(name, bars) if coin_margined else bars
        return self._derived[key]

    def funding(self, market: Market, symbol: str) -> Settlements | None:
        """Of the perpetuals of both futures markets, on the bars' own hours."""
        bars = self.bars(market, symbol, self.market.interval)
        dated = Instrument.named(symbol).delivery_ms is not None
        if bars is None or not market.has_funding or dated or not len(bars):
            return None
        if (market, symbol) not in self._funding:
            regular = _settlements(symbol, bars, self.market.seed)
            every = self.market.special_funding
            self._funding[market, symbol] = _with_dividends(regular, every) if every else regular
        return self._funding[market, symbol]

    def metrics(self, market: Market, symbol: str) -> Metrics | None:
        """Of every contract of both futures markets, every five minutes."""
        bars = self.bars(market, symbol, self.market.interval)
        if bars is None or not market.has_funding:
            return None
        if (market, symbol) not in self._metrics:
            made = metrics_of(bars, self.market.interval.ms, market, symbol, self.market.seed)
            self._metrics[market, symbol] = made
        return self._metrics[market, symbol]

    def prices(self, market: Market, symbol: str, kind: Wide, interval: Interval) -> Bars | None:
        """Of every contract of both futures markets, at the intervals of its bars."""
        own = self.bars(market, symbol, self.market.interval)
        if own is None or not market.has_funding or interval not in self.intervals(market, symbol):
            return None
        key = (market, symbol, kind, interval)
        if key not in self._prices:
            made = prices_of(own, kind, symbol, self.market.seed)
            self._prices[key] = (
                made if interval is self.market.interval else resample(made, interval)
            )
        return self._prices[key]

    def describe(self) -> Mapping[str, Any]:
        """Seed, range and the planted factors: what a search over this market should find."""
        market = self.market
        return {
            "kind": "synthetic",
            "seed": market.seed,
            "interval": str(market.interval),
            "symbols": list(self._bars),
            "start_ms": market.start_ms,
            "end_ms": market.start_ms + market.n_bars * market.interval.ms,
            "planted": [asdict(planted) for planted in market.planted],
        }


def _coin_margined_name(symbol: str) -> str:
    return symbol.removesuffix("USDT") + "USD_PERP"


def _coin_margined(symbol: str, bars: Bars) -> Bars:
    """Volumes in contracts (100 USD for BTC, 10 for others), quote columns in coins."""
    contract_usd = 100 if symbol == "BTCUSDT" else 10
    return replace(
        bars,
        volume=np.rint(bars.quote_volume / contract_usd),
        quote_volume=bars.volume,
        taker_buy_base=np.rint(bars.taker_buy_quote / contract_usd),
        taker_buy_quote=bars.taker_buy_base,
    )


def _settlements(symbol: str, bars: Bars, seed: int) -> Settlements:
    """Settlements from the first bar to the last one's end, as irregular as the exchange's.

    Some contracts change their interval half way; rates lean to what longs usually pay.
    """
    tag = zlib.crc32(symbol.encode())
    rng = np.random.Generator(np.random.PCG64([seed, tag]))
    times, hours = _hours(bars, *_HOURS[tag % len(_HOURS)])
    noise = sum(rng.random(len(times)) for _ in range(4)) - 2.0
    rate = np.clip(np.round(_USUAL_RATE + 0.0004 * noise, 8), -_MOST, _MOST)
    stamps = times + rng.integers(0, _STAMPED_WITHIN_MS, len(times))
    at = np.maximum(np.searchsorted(bars.open_ms, times, side="right") - 1, 0)
    return Settlements(stamps, rate, hours, bars.open[at], np.zeros(len(stamps), dtype=bool))


def _with_dividends(regular: Settlements, every: int) -> Settlements:
    """With a Special payment to those who are long behind every n-th settlement, at its time."""
    paid = np.arange(len(regular)) % every == every - 1
    rows = np.repeat(np.arange(len(regular)), 1 + paid)
    special = np.append(False, rows[1:] == rows[:-1])[: len(rows)]
    dividend = np.round(_DIVIDEND * (1 + np.arange(len(rows)) % 7), 8)
    return Settlements(
        regular.stamp_ms[rows],
        np.where(special, dividend, regular.rate[rows]),
        regular.hours[rows],
        regular.mark[rows],
        special,
    )


def _hours(bars: Bars, before: int, after: int) -> tuple[IntArray, IntArray]:
    """When funding is settled, and the hours since the settlement before."""
    first, last = int(bars.open_ms[0]), int(bars.open_ms[-1] + np.diff(bars.open_ms[-2:]).sum())
    day_ms = 24 * _HOUR_MS
    middle = (first + (last - first) // 2) // day_ms * day_ms
    early = np.arange(-(-first // day_ms) * day_ms, middle, before * _HOUR_MS, dtype=np.int64)
    late = np.arange(middle, last + 1, after * _HOUR_MS, dtype=np.int64)
    times = np.concatenate((early, late))
    hours = np.concatenate((np.full(len(early), before), np.full(len(late), after)))
    if len(early) and len(late):
        hours[len(early)] = before  # the first of the new interval ends one of the old
    return times, hours.astype(np.int64)
