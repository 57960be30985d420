"""features: what is written, from which bars, and when it is written again."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market, Month, TimeRange, months_between, rows_within
from alphamill.indicators import compute_indicators, history_bars, indicator_names
from alphamill.jobs import FeaturesJob
from alphamill.lake import Lake, Series, read_klines
from alphamill.stages import features
from alphamill.stages.features import FeaturesDeps, read_features
from alphamill.testing import klines_at, put_klines, random_klines

COLUMNS = ["open_time", "rsi_14", "ema_gap_50", "returns_1d"]


def ms(year: int, month: int, day: int = 1) -> int:
    return int(datetime(year, month, day, tzinfo=UTC).timestamp() * 1000)


def put(
    lake: Lake,
    start_ms: int,
    end_ms: int,
    interval: Interval = Interval.H1,
    symbol: str = "BTCUSDT",
    seed: int = 5,
) -> None:
    """Bars of a walk from 2020 on: what a bar holds depends on its time and the seed alone."""
    walk = random_klines((end_ms - ms(2020, 1)) // interval.ms, ms(2020, 1), interval, seed)
    put_klines(lake, symbol, rows_within(walk, TimeRange(start_ms, end_ms)), interval=interval)


def job(start_ms: int, end_ms: int, interval: Interval = Interval.H1) -> FeaturesJob:
    return FeaturesJob(Market.SPOT, "BTCUSDT", interval, start_ms, end_ms)


def key(month: str, interval: Interval = Interval.H1) -> str:
    return Series(Market.SPOT, "BTCUSDT", interval).key("features", Month.parse(month))


def test_writes_a_file_a_month_of_all_indicators(lake: Lake) -> None:
    put(lake, ms(2021, 1), ms(2021, 4))
    facts = features.run(job(ms(2021, 2, 10), ms(2021, 3, 2)), FeaturesDeps(lake))
    assert (facts.rows, facts.written, facts.up_to_date) == ((28 + 31) * 24, 2, 0)
    assert facts.indicators == len(indicator_names(Interval.H1))
    assert lake.list("features") == [key("2021-02"), key("2021-03")]
    table = lake.read(key("2021-02"))
    assert table.column_names == ["open_time", *indicator_names(Interval.H1)]
    assert table.num_rows == 28 * 24
    assert facts.to_message()["registry"]


def test_values_are_those_of_one_batch_with_history(lake: Lake) -> None:
    put(lake, ms(2021, 1), ms(2021, 5))
    features.run(job(ms(2021, 3), ms(2021, 5)), FeaturesDeps(lake))
    klines = read_klines(lake, Market.SPOT, "BTCUSDT", Interval.H1, ms(2021, 1), ms(2021, 5))
    batch = compute_indicators(klines.to_pandas(), interval=Interval.H1)
    stored = read_features(
        lake, Market.SPOT, "BTCUSDT", Interval.H1, ms(2021, 3), ms(2021, 5), COLUMNS
    ).to_pandas()
    late = batch.iloc[(31 + 28) * 24 :].reset_index(drop=True)
    assert len(stored) == len(late)
    for name in COLUMNS[1:]:
        assert stored[name].notna().all()  # the months begin without a warm-up
        np.testing.assert_allclose(stored[name], late[name], rtol=1e-9, atol=1e-11)


def test_a_months_bytes_do_not_depend_on_the_range_asked_for(tmp_path: Path) -> None:
    one, two = Lake(str(tmp_path / "one")), Lake(str(tmp_path / "two"))
    for each in (one, two):
        put(each, ms(2020, 11), ms(2021, 4))
    features.run(job(ms(2020, 11), ms(2021, 4)), FeaturesDeps(one))
    features.run(job(ms(2021, 3, 30), ms(2021, 3, 31)), FeaturesDeps(two))
    assert one.read_bytes(key("2021-03")) == two.read_bytes(key("2021-03"))


def test_is_not_computed_twice(lake: Lake) -> None:
    put(lake, ms(2021, 1), ms(2021, 3))
    asked = job(ms(2021, 1), ms(2021, 3))
    features.run(asked, FeaturesDeps(lake))
    before = lake.versions("features")
    again = features.run(asked, FeaturesDeps(lake))
    assert (again.written, again.up_to_date, again.rows) == (0, 2, 59 * 24)
    assert lake.versions("features") == before


def test_changed_klines_are_computed_again_and_later_months_with_them(lake: Lake) -> None:
    put(lake, ms(2020, 11), ms(2021, 4))
    asked = job(ms(2020, 11), ms(2021, 4))
    features.run(asked, FeaturesDeps(lake))
    put(lake, ms(2020, 12), ms(2021, 1), seed=6)
    again = features.run(asked, FeaturesDeps(lake))
    assert (again.written, again.up_to_date) == (3, 2)  # December and those that look back to it


def test_another_registry_is_computed_again(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    put(lake, ms(2021, 1), ms(2021, 2))
    features.run(job(ms(2021, 1), ms(2021, 2)), FeaturesDeps(lake))
    monkeypatch.setattr(features, "registry_version", lambda: "another")
    assert features.run(job(ms(2021, 1), ms(2021, 2)), FeaturesDeps(lake)).written == 1


def test_no_bar_gives_up_and_says_what_to_do(lake: Lake) -> None:
    put(lake, ms(2021, 1), ms(2021, 2))
    with pytest.raises(GiveUp, match=r"no bars of BTCUSDT 1h \(spot\) from 2022-01-01"):
        features.run(job(ms(2022, 1), ms(2022, 2)), FeaturesDeps(lake))
    assert lake.list("features") == []


def test_months_without_bars_are_left_out(lake: Lake) -> None:
    put(lake, ms(2021, 1), ms(2021, 2))
    put(lake, ms(2021, 3), ms(2021, 4))
    facts = features.run(job(ms(2020, 1), ms(2021, 4)), FeaturesDeps(lake))
    assert facts.written == 2
    march = lake.read(key("2021-03"), ["rsi_14"])["rsi_14"].to_pandas()
    assert march.iloc[:14].isna().all()  # February is a hole, not a step
    assert march.iloc[14:].notna().all()


@pytest.mark.parametrize("interval", [Interval.D1, Interval.W1])
def test_long_bars_look_back_over_many_months(lake: Lake, interval: Interval) -> None:
    put(lake, ms(2020, 1), ms(2024, 1) - 1, interval)
    months = Month(2023, 12)
    features.run(job(months.start_ms, months.end_ms, interval), FeaturesDeps(lake))
    table = lake.read(key("2023-12", interval))
    assert table["ema_gap_50"].null_count == 0
    stated = int(lake.metadata(key("2023-12", interval))["history_bars"])
    whole = (months.start_ms - ms(2020, 1)) // interval.ms
    assert abs(stated - min(whole, history_bars(interval))) <= 1


def test_monthly_bars_have_features_too(lake: Lake) -> None:
    months = [month.start_ms for month in months_between(ms(2020, 1), ms(2023, 1))]
    put_klines(lake, "BTCUSDT", klines_at(months, Interval.MO1), interval=Interval.MO1)
    made = features.run(job(ms(2022, 1), ms(2023, 1), Interval.MO1), FeaturesDeps(lake))
    assert made.written == 12
    table = lake.read(key("2022-12", Interval.MO1))
    assert table["ma_20"].null_count == 0
    assert "returns_1d" not in table.column_names


def test_undefined_is_null_and_a_column_of_old_files_too(lake: Lake) -> None:
    put(lake, ms(2021, 1), ms(2021, 2))
    features.run(job(ms(2021, 1), ms(2021, 2)), FeaturesDeps(lake))
    table = read_features(
        lake,
        Market.SPOT,
        "BTCUSDT",
        Interval.H1,
        ms(2021, 1),
        ms(2021, 1, 2),
        ["open_time", "ma_20", "not_there_yet"],
    )
    assert table.num_rows == 24
    assert table["ma_20"].null_count == 19
    assert table["not_there_yet"].null_count == 24
    pd.testing.assert_index_equal(
        pd.DatetimeIndex(table["open_time"].to_pandas()[:1]).tz_convert(None).as_unit("ms"),
        pd.DatetimeIndex(["2021-01-01"]).as_unit("ms"),
        check_names=False,
    )
