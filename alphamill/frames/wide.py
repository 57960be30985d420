"""Data of futures beside their bars that a run may ask for: the words of `--with`."""

from __future__ import annotations

from enum import StrEnum

from alphamill.frames.times import Month

METRICS_FROM = Month(2020, 9)  # the exchange has published none of before


class Wide(StrEnum):
    """What futures have beside bars; spot has none of it."""

    METRICS = "metrics"  # open interest, long/short ratios: METRICS
    PREMIUM = "premium"  # klines of the premium index, a rate: PRICES
    MARK = "mark"  # klines of the mark price: PRICES
    INDEX = "index"  # klines of the index of spot prices: PRICES
    FUNDING = "funding"  # of what futures runs fetch anyway: the last rate, its interval
