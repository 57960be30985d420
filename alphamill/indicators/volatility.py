"""Volatility: how far the price moves, per bar, and where it stands within its bands."""

from __future__ import annotations

import math

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators.bars import Bars, Series
from alphamill.indicators.registry import (
    DAY_MS,
    Unit,
    ema_settle_bars,
    indicator,
    wilder_settle_bars,
)
from alphamill.indicators.rolling import divide, loops, moving_mean, moving_std, place
from alphamill.indicators.trend import ema


@indicator("volatility_20", source="definition", first_bar=20, low=0, length_bars=20)
def volatility_20(bars: Bars) -> FloatArray:
    """Standard deviation (ddof 1) of 20 one-bar returns."""
    return moving_std(bars.returns, 20)


@indicator("log_volatility_20", source="definition", first_bar=20, low=0, length_bars=20)
def log_volatility_20(bars: Bars) -> FloatArray:
    """Standard deviation (ddof 1) of 20 one-bar log returns."""
    return moving_std(np.log1p(bars.returns), 20)


@indicator("volatility_1d", source="definition", span_ms=DAY_MS, min_span_bars=2,
           low=0)  # fmt: skip
def volatility_1d(bars: Bars) -> FloatArray:
    """Standard deviation (ddof 1) of a day's one-bar returns."""
    return moving_std(bars.returns, bars.bars_in(DAY_MS))


@indicator(
    "atr_14", source="Wilder (1978); as TA-Lib ATR", unit=Unit.PRICE, first_bar=14, low=0,
    settle_bars=wilder_settle_bars(14), length_bars=14,
)  # fmt: skip
def atr_14(bars: Bars) -> FloatArray:
    """Wilder's average true range."""
    return _atr(bars, 14)


@indicator(
    "natr_14", source="Wilder (1978); as TA-Lib NATR", first_bar=14, low=0,
    settle_bars=wilder_settle_bars(14), length_bars=14,
)  # fmt: skip
def natr_14(bars: Bars) -> FloatArray:
    """Average true range in percent of the close."""
    return divide(_atr(bars, 14), bars["close"], 100.0)


_ATR_BARS = (10, 14)


def _atr(bars: Bars, length_bars: int) -> FloatArray:
    return bars.whole("atrs", _make_atrs)[_ATR_BARS.index(length_bars)]


def _make_atrs(bars: Bars) -> Series:
    rows = np.empty(len(bars)), bars.room("atr_14")
    loops("recursive").two_atrs(*bars.hlc, *_ATR_BARS, *rows)
    return rows


@indicator("bb_width", source="Bollinger; as TA-Lib BBANDS (ddof 0)", first_bar=19, low=0,
           length_bars=20, deviations=2)  # fmt: skip
def bb_width(bars: Bars) -> FloatArray:
    """Width of the Bollinger bands over their middle; 0 on a flat window."""
    middle, deviation = bars.close_moments(20)  # TA-Lib's bands drift: they keep running sums
    return divide(deviation, middle, 4.0)


@indicator(
    "bb_position", source="Bollinger; as TA-Lib BBANDS (ddof 0)", first_bar=19,
    low=0.5 - math.sqrt(19) / 4, high=0.5 + math.sqrt(19) / 4, length_bars=20, deviations=2,
)  # fmt: skip
def bb_position(bars: Bars) -> FloatArray:
    """Close's place between the Bollinger bands, 0 lower and 1 upper; NaN on a flat window."""
    middle, deviation = bars.close_moments(20)
    return divide(bars["close"] - middle, deviation, 0.25, 0.5)


@indicator(
    "keltner_position_20", source="Keltner; Raschke: EMA 20 and 2 ATR 10 (TA-Lib)", first_bar=19,
    settle_bars=max(ema_settle_bars(20), wilder_settle_bars(10)), ema_bars=20, atr_bars=10,
    multiple=2,
)  # fmt: skip
def keltner_position_20(bars: Bars) -> FloatArray:
    """Close's place in the Keltner channel, 0 lower and 1 upper edge."""
    return divide(bars["close"] - ema(bars, 20), _atr(bars, 10), 0.25, 0.5)


@indicator("donchian_position_20", source="as TA-Lib DONCHIAN", first_bar=19, low=0, high=1,
           length_bars=20)  # fmt: skip
def donchian_position_20(bars: Bars) -> FloatArray:
    """Close's place between the lowest low and highest high of 20 bars; NaN on a zero span."""
    highest, lowest = bars.span(20)
    return place(bars["close"], lowest, highest)


@indicator("parkinson_20", source="Parkinson (1980)", first_bar=19, low=0, length_bars=20)
def parkinson_20(bars: Bars) -> FloatArray:
    """Volatility a bar from highs and lows: sqrt(mean ln(H/L)^2 / (4 ln 2))."""
    squares = np.log(bars["high"] / bars["low"]) ** 2
    return np.sqrt(moving_mean(squares, 20) / (4 * math.log(2)))


@indicator("garman_klass_20", source="Garman and Klass (1980)", first_bar=19, low=0, length_bars=20)
def garman_klass_20(bars: Bars) -> FloatArray:
    """Volatility a bar from OHLC: sqrt(mean(ln(H/L)^2 / 2 - (2 ln 2 - 1) ln(C/O)^2))."""
    spans = np.log(bars["high"] / bars["low"]) ** 2 / 2
    bodies = np.log(bars["close"] / bars["open"]) ** 2
    return np.sqrt(moving_mean(spans - (2 * math.log(2) - 1) * bodies, 20))


@indicator("rogers_satchell_20", source="Rogers and Satchell (1991)", first_bar=19, low=0,
           length_bars=20)  # fmt: skip
def rogers_satchell_20(bars: Bars) -> FloatArray:
    """Volatility a bar from OHLC that a drift does not bias."""
    high, low, close = bars.hlc
    up = np.log(high / close) * np.log(high / bars["open"])
    down = np.log(low / close) * np.log(low / bars["open"])
    return np.sqrt(moving_mean(up + down, 20))


@indicator("downside_20", source="Sortino and Price (1994), target 0", first_bar=20, low=0,
           length_bars=20)  # fmt: skip
def downside_20(bars: Bars) -> FloatArray:
    """Root mean square of 20 one-bar returns, gains counted as 0."""
    return np.sqrt(moving_mean(np.minimum(bars.returns, 0) ** 2, 20))


@indicator("bar_range", source="definition", low=0)
def bar_range(bars: Bars) -> FloatArray:
    """(high - low) / close of the bar."""
    high, low, close = bars.hlc
    return divide(high - low, close)
