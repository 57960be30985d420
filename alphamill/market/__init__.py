"""The exchange: its Protocol, Binance's API and archive, and klines as the mill keeps them."""

from alphamill.market.archive import Archive, Damaged, FundingArchive, KlineArchive
from alphamill.market.binance import Binance
from alphamill.market.exchange import Exchange, Klines, RequestGate, SymbolInfo
from alphamill.market.funding.api import BinanceFunding
from alphamill.market.funding.archive_file import FundingFile
from alphamill.market.funding.history import FundingExchange, FundingHistory, FundingPart
from alphamill.market.klines.archive_file import ArchiveFile
from alphamill.market.klines.confirm_absent import certain_klines
from alphamill.market.klines.history import History
from alphamill.market.klines.parse import Gap, Halt, find_gaps, find_halts, parse_klines
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
