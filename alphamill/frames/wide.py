"""Data beside bars that a run may ask for: the words of `--with`."""

from __future__ import annotations

from enum import StrEnum

from alphamill.frames.intervals import Interval, Market
from alphamill.frames.times import Month

FLOW_UP_TO = Interval.H1  # an open bar's trades are held: those of an hour fit in memory
METRICS_FROM = Month(2020, 9)  # the exchange has published none of before


class Wide(StrEnum):
    """What there is beside bars; spot has flow alone."""

    METRICS = "metrics"  # open interest, long/short ratios: METRICS
    PREMIUM = "premium"  # klines of the premium index, a rate: PRICES
    MARK = "mark"  # klines of the mark price: PRICES
    INDEX = "index"  # klines of the index of spot prices: PRICES
    FUNDING = "funding"  # of what futures runs fetch anyway: the last rate, its interval
    FLOW = "flow"  # what only a bar's own trades tell: `bars.FLOW`

    def is_of(self, market: Market) -> bool:
        """Whether a market has it."""
        return market.has_funding or self is Wide.FLOW


def has_flow(interval: Interval) -> bool:
    """Whether time bars of that length have their flow beside them."""
    return interval is not Interval.MO1 and interval.ms <= FLOW_UP_TO.ms
