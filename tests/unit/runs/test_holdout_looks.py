"""Looks at holdouts are counted over all runs whose spans share a bar."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import Search, spec_of
from alphamill.frames import Interval, Market, Panel
from alphamill.lake import Lake, run_key
from alphamill.runs.holdout_looks import count_looks, looks_before, own_looks_before
from alphamill.runs.panels import SegmentPanel
from alphamill.runs.schemas import RunDeps

HOUR_MS = 3_600_000


def look(lake, salt, first_bar, last_bar, hashes, interval=Interval.H1, market=Market.SPOT):
    """A run's look at bars first to last, after three bars of history and two of embargo."""
    spec = replace(spec_of(ControlMarket(1), Search(), lake.uri), salt=salt, market=market)
    bars = np.arange(first_bar - 5, last_bar + 1, dtype=np.int64)
    holdout = SegmentPanel(Panel(interval, bars * interval.ms, ("BTCUSDT",), {}), 3, 2)
    opened = {text: f"delay(close, {text})" for text in hashes}
    return count_looks(opened, holdout, RunDeps(lake, spec.run_id, spec)).so_far


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path))


def test_each_factor_of_each_run_is_a_look_and_a_repeated_job_is_none(lake):
    assert look(lake, "a", 100, 200, "12") == 2
    assert look(lake, "a", 100, 200, "12") == 2
    assert look(lake, "b", 100, 200, "13") == 4


@pytest.mark.parametrize(
    ("first", "last", "seen"),
    [(200, 300, 3), (201, 300, 1), (0, 100, 3), (0, 99, 1), (120, 130, 3), (50, 400, 3)],
)
def test_one_bar_in_common_is_enough_and_neighbours_are_apart(lake, first, last, seen):
    look(lake, "a", 100, 200, "12")
    assert look(lake, "b", first, last, "3") == seen


def test_bars_of_another_length_over_the_same_days_count(lake):
    look(lake, "a", 100, 107, "12")  # hours 100 to 107: the 4h bars 25 and 26
    assert look(lake, "b", 26, 30, "3", Interval.H4) == 3
    assert look(lake, "c", 27, 30, "4", Interval.H4) == 2  # with run b's, not with run a's


def test_another_market_does_not(lake):
    look(lake, "a", 100, 200, "12")
    assert look(lake, "b", 100, 200, "3", market=Market.USD_M) == 1


def test_nothing_opened_is_no_look_but_says_what_others_saw(lake):
    look(lake, "a", 100, 200, "12")
    assert look(lake, "b", 150, 250, "") == 2


def test_what_was_before_a_run_is_what_it_first_found(lake):
    def before(salt):
        spec = replace(spec_of(ControlMarket(1), Search(), lake.uri), salt=salt)
        return looks_before(lake, spec.run_id, Interval.H1)

    look(lake, "a", 100, 200, "12")
    assert (before("a"), before("b")) == (0, 0)
    look(lake, "b", 150, 250, "345")
    assert (before("a"), before("b")) == (0, 2)
    look(lake, "c", 240, 300, "6")  # a's bars end before
    assert before("c") == 3
    look(lake, "a", 100, 200, "12")  # a repeated job
    look(lake, "c", 240, 300, "6")
    look(lake, "b", 150, 250, "345")
    assert (before("a"), before("b"), before("c")) == (0, 2, 3)


def test_judged_anew_a_run_counts_its_own_factors_that_it_gave_up(lake):
    spec = replace(spec_of(ControlMarket(1), Search(), lake.uri), salt="a")

    def before():
        looked = (looks_before, own_looks_before)
        return tuple(count(lake, spec.run_id, Interval.H1) for count in looked)

    look(lake, "a", 100, 200, "123")
    assert before() == (0, 0)
    look(lake, "b", 100, 200, "9")
    assert look(lake, "a", 100, 200, "345") == 6
    assert before() == (3, 2)  # 1 and 2 of its own, and what b saw meanwhile
    look(lake, "b", 100, 200, "8")
    look(lake, "a", 100, 200, "345")  # a repeated job
    assert before() == (3, 2)
    look(lake, "a", 100, 200, "123")
    assert before() == (4, 2)


def test_what_older_code_noted_stands_until_other_factors_are_judged(lake):
    spec = replace(spec_of(ControlMarket(1), Search(), lake.uri), salt="a")
    key = run_key(spec.run_id, "looks/interval=1h/before.parquet")
    lake.write(key, pa.table({"looks": pa.array([7], pa.int64())}), {})
    look(lake, "a", 100, 200, "12")
    assert looks_before(lake, spec.run_id, Interval.H1) == 7
    assert own_looks_before(lake, spec.run_id, Interval.H1) == 0
    look(lake, "a", 100, 200, "34")
    assert looks_before(lake, spec.run_id, Interval.H1) == 2
