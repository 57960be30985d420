"""The simulated listing beside the recorded one, and contracts of more kinds than perpetuals."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from alphamill.frames import Interval, Market
from alphamill.sim.exchange import Limits
from alphamill.sim.exchange.listing import exchange_info
from alphamill.sim.market import (
    DEFAULT_START_MS,
    Bars,
    Instrument,
    SyntheticMarket,
    SyntheticSource,
    coins_named,
)

DAY = 86_400_000
NOW = 1_793_836_800_000  # long after the market
UM, CM = Market.USD_M, Market.COIN_M
WIDE = SyntheticMarket(
    coins=coins_named(["BTCUSDT", "DOTUSDT"]),
    end_ms=DEFAULT_START_MS + 200 * DAY,
    planted=(),
    wide=True,
)


@pytest.fixture(scope="module")
def source():
    return SyntheticSource(WIDE)


def listed(source, market, now_ms=NOW):
    info = exchange_info(source, market, source.symbols(market), Limits(), now_ms)
    return {item["symbol"]: item for item in info["symbols"]}


def test_contracts_are_described_as_recorded(source, shared_data):
    path = shared_data / "exchange_2026" / "um_exchangeInfo_5symbols.json"
    recorded = {
        item["symbol"]: item for item in json.loads(path.read_text(encoding="utf-8"))["symbols"]
    }
    ours = listed(source, UM)
    quarterly = "BTCUSDT_230929"
    assert list(ours) == ["BTCUSDT", "DOTUSDT", "币安人生USDT", "XAUUSDT", quarterly]
    same = ("pair", "contractType", "status", "baseAsset", "quoteAsset", "marginAsset")
    for name, real in recorded.items():
        if name == "OMGUSDT":
            continue
        item = ours[quarterly if name == "BTCUSDT_261225" else name]
        assert set(real) <= set(item)
        assert {key: type(item[key]) for key in real} == {key: type(real[key]) for key in real}
        assert [item[key] for key in (*same, "underlyingType")] == [
            real[key] for key in (*same, "underlyingType")
        ]
    for name in ("BTCUSDT", "XAUUSDT", "币安人生USDT"):
        assert ours[name]["deliveryDate"] == recorded[name]["deliveryDate"]
        assert ours[name]["onboardDate"] == DEFAULT_START_MS


@pytest.mark.parametrize(
    ("symbol", "delivery_ms", "base"),
    [
        ("BTCUSDT_261225", 1_798_185_600_000, "BTC"),  # as recorded
        ("ETHUSD_210326", 1_616_745_600_000, "ETH"),
        ("BTCUSDT_261399", None, "BTCUSDT_261399"),  # no day
        ("BTCUSD_PERP", None, "BTC"),
        ("DOTUSD_PERP", None, "DOT"),  # and no DO in TUSD
        ("币安人生USDT", None, "币安人生"),
    ],
)
def test_what_a_name_says(symbol, delivery_ms, base):
    named = Instrument.named(symbol)
    assert (named.delivery_ms, named.base) == (delivery_ms, base)


def test_coin_margined_bases(source):
    items = listed(source, CM)
    assert [item["baseAsset"] for item in items.values()] == ["BTC", "DOT"]
    assert {item["quoteAsset"] for item in items.values()} == {"USD"}
    assert {item["contractStatus"] for item in items.values()} == {"TRADING"}


def test_spot_lists_no_contract(source):
    assert source.symbols(Market.SPOT) == ["BTCUSDT", "DOTUSDT", "币安人生USDT"]
    assert source.bars(Market.SPOT, "XAUUSDT", Interval.H1) is None
    assert source.bars(UM, "XAUUSDT", Interval.H1) is not None


def test_what_is_beside_the_coins_changes_no_bit_of_them(source):
    alone = SyntheticSource(SyntheticMarket(**{f: getattr(WIDE, f) for f in FIELDS}, wide=False))
    for symbol in alone.symbols(UM):
        ours, theirs = (one.bars(UM, symbol, Interval.H1) for one in (alone, source))
        for name in Bars.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


FIELDS = ("seed", "coins", "interval", "start_ms", "end_ms", "planted")


def test_a_quarterly_follows_its_coin_until_the_day_of_delivery(source):
    name, h1 = "BTCUSDT_230929", Interval.H1
    contract, coin = source.bars(UM, name, h1), source.bars(UM, "BTCUSDT", h1)
    onboard = listed(source, UM)[name]["onboardDate"]
    assert datetime.fromtimestamp(onboard / 1000, UTC) == datetime(2023, 3, 31, 8, tzinfo=UTC)
    coin = coin.rows(coin.start_at(onboard), len(coin))
    dearer = contract.close / coin.close - 1
    assert 0.035 < dearer[0] < 0.045  # half a year at 8 %
    assert 0.01 < dearer[-1] < dearer[0]
    assert (contract.high >= np.maximum(contract.open, contract.close)).all()
    assert (contract.low <= np.minimum(contract.open, contract.close)).all()
    average = contract.quote_volume / contract.volume
    inside = (contract.low - 1e-6 <= average) & (average <= contract.high + 1e-6)
    assert inside.all()
    assert source.funding(UM, name) is None
    assert source.funding(UM, "XAUUSDT") is not None


class Ended:
    """Hourly bars of ten days; DEADUSDT's end after three, LATEUSDT's begin on the sixth."""

    def __init__(self):
        spans = {"AAAUSDT": (0, 10), "DEADUSDT": (0, 3), "LATEUSDT": (5, 10)}
        self._bars = {name: self._made(*span) for name, span in spans.items()}

    @staticmethod
    def _made(first, stop):
        times = DEFAULT_START_MS + np.arange(24 * first, 24 * stop, dtype=np.int64) * 3_600_000
        ones = np.ones(len(times))
        return Bars(times, *[ones] * 6, ones.astype(np.int64), ones, ones)

    def symbols(self, market):
        return list(self._bars)

    def intervals(self, market, symbol):
        return [Interval.H1]

    def bars(self, market, symbol, interval):
        return self._bars[symbol]

    def describe(self):
        return {"kind": "test"}


@pytest.mark.parametrize(
    ("day", "spot", "futures"),
    [
        (1, ["TRADING", "TRADING", "BREAK"], ["TRADING", "TRADING", "PENDING_TRADING"]),
        (4, ["TRADING", "TRADING", "BREAK"], ["TRADING", "TRADING", "PENDING_TRADING"]),
        (6, ["TRADING", "BREAK", "TRADING"], ["TRADING", "SETTLING", "TRADING"]),
        (4000, ["TRADING", "BREAK", "TRADING"], ["TRADING", "SETTLING", "TRADING"]),
    ],
)
def test_status_follows_the_bars_and_the_clock(day, spot, futures):
    now_ms = DEFAULT_START_MS + day * DAY
    for market, expected in ((Market.SPOT, spot), (UM, futures)):
        items = listed(Ended(), market, now_ms)
        assert [item["status"] for item in items.values()] == expected
    ended = listed(Ended(), UM)["DEADUSDT"]["deliveryDate"]
    assert ended == DEFAULT_START_MS + 3 * DAY


class RecordedApart(Ended):
    """A coin of which a few minutes were recorded long after its hours."""

    def __init__(self):
        super().__init__()
        self._minutes = self._made(20, 21)

    def intervals(self, market, symbol):
        return [Interval.M1, Interval.H1]

    def bars(self, market, symbol, interval):
        return self._minutes if interval is Interval.M1 else self._bars[symbol]

    def describe(self):
        return {"kind": "replay"}


def test_a_coin_trades_from_the_first_of_its_recordings_to_the_last():
    items = listed(RecordedApart(), Market.SPOT, DEFAULT_START_MS + 2 * DAY)
    assert [items[name]["status"] for name in ("AAAUSDT", "LATEUSDT")] == ["TRADING", "BREAK"]
    items = listed(RecordedApart(), Market.SPOT, DEFAULT_START_MS + 20 * DAY)
    assert {item["status"] for item in items.values()} == {"TRADING"}


def test_a_contract_is_settled_after_its_delivery():
    market = SyntheticMarket(coins=coins_named(["BTCUSDT_230331"]), planted=())
    source = SyntheticSource(market)
    name, delivery = "BTCUSDT_230331", 1_680_249_600_000
    assert listed(source, UM, delivery - 1)[name]["status"] == "TRADING"
    assert listed(source, UM, delivery)[name]["status"] == "SETTLING"
    assert listed(source, UM, delivery - 120 * DAY)[name]["contractType"] == "NEXT_QUARTER"
    assert listed(source, UM, delivery - 1)[name]["contractType"] == "CURRENT_QUARTER"
