"""What a synthetic futures contract has beside its bars: metrics, mark price, index, premium.

All follows from the bars and a seed, the same bits on every platform. What is said of five minutes
follows from bars that were over when they ended, so nothing here tells of a bar to come.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from alphamill.frames import FloatArray, IntArray, Market, Wide
from alphamill.sim.market.bars import Bars, BoolArray

STEP_MS = 300_000
_DAY = 288  # steps
_LOST_ROWS, _LOST_DAYS = 331, 61  # the archive lacks one in so many
_DECIMALS = {"open_interest": 3, "open_interest_value": 8}
RATIOS = (
    "toptrader_account_ratio",
    "toptrader_position_ratio",
    "long_short_account_ratio",
    "taker_long_short_ratio",
)
PRICE_NAMES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class Metrics:
    """Of one contract; arrays of one length. open_ms: where five minutes begin, a step apart.

    values: by the lake's names; as the five minutes end, and of takers: in them. filed: whether the
    archive has the row, which is known for its holes.
    """

    open_ms: IntArray
    values: Mapping[str, FloatArray]
    filed: BoolArray

    def __len__(self) -> int:
        return len(self.open_ms)


def metrics_of(bars: Bars, bar_ms: int, market: Market, symbol: str, seed: int) -> Metrics | None:
    """From the first bar's end to the last one's; None for bars that are too few."""
    if len(bars) < 2:
        return None
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(symbol.encode()), 5]))
    opens = np.arange(
        int(bars.open_ms[0]) + bar_ms, int(bars.open_ms[-1]) + bar_ms, STEP_MS, dtype=np.int64
    )
    last = np.searchsorted(bars.open_ms, opens + STEP_MS - bar_ms, side="right") - 1  # that is over
    sold = np.maximum(bars.volume - bars.taker_buy_base, 1e-9)
    pressure = np.clip(bars.taker_buy_base / sold, 0.05, 20.0)[last]
    usual = 24 * float(np.mean(bars.volume))
    interest = usual * (1 + 0.6 * _drift(rng, len(opens)))
    inverse = market is Market.COIN_M
    interest = np.rint(interest) if inverse else np.round(interest, 3)
    price = bars.close[last]
    value = interest * (100 if symbol.startswith("BTC") else 10) / price if inverse else None
    levels = [1.5, 2.0, 1.2]
    values = {
        "open_interest": interest,
        "open_interest_value": np.round(interest * price if value is None else value, 8),
        **{
            name: np.round(level * (1 + 0.8 * _drift(rng, len(opens))), 8)
            for name, level in zip(RATIOS, levels, strict=False)
        },
        RATIOS[3]: np.round(pressure * (0.5 + rng.random(len(opens))), 8),
    }
    numbers = opens // STEP_MS
    tag = zlib.crc32(symbol.encode())
    lost = (numbers * 2_654_435_761 + tag) % _LOST_ROWS == 0
    lost |= (numbers // _DAY + tag) % _LOST_DAYS == 0
    return Metrics(opens, values, ~lost)


def _drift(rng: np.random.Generator, steps: int) -> FloatArray:
    """Between -1 and 1, mostly near 0, changing slowly: the mean of a day's uniform draws."""
    total = np.cumsum(np.concatenate(([0.0], rng.random(steps + _DAY))))
    mean: FloatArray = np.clip(8 * ((total[_DAY:-1] - total[: -_DAY - 1]) / _DAY - 0.5), -1, 1)
    return mean


def prices_of(bars: Bars, kind: Wide, symbol: str, seed: int, decimals: int = 8) -> Bars:
    """Bars of the mark price, the index or the premium index; no volume, samples in `trades`."""
    rng = np.random.Generator(np.random.PCG64([seed, zlib.crc32(symbol.encode()), 6]))
    premium = np.round(0.0006 * _drift(rng, len(bars)), 8)
    before = np.concatenate((premium[:1], premium[:-1]))
    spread = np.round(0.0002 * rng.random(len(bars)), 8)
    if kind is Wide.PREMIUM:
        prices = {
            "open": before,
            "high": np.round(np.maximum(before, premium) + spread, 8),
            "low": np.round(np.minimum(before, premium) - spread, 8),
            "close": premium,
        }
    else:
        apart = dict.fromkeys(PRICE_NAMES, 0.5 * premium if kind is Wide.MARK else premium)
        apart["open"] = 0.5 * before if kind is Wide.MARK else before
        prices = {
            name: np.round(getattr(bars, name) / (1 + apart[name]), decimals)
            for name in PRICE_NAMES
        }
        prices["high"] = np.maximum.reduce([prices[name] for name in PRICE_NAMES])
        prices["low"] = np.minimum.reduce([prices[name] for name in PRICE_NAMES])
    none = np.zeros(len(bars))
    step_ms = int(np.diff(bars.open_ms[:2]).sum()) or STEP_MS
    samples = np.full(len(bars), step_ms // 5000, dtype=np.int64)
    return Bars(
        open_ms=bars.open_ms,
        open=prices["open"],
        high=prices["high"],
        low=prices["low"],
        close=prices["close"],
        volume=none,
        quote_volume=none,
        trades=samples,
        taker_buy_base=none,
        taker_buy_quote=none,
    )
