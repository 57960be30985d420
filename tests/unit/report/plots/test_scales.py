"""Ticks stand on round values, tell them apart, and never crowd."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.frames import Month
from alphamill.report.plots.scales import (
    Scale,
    linear_ticks,
    log_ticks,
    round_values,
    time_ticks,
    widened,
    worded,
)


def ms(month: str) -> int:
    return Month.parse(month).start_ms


@pytest.mark.parametrize(
    ("low", "high", "texts"),
    [
        (0.0, 1.0, ["0.0", "0.5", "1.0"]),
        (-0.013, 0.021, ["−0.01", "0.00", "0.01", "0.02"]),
        (0.0, 262.0, ["0", "100", "200"]),
        (0.0, 91_000.0, ["0", "25k", "50k", "75k"]),
        (-3e7, 3e7, ["−20M", "0", "20M"]),
    ],
)
def test_ticks_are_round_and_say_so_in_as_few_digits_as_tell_them_apart(low, high, texts):
    ticks = linear_ticks(Scale(low, high, 100.0, 0.0), 4)
    assert [tick.text for tick in ticks] == texts


def test_ticks_stand_where_their_values_are():
    at = {tick.text: tick.at for tick in linear_ticks(Scale(0.0, 4.0, 100.0, 0.0), 5)}
    assert at == {"0": 100.0, "1": 75.0, "2": 50.0, "3": 25.0, "4": 0.0}


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.integers(1, 9))
def test_never_more_ticks_than_asked_for_and_all_inside(low, length, most):
    values = round_values(low, low + length, most)
    assert len(values) <= most
    slack = 1e-6 * (abs(low) + length)
    assert all(low - slack <= value <= low + length + slack for value in values)


@given(st.lists(st.integers(-400, 400), min_size=2, max_size=6, unique=True), st.integers(-5, 5))
def test_no_two_ticks_say_the_same(steps, power):
    texts = worded([step * 10.0**power for step in steps])
    assert len(set(texts)) == len(steps)
    assert "−0" not in [text.rstrip("0.") for text in texts]


def test_a_log_scale_has_ticks_of_every_decade_or_of_parts_of_one():
    assert [tick.text for tick in log_ticks(Scale(0.01, 200.0, 0, 1, log=True), 5)] == [
        *("0.01", "0.1", "1", "10", "100")
    ]
    parts = [tick.text for tick in log_ticks(Scale(0.9, 3.5, 0, 1, log=True), 5)]
    assert parts == ["1", "2", "3"]
    assert Scale(1.0, 100.0, 0.0, 10.0, log=True).px(10.0) == pytest.approx(5.0)


@pytest.mark.parametrize(
    ("start", "end", "texts"),
    [
        ("2021-01", "2024-01", ["2021", "Jul", "2022", "Jul", "2023", "Jul"]),
        ("2023-02", "2023-08", ["Feb 2023", "Mar", "Apr", "May", "Jun", "Jul"]),
        ("2010-01", "2026-01", ["2010", "2013", "2016", "2019", "2022", "2025"]),
    ],
)
def test_time_is_ticked_at_firsts_of_months_and_names_its_year(start, end, texts):
    ticks = time_ticks(Scale(ms(start), ms(end) - 1, 0.0, 100.0))
    assert [tick.text for tick in ticks] == texts


def test_a_month_is_ticked_by_days():
    ticks = time_ticks(Scale(ms("2024-03"), ms("2024-04") - 1, 0.0, 100.0))
    assert [tick.text for tick in ticks] == ["1 Mar", "11 Mar", "21 Mar", "31 Mar"]


def test_what_lies_outside_is_drawn_at_the_edge():
    scale = Scale(0.0, 1.0, 0.0, 10.0)
    assert (scale.px(-5.0), scale.px(2.0)) == (0.0, 10.0)


def test_a_range_is_never_of_no_length():
    import numpy as np

    for values in ([], [0.0], [3.0, 3.0], [math.nan]):
        low, high = widened(np.array(values))
        assert low < high
    assert widened(np.array([2.0, 3.0]), zero=True)[0] == 0.0
