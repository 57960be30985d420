"""Which bars of a symbol are of which coin, and which of none, on what the exchange really gave."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.frames import KLINES, Interval, times_ms
from alphamill.lake.listings import (
    COLUMNS,
    SILENT_MS,
    find_listings,
    listing_name,
    quiet_of,
    symbol_of,
)
from alphamill.testing import klines_at

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
START_MS = 1_640_995_200_000  # 2022-01-01


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def recorded(opens_ms, prices, volume):  # type: ignore[no-untyped-def]
    """What `find_listings` reads of a recording, which has no count of trades."""
    trades = (volume > 0).astype(np.int64)
    columns = {"open_time": opens_ms, **prices, "volume": volume, "trades": trades}
    fields = [KLINES.field(name) for name in COLUMNS]
    return pa.table(
        [pa.array(columns[field.name]).cast(field.type) for field in fields], pa.schema(fields)
    )


def bars_of(opens_ms, close, volume=1.0, interval=Interval.H1, **columns):  # type: ignore[no-untyped-def]
    """Bars that open and close at one price, with a trade where they have volume."""
    close = np.broadcast_to(np.asarray(close, dtype=float), np.shape(opens_ms))
    volume = np.broadcast_to(np.asarray(volume, dtype=float), np.shape(opens_ms))
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    counted = {"volume": volume, "trades": (volume > 0).astype(np.int64)}
    return klines_at(opens_ms, interval, **prices | counted | columns)


def hours(first: int, last: int) -> np.ndarray:  # type: ignore[type-arg]
    """Open times of the hours [first, last) from START_MS on."""
    return START_MS + HOUR_MS * np.arange(first, last)


def listings_of(bars: pa.Table, interval: Interval = Interval.H1, until_ms: int = 0):  # type: ignore[no-untyped-def]
    return find_listings(bars, interval, until_ms)


def kept(bars: pa.Table, listings) -> list[int]:  # type: ignore[no-untyped-def]
    return [int(one.holds(times_ms(bars, "open_time")).sum()) for one in listings]


# Spot 1h, the bars on both sides of every hole of more than 5 hours in 411 USDT symbols from April
# 2021 to December 2023, as the exchange gave them at the end of 2023: last close; open and close.
HOLES = {
    "SUN": ("2021-06-14T03", 27.572, "2021-06-18T04", 0.02757, 0.02955, True),  # 1 to 1000
    "QUICK": ("2023-07-17T02", 74.2, "2023-07-21T08", 0.0742, 0.06057, True),  # 1 to 1000
    "BNX": ("2023-02-16T02", 175.5, "2023-02-22T08", 1.755, 1.511, True),  # 1 to 100
    "VIDT": ("2022-10-31T02", 0.4731, "2022-11-09T08", 0.044, 0.02511, True),  # 1 to 10
    "LUNA": ("2022-05-13T00", 0.00005, "2022-05-31T06", 1.0, 8.5558, True),  # another coin
    "AEUR": ("2023-12-05T18", 2.8892, "2023-12-08T14", 1.0774, 1.0751, False),  # halted at 2.7 x
    "KEY": ("2023-02-10T02", 0.004433, "2023-03-10T08", 0.008159, 0.007861, False),
    "CVC": ("2022-12-09T02", 0.0978, "2023-05-12T08", 0.089, 0.0853, False),  # delisted, relisted
    "FTT": ("2022-11-15T04", 1.4322, "2023-09-22T08", 0.9752, 1.0585, False),
    "USDC": ("2022-09-26T02", 0.9999, "2023-03-11T14", 1.0, 0.9129, False),
}


@pytest.mark.parametrize("name", HOLES)
@pytest.mark.parametrize("bar", [Interval.M15, Interval.H1, Interval.H8, Interval.H12])
def test_every_hole_of_days_of_411_symbols(name: str, bar: Interval) -> None:
    before, last, after, first_open, first_close, another = HOLES[name]
    ends, begins = (ms(text) // bar.ms * bar.ms for text in (before, after))
    opens_ms = [*(ends - bar.ms * np.arange(20)[::-1]), *(begins + bar.ms * np.arange(20))]
    close = np.array([last] * 20 + [first_close] * 20)
    opened = np.array([last] * 20 + [first_open] + [first_close] * 19)
    found = listings_of(bars_of(opens_ms, close, interval=bar, open=opened), bar)
    assert [one.start_ms for one in found] == ([opens_ms[0], begins] if another else [opens_ms[0]])
    assert [one.price_ratio for one in found[1:]] == [first_open / last] * another
    assert found[-1].end_ms == opens_ms[-1] + bar.ms


@pytest.mark.parametrize("name", [name for name, hole in HOLES.items() if hole[-1]])
@pytest.mark.parametrize("bar", [Interval.D1, Interval.D3])
def test_so_are_those_of_days_in_bars_of_days(name: str, bar: Interval) -> None:
    """SUN's halt of four days leaves out one bar of 3d or none."""
    before, last, after, first_open, first_close, _ = HOLES[name]
    ends, begins = (ms(text) // bar.ms * bar.ms for text in (before, after))
    opens_ms = [*(ends - bar.ms * np.arange(20)[::-1]), *(begins + bar.ms * np.arange(20))]
    opened = np.array([last] * 20 + [first_open] + [first_close] * 19)
    close = [last] * 20 + [first_close] * 20
    found = listings_of(bars_of(opens_ms, close, interval=bar, open=opened), bar)
    assert [one.start_ms for one in found] == [opens_ms[0], begins]


def test_of_the_recordings_luna_alone_is_cut_and_no_bar_is_lost(shared_data: Path) -> None:
    files = sorted((shared_data / "klines").rglob("*.parquet"))
    assert len(files) > 40
    new = {}
    for file in files:
        symbol, interval = file.stem.rsplit("-", 1)
        table = pq.read_table(file)
        volume = table["volume"].to_numpy()
        prices = {name: table[name].to_numpy() for name in ("open", "high", "low", "close")}
        bars = recorded(times_ms(table), prices, volume)
        found = find_listings(bars, Interval(interval), 0)
        assert sum(kept(bars, found)) == len(bars), file.stem
        if len(found) > 1:
            new[file.stem] = [(one.start_ms, one.price_ratio) for one in found[1:]]
            names = [listing_name(symbol, one) for one in found]
            assert names == ["LUNAUSDT", "LUNAUSDT@2022-05-31"]
    assert new == {"LUNAUSDT-1h": [(ms("2022-05-31T06"), 1.0 / 0.00005)]}


def test_of_149_symbols_closes_luna_alone_is_cut(shared_data: Path) -> None:
    """Dead coins and relisted ones are among them, and coins that lost 99 % in a week."""
    table = pq.read_table(shared_data / "horizons/closes_1h.parquet")
    opens_ms = table["open_time"].cast(pa.timestamp("ms", "UTC")).cast(pa.int64()).to_numpy()
    cut = []
    for symbol in table.column_names:
        if symbol == "open_time":
            continue
        close = table[symbol].to_numpy()
        there = np.isfinite(close)
        prices = dict.fromkeys(("open", "high", "low", "close"), close[there])
        found = listings_of(recorded(opens_ms[there], prices, np.ones(there.sum())))
        cut += [symbol] * (len(found) - 1)
    assert cut == ["LUNAUSDT"]


@pytest.mark.parametrize("halted_h", [5, 34, 46])
def test_an_outage_is_no_change_of_coins_whatever_the_price_does(halted_h: int) -> None:
    opens_ms = [*hours(0, 50), *hours(50 + halted_h, 100 + halted_h)]
    assert len(listings_of(bars_of(opens_ms, [9.0] * 50 + [0.9] * 50))) == 1


@pytest.mark.parametrize("opened", [140.0, 0.7])
def test_one_wild_trade_after_a_halt_is_no_change_of_coins(opened: float) -> None:
    bars = bars_of([*hours(0, 50), *hours(150, 200)], 7.0).to_pydict()
    bars["open"][50] = opened
    assert len(listings_of(pa.table(bars, schema=KLINES))) == 1


def test_a_collapse_that_trades_is_none_either() -> None:
    bars = bars_of(hours(0, 100), [80.0] * 50 + [0.00005] * 50)
    assert len(listings_of(bars)) == 1


# --- bars of no trade ---------------------------------------------------------------------------


def flat(n_before: int, n_flat: int, n_after: int = 0, after: float = 7.0) -> pa.Table:
    """Hours that trade at 7, flat ones without a trade, and hours that trade at `after`."""
    n = n_before + n_flat + n_after
    volume = np.repeat([5.0, 0.0, 5.0], [n_before, n_flat, n_after])
    return bars_of(hours(0, n), [7.0] * (n_before + n_flat) + [after] * n_after, volume)


def test_flat_bars_after_a_delisting_are_of_nobody() -> None:
    bars = flat(100, 2000)
    (only,) = listings_of(bars)
    assert kept(bars, [only]) == [100]
    assert only.end_ms == START_MS + 100 * HOUR_MS


def test_a_range_that_is_flat_at_its_end_for_a_while_has_not_ended() -> None:
    bars = flat(100, 48)
    assert kept(bars, listings_of(bars)) == [148]
    assert kept(bars, listings_of(bars, until_ms=START_MS + 148 * HOUR_MS)) == [148]


def test_bars_that_are_flat_and_then_absent_are_one_silence() -> None:
    bars = flat(100, 20)
    assert kept(bars, listings_of(bars, until_ms=START_MS + 149 * HOUR_MS)) == [100]


def test_a_coin_that_comes_back_is_the_same_and_was_no_bar_meanwhile() -> None:
    bars = flat(100, 500, 100, after=5.0)
    (only,) = listings_of(bars)
    assert [(s.start_ms, s.end_ms) for s in only.spans] == [
        (START_MS, START_MS + 100 * HOUR_MS),
        (START_MS + 600 * HOUR_MS, START_MS + 700 * HOUR_MS),
    ]
    assert kept(bars, [only]) == [200]


def test_another_coin_after_flat_bars_without_a_hole() -> None:
    bars = flat(100, 500, 100, after=0.007)
    found = listings_of(bars)
    assert kept(bars, found) == [100, 100]
    assert found[1].price_ratio == pytest.approx(0.001)


@pytest.mark.parametrize(("after", "n_kept"), [(7.1, 130), (0.007, 100)])
def test_a_range_that_begins_flat_keeps_that_only_at_the_same_price(
    after: float, n_kept: int
) -> None:
    bars = flat(0, 30, 100, after)
    assert kept(bars, listings_of(bars)) == [n_kept]


def test_a_range_that_begins_in_a_silence_begins_with_the_first_trade() -> None:
    bars = flat(0, 60, 100)
    assert kept(bars, listings_of(bars)) == [100]


@pytest.mark.parametrize(("n_flat", "n_listings"), [(48, 1), (49, 0)])
def test_a_symbol_that_never_trades(n_flat: int, n_listings: int) -> None:
    assert len(listings_of(flat(0, n_flat))) == n_listings
    assert listings_of(bars_of([], [])) == ()


@pytest.mark.parametrize(
    "sign",
    [
        {"volume": 0.0, "trades": 3},  # too little for the volume's last digit
        {"volume": float("nan"), "trades": 0},
        {"volume": 0.0, "trades": 0, "high": 1.01},
        {"volume": 2.0, "trades": None},  # contracts; an archive without counts
    ],
)
def test_a_price_at_rest_with_any_sign_of_a_trade_trades(sign: dict[str, float]) -> None:
    bars = bars_of(hours(0, 500), 1.0).to_pydict()
    for name, value in sign.items():
        bars[name][100:] = [value] * 400
    table = pa.table(bars, schema=klines_at(hours(0, 1)).schema)
    assert kept(table, listings_of(table)) == [500]


def test_minutes_may_be_flat_for_hours() -> None:
    """NBTUSDT, the quietest of 411 symbols, did not trade for 23 hours and went on."""
    opens_ms = START_MS + 60_000 * np.arange(10_000)
    volume = np.ones(10_000)
    volume[1000 : 1000 + 46 * 60] = 0
    bars = bars_of(opens_ms, 7.0, volume, Interval.M1)
    assert kept(bars, listings_of(bars, Interval.M1)) == [10_000]


def test_a_week_without_a_trade_is_a_silence_of_one_bar() -> None:
    opens_ms = ms("2022-01-03") + 7 * DAY_MS * np.arange(30)
    bars = bars_of(opens_ms, 7.0, [1.0] * 20 + [0.0] * 10, Interval.W1)
    assert kept(bars, listings_of(bars, Interval.W1)) == [20]


def test_months_are_as_long_as_they_are() -> None:
    opens_ms = [ms(f"2022-{month:02d}-01") for month in range(1, 13)]
    bars = bars_of(opens_ms, [80.0] * 5 + [9.0] * 7, interval=Interval.MO1)
    first, second = find_listings(bars, Interval.MO1, 0)
    assert (first.end_ms, second.start_ms, second.end_ms) == (
        ms("2022-06-01"),
        ms("2022-06-01"),
        ms("2023-01-01"),
    )


# --- what is read to know that nothing is to cut ------------------------------------------------


@given(
    steps=st.lists(st.integers(1, 60), min_size=1, max_size=25),
    traded=st.integers(0, 2**25),
    prices=st.lists(st.sampled_from([7.0, 7.1, 0.7]), min_size=25, max_size=25),
    later_h=st.integers(0, 100),
)
def test_open_times_and_volumes_say_where_nothing_can_be_cut(
    steps: list[int], traded: int, prices: list[float], later_h: int
) -> None:
    opens_ms = START_MS + HOUR_MS * np.cumsum(steps)
    volume = np.array([float(traded >> at & 1) for at in range(len(steps))])
    bars = bars_of(opens_ms, prices[: len(steps)], volume)
    until_ms = int(opens_ms[-1]) + HOUR_MS * (1 + later_h)
    found = find_listings(bars, Interval.H1, until_ms)
    if not quiet_of(opens_ms, volume, Interval.H1).doubtful(until_ms):
        assert kept(bars, found) == [len(bars)]
    for one in found:
        assert np.diff([edge for s in one.spans for edge in (s.start_ms, s.end_ms)]).min() > 0
    assert sum(kept(bars, found)) <= len(bars)


def test_columns_and_names() -> None:
    bars = bars_of([*hours(0, 50), *hours(100, 150)], [7.0] * 50 + [0.7] * 50)
    first, second = find_listings(bars.select(COLUMNS), Interval.H1, 0)
    assert SILENT_MS == 2 * DAY_MS
    assert [listing_name("AUSDT", one) for one in (first, second)] == ["AUSDT", "AUSDT@2022-01-05"]
    assert {symbol_of(name) for name in ("AUSDT", "AUSDT@2022-01-05")} == {"AUSDT"}
