"""The survivorship trap: a market that pays nothing, and looks as if it did to those who came late.

Coins that have fallen may collapse and be delisted; until then they rise by just what that risk is
worth, so that buying what has fallen earns nothing over all coins. In a universe chosen afterwards,
of coins that still trade, the rise is there and the collapses are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from alphamill.controls.direct import judge_panel
from alphamill.evaluation import Verdict
from alphamill.frames import FloatArray, Interval, Panel
from alphamill.settings import SegmentSettings
from alphamill.sim.market import DEFAULT_START_MS

BUYS_THE_FALLEN = "-close / ts_max(close, 168)"
_LOOKBACK_BARS = 168
_VOLATILITY = 0.005  # of a bar's log return
_FALLEN_FRAC = 0.06  # below the highest close of the look-back: in danger from here on
_DEATHS_PER_BAR = 0.0005  # of a coin in danger
_LOSS_FRAC = 0.9  # of its price, in its last bar


@dataclass(frozen=True, slots=True)
class Trap:
    """What the gates say of BUYS_THE_FALLEN on one market, with its dead coins and without."""

    coins: int
    delisted: int
    whole: Verdict
    survivors: Verdict


def spring(seed: int, n_coins: int = 50, n_bars: int = 4000) -> Trap:
    """Judge the trap's factor at a horizon of one bar. Equal arguments, equal verdicts."""
    panel = trap_market(seed, n_coins, n_bars)
    alive = np.isfinite(panel["close"][-1])
    segments = SegmentSettings(horizon_bars=1)
    whole, survivors = (
        judge_panel(one, BUYS_THE_FALLEN, segments) for one in (panel, _only(panel, alive))
    )
    return Trap(n_coins, int((~alive).sum()), whole, survivors)


def trap_market(seed: int, n_coins: int, n_bars: int) -> Panel:
    """PANEL of hourly bars; NaN after a coin's last. Whatever is bought earns nothing on average.

    A coin in danger is worth (1 - d) (1 + rise) + d (1 - loss) = 1 of itself a bar later.
    """
    rng = np.random.Generator(np.random.PCG64([seed, 7]))
    steps = rng.normal(0.0, _VOLATILITY, (n_bars, n_coins)) - _VOLATILITY**2 / 2
    fates = rng.random((n_bars, n_coins))
    rise = np.log1p(_DEATHS_PER_BAR * _LOSS_FRAC / (1 - _DEATHS_PER_BAR))
    close = np.full((n_bars, n_coins), np.nan)
    close[0] = 100.0
    alive = np.ones(n_coins, dtype=bool)
    for bar in range(1, n_bars):
        highest = close[max(0, bar - _LOOKBACK_BARS) : bar].max(axis=0)
        danger = alive & (close[bar - 1] < (1 - _FALLEN_FRAC) * highest)
        dies = danger & (fates[bar] < _DEATHS_PER_BAR)
        step = np.where(dies, np.log1p(-_LOSS_FRAC), steps[bar] + rise * danger)
        close[bar] = np.where(alive, close[bar - 1] * np.exp(step), np.nan)
        alive &= ~dies
    times_ms = DEFAULT_START_MS + Interval.H1.ms * np.arange(n_bars, dtype=np.int64)
    names = tuple(f"C{number}USDT" for number in range(n_coins))
    return Panel(Interval.H1, times_ms, names, _bars(close))


def _bars(close: FloatArray) -> dict[str, FloatArray]:
    """A bar opens where the one before closed; its volume says nothing."""
    opens = np.vstack([close[:1], close[:-1]])
    opens[np.isnan(close)] = np.nan
    volume = np.where(np.isnan(close), np.nan, 1000.0)
    prices = {"open": opens, "high": np.fmax(opens, close), "low": np.fmin(opens, close)}
    return prices | {"close": close, "volume": volume, "quote_volume": volume * close}


def _only(panel: Panel, kept: np.ndarray) -> Panel:
    symbols = tuple(name for name, keep in zip(panel.symbols, kept, strict=True) if keep)
    fields = {name: np.ascontiguousarray(values[:, kept]) for name, values in panel.items()}
    return Panel(panel.interval, panel.times_ms, symbols, fields)
