"""The universe: the most traded symbols, from a listing that is kept for an hour."""

import pytest

from alphamill.errors import GiveUp
from alphamill.market import SymbolInfo
from alphamill.market.universe import LISTING_TTL_S, Listing, read_listing, top_symbols


def info(symbol, status="TRADING", quote="USDT"):
    return SymbolInfo(symbol, status, symbol.removesuffix(quote), quote)


INFOS = [
    info("AUSDT"),
    info("BUSDT"),
    info("CUSDT"),
    info("OLDUSDT", "BREAK"),
    info("ABTC", quote="BTC"),
    info("币USDT"),
]
LISTING = Listing(
    {one.symbol: one for one in INFOS},
    {"AUSDT": 5.0, "BUSDT": 50.0, "OLDUSDT": 900.0, "ABTC": 7.0, "币USDT": 800.0},
)


class Market:
    def __init__(self):
        self.asked = 0

    def symbols(self):
        self.asked += 1
        return LISTING.symbols

    def quote_volumes(self):
        return LISTING.quote_volume


class Kept(dict):
    def put(self, name, value, ttl_s):
        assert ttl_s == LISTING_TTL_S
        self[name] = value


def test_the_most_traded_first_and_only_what_trades_in_that_quote():
    assert top_symbols(LISTING, "USDT", 2) == ("BUSDT", "AUSDT")
    assert top_symbols(LISTING, "USDT", 99) == ("BUSDT", "AUSDT", "CUSDT")
    assert top_symbols(LISTING, "BTC", 5) == ("ABTC",)


def test_an_unknown_quote_names_those_there_are():
    with pytest.raises(GiveUp, match="'EUR'; there are BTC, USDT"):
        top_symbols(LISTING, "EUR", 5)


def test_the_exchange_is_asked_once():
    market, shelf = Market(), Kept()
    first = read_listing(market, shelf, "spot")
    assert read_listing(market, shelf, "spot") == first == LISTING
    assert market.asked == 1
    read_listing(market, shelf, "um")
    assert market.asked == 2


@pytest.mark.parametrize("kept", [b"", b"[]", b"{}", b'{"symbols": [{"x": 1}], "volumes": {}}'])
def test_a_copy_that_cannot_be_read_is_replaced(kept):
    market, shelf = Market(), Kept(spot=kept)
    assert read_listing(market, shelf, "spot") == LISTING
    assert read_listing(market, shelf, "spot") == LISTING
    assert market.asked == 1
