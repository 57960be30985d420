"""What recordings lack, made of what they have: daily bars, counts of trades, takers' shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from alphamill.frames import FloatArray, Interval, Market, Wide
from alphamill.sim.market.bars import Bars, Settlements, resample
from alphamill.sim.market.recordings import ReplaySource

_DAY_MS = 86_400_000
_QUOTE_A_TRADE = 2_000.0  # of quote units, a made-up count of trades is of
_MOST_TRADES = 50_000
_DECIMALS = 8
_INTERVALS = tuple(Interval)  # shortest first


class DerivedSource:
    """A replay with what it lacks.

    Daily bars are made of the longest recorded bars below a day, of the hours that are there. Where
    a recording has no takers at all their share of a bar is between 0.3 and 0.7 and depends on its
    opening alone; where it counts no trades there is one for every 2,000 quote units, and two at
    least. These are made up: what is found in them was never in the market.
    """

    def __init__(self, recorded: ReplaySource) -> None:
        self._recorded = recorded
        self._made: dict[tuple[Market, str, Interval], Bars | None] = {}

    def symbols(self, market: Market) -> Sequence[str]:
        """Recorded symbols, sorted."""
        return self._recorded.symbols(market)

    def intervals(self, market: Market, symbol: str) -> Sequence[Interval]:
        """Recorded intervals and the day, shortest first."""
        recorded = self._recorded.intervals(market, symbol)
        daily = [Interval.D1] if self._of_a_day(market, symbol) else []
        return sorted({*recorded, *daily}, key=_INTERVALS.index)

    def bars(self, market: Market, symbol: str, interval: Interval) -> Bars | None:
        """The recording with what it lacks, daily bars where there are shorter ones, or None."""
        key = (market, symbol, interval)
        if key not in self._made:
            self._made[key] = self._bars(*key)
        return self._made[key]

    def funding(self, market: Market, symbol: str) -> Settlements | None:
        """As recorded."""
        return self._recorded.funding(market, symbol)

    def metrics(self, market: Market, symbol: str) -> None:
        """None: recordings have none."""
        return self._recorded.metrics(market, symbol)

    def prices(self, market: Market, symbol: str, kind: Wide, interval: Interval) -> None:
        """None: recordings have none."""
        return self._recorded.prices(market, symbol, kind, interval)

    def describe(self) -> Mapping[str, Any]:
        """As recorded, and that something was made up."""
        return {**self._recorded.describe(), "derived": True}

    def _bars(self, market: Market, symbol: str, interval: Interval) -> Bars | None:
        found = self._recorded.bars(market, symbol, interval)
        if found is not None:
            return with_takers(found)
        shorter = self._of_a_day(market, symbol) if interval is Interval.D1 else None
        bars = self.bars(market, symbol, shorter) if shorter else None
        return resample(bars, Interval.D1) if bars is not None and len(bars) else None

    def _of_a_day(self, market: Market, symbol: str) -> Interval | None:
        """The longest recorded interval below a day."""
        below = [one for one in self._recorded.intervals(market, symbol) if one.ms < _DAY_MS]
        return below[-1] if below else None


def with_takers(bars: Bars) -> Bars:
    """The bars with trades and takers, where the recording has none at all."""
    traded = bars.volume > 0
    if not bars.trades.any():
        count = np.clip(np.ceil(bars.quote_volume / _QUOTE_A_TRADE), 2, _MOST_TRADES)
        bars = replace(bars, trades=np.where(traded, count, 0).astype(np.int64))
    if not bars.taker_buy_base.any():
        phase = np.sin(bars.open_ms / 3_600_000 * 12.9898) * 43_758.5453
        share = 0.3 + 0.4 * (phase - np.floor(phase))
        base = np.round(bars.volume * share, _decimals(bars.volume))
        price = np.divide(bars.quote_volume, bars.volume, out=np.zeros(len(bars)), where=traded)
        quote = np.round(base * price, _DECIMALS)
        bars = replace(bars, taker_buy_base=base, taker_buy_quote=quote)
    return bars


def _decimals(values: FloatArray) -> int:
    """As few as tell the values apart from their rounding, 8 at most."""
    for digits in range(_DECIMALS):
        if np.array_equal(np.round(values, digits), values):
            return digits
    return _DECIMALS
