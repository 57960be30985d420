"""The exchange: its Protocol, Binance's REST client, and klines as the mill keeps them."""

from alphamill.market.binance import Binance
from alphamill.market.exchange import Exchange, Klines, RequestGate, SymbolInfo
from alphamill.market.klines import Gap, Halt, find_gaps, find_halts, parse_klines
from alphamill.market.memory import FakeExchange

__all__ = [
    "Binance",
    "Exchange",
    "FakeExchange",
    "Gap",
    "Halt",
    "Klines",
    "RequestGate",
    "SymbolInfo",
    "find_gaps",
    "find_halts",
    "parse_klines",
]
