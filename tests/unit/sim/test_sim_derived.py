"""What a replay lacks, made of what it has."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from alphamill.frames import Interval, Market
from alphamill.sim.exchange import ExchangeConfig
from alphamill.sim.market import DerivedSource, ReplaySource
from producers.cli import main

HOUR, DAY = 3_600_000, 86_400_000
START = 19_000 * DAY


@pytest.fixture
def folder(tmp_path):
    """50 hours of one coin, of which five are not there, with prices and volumes alone."""
    hours = np.array([hour for hour in range(50) if not 30 <= hour < 35], dtype=np.int64)
    close = 100 + np.sin(hours)
    columns = {
        "open_time": START + HOUR * hours,
        "open": close,
        "high": close + 1,
        "low": close - 1,
        "close": close + 0.5,
        "volume": np.where(hours == 7, 0.0, 10 + hours / 4),
    }
    pq.write_table(pa.table(columns), tmp_path / "BTCUSDT-1h.parquet")
    return tmp_path


def test_days_are_made_of_the_hours_that_are_there(folder):
    source = DerivedSource(ReplaySource(folder))
    assert source.intervals(Market.SPOT, "BTCUSDT") == [Interval.H1, Interval.D1]
    hours = source.bars(Market.SPOT, "BTCUSDT", Interval.H1)
    days = source.bars(Market.SPOT, "BTCUSDT", Interval.D1)
    assert list(days.open_ms) == [START, START + DAY, START + 2 * DAY]
    second = slice(24, 43)
    assert days.open[1] == hours.open[second][0]
    assert days.close[1] == hours.close[second][-1]
    assert days.high[1] == hours.high[second].max()
    assert days.low[1] == hours.low[second].min()
    for name in ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"):
        own = getattr(hours, name)[second].sum()
        assert getattr(days, name)[1] == pytest.approx(own, abs=1e-8)


def test_takers_are_made_up_alike_each_time_and_within_their_bar(folder):
    bars, again = (
        DerivedSource(ReplaySource(folder)).bars(Market.SPOT, "BTCUSDT", Interval.H1)
        for _ in range(2)
    )
    traded = bars.volume > 0
    share = bars.taker_buy_base[traded] / bars.volume[traded]
    assert ((share >= 0.29) & (share <= 0.71)).all()
    assert share.std() > 0.05
    assert (bars.taker_buy_quote <= bars.quote_volume).all()
    assert (bars.trades[traded] >= 2).all()
    assert not bars.trades[~traded].any()
    assert not bars.taker_buy_base[~traded].any()
    assert bars.taker_buy_base.tobytes() == again.taker_buy_base.tobytes()


def test_what_is_recorded_stays_as_it_is(folder):
    path = folder / "BTCUSDT-1h.parquet"
    table = pq.read_table(path)
    takers = pa.array(np.arange(table.num_rows) / 8)
    for name in ("taker_buy_base", "taker_buy_quote", "trades"):
        table = table.append_column(
            name, takers.cast(pa.int64(), safe=False) if name == "trades" else takers
        )
    pq.write_table(table, path)
    bars = DerivedSource(ReplaySource(folder)).bars(Market.SPOT, "BTCUSDT", Interval.H1)
    assert bars.taker_buy_base.tolist() == takers.to_pylist()
    assert bars.trades.tolist() == table["trades"].to_pylist()


def test_nothing_is_derived_unless_it_is_asked_for(folder):
    plain = ExchangeConfig(replay=folder).source()
    assert plain.bars(Market.SPOT, "BTCUSDT", Interval.D1) is None
    assert not plain.bars(Market.SPOT, "BTCUSDT", Interval.H1).taker_buy_base.any()
    made = ExchangeConfig(replay=folder, derive=True).source()
    assert made.bars(Market.SPOT, "BTCUSDT", Interval.D1) is not None
    assert made.describe()["derived"] is True
    assert made.bars(Market.SPOT, "ETHUSDT", Interval.D1) is None
    refused = CliRunner().invoke(main, ["sim", "exchange", "--derive"])
    assert refused.exit_code == 2
    assert "name a folder with --replay" in refused.output
