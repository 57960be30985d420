"""Order flow: who took liquidity and in what sizes, from Binance's own kline columns."""

from __future__ import annotations

import math

import numpy as np

from alphamill.frames import FloatArray
from alphamill.indicators import kernels
from alphamill.indicators.bars import Bars
from alphamill.indicators.registry import Unit, indicator, window
from alphamill.indicators.rolling import divide, moving_mean, moving_moments, moving_sum
from alphamill.indicators.volume import volume_sum

_TAKER = ("volume", "taker_buy_base")
_TRADED = ("quote_volume", "trades")


@indicator("definition", inputs=("volume", "quote_volume"), low=-1)
def vwap_gap(bars: Bars) -> FloatArray:
    """Close over the bar's own VWAP (quote volume / volume), minus 1; NaN without trade.

    NaN too where that price is not within the bar's low and high by 0.1 %, as on COIN-M, whose
    volumes are contracts and base units.
    """
    high, low, close = bars.hlc
    vwap = divide(bars["quote_volume"], bars["volume"])
    vwap[(vwap < low * 0.999) | (vwap > high * 1.001)] = np.nan
    return divide(close, vwap, 1.0, -1.0)


@indicator("Binance klines", inputs=_TAKER, low=0, high=1)
def taker_buy_ratio(bars: Bars) -> FloatArray:
    """Share of the bar's volume that takers bought; NaN without trade."""
    return divide(bars["taker_buy_base"], bars["volume"])


def _imbalance(bars: Bars) -> FloatArray:
    return bars.memo("imbalance", lambda: divide(bars["taker_buy_base"], bars["volume"], 2.0, -1.0))


@indicator("Binance klines", inputs=_TAKER, low=-1, high=1)
def taker_imbalance(bars: Bars) -> FloatArray:
    """Takers' buying minus selling over the bar's volume; NaN without trade."""
    return _imbalance(bars)


@indicator("Binance klines", window(20), inputs=_TAKER, low=-1, high=1)
def taker_imbalance_20(bars: Bars) -> FloatArray:
    """Takers' buying minus selling over volume, of 20 bars together; NaN if nothing traded."""
    signed = 2 * bars["taker_buy_base"] - bars["volume"]
    return divide(moving_sum(signed, 20), volume_sum(bars, 20))


@indicator(
    "Binance klines", window(20), inputs=_TAKER, low=-19 / math.sqrt(20), high=19 / math.sqrt(20)
)
def taker_imbalance_z_20(bars: Bars) -> FloatArray:
    """taker_imbalance's distance from its 20-bar mean in standard deviations (ddof 1).

    NaN while a bar without trade is in the window, and if constant.
    """
    values = _imbalance(bars)
    mean, deviation = moving_moments(values, 20)
    deviation[deviation <= kernels.GRID] = np.nan  # shares that differ by rounding alone
    return divide(values - mean, deviation)


@indicator("Binance klines", unit=Unit.PER_TRADE, inputs=_TRADED, low=0)
def trade_size(bars: Bars) -> FloatArray:
    """Mean quote volume of a trade; NaN without trade."""
    return divide(bars["quote_volume"], bars["trades"])


@indicator("Binance klines", window(20), inputs=_TRADED, low=0)
def trade_size_ratio_20(bars: Bars) -> FloatArray:
    """trade_size over the mean trade of the last 20 bars together; NaN without trade."""
    usual = divide(moving_sum(bars["quote_volume"], 20), moving_sum(bars["trades"], 20))
    return divide(trade_size(bars), usual)


@indicator("Binance klines", window(20), inputs=("trades",), low=0, high=20)
def trades_ratio_20(bars: Bars) -> FloatArray:
    """Number of trades over its 20-bar mean; NaN if there were none."""
    return divide(bars["trades"], moving_mean(bars["trades"], 20))
