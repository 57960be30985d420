"""What a synthetic market is made of: coins, range, interval, seed, planted factors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.frames import Interval
from alphamill.sim.market.bars import opens_ms
from alphamill.sim.market.planted import DEFAULT_PLANTED, WARMUP_BARS, PlantedFactor

DEFAULT_START_MS = 1_672_531_200_000  # 2023-01-01
DEFAULT_END_MS = 1_706_745_600_000  # 2024-02-01


@dataclass(frozen=True, slots=True)
class Coin:
    """The character of one synthetic symbol."""

    symbol: str
    price: float  # at the start
    price_decimals: int
    hour_volatility: float  # usual standard deviation of an hour's return of its own
    beta: float  # to the common factor
    hour_quote_volume: float  # usual quote units an hour


COINS = (
    Coin("BTCUSDT", 16_540.0, 2, 0.0030, 0.8, 60e6),
    Coin("ETHUSDT", 1_196.0, 2, 0.0036, 1.0, 30e6),
    Coin("BNBUSDT", 246.0, 1, 0.0036, 0.9, 8e6),
    Coin("SOLUSDT", 9.96, 3, 0.0060, 1.3, 9e6),
    Coin("XRPUSDT", 0.339, 5, 0.0048, 1.0, 10e6),
    Coin("ADAUSDT", 0.246, 5, 0.0048, 1.1, 4e6),
    Coin("DOGEUSDT", 0.0702, 6, 0.0052, 1.1, 6e6),
    Coin("LTCUSDT", 70.1, 3, 0.0045, 1.0, 4e6),
    Coin("LINKUSDT", 5.57, 4, 0.0052, 1.1, 2e6),
    Coin("DOTUSDT", 4.32, 4, 0.0048, 1.1, 2e6),
    Coin("AVAXUSDT", 10.9, 4, 0.0056, 1.2, 2e6),
    Coin("TRXUSDT", 0.0546, 6, 0.0034, 0.7, 2e6),
)


@dataclass(frozen=True, slots=True)
class SyntheticMarket:
    """What to generate. `planted` empty gives a market in which nothing predicts anything.

    start_ms: of the first trade; it becomes the open of the bar that holds it.
    wide: beside the coins, which stay as they are to the bit, trade a coin whose name is of another
    script and, on USD-M, a TradFi perpetual and a quarterly contract.
    special_funding: every n-th settlement of a contract has a Special payment beside it, as for a
    stock's dividend; 0 for none.
    """

    seed: int = 7
    coins: Sequence[Coin] = COINS
    interval: Interval = Interval.H1
    start_ms: int = DEFAULT_START_MS
    end_ms: int = DEFAULT_END_MS
    planted: Sequence[PlantedFactor] = DEFAULT_PLANTED
    wide: bool = False
    special_funding: int = 0

    def __post_init__(self) -> None:
        if self.interval is Interval.MO1:
            raise ValueError("bars of a month are not generated")
        first = opens_ms(np.array([self.start_ms], dtype=np.int64), self.interval)
        object.__setattr__(self, "start_ms", int(first[0]))
        longest = max((planted.horizon_bars for planted in self.planted), default=0)
        needed = 4 * (WARMUP_BARS + longest)
        if self.planted and (len(self.coins) < 3 or self.n_bars < needed):
            raise ValueError(f"planted factors need 3 symbols and {needed} bars")

    @property
    def n_bars(self) -> int:
        """Bars whose open lies in [start_ms, end_ms)."""
        return max(0, -(-(self.end_ms - self.start_ms) // self.interval.ms))


def coins_named(symbols: Sequence[str], seed: int = 7) -> tuple[Coin, ...]:
    """The default coins by name; another name gets a character drawn from seed and place."""
    known = {coin.symbol: coin for coin in COINS}
    draws = np.random.Generator(np.random.PCG64([seed, 1])).random((len(symbols), 4))
    return tuple(
        known.get(symbol)
        or Coin(
            symbol,
            price=float(np.round(0.5 + 20 * a * a, 4)),
            price_decimals=4,
            hour_volatility=0.003 + 0.003 * b,
            beta=0.7 + 0.6 * c,
            hour_quote_volume=1e6 + 5e6 * d,
        )
        for symbol, (a, b, c, d) in zip(symbols, draws.tolist(), strict=True)
    )
