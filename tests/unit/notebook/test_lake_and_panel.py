"""`import alphamill as am`: bars as frames, panels with labels, and what errors say."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest

import alphamill as am
from alphamill import testing
from alphamill.errors import GiveUp
from alphamill.frames import KLINE_FIELDS, Interval, Market
from alphamill.indicators import indicator_names
from alphamill.jobs import FeaturesJob, PanelJob, RunKind, RunSpec
from alphamill.lake import Lake, read_klines
from alphamill.notebook.names import epoch_ms
from alphamill.runs.panels import load_panel
from alphamill.stages import features, panel
from tests.unit.notebook.conftest import MARKET

DAY_MS = 86_400_000


def test_importing_alphamill_loads_nothing_heavy() -> None:
    code = """if True:
        import sys, alphamill
        heavy = {"numpy", "pandas", "pyarrow", "redis", "pydantic", "celery", "click"}
        print(sorted(heavy & set(sys.modules)), sorted(set(dir(alphamill)) & {"lake", "factor"}))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] ['factor', 'lake']"


@pytest.mark.parametrize(
    "before", ["", "import alphamill.lake", "from alphamill.runs import finished"]
)
def test_lake_is_a_package_and_opens_one(before: str, lake_uri: str) -> None:
    code = f"{before}\nimport alphamill as am\nprint(am.lake({lake_uri!r}).symbols('1h')[0])\n"
    code += (
        "from alphamill.lake import Lake\nimport alphamill.lake as room\nprint(room.Lake is Lake)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [min(MARKET.symbols), "True"]


def test_klines_are_the_lakes_rows(lake_uri: str) -> None:
    lake = am.lake(lake_uri)
    symbols = list(MARKET.symbols[:2])
    bars = lake.klines(symbols, "1h", date(2023, 1, 10), "2023-01-12T06:00")
    start_ms, end_ms = epoch_ms("2023-01-10"), epoch_ms("2023-01-12") + 6 * 3_600_000
    assert list(bars["symbol"].unique()) == symbols
    for symbol in symbols:
        own = bars[bars["symbol"] == symbol].drop(columns="symbol").reset_index(drop=True)
        stored = read_klines(Lake(lake_uri), Market.SPOT, symbol, Interval.H1, start_ms, end_ms)
        pd.testing.assert_frame_equal(own, stored.to_pandas())
        assert len(own) == 54
    assert len(lake.klines(symbols[0], "1h")) == MARKET.n_bars


def test_a_panel_is_that_of_a_run_to_the_bit(lake_uri: str, tmp_path) -> None:
    """Also where it begins within the bars: indicators read those before."""
    lake = Lake(str(tmp_path))
    for symbol in MARKET.symbols[:3]:
        stored = read_klines(Lake(lake_uri), Market.SPOT, symbol, Interval.H1, 0, MARKET.end_ms)
        testing.put_klines(lake, symbol, stored)
    start_ms, end_ms = MARKET.start_ms + 40 * DAY_MS, MARKET.start_ms + 55 * DAY_MS
    spec = RunSpec(
        RunKind.EVALUATE, "", Market.SPOT, MARKET.symbols[:3], (Interval.H1,), start_ms, end_ms
    )
    for symbol in MARKET.symbols[:3]:
        job = FeaturesJob(Market.SPOT, symbol, Interval.H1, start_ms, end_ms)
        features.run(job, features.FeaturesDeps(lake))
    panel.run(PanelJob(Interval.H1), panel.PanelDeps(lake, spec))
    written = load_panel(lake, spec.run_id, Interval.H1, "whole").panel

    names = indicator_names(Interval.H1)
    made = am.lake(lake_uri).panel(MARKET.symbols[:3], "1h", start_ms, end_ms, names)
    assert made.symbols == written.symbols
    np.testing.assert_array_equal(made.times_ms, written.times_ms)
    assert set(made) == set(written)
    for name in written:
        np.testing.assert_array_equal(made[name], written[name], err_msg=name)
    assert np.isfinite(made["rsi_14"][0]).all()


def test_fields_have_the_names_of_the_command_line(lake_uri: str) -> None:
    lake = am.lake(lake_uri)
    made = lake.panel(
        MARKET.symbols[0], "1h", fields=["rsi_14", "vwap", "adv20", "returns", "close"]
    )
    assert list(made) == [*KLINE_FIELDS, "rsi_14", "returns", "vwap", "adv20"]
    close = made["close"][:, 0]
    np.testing.assert_allclose(made["returns"][1:, 0], close[1:] / close[:-1] - 1, atol=1e-12)
    np.testing.assert_allclose(made["adv20"][19, 0], made["quote_volume"][:20, 0].mean())
    assert {"rsi_14", "vwap", "adv20"} <= set(lake.fields("1h"))
    assert "funding_rate" in lake.fields("1h", "um")


def test_panels_go_to_pandas_and_polars_and_back(lake_uri: str) -> None:
    made = am.lake(lake_uri).panel(MARKET.symbols, "1h", "2023-01-03", "2023-01-09", ["rsi_14"])
    made.fields["close"][7, 2] = np.nan
    tidy = made.to_pandas()
    assert tidy.index.names == ["open_time", "symbol"]
    assert tidy.shape == (made.n_bars * 6, len(made))
    assert (
        tidy.loc[(pd.Timestamp("2023-01-03 05:00", tz="UTC"), made.symbols[1]), "open"]
        == (made["open"][5, 1])
    )
    wide = made.to_pandas("close")
    assert wide.loc["2023-01-03 05:00+00:00", made.symbols[1]] == made["close"][5, 1]
    stacked = {name: made.to_pandas(name) for name in made}
    for back in (
        am.Panel.from_pandas(tidy),
        am.Panel.from_pandas(tidy.reset_index().sort_values("symbol")),
        am.Panel.from_pandas(stacked),
        am.Panel.from_polars(made.to_polars()),
        am.Panel.from_polars(pl.from_pandas(tidy.reset_index())),
    ):
        assert (back.interval, set(back.symbols)) == (made.interval, set(made.symbols))
        np.testing.assert_array_equal(back.times_ms, made.times_ms)
        order = [back.symbols.index(symbol) for symbol in made.symbols]
        for name in made:
            np.testing.assert_array_equal(back[name][:, order], made[name], err_msg=name)


def test_a_frame_of_ones_own_may_have_holes() -> None:
    times = pd.to_datetime(["2024-01-01 00:00", "2024-01-01 01:00", "2024-01-01 03:00"])
    frame = pd.DataFrame({"open_time": times, "symbol": "X1", "close": [1, 2, None]})
    made = am.Panel.from_pandas(frame)
    assert made.times_ms[0] == epoch_ms("2024-01-01")  # without a zone: UTC
    np.testing.assert_array_equal(made["close"][:, 0], [1, 2, np.nan, np.nan])
    for wrong, said in (
        (pd.concat([frame, frame.tail(1)]), "X1 at 2024-01-01 03:00:00+00:00 comes twice"),
        (frame.assign(open_time=times + pd.to_timedelta([0, 1, 0], "s")), "no interval"),
        (frame.drop(columns="symbol"), "no symbol"),
        (frame.assign(close="a"), "column close"),
        (frame.head(1), "give interval"),
        (frame.head(0), "no row"),
    ):
        with pytest.raises(GiveUp, match=said.replace("+", r"\+")):
            am.Panel.from_pandas(wrong)
    with pytest.raises(GiveUp, match="does not lie on the grid of 2h"):
        am.Panel.from_pandas(frame, "2h")


def test_names_that_are_not_there_are_told_the_nearest(lake_uri: str) -> None:
    lake = am.lake(lake_uri)
    made = lake.panel("BTCUSDT", "1h")
    for call, said in (
        (lambda: lake.klines("BTCUSD", "1h"), r"no symbol 'BTCUSD' at 1h .* mean BTCUSDT\? there"),
        (lambda: lake.klines(["BTCUSDT", "XUSDT"], "1h"), "no symbol 'XUSDT'"),
        (lambda: lake.panel("BTCUSDT", "1H"), r"no interval '1H'; did you mean 1h\?"),
        (lambda: lake.klines("BTCUSDT", "4h"), "no interval '4h' on spot in .*there are: 1h"),
        (lambda: lake.klines("BTCUSDT", "1h", market="um"), "there is none at all"),
        (lambda: lake.klines("BTCUSDT", "1h", market="spots"), r"did you mean spot\?"),
        (lambda: lake.panel("BTCUSDT", "1h", fields=["rsi14"]), r"did you mean rsi_14\?"),
        (lambda: lake.panel("BTCUSDT", "1h", "2031-01-01"), "no 1h bar of BTCUSDT in the range"),
        (lambda: lake.panel("BTCUSDT", "1h", "2023-02-01", "2023-01-01"), "end must come after"),
        (lambda: lake.panel("BTCUSDT", "1h", "yesterday"), "not a date"),
        (lambda: lake.panel([], "1h"), "at least one symbol"),
        (lambda: made.to_pandas("closes"), r"did you mean close\?"),
        (lambda: am.lake(lake_uri + "/nowhere"), "no lake at"),
    ):
        with pytest.raises(GiveUp, match=said):
            call()
    with pytest.raises(AttributeError, match="no attribute 'lakes'"):
        _ = am.lakes


def test_moments() -> None:
    expected = 1_704_067_200_000
    for moment in (
        "2024-01-01",
        "2024-01-01T09:00+09:00",
        date(2024, 1, 1),
        datetime(2024, 1, 1),  # noqa: DTZ001  without a zone on purpose
        datetime(2024, 1, 1, tzinfo=UTC),
        pd.Timestamp("2024-01-01"),
        expected,
    ):
        assert epoch_ms(moment) == expected
