"""Keys: what lies where, and nothing anywhere else."""

import pytest

from alphamill.frames import Interval, Market, Month
from alphamill.lake.layout import Series, month_of, run_key, series_of


def test_the_documented_paths():
    assert (
        Series(Market.SPOT, "BTCUSDT", Interval.H1).key("klines", Month(2021, 4))
        == "klines/market=spot/interval=1h/symbol=BTCUSDT/2021-04.parquet"
    )
    assert (
        Series(Market.COIN_M, "BTCUSD_PERP", Interval.D1).key("features", Month(2021, 12))
        == "features/market=cm/interval=1d/symbol=BTCUSD_PERP/2021-12.parquet"
    )
    assert run_key("mine-1f2e", "trials.parquet") == "runs/run=mine-1f2e/trials.parquet"


def test_a_minute_and_a_month_differ_where_case_does_not_count():
    keys = {
        Series(Market.SPOT, "BTCUSDT", interval).key("klines", Month(2021, 4)).lower()
        for interval in Interval
    }
    assert len(keys) == len(Interval)


@pytest.mark.parametrize("interval", list(Interval))
@pytest.mark.parametrize("market", list(Market))
def test_keys_read_back(market, interval):
    key = Series(market, "1INCHUSDT", interval).key("klines", Month(2021, 4))
    assert series_of(key) == Series(market, "1INCHUSDT", interval)
    assert month_of(key) == Month(2021, 4)


@pytest.mark.parametrize(
    "symbol", ["", "btcusdt", "../etc", "BTC/USDT", "BTC USDT", "B\x00", "BTCUSDT\n"]
)
def test_symbols_are_checked(symbol):
    with pytest.raises(ValueError, match="not a symbol"):
        Series(Market.SPOT, symbol, Interval.H1).key("klines", Month(2021, 4))


@pytest.mark.parametrize(
    ("run", "name"), [("../x", "a"), ("", "a"), ("a/b", "a"), ("a", ".."), ("a", "../b"), ("a", "")]
)
def test_runs_are_checked(run, name):
    with pytest.raises(ValueError, match="not a "):
        run_key(run, name)


@pytest.mark.parametrize(
    "key", ["2021-13.parquet", "_manifest.json", "x/2021-4.parquet", "2021-04.parquet.tmp"]
)
def test_other_files_have_no_month(key):
    assert month_of(key) is None


@pytest.mark.parametrize(
    "key", ["runs/run=a/x.parquet", "klines/market=moon/interval=1h/symbol=A1/2021-04.parquet"]
)
def test_other_files_have_no_series(key):
    assert series_of(key) is None
