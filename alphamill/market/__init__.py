"""The exchange: its Protocol, Binance's API and archive, and klines as the mill keeps them."""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.market.archive import Archive, Damaged
    from alphamill.market.archive_first import ArchiveMonth, FetchedPart
    from alphamill.market.binance import Binance
    from alphamill.market.exchange import SETTLE_MS, Exchange, Klines, RequestGate, SymbolInfo
    from alphamill.market.funding.api import BinanceFunding
    from alphamill.market.funding.archive_file import FundingFile
    from alphamill.market.funding.history import FundingArchive, FundingExchange, FundingHistory
    from alphamill.market.klines.archive_file import KlineFile
    from alphamill.market.klines.confirm_absent import confirmed_klines
    from alphamill.market.klines.history import KlineArchive, KlineHistory
    from alphamill.market.klines.of import BinancePrices
    from alphamill.market.klines.parse import find_gaps, find_halts, parse_klines
    from alphamill.market.memory import FakeArchive, FakeExchange, FakeFunding, FakeMetrics
    from alphamill.market.metrics.api import BinanceMetrics
    from alphamill.market.metrics.archive_file import MetricsFile
    from alphamill.market.metrics.history import MetricsArchive, MetricsExchange, MetricsHistory
    from alphamill.market.trades.api import BinanceTrades, TradeExchange
    from alphamill.market.trades.memory import FakeTrades

__all__ = [
    "SETTLE_MS",
    "Archive",
    "ArchiveMonth",
    "Binance",
    "BinanceFunding",
    "BinanceMetrics",
    "BinancePrices",
    "BinanceTrades",
    "Damaged",
    "Exchange",
    "FakeArchive",
    "FakeExchange",
    "FakeFunding",
    "FakeMetrics",
    "FakeTrades",
    "FetchedPart",
    "FundingArchive",
    "FundingExchange",
    "FundingFile",
    "FundingHistory",
    "KlineArchive",
    "KlineFile",
    "KlineHistory",
    "Klines",
    "MetricsArchive",
    "MetricsExchange",
    "MetricsFile",
    "MetricsHistory",
    "RequestGate",
    "SymbolInfo",
    "TradeExchange",
    "confirmed_klines",
    "find_gaps",
    "find_halts",
    "parse_klines",
]

export_on_demand(__name__)
