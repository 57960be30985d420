"""The universe: the most traded symbols, from a listing that is kept for an hour."""

import json

import pytest

from alphamill.errors import GiveUp
from alphamill.market import SymbolInfo
from alphamill.market.kinds import Kind
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
    info("X USDT"),
]
LISTING = Listing(
    {one.symbol: one for one in INFOS},
    {"AUSDT": 5.0, "BUSDT": 50.0, "OLDUSDT": 900.0, "ABTC": 7.0, "币USDT": 30.0, "X USDT": 99.0},
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
    assert top_symbols(LISTING, "USDT", 2).symbols == ("BUSDT", "币USDT")
    assert top_symbols(LISTING, "USDT", 99).symbols == ("BUSDT", "币USDT", "AUSDT", "CUSDT")
    assert top_symbols(LISTING, "BTC", 5).symbols == ("ABTC",)


def test_what_is_passed_over_is_said():
    assert top_symbols(LISTING, "USDT", 1).to_dict() == {
        "quote": "USDT",
        "symbols": ["BUSDT"],
        "left_out": {"not_spelt_for_the_lake": ["X USDT"], "not_trading": ["OLDUSDT"]},
    }
    assert top_symbols(LISTING, "BTC", 1).left_out == {}


def test_an_unknown_quote_names_those_there_are():
    with pytest.raises(GiveUp, match="'EUR'; there are BTC, USDT"):
        top_symbols(LISTING, "EUR", 5)


def test_where_nothing_is_left_the_reasons_are_named():
    only = Listing({"USDCUSDT": info("USDCUSDT"), "OLDUSDT": info("OLDUSDT", "BREAK")}, {})
    with pytest.raises(GiveUp, match=r"trades now \(1 stablecoins, 1 not trading\); see --include"):
        top_symbols(only, "USDT", 5)
    assert top_symbols(only, "USDT", 5, [Kind.STABLECOINS]).symbols == ("USDCUSDT",)


def test_the_exchange_is_asked_once():
    market, shelf = Market(), Kept()
    first = read_listing(market, shelf, "spot")
    assert read_listing(market, shelf, "spot") == first == LISTING
    assert market.asked == 1
    read_listing(market, shelf, "um")
    assert market.asked == 2


# What was kept before contracts were known: read as it stands, XAUUSDT were a coin.
OLDER = {
    "symbols": [
        {"symbol": "XAUUSDT", "status": "TRADING", "base": "XAU", "quote": "USDT", "onboard_ms": 1}
    ],
    "volumes": {"XAUUSDT": 1.0},
}


@pytest.mark.parametrize(
    "kept",
    [
        b"",
        b"[]",
        b"{}",
        json.dumps(OLDER).encode(),
        b'{"fields": ["symbol", "status"], "rows": [["A", "TRADING"]], "volumes": {}}',
        b'{"fields": null, "rows": [], "volumes": {}}',
    ],
)
def test_a_copy_that_cannot_be_read_is_replaced(kept):
    market, shelf = Market(), Kept(spot=kept)
    assert read_listing(market, shelf, "spot") == LISTING
    assert read_listing(market, shelf, "spot") == LISTING
    assert market.asked == 1
