"""How Binance's three kline markets differ: paths, page sizes, weights, windows.

Source: developers.binance.com, "Kline/Candlestick Data" of Spot, USD-M and COIN-M.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from alphamill.frames import Interval, Market, Month

_SPOT_INTERVALS = frozenset(Interval)
_FUTURES_INTERVALS = _SPOT_INTERVALS - {Interval.S1}


@dataclass(frozen=True, slots=True)
class Page:
    """One klines request: `limit` bars for `weight`."""

    limit: int
    weight: int


@dataclass(frozen=True, slots=True)
class Venue:
    """One market's REST API.

    pages: the page sizes worth asking for, smallest first; the last has the most bars a weight.
    latest_first: a window with more than `limit` bars answers with its latest, not its oldest.
    span_ms: the longest window that may be asked for, if there is one.
    opened: the month in which the market opened; no symbol was listed before.
    agg_trades_weight: of a page of aggTrades. old_trades_weight: of one of historicalTrades; None
    where it wants a key.
    """

    prefix: str  # path of the API's version
    variable: str  # the setting that holds its URL
    pages: tuple[Page, ...]
    info_weight: int
    ticker_weight: int  # ticker/24hr of all symbols
    latest_first: bool
    span_ms: int | None
    intervals: frozenset[Interval]
    opened: Month
    agg_trades_weight: int
    old_trades_weight: int | None = None

    def page(self, bars: int) -> Page:
        """The cheapest page for `bars` more bars; its limit is never above `bars`."""
        for page in self.pages:
            if bars <= page.limit:
                return Page(max(1, bars), page.weight)
        return self.pages[-1]


# Weight by limit on futures: to 100 bars 1, to 500 2, to 1000 5, to 1500 10; 500 bars are the most
# a weight (250, against 200 of 1000 bars and 150 of 1500).
_FUTURES_PAGES = (Page(100, 1), Page(500, 2))

VENUES: Mapping[Market, Venue] = {
    Market.SPOT: Venue(
        prefix="/api/v3",
        variable="ALPHAMILL_BINANCE_URL",
        pages=(Page(1000, 2),),
        info_weight=20,
        ticker_weight=80,
        latest_first=False,
        span_ms=None,
        intervals=_SPOT_INTERVALS,
        opened=Month(2017, 7),
        agg_trades_weight=4,
        old_trades_weight=25,
    ),
    Market.USD_M: Venue(
        prefix="/fapi/v1",
        variable="ALPHAMILL_BINANCE_UM_URL",
        pages=_FUTURES_PAGES,
        info_weight=1,
        ticker_weight=40,
        latest_first=False,
        span_ms=None,
        intervals=_FUTURES_INTERVALS,
        opened=Month(2019, 9),
        agg_trades_weight=20,
    ),
    Market.COIN_M: Venue(
        prefix="/dapi/v1",
        variable="ALPHAMILL_BINANCE_CM_URL",
        pages=_FUTURES_PAGES,
        info_weight=1,
        ticker_weight=40,
        latest_first=True,
        span_ms=200 * 86_400_000,
        intervals=_FUTURES_INTERVALS,
        opened=Month(2020, 8),
        agg_trades_weight=20,
    ),
}
