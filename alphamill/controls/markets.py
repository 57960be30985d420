"""Synthetic markets with the faults of real ones: late listings, delistings, outages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alphamill.clock import ManualClock
from alphamill.frames import KLINES, Interval, Panel
from alphamill.market import FakeExchange
from alphamill.sim.market import (
    COINS,
    DEFAULT_START_MS,
    Bars,
    PlantedFactor,
    SyntheticMarket,
    coins_named,
    generate,
)

_COLLAPSE = 0.4  # of its price is left to a delisted coin at its last close
_OUTAGE_BARS = 3
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class ControlMarket:
    """One market. Equal fields give equal bars.

    planted: empty for pure noise. ragged: of every twelve coins one is listed late and one
    collapses and is delisted; all miss the bars of one outage, some miss a bar of their own.
    """

    seed: int
    n_symbols: int = 12
    n_bars: int = 2000
    planted: tuple[PlantedFactor, ...] = ()
    ragged: bool = True
    interval: Interval = Interval.H1

    @property
    def symbols(self) -> tuple[str, ...]:
        """The coins' names."""
        known = [coin.symbol for coin in COINS][: self.n_symbols]
        return (*known, *(f"C{number}USDT" for number in range(len(known), self.n_symbols)))

    @property
    def start_ms(self) -> int:
        """Open time of the first bar."""
        return DEFAULT_START_MS

    @property
    def end_ms(self) -> int:
        """Close time of the last bar."""
        return self.start_ms + self.n_bars * self.interval.ms

    def bars(self) -> dict[str, Bars]:
        """Bars by symbol, as an exchange would have published them."""
        whole = generate(
            SyntheticMarket(
                seed=self.seed,
                coins=coins_named(self.symbols, self.seed),
                interval=self.interval,
                start_ms=self.start_ms,
                end_ms=self.end_ms,
                planted=self.planted,
            )
        )
        return _torn(whole, self.seed) if self.ragged else whole


def _torn(whole: Mapping[str, Bars], seed: int) -> dict[str, Bars]:
    rng = np.random.Generator(np.random.PCG64([seed, 2]))
    n_bars = len(next(iter(whole.values())))
    order = rng.permutation(len(whole))
    few = max(1, len(whole) // 12)
    late, gone = set(order[:few].tolist()), set(order[few : 2 * few].tolist())
    outage = int(n_bars * rng.uniform(0.1, 0.9))
    torn = {}
    for position, (symbol, bars) in enumerate(whole.items()):
        kept = np.ones(n_bars, dtype=bool)
        kept[outage : outage + _OUTAGE_BARS] = False
        if rng.random() < 0.5:
            kept[int(n_bars * rng.random())] = False
        last = int(n_bars * rng.uniform(0.3, 0.95))
        if position in late:
            kept[: int(n_bars * rng.uniform(0.05, 0.3))] = False
        if position in gone:
            kept[last + 1 :] = False
            kept[last] = True
        torn[symbol] = _at(_collapsed(bars, last) if position in gone else bars, kept)
    return torn


def _collapsed(bars: Bars, last: int) -> Bars:
    """The bars with a close at `last` that nobody could have known."""
    close, low = bars.close.copy(), bars.low.copy()
    close[last] *= _COLLAPSE
    low[last] = min(low[last], close[last])
    return replace(bars, close=close, low=low)


def _at(bars: Bars, kept: NDArray[np.bool_]) -> Bars:
    return Bars(*(getattr(bars, name)[kept] for name in Bars.__dataclass_fields__))


def klines_of(bars: Bars, interval: Interval) -> pa.Table:
    """KLINES of one symbol's bars."""
    columns = {
        "open_time": bars.open_ms,
        "close_time": bars.open_ms + interval.ms - 1,
        **{name: getattr(bars, name) for name in KLINES.names if hasattr(bars, name)},
    }
    arrays = [
        pa.array(columns[entry.name]).cast(pa.int64()).cast(entry.type)
        if pa.types.is_timestamp(entry.type)
        else pa.array(columns[entry.name], entry.type)
        for entry in KLINES
    ]
    return pa.table(arrays, schema=KLINES)


def exchange_of(market: ControlMarket, bars: Mapping[str, Bars] | None = None) -> FakeExchange:
    """An exchange that lists the market, a day after its last bar. bars: as `panel_of`."""
    exchange = FakeExchange(ManualClock(market.end_ms + _DAY_MS))
    for symbol, own in (bars or market.bars()).items():
        exchange.add(symbol, market.interval, klines_of(own, market.interval))
    return exchange


def panel_of(market: ControlMarket, bars: Mapping[str, Bars] | None = None) -> Panel:
    """The market as one PANEL of its kline fields. bars: the market's, if they are at hand."""
    bars = bars or market.bars()
    times_ms = market.start_ms + market.interval.ms * np.arange(market.n_bars, dtype=np.int64)
    fields = {}
    for name in (entry.name for entry in KLINES if not pa.types.is_timestamp(entry.type)):
        values = np.full((market.n_bars, market.n_symbols), np.nan)
        for column, one in enumerate(bars.values()):
            rows = (one.open_ms - market.start_ms) // market.interval.ms
            values[rows, column] = getattr(one, name)
        fields[name] = values
    return Panel(market.interval, times_ms, tuple(bars), fields)
