"""Recordings, rows as text, resampling and faults."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.errors import Misconfigured
from alphamill.frames import Interval, Market
from alphamill.sim.exchange import Fault, FaultKind
from alphamill.sim.exchange.faults import FaultPlan, When
from alphamill.sim.exchange.print_rows import PrintedRows, number_text, print_rows
from alphamill.sim.market import Bars, ReplaySource, SyntheticMarket, SyntheticSource, coins_named
from alphamill.sim.market.bars import close_ms, opens_ms, resample
from alphamill.sim.market.recordings import read_recording

HOUR = 3_600_000
MONDAY = 1_609_718_400_000  # 2021-01-04


def some_bars(n, start_ms=MONDAY, step_ms=HOUR):
    values = np.arange(n) + 10.0
    return Bars(
        open_ms=start_ms + np.arange(n, dtype=np.int64) * step_ms,
        open=values,
        high=values + 2,
        low=values - 2,
        close=values + 1,
        volume=values,
        quote_volume=values * 2,
        trades=np.ones(n, dtype=np.int64),
        taker_buy_base=values / 2,
        taker_buy_quote=values,
    )


def write(path: Path, **columns):
    pq.write_table(pa.table(columns), path)


def six(n=3):
    columns = {name: np.arange(n) + 1.0 for name in ("open", "high", "low", "close", "volume")}
    return {"open_time": MONDAY + np.arange(n) * HOUR, **columns}


@given(st.floats(min_value=0, max_value=1e15, allow_nan=False))
def test_numbers_read_back_exactly(value):
    text = number_text(value)
    assert float(text) == value
    assert "e" not in text.lower()


def test_numbers_look_like_the_exchanges():
    assert number_text(41904.46) == "41904.46000000"
    assert number_text(0.0) == "0.00000000"
    assert number_text(1.25e-11) == "0.0000000000125"
    with pytest.raises(ValueError, match="nan"):
        number_text(float("nan"))


def test_row_cache_equals_direct_printing_over_block_edges():
    bars = some_bars(2500)
    cache, direct = PrintedRows(bars, Interval.H1), print_rows(bars, Interval.H1)
    for first, stop in [(0, 0), (0, 1), (999, 1001), (0, 2500), (1000, 2000), (2499, 2500)]:
        assert cache.texts(first, stop) == direct[first:stop]


def test_six_columns_get_the_stated_stand_ins(tmp_path):
    write(tmp_path / "BTCUSDT-1h.parquet", **six())
    bars = read_recording(tmp_path / "BTCUSDT-1h.parquet")
    assert bars.quote_volume.tolist() == [1.0, 4.0, 9.0]  # volume x typical price
    assert bars.trades.tolist() == [0, 0, 0]
    assert bars.taker_buy_base.tolist() == [0, 0, 0]


def test_ten_columns_are_taken_as_they_are_and_sorted(tmp_path):
    extra = {
        "quote_volume": [7.0, 8, 9],
        "trades": [1, 2, 3],
        "taker_buy_base": [0.1, 0.2, 0.3],
        "taker_buy_quote": [4.0, 5, 6],
    }
    table = {name: list(values)[::-1] for name, values in {**six(), **extra}.items()}
    write(tmp_path / "BTCUSDT-1h.parquet", **table)
    bars = read_recording(tmp_path / "BTCUSDT-1h.parquet")
    assert bars.open_ms.tolist() == [MONDAY, MONDAY + HOUR, MONDAY + 2 * HOUR]
    assert bars.quote_volume.tolist() == [7, 8, 9]
    assert bars.trades.tolist() == [1, 2, 3]


def test_timestamp_columns_are_read_in_milliseconds(tmp_path):
    columns = six()
    columns["open_time"] = pa.array(columns["open_time"], pa.timestamp("ms", tz="UTC"))
    write(tmp_path / "BTCUSDT-1h.parquet", **columns)
    assert read_recording(tmp_path / "BTCUSDT-1h.parquet").open_ms[0] == MONDAY


def test_a_flat_folder_is_one_market_and_named_folders_are_theirs(tmp_path):
    write(tmp_path / "BTCUSDT-1h.parquet", **six())
    write(tmp_path / "not a recording.parquet", **six())
    flat = ReplaySource(tmp_path, Market.USD_M)
    assert flat.symbols(Market.USD_M) == ["BTCUSDT"]
    assert flat.symbols(Market.SPOT) == []
    assert flat.bars(Market.USD_M, "BTCUSDT", Interval.M5) is None

    (tmp_path / "cm").mkdir()
    write(tmp_path / "cm" / "BTCUSD_PERP-4h.parquet", **six())
    write(tmp_path / "cm" / "BTCUSD_PERP-1m.parquet", **six())
    named = ReplaySource(tmp_path)
    assert named.symbols(Market.COIN_M) == ["BTCUSD_PERP"]
    assert named.symbols(Market.SPOT) == []
    assert named.intervals(Market.COIN_M, "BTCUSD_PERP") == [Interval.M1, Interval.H4]
    assert named.describe()["markets"]["cm"]["BTCUSD_PERP"]["4h"]["rows"] == 3


@pytest.mark.parametrize("name", ["BTCUSDT-fundingRate", "BTCUSD_PERP-1h", "ETHUSDT_240628-1h"])
def test_futures_are_not_served_as_spot(tmp_path, name):
    folder = tmp_path / "klines" / "um"
    folder.mkdir(parents=True)
    write(folder / "BTCUSDT-1h.parquet", **six())
    with pytest.raises(
        Misconfigured, match=r"um is named as .*name the folder above it: .*klines$"
    ):
        ReplaySource(folder)
    assert ReplaySource(folder.parent).symbols(Market.USD_M) == ["BTCUSDT"]
    assert ReplaySource(folder, Market.USD_M).symbols(Market.USD_M) == ["BTCUSDT"]

    write(tmp_path / "BTCUSDT-1h.parquet", **six())
    assert ReplaySource(tmp_path).symbols(Market.SPOT) == ["BTCUSDT"]
    write(tmp_path / f"{name}.parquet", **six())
    with pytest.raises(Misconfigured, match=rf"holds futures \({name}.*move its files into .*/um "):
        ReplaySource(tmp_path)


def test_recordings_beside_the_folders_of_markets_are_named(tmp_path, caplog):
    (tmp_path / "spot").mkdir()
    write(tmp_path / "spot" / "BTCUSDT-1h.parquet", **six())
    write(tmp_path / "ETHUSDT-1h.parquet", **six())
    assert ReplaySource(tmp_path).symbols(Market.SPOT) == ["BTCUSDT"]
    assert "1 files lie beside the folders of markets and are not served: 'ETHUSDT" in caplog.text


def test_bad_recordings_are_named(tmp_path):
    with pytest.raises(Misconfigured, match="SYMBOL-INTERVAL"):
        ReplaySource(tmp_path)
    columns = six()
    del columns["close"]
    write(tmp_path / "AUSDT-1h.parquet", **columns)
    with pytest.raises(Misconfigured, match=r"AUSDT-1h.parquet lacks close"):
        read_recording(tmp_path / "AUSDT-1h.parquet")
    columns = six()
    columns["open_time"][1] = columns["open_time"][0]
    write(tmp_path / "BUSDT-1h.parquet", **columns)
    with pytest.raises(Misconfigured, match="ascend"):
        read_recording(tmp_path / "BUSDT-1h.parquet")


def test_resampled_bars_are_the_sums_and_extremes_of_their_parts():
    hours = some_bars(24 * 9)
    days = resample(hours, Interval.D1)
    assert len(days) == 9
    assert days.open[1] == hours.open[24]
    assert days.close[1] == hours.close[47]
    assert days.high[1] == hours.high[24:48].max()
    assert days.low[1] == hours.low[24:48].min()
    assert days.volume[1] == hours.volume[24:48].sum()
    assert days.trades.tolist() == [24] * 9


def test_weeks_open_on_mondays_and_a_late_first_bar_keeps_the_grid():
    hours = some_bars(24 * 9, start_ms=MONDAY + 5 * HOUR)
    assert resample(hours, Interval.W1).open_ms.tolist() == [MONDAY, MONDAY + 7 * 24 * HOUR]
    assert resample(hours, Interval.H4).open_ms[0] == MONDAY + 4 * HOUR


def test_three_days_open_where_the_exchanges_do():
    saturday = 1_704_067_200_000 - 2 * 24 * HOUR  # 2023-12-30; the bar of 2024-01-01 follows
    hours = some_bars(24 * 9, start_ms=saturday + 6 * HOUR)
    opens = resample(hours, Interval.D3).open_ms.tolist()
    assert opens == [saturday - 24 * HOUR + n * 72 * HOUR for n in range(4)]


def test_the_first_bar_is_short_and_opens_before_the_listing():
    listed = MONDAY + 24 * 45 * HOUR + 6 * HOUR  # 2021-02-18 06:00, a Thursday
    hours = some_bars(24 * 20, start_ms=listed)
    for interval, opens, parts in [
        (Interval.D1, MONDAY + 45 * 24 * HOUR, 18),
        (Interval.W1, MONDAY + 42 * 24 * HOUR, 24 * 4 - 6),
        (Interval.MO1, 1_612_137_600_000, 24 * 11 - 6),
    ]:
        first = resample(hours, interval).rows(0, 1)
        assert (first.open_ms[0], first.trades[0]) == (opens, parts)
        assert first.close[0] == hours.close[parts - 1]


def recorded_bars(shared_data, interval):
    path = shared_data / f"bars_3d_1w/BTCUSDT_{interval}.csv"
    rows = pd.read_csv(path)
    times = rows["timestamp"].to_numpy("datetime64[ms]").astype(np.int64)
    nothing = np.zeros(len(rows))
    prices = {name: rows[name].to_numpy() for name in ("open", "high", "low", "close", "volume")}
    rest = dict.fromkeys(("quote_volume", "taker_buy_base", "taker_buy_quote"), nothing)
    return Bars(open_ms=times, trades=nothing.astype(np.int64), **prices, **rest)


@pytest.mark.parametrize(
    ("interval", "first", "rows"), [(Interval.D3, 0, 1021), (Interval.W1, 1, 437)]
)
def test_longer_bars_are_the_exchanges_own(shared_data, interval, first, rows):
    """3d and 1w of eight years, from their days; the recorded weeks begin after the listing's."""
    recorded = recorded_bars(shared_data, interval).rows(0, rows)
    summed = resample(recorded_bars(shared_data, Interval.D1), interval).rows(first, first + rows)
    assert np.array_equal(summed.open_ms, recorded.open_ms)
    for name in ("open", "high", "low", "close"):
        assert np.array_equal(getattr(summed, name), getattr(recorded, name))
    np.testing.assert_allclose(summed.volume, recorded.volume, rtol=0, atol=1e-6)


@pytest.mark.parametrize("interval", [Interval.D1, Interval.D3, Interval.W1])
def test_a_market_of_long_bars_is_on_the_grid_wherever_it_starts(interval):
    for day in range(7):
        start_ms = MONDAY + day * 24 * HOUR + 5 * HOUR
        market = SyntheticMarket(
            coins=coins_named(["BTCUSDT"]),
            interval=interval,
            start_ms=start_ms,
            end_ms=start_ms + 90 * 24 * HOUR,
            planted=(),
        )
        source = SyntheticSource(market)
        opens = source.bars(Market.SPOT, "BTCUSDT", interval).open_ms
        assert opens[0] <= start_ms < opens[1]
        assert np.array_equal(opens, opens_ms(opens, interval))
        assert market.start_ms == opens[0]


def test_months_close_when_the_calendar_says():
    assert close_ms(1_612_137_600_000, Interval.MO1) == 1_614_556_800_000 - 1  # February 2021


def test_faults_are_parsed_and_bad_ones_are_explained():
    assert Fault.parse("truncate:0.02") == Fault(FaultKind.TRUNCATE, When(probability=0.02))
    assert Fault.parse("reset:/50") == Fault(FaultKind.RESET, When(every=50))
    assert Fault.parse("waf:@7") == Fault(FaultKind.WAF, When(first=7, last=7))
    assert Fault.parse("waf:@7-9") == Fault(FaultKind.WAF, When(first=7, last=9))
    for text in ("truncate", "nonsense:0.1", "html:2", "html:/x", "html:@9-7", "html:@-1"):
        with pytest.raises(ValueError, match="KIND:SHARE"):
            Fault.parse(text)


def test_faults_strike_in_rhythm_and_at_their_rate_and_repeat_with_the_seed():
    rhythm = FaultPlan([Fault(FaultKind.RESET, When(every=3))])
    assert [rhythm.next("/api/v3/klines") for _ in range(6)] == [None, None, "reset"] * 2
    assert rhythm.caused == {"reset": 2}

    tenth = When(probability=0.1)
    faults = [Fault(FaultKind.HTML, tenth), Fault(FaultKind.TIMEOUT, tenth)]
    first, second = (FaultPlan(faults, seed=5) for _ in range(2))
    path = "/api/v3/klines"
    assert [first.next(path) for _ in range(5000)] == [second.next(path) for _ in range(5000)]
    assert 400 < first.caused["html"] < 600
    assert 350 < first.caused["timeout"] < 550  # only where html did not strike first


def test_faults_strike_by_number_and_only_what_they_concern():
    plan = FaultPlan([Fault.parse("nulls:@2-3"), Fault.parse("clock:@2-"), Fault.parse("waf:@6")])
    paths = [
        "/api/v3/time",
        "/api/v3/klines",
        "/api/v3/klines",
        "/api/v3/exchangeInfo",
        "/api/v3/ping",
        "/data/x.zip",
        "/fapi/v1/klines",
        "/dapi/v1/time",
    ]
    assert [plan.next(path) for path in paths] == [
        None,
        None,
        "nulls",
        "clock",
        None,
        "waf",
        "nulls",
        "clock",
    ]
