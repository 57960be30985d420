"""What is no coin of its own in a listing: contracts, stablecoins, leveraged tokens."""

import json
from unittest.mock import Mock

import pytest

from alphamill.frames import Market
from alphamill.market import SymbolInfo
from alphamill.market.binance import read_symbol
from alphamill.market.kinds import Kind, kinds_of, pegged_assets
from alphamill.market.trades.api import BinanceTrades
from alphamill.market.universe import Listing, top_symbols

DOLLARS = ["USDC", "FDUSD", "TUSD", "BUSD", "DAI", "USD1", "USDE", "XUSD", "RLUSD", "U"]
RATES = [*DOLLARS, "AEUR", "EURI", "EUR", "GBP"]
COINS = ["BTC", "USTC", "PAXG", "XAUT", "USUAL", "EURC1", "UNI", "XUSDT", "DAISY", "币安人生"]
# Names that end like a token's, real ones first, and what may stand beside them.
ALIKE = ["JUP", "SUPER", "SYRUP", "BULLA", "PUMP", "PUP", "CUP", "1000UP", "UP", "DOWN", "BULL"]
BESIDE = ["BTC", "ETH", "J", "SYR", "C", "BTCUP", "BTCDOWN", "DOWN", "BEAR", "UP"]


def listed(*symbols, quote="USDT", **facts):
    infos = [
        SymbolInfo(name, "TRADING", name.removesuffix(quote), quote, **facts) for name in symbols
    ]
    return {info.symbol: info for info in infos}


def kinds(*symbols, of, **facts):
    return set(kinds_of(listed(of, *symbols, **facts))[of])


def contract(name, kind="PERPETUAL", underlying="COIN"):
    return listed(name, contract_type=kind, underlying_type=underlying)


def test_the_recorded_listing(shared_data):
    recorded = shared_data / "exchange_2026" / "um_exchangeInfo_5symbols.json"
    items = json.loads(recorded.read_text(encoding="utf-8"))["symbols"]
    infos = {item["symbol"]: read_symbol(item) for item in items}
    assert infos["XAUUSDT"] == SymbolInfo(
        "XAUUSDT",
        "TRADING",
        "XAU",
        "USDT",
        "TRADIFI_PERPETUAL",
        "COMMODITY",
        1_765_440_300_000,
        4_133_404_800_000,
    )
    assert infos["BTCUSDT_261225"].delivery_ms == 1_798_185_600_000
    # The exchange ranks gold and the quarterly before the coin of five characters.
    volumes = {"BTCUSDT": 9.0, "XAUUSDT": 5.0, "BTCUSDT_261225": 4.0, "币安人生USDT": 3.0}
    listing = Listing(infos, volumes)
    top = top_symbols(listing, "USDT", 2)
    assert top.symbols == ("BTCUSDT", "币安人生USDT")
    assert top.left_out == {
        "tradfi": ("XAUUSDT",),
        "dated": ("BTCUSDT_261225",),
        "not_trading": ("OMGUSDT",),
    }
    all_of_them = top_symbols(listing, "USDT", 9, [Kind.TRADFI, Kind.DATED])
    assert all_of_them.symbols == ("BTCUSDT", "XAUUSDT", "BTCUSDT_261225", "币安人生USDT")
    assert all_of_them.left_out == {"not_trading": ("OMGUSDT",)}
    assert top_symbols(listing, "USDT", 2, [Kind.DATED]).symbols == ("BTCUSDT", "BTCUSDT_261225")


@pytest.mark.parametrize(
    ("kind", "underlying", "expected"),
    [
        ("PERPETUAL", "COIN", set()),
        ("PERPETUAL", "INDEX", set()),  # BTCDOMUSDT, a basket of coins
        ("PERPETUAL", "PREMARKET", set()),
        ("TRADIFI_PERPETUAL", "EQUITY", {Kind.TRADFI}),
        ("TRADIFI_PERPETUAL", "INDEX", {Kind.TRADFI}),
        ("PERPETUAL", "KR_EQUITY", {Kind.TRADFI}),  # either word is enough
        ("PERPETUAL", "BOND", {Kind.TRADFI}),  # a word that is not known yet
        ("NEXT_QUARTER", "COIN", {Kind.DATED}),
        ("CURRENT_QUARTER DELIVERING", "COIN", {Kind.DATED}),
        ("CURRENT_QUARTER", "EQUITY", {Kind.TRADFI, Kind.DATED}),
    ],
)
def test_contracts_by_the_listings_own_words(kind, underlying, expected):
    assert kinds_of(contract("AAAUSDT", kind, underlying))["AAAUSDT"] == expected


def test_a_delivered_contract_without_a_type_is_known_by_its_name():
    assert kinds_of(contract("BTCUSDT_210326", "", ""))["BTCUSDT_210326"] == {Kind.DATED}


def test_a_symbol_of_two_kinds_needs_both_to_be_included():
    listing = Listing(
        contract("AAAUSDT_261225", "CURRENT_QUARTER", "EQUITY") | contract("B2USDT"), {}
    )
    assert top_symbols(listing, "USDT", 9, [Kind.DATED]).left_out == {"tradfi": ("AAAUSDT_261225",)}
    both = top_symbols(listing, "USDT", 9, [Kind.DATED, Kind.TRADFI])
    assert both.symbols == ("AAAUSDT_261225", "B2USDT")


@pytest.mark.parametrize("base", RATES)
def test_pairs_that_are_a_rate_of_exchange(base):
    assert kinds(of=f"{base}USDT") == {Kind.STABLECOINS}


def test_also_against_a_currency_and_as_a_perpetual():
    assert kinds_of(listed("USDTTRY", quote="TRY"))["USDTTRY"] == {Kind.STABLECOINS}
    assert kinds_of(contract("USDCUSDT"))["USDCUSDT"] == {Kind.STABLECOINS}


@pytest.mark.parametrize("base", COINS)
def test_coins_that_are_not(base):
    assert kinds(of=f"{base}USDT") == set()


def test_every_pegged_asset_is_spelt_as_the_exchange_does_and_once():
    assets = pegged_assets()
    assert {"USDT", "EUR", "U"} <= assets
    assert all(asset.isascii() and asset.isupper() for asset in assets)


@pytest.mark.parametrize("name", ["BTCUP", "BTCDOWN", "ETHBULL", "ETHBEAR", "1INCHUP", "SUSHIDOWN"])
def test_a_token_beside_its_opposite_and_its_coin(name):
    coin = name.removesuffix("UP").removesuffix("DOWN").removesuffix("BULL").removesuffix("BEAR")
    beside = [f"{coin}{end}USDT" for end in ("", "UP", "DOWN", "BULL", "BEAR")]
    assert kinds(*beside, of=f"{name}USDT") == {Kind.LEVERAGED}


@pytest.mark.parametrize("base", ALIKE)
def test_coins_whose_names_end_like_one(base):
    others = [f"{one}USDT" for one in BESIDE]
    assert kinds(*others, of=f"{base}USDT") == set()


def test_a_pair_of_names_without_their_coin_is_two_coins():
    assert kinds("JDOWNUSDT", of="JUPUSDT") == set()


def test_what_the_listing_calls_leveraged():
    assert kinds(of="BTCUPUSDT", leveraged=True) == {Kind.LEVERAGED}


@pytest.mark.parametrize(
    "words", [{"permissions": ["LEVERAGED"]}, {"permissionSets": [["LEVERAGED", "TRD_GRP_004"]]}]
)
def test_permissions_of_old_and_of_new_listings(words):
    item = {"symbol": "ETHUPUSDT", "status": "BREAK", "baseAsset": "ETHUP", "quoteAsset": "USDT"}
    assert read_symbol(item | words).leveraged
    assert not read_symbol(item | {"permissions": [], "permissionSets": [["SPOT"]]}).leveraged
    assert not read_symbol(item | {"permissionSets": ["GRID", "COPY"]}).leveraged  # of futures
    assert not read_symbol(item).leveraged


def test_on_futures_a_name_says_nothing_of_leverage():
    together = contract("BTCUSDT") | contract("BTCUPUSDT") | contract("BTCDOWNUSDT")
    assert kinds_of(together)["BTCUPUSDT"] == set()


@pytest.mark.parametrize(("stated", "size"), [({}, None), ({"contractSize": 100}, 100)])
def test_what_a_contract_is_worth_is_read(stated, size):
    item = {"symbol": "BTCUSD_PERP", "baseAsset": "BTC", "quoteAsset": "USD"} | stated
    info = read_symbol(item)
    assert info.contract_usd == size
    trades = BinanceTrades(Mock(symbols=lambda: {info.symbol: info}), Market.COIN_M)
    assert trades.contract_usd("BTCUSD_PERP") == size
    assert trades.contract_usd("XRPUSD_200925") is None  # was removed


@pytest.mark.parametrize("stated", [0, -10, 10.5, "nan", "inf", "ten"])
def test_a_worth_that_cannot_be_is_refused(stated):
    item = {"symbol": "BTCUSD_PERP", "baseAsset": "BTC", "quoteAsset": "USD"}
    with pytest.raises(ValueError, match=str(stated)):
        read_symbol(item | {"contractSize": stated})
