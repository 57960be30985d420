"""A simulated market whose coins are born and die: for what must know the dead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from alphamill.frames import Interval, Market, Month
from alphamill.sim.market import Bars, Coin, SyntheticMarket, SyntheticSource, coins_named


class MortalMarket:
    """The synthetic market, each coin in its months alone and traded by its own measure.

    lives: symbol -> (its first month or day's open, the end of its bars, quote units an hour).
    """

    def __init__(
        self,
        lives: Mapping[str, tuple[int, int, float]],
        interval: Interval = Interval.D1,
        seed: int = 7,
    ) -> None:
        starts, ends = ([life[at] for life in lives.values()] for at in (0, 1))
        coins: Sequence[Coin] = tuple(
            replace(coin, hour_quote_volume=lives[coin.symbol][2])
            for coin in coins_named(list(lives))
        )
        self._lives = lives
        self._source = SyntheticSource(
            SyntheticMarket(
                seed=seed,
                coins=coins,
                interval=interval,
                start_ms=min(starts),
                end_ms=max(ends),
                planted=(),
            )
        )
        self._cut: dict[tuple[Market, str, Interval], Bars | None] = {}
        self.symbols, self.intervals = self._source.symbols, self._source.intervals
        self.funding = self._source.funding

    def bars(self, market: Market, symbol: str, interval: Interval) -> Bars | None:
        """Those that open while the coin lives."""
        where = market, symbol, interval
        if where not in self._cut:
            bars = self._source.bars(*where)
            if bars is not None and symbol in self._lives:
                start_ms, end_ms, _ = self._lives[symbol]
                first, stop = bars.start_at(start_ms), bars.start_at(end_ms)
                bars = Bars(*(getattr(bars, one.name)[first:stop] for one in fields(bars)))
            self._cut[where] = bars
        return self._cut[where]

    def describe(self) -> Mapping[str, Any]:
        """As the market that it is cut from."""
        return self._source.describe()


def life(first: str, last: str, hour_quote_volume: float = 1e6) -> tuple[int, int, float]:
    """From the first month to the end of the last: life("2023-01", "2023-06")."""
    return Month.parse(first).start_ms, Month.parse(last).end_ms, hour_quote_volume
