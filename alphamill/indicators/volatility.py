"""Volatility: how far the price moves, per bar, and where it stands within its bands."""

from __future__ import annotations

import math

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators import kernels
from alphamill.indicators.bars import Bars, Series
from alphamill.indicators.registry import (
    DAY_MS,
    REST_BARS,
    Memory,
    Unit,
    ema,
    indicator,
    ratio_of,
    wilder,
    window,
)
from alphamill.indicators.rolling import divide, moving_mean, moving_std, position
from alphamill.indicators.trend import gap_over_ema_20


@indicator("definition", window(20, before=1), low=0)
def volatility_20(bars: Bars) -> FloatArray:
    """Standard deviation (ddof 1) of 20 one-bar returns."""
    return moving_std(bars.returns, 20)


@indicator("definition", window(20, before=1), low=0)
def log_volatility_20(bars: Bars) -> FloatArray:
    """Standard deviation (ddof 1) of 20 one-bar log returns."""
    return moving_std(np.log1p(bars.returns), 20)


@indicator("definition", span_ms=DAY_MS, min_span_bars=2, low=0)
def volatility_1d(bars: Bars) -> FloatArray:
    """Standard deviation (ddof 1) of a day's one-bar returns."""
    return moving_std(bars.returns, bars.bars_in(DAY_MS))


@indicator("Wilder (1978); as TA-Lib ATR", wilder(14), unit=Unit.PRICE, low=0)
def atr_14(bars: Bars) -> FloatArray:
    """Wilder's average true range."""
    return _atr(bars, 14)


@indicator("Wilder (1978); as TA-Lib NATR", wilder(14), low=0)
def natr_14(bars: Bars) -> FloatArray:
    """Average true range in percent of the close."""
    return divide(_atr(bars, 14), bars["close"], 100.0)


_ATR_BARS = (10, 14)


def _atr(bars: Bars, length_bars: int) -> FloatArray:
    return bars.over_history("atrs", _make_atrs)[_ATR_BARS.index(length_bars)]


def _make_atrs(bars: Bars) -> Series:
    rows = np.empty(len(bars)), bars.buffer("atr_14")
    kernels.recursive.two_atrs(bars.hlc, *_ATR_BARS, REST_BARS, rows)
    return rows


@indicator("Bollinger; as TA-Lib BBANDS (ddof 0)", window(20), low=0, deviations=2)
def bb_width(bars: Bars) -> FloatArray:
    """Width of the Bollinger bands over their middle; 0 on a flat window."""
    middle, deviation = bars.close_moments(20)  # TA-Lib's bands drift: they keep running sums
    return divide(deviation, middle, 4.0)


@indicator(
    "Bollinger; as TA-Lib BBANDS (ddof 0)",
    window(20),
    low=0.5 - math.sqrt(19) / 4,
    high=0.5 + math.sqrt(19) / 4,
    deviations=2,
)
def bb_position(bars: Bars) -> FloatArray:
    """Close's position between the Bollinger bands, 0 lower and 1 upper; NaN on a flat window."""
    middle, deviation = bars.close_moments(20)
    return divide(bars["close"] - middle, deviation, 0.25, 0.5)


@indicator(
    "Keltner; Raschke: EMA 20 and 2 ATR 10 (TA-Lib)",
    ratio_of(Memory(first_bar=19, settle_bars=max(ema(20).settle_bars, wilder(10).settle_bars))),
    ema_bars=20,
    atr_bars=10,
    multiple=2,
)
def keltner_position_20(bars: Bars) -> FloatArray:
    """Close's position in the Keltner channel, 0 lower and 1 upper edge.

    NaN once the price has not moved for 512 bars, by when the channel is nothing but its past.
    """
    return divide(gap_over_ema_20(bars), _atr(bars, 10), 0.25, 0.5)


@indicator("as TA-Lib DONCHIAN", window(20), low=0, high=1)
def donchian_position_20(bars: Bars) -> FloatArray:
    """Close's position between the lowest low and highest high of 20 bars; NaN on a zero span."""
    highest, lowest = bars.span(20)
    return position(bars["close"], lowest, highest)


@indicator("Parkinson (1980)", window(20), low=0)
def parkinson_20(bars: Bars) -> FloatArray:
    """Volatility a bar from highs and lows: sqrt(mean ln(H/L)^2 / (4 ln 2))."""
    squares = np.log(bars["high"] / bars["low"]) ** 2
    return np.sqrt(moving_mean(squares, 20) / (4 * math.log(2)))


@indicator("Garman and Klass (1980)", window(20), low=0)
def garman_klass_20(bars: Bars) -> FloatArray:
    """Volatility a bar from OHLC: sqrt(mean(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2))."""
    spans = np.log(bars["high"] / bars["low"]) ** 2 / 2
    bodies = np.log(bars["close"] / bars["open"]) ** 2
    return np.sqrt(moving_mean(spans - (2 * math.log(2) - 1) * bodies, 20))


@indicator("Rogers and Satchell (1991)", window(20), low=0)
def rogers_satchell_20(bars: Bars) -> FloatArray:
    """Volatility a bar from OHLC that a drift does not bias."""
    high, low, close = bars.hlc
    up = np.log(high / close) * np.log(high / bars["open"])
    down = np.log(low / close) * np.log(low / bars["open"])
    return np.sqrt(moving_mean(up + down, 20))


@indicator("Sortino and Price (1994), target 0", window(20, before=1), low=0)
def downside_20(bars: Bars) -> FloatArray:
    """Root mean square of 20 one-bar returns, gains counted as 0."""
    return np.sqrt(moving_mean(np.minimum(bars.returns, 0) ** 2, 20))


@indicator("definition", low=0)
def bar_range(bars: Bars) -> FloatArray:
    """(high - low) / close of the bar."""
    high, low, close = bars.hlc
    return divide(high - low, close)
