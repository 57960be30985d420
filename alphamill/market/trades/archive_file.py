"""The archive's files of trades and of aggregates: a day or a month each.

Source: data.binance.vision and the README of binance/binance-public-data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from alphamill.bars import Layout, TradeSource
from alphamill.frames import Market, Month, TimeRange, is_symbol
from alphamill.grid import DAY_MS
from alphamill.market.archive import MARKET_FOLDERS


@dataclass(frozen=True, slots=True)
class TradeFile:
    """A month of trades, or one day of it. ValueError for a symbol that cannot be in a path."""

    market: Market
    symbol: str
    source: TradeSource
    month: Month
    day: int | None = None  # 1 to 31

    def __post_init__(self) -> None:
        if not is_symbol(self.symbol):
            raise ValueError(f"not a symbol: {self.symbol!r}")

    @classmethod
    def of_day(cls, market: Market, symbol: str, source: TradeSource, time_ms: int) -> TradeFile:
        """The daily file that holds `time_ms`."""
        month = Month.of_ms(time_ms)
        day = (time_ms - month.start_ms) // DAY_MS + 1
        return cls(market, symbol, source, month, day)

    @property
    def monthly(self) -> TradeFile:
        """The month's file that has the same rows among others."""
        return replace(self, day=None)

    @property
    def layout(self) -> Layout:
        """Of its rows."""
        return Layout(self.market, self.source)

    @property
    def stem(self) -> str:
        """As BTCUSDT-aggTrades-2021-04 or BTCUSDT-trades-2021-04-23."""
        day = "" if self.day is None else f"-{self.day:02d}"
        return f"{self.symbol}-{self.source}-{self.month}{day}"

    @property
    def path(self) -> str:
        """Below the archive's URL, without a slash before it."""
        span = "monthly" if self.day is None else "daily"
        folder = f"data/{MARKET_FOLDERS[self.market]}/{span}/{self.source}"
        return f"{folder}/{self.symbol}/{self.stem}.zip"

    @property
    def kept_as(self) -> Literal["archive-monthly", "archive-daily"]:
        """As the lake records it."""
        return "archive-monthly" if self.day is None else "archive-daily"

    @property
    def range(self) -> TimeRange:
        """Where its trades happened."""
        if self.day is None:
            return self.month.range
        start_ms = self.month.start_ms + DAY_MS * (self.day - 1)
        return TimeRange(start_ms, start_ms + DAY_MS)
