"""Volume: how much trades, and on which side of the price's movement."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators import kernels
from alphamill.indicators.bars import Bars, Series
from alphamill.indicators.registry import Memory, Unit, ema, indicator, window
from alphamill.indicators.rolling import (
    delay,
    divide,
    moving_correlation,
    moving_mean,
    moving_moments,
    moving_sum,
)

_VOLUME = ("volume",)


def volume_sum(bars: Bars, length_bars: int) -> FloatArray:
    """Volume of the last bars."""
    return bars.memo(f"volume {length_bars}", lambda: moving_sum(bars["volume"], length_bars))


@indicator("definition", window(20), inputs=_VOLUME, low=0, high=20)
def volume_ratio(bars: Bars) -> FloatArray:
    """Volume over its 20-bar mean; NaN if nothing traded."""
    return divide(bars["volume"], volume_sum(bars, 20), 20.0)


@indicator(
    "definition", window(20), inputs=_VOLUME, low=-19 / math.sqrt(20), high=19 / math.sqrt(20)
)
def volume_zscore_20(bars: Bars) -> FloatArray:
    """Volume's distance from its 20-bar mean in standard deviations (ddof 1); NaN if constant."""
    mean, deviation = moving_moments(bars["volume"], 20)
    return divide(bars["volume"] - mean, deviation)


@indicator("Granville (1963), over a window", window(20, before=1), inputs=_VOLUME, low=-1, high=1)
def obv_flow_20(bars: Bars) -> FloatArray:
    """20-bar change of on-balance volume over the volume of those bars; NaN if nothing traded.

    The window makes it independent of where the history starts, which OBV itself is not.
    """
    close = bars["close"]
    signed = np.sign(close - delay(close, 1)) * bars["volume"]
    return divide(moving_sum(signed, 20), volume_sum(bars, 20))


@indicator("Price-volume trend, over a window", window(20, before=1), inputs=_VOLUME, low=-1)
def pvt_flow_20(bars: Bars) -> FloatArray:
    """Volume-weighted mean return of 20 bars; NaN if nothing traded."""
    return divide(moving_sum(bars.returns * bars["volume"], 20), volume_sum(bars, 20))


@indicator(
    "Elder (1993); TA-Lib EFI over price and volume", replace(ema(13), first_bar=19), inputs=_VOLUME
)
def force_13(bars: Bars) -> FloatArray:
    """13-bar EMA of price change times volume, over the close and the 20-bar mean volume."""
    import talib

    (force,) = bars.over_history(
        "force", lambda whole: (talib.EFI(whole["close"], whole["volume"], 13),)
    )
    return divide(force, bars["close"] * volume_sum(bars, 20), 20.0)


@indicator(
    "Chaikin; as TA-Lib ADOSC, over volume",
    Memory(first_bar=19, settle_bars=ema(10).settle_bars),
    inputs=_VOLUME,
    fast_bars=3,
    slow_bars=10,
)
def chaikin_osc(bars: Bars) -> FloatArray:
    """EMA 3 minus EMA 10 of the accumulation line, over the 20-bar mean volume."""
    (gap,) = bars.over_history("accumulation gap", _make_accumulation_gap)
    return divide(gap, volume_sum(bars, 20), 20.0)


def _make_accumulation_gap(bars: Bars) -> Series:
    gap = np.empty(len(bars))
    kernels.recursive.accumulation_gap(_accumulation(bars), 3, 10, gap)
    return (gap,)


def _accumulation(bars: Bars) -> FloatArray:
    return bars.memo("accumulation", lambda: _make_accumulation(bars))


def _make_accumulation(bars: Bars) -> FloatArray:
    flow = np.empty(len(bars))
    kernels.bars.accumulation(bars.hlc, bars["volume"], flow)
    return flow


@indicator("Chaikin; as TA-Lib CMF", window(20), inputs=_VOLUME, low=-1, high=1)
def cmf_20(bars: Bars) -> FloatArray:
    """Volume weighted by the close's position in its bar (-1 low, 1 high), over volume, 20 bars.

    A bar with high = low weighs 0; NaN if nothing traded.
    """
    return divide(moving_sum(_accumulation(bars), 20), volume_sum(bars, 20))


@indicator(
    "Quong and Soudack (1989); as TA-Lib MFI", window(14, before=1), inputs=_VOLUME, low=0, high=100
)
def mfi_14(bars: Bars) -> FloatArray:
    """Share, in percent, of typical price times volume that flowed while that price rose.

    It rises or stays as a decimal does. NaN if no money flowed either way.
    """
    gained, moved = np.empty(len(bars)), np.empty(len(bars))
    kernels.bars.money_flow(bars.typical, bars["volume"], gained, moved)
    return divide(moving_sum(gained, 14), moving_sum(moved, 14), 100.0)


@indicator("definition", window(20), inputs=_VOLUME, low=-1)
def vwma_gap_20(bars: Bars) -> FloatArray:
    """Close over its volume-weighted 20-bar mean, minus 1; NaN if nothing traded."""
    close = bars["close"]
    mean = divide(moving_sum(close * bars["volume"], 20), volume_sum(bars, 20))
    return divide(close, mean, 1.0, -1.0)


@indicator("Pearson; as TA-Lib CORREL", window(20, before=1), inputs=_VOLUME, low=-1, high=1)
def price_volume_corr_20(bars: Bars) -> FloatArray:
    """Correlation of one-bar returns with volume over 20 bars; NaN if either is constant."""
    return moving_correlation(bars.returns, bars["volume"], 20)


@indicator(
    "Amihud (2002)", window(20, before=1), unit=Unit.PER_QUOTE, inputs=("quote_volume",), low=0
)
def amihud_20(bars: Bars) -> FloatArray:
    """Illiquidity: 20-bar mean of |return| a unit of quote volume; NaN with a bar without trade."""
    return moving_mean(divide(np.abs(bars.returns), bars["quote_volume"]), 20)
