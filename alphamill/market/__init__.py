"""The exchange: its Protocol, Binance's API and archive, and klines as the mill keeps them."""

from alphamill.market.archive import Archive, Damaged, FundingArchive, KlineArchive
from alphamill.market.archive_files import ArchiveFile
from alphamill.market.binance import Binance
from alphamill.market.certain import certain_klines
from alphamill.market.exchange import Exchange, Klines, RequestGate, SymbolInfo
from alphamill.market.funding_api import BinanceFunding
from alphamill.market.funding_files import FundingFile
from alphamill.market.funding_history import FundingExchange, FundingHistory, FundingPart
from alphamill.market.history import History
from alphamill.market.klines import Gap, Halt, find_gaps, find_halts, parse_klines
from alphamill.market.memory import FakeArchive, FakeExchange, FakeFunding

__all__ = [
    "Archive",
    "ArchiveFile",
    "Binance",
    "BinanceFunding",
    "Damaged",
    "Exchange",
    "FakeArchive",
    "FakeExchange",
    "FakeFunding",
    "FundingArchive",
    "FundingExchange",
    "FundingFile",
    "FundingHistory",
    "FundingPart",
    "Gap",
    "Halt",
    "History",
    "KlineArchive",
    "Klines",
    "RequestGate",
    "SymbolInfo",
    "certain_klines",
    "find_gaps",
    "find_halts",
    "parse_klines",
]
