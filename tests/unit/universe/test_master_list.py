"""Who a market has and had, from the archive's listing: nobody is told of a dead coin."""

from collections import Counter
from datetime import date

import pytest

from alphamill.frames import Market, Month
from alphamill.lake import Lake
from alphamill.market.exchange import SymbolInfo
from alphamill.market.kinds import Kind
from alphamill.sim.exchange.archive_listing import ArchiveKeys
from alphamill.universe.master_list import Listed, read_master_list
from alphamill.universe.renames import changes
from alphamill.universe.snapshots import MasterList, write_master_list
from alphamill.universe.snapshots import read_master_list as kept_master_list
from tests.mortal_market import MortalMarket, life

NOW = Month(2023, 9).start_ms + 9 * 86_400_000
MIDDLE = Month(2023, 4).start_ms + 9 * 86_400_000  # its last day is the 9th of April
LIVES = {
    "BTCUSDT": life("2023-01", "2023-08"),
    "MATICUSDT": (Month(2023, 1).start_ms, MIDDLE, 1e6),
    "POLUSDT": (MIDDLE + 3 * 86_400_000, Month(2023, 8).end_ms, 1e6),
    "BTCUPUSDT": life("2023-01", "2023-03"),
    "BTCDOWNUSDT": life("2023-01", "2023-03"),
    "USDCUSDT": life("2023-02", "2023-08"),
    "XMRBTC": life("2023-01", "2023-02"),
}
ALIVE = {
    name: SymbolInfo(name, "TRADING", name[:-4], "USDT")
    for name in ("BTCUSDT", "POLUSDT", "USDCUSDT")
}


class Index:
    """The simulated archive's keys; counts what is asked about each symbol."""

    at_once = 2

    def __init__(self, lives=LIVES):
        self._below = ArchiveKeys(MortalMarket(lives), lambda _path: True).below
        self.asked = Counter()

    def folders(self, prefix):
        return (name[len(prefix) : -1] for name in self._below(prefix, "/"))

    def names(self, prefix, after=""):
        self.asked[prefix.split("/")[4]] += 1
        return (one.rsplit("/", 1)[-1] for one in self._below(prefix, "/") if one > after)


def listed(infos=ALIVE, before=None, index=None, market=Market.SPOT, now_ms=NOW):
    found = read_master_list(index or Index(), infos, market, now_ms, before)
    return {one.symbol: one for one in found}


def ms(text):
    return int(date.fromisoformat(text).toordinal() - date(1970, 1, 1).toordinal()) * 86_400_000


def test_the_dead_are_known_without_being_told():
    found = listed()
    assert set(found) == set(LIVES)
    matic = found["MATICUSDT"]
    assert matic.delisted
    assert (matic.base, matic.quote, matic.status) == ("MATIC", "USDT", "")
    assert (matic.first, matic.last) == (Month(2023, 1), Month(2023, 4))
    assert (matic.first_day_ms, matic.last_day_ms) == (ms("2023-01-01"), ms("2023-04-09"))
    bitcoin = found["BTCUSDT"]
    assert not bitcoin.delisted
    assert (bitcoin.first, bitcoin.last, bitcoin.last_day_ms) == (Month(2023, 1), None, None)
    assert found["POLUSDT"].first_day_ms == ms("2023-04-13")


def test_what_each_is():
    infos = {**ALIVE, "XMRETH": SymbolInfo("XMRETH", "BREAK", "XMR", "ETH")}
    infos["ETHBTC"] = SymbolInfo("ETHBTC", "TRADING", "ETH", "BTC")
    found = listed(infos)
    assert {one.symbol: one.what for one in found.values() if one.kinds} == {
        "BTCUPUSDT": "leveraged token",
        "BTCDOWNUSDT": "leveraged token",
        "USDCUSDT": "stable pair",
    }
    assert (found["XMRBTC"].base, found["XMRBTC"].quote) == ("XMR", "BTC")
    assert found["XMRETH"].delisted  # in exchangeInfo still, and without a file
    assert found["XMRETH"].first is None


def test_contracts_of_the_past_and_of_today():
    day = 86_400_000
    infos = {
        "XAUUSDT": SymbolInfo(
            "XAUUSDT", "TRADING", "XAU", "USDT", "TRADIFI_PERPETUAL", "COMMODITY", 10 * day + 5
        ),
        "OLDUSDT": SymbolInfo("OLDUSDT", "SETTLING", "OLD", "USDT", "PERPETUAL", "COIN", day),
    }
    lives = {name: life("2023-01", "2023-03") for name in (*infos, "BTCUSDT_230331")}
    found = listed(infos, index=Index(lives), market=Market.USD_M)
    assert found["XAUUSDT"].kinds == (Kind.TRADFI,)
    assert found["XAUUSDT"].first_day_ms == 10 * day  # the exchange's own word
    assert found["OLDUSDT"].delisted
    dated = found["BTCUSDT_230331"]
    assert (dated.what, dated.base, dated.quote) == ("dated contract", "BTC", "USDT")


def test_what_cannot_have_changed_is_not_asked_again():
    before = listed()
    index = Index()
    assert listed(before=before, index=index) == before
    assert not index.asked
    later = {**ALIVE, "BTCUSDT": SymbolInfo("BTCUSDT", "BREAK", "BTC", "USDT")}
    del later["POLUSDT"]
    index = Index()
    found = listed(later, before, index)
    assert set(index.asked) == {"BTCUSDT", "POLUSDT"}  # they have ended since
    assert found["BTCUSDT"].last == Month(2023, 8)
    index = Index()  # MATIC ended so lately that its last month may have been incomplete
    listed(before=before, index=index, now_ms=Month(2023, 5).start_ms + 14 * 86_400_000)
    assert set(index.asked) == {"MATICUSDT", "BTCUPUSDT", "BTCDOWNUSDT"}


def test_it_tells_how_far_it_is():
    told = []
    read_master_list(Index(), ALIVE, Market.SPOT, NOW, told=lambda *how: told.append(how))
    assert told == [(done, 7) for done in range(1, 8)]


def test_the_months_that_should_have_bars():
    matic = listed()["MATICUSDT"]
    assert [matic.had_bars_in(Month(2023, month)) for month in (1, 4, 5)] == [True, True, False]
    assert not matic.had_bars_in(Month(2022, 12))
    assert listed()["BTCUSDT"].had_bars_in(Month(2024, 1))
    assert not Listed("XMRETH", "XMR", "ETH", "BREAK").had_bars_in(Month(2023, 1))


def test_the_lake_keeps_the_newest_and_all_of_it(tmp_path):
    lake = Lake(str(tmp_path))
    assert kept_master_list(lake, Market.SPOT) is None
    symbols = tuple(listed().values())
    old = MasterList(Market.SPOT, date(2023, 9, 9), symbols[:1])
    new = MasterList(Market.SPOT, date(2023, 9, 10), symbols)
    for one in (new, old):
        write_master_list(lake, one)
    assert kept_master_list(lake, Market.SPOT) == new
    assert kept_master_list(lake, Market.USD_M) is None


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("MATIC", "goes on as POL since 2024-09-13 (1 to 1)"),
        ("POL", "was MATIC before 2024-09-13 (1 to 1)"),
        ("OM", "goes on as MANTRA since 2026-03-04 (1 to 4)"),
        ("NANO", "goes on as XNO"),
        ("BNX", "in new units since 2023-02-22 (1 to 100)"),
        ("LUNA", "another coin since 2022-05-31"),
    ],
)
def test_renames_are_named(base, said):
    assert [change.said_of(base) for change in changes()[base]] == [said]


def test_every_rename_has_its_source():
    assert all(change.source for known in changes().values() for change in known)
