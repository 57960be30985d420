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
    from alphamill.market.klines.parse import find_gaps, find_halts, parse_klines
    from alphamill.market.memory import FakeArchive, FakeExchange, FakeFunding

__all__ = [
    "SETTLE_MS",
    "Archive",
    "ArchiveMonth",
    "Binance",
    "BinanceFunding",
    "Damaged",
    "Exchange",
    "FakeArchive",
    "FakeExchange",
    "FakeFunding",
    "FetchedPart",
    "FundingArchive",
    "FundingExchange",
    "FundingFile",
    "FundingHistory",
    "KlineArchive",
    "KlineFile",
    "KlineHistory",
    "Klines",
    "RequestGate",
    "SymbolInfo",
    "confirmed_klines",
    "find_gaps",
    "find_halts",
    "parse_klines",
]

export_on_demand(__name__)
