"""Moving sums and deviations against plain windows, with spikes, NaN and flat stretches."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.indicators.columns import OutputColumns
from alphamill.indicators.rolling import (
    channel_index,
    delay,
    divide,
    moving_correlation,
    moving_extremes,
    moving_mean,
    moving_slope,
    moving_std,
    moving_sum,
)

numbers = st.one_of(
    st.floats(-1e6, 1e6, allow_subnormal=False), st.sampled_from([0.0, 7.0, 7.0, 7.0, float("nan")])
)


def plain(values: np.ndarray, length: int, formula) -> np.ndarray:  # type: ignore[no-untyped-def]
    out = np.full(len(values), np.nan)
    for i in range(length - 1, len(values)):
        out[i] = formula(values[i - length + 1 : i + 1])
    return out


@settings(max_examples=150, deadline=None)
@given(st.lists(numbers, max_size=60), st.integers(1, 25))
def test_moving_sum_and_mean(rows: list[float], length: int) -> None:
    values = np.array(rows, dtype=float)
    expected = plain(values, length, np.sum)
    np.testing.assert_allclose(moving_sum(values, length), expected, rtol=1e-12, atol=1e-8)
    np.testing.assert_allclose(
        moving_mean(values, length), expected / length, rtol=1e-12, atol=1e-8
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(numbers, max_size=60), st.integers(2, 25), st.sampled_from([0, 1]))
def test_moving_std(rows: list[float], length: int, ddof: int) -> None:
    values = np.array(rows, dtype=float)
    expected = plain(values, length, lambda w: w.std(ddof=ddof))
    np.testing.assert_allclose(moving_std(values, length, ddof), expected, rtol=1e-9, atol=1e-8)


def test_std_is_exact_where_running_sums_fail() -> None:
    rng = np.random.default_rng(0)
    price = 25_000 * np.exp(np.cumsum(rng.normal(0, 5e-4, 20_000)))
    spiked = rng.random(20_000)
    spiked[5_000] = 1e12
    for values, tolerance in ((price, 1e-12), (price + 1e9, 5e-8), (spiked, 1e-14)):
        expected = plain(values.astype(np.longdouble), 20, lambda w: w.std(ddof=1))
        got = moving_std(values, 20)[19:]
        assert np.max(np.abs(got / expected[19:] - 1)) < tolerance


def test_flat_windows_are_exactly_zero() -> None:
    values = np.array([3.0] + [0.1] * 50 + [5.0])
    result = moving_std(values, 7)
    assert (result[7:51] == 0).all()
    assert result[6] > 0
    assert result[51] > 0


def test_a_spike_that_left_leaves_nothing() -> None:
    values = np.ones(50)
    values[10] = 1e300
    assert (moving_sum(values, 8)[18:] == 8).all()


@pytest.mark.parametrize("length", [1, 3])
def test_short_histories_are_nan(length: int) -> None:
    assert moving_sum(np.ones(length - 1), length).size == length - 1
    assert np.isnan(moving_std(np.ones(2), 3)).all()


def test_delay_and_divide() -> None:
    np.testing.assert_array_equal(delay(np.array([1.0, 2.0, 3.0]), 2), [np.nan, np.nan, 1.0])
    np.testing.assert_array_equal(delay(np.array([1.0]), 5), [np.nan])
    quotient = divide(np.array([1.0, 0.0, 6.0, 1e300]), np.array([0.0, 0.0, 3.0, 1e-300]))
    np.testing.assert_array_equal(quotient, [np.nan, np.nan, 2.0, np.nan])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), max_size=60), st.integers(2, 25))
def test_moving_correlation(rows: list[tuple[float, float]], length: int) -> None:
    x, y = np.array(rows, dtype=float).reshape(-1, 2).T.copy()
    got = moving_correlation(x, y, length)
    for i in range(len(x)):
        a, b = x[max(0, i - length + 1) : i + 1], y[max(0, i - length + 1) : i + 1]
        if len(a) < length or np.ptp(a) == 0 or np.ptp(b) == 0 or np.isnan(a + b).any():
            assert np.isnan(got[i])
        elif min(a.std() / np.abs(a).max(), b.std() / np.abs(b).max()) > 1e-6:
            assert got[i] == pytest.approx(np.corrcoef(a, b)[0, 1], abs=1e-8)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), max_size=60), st.integers(1, 25))
def test_moving_extremes(rows: list[float], length: int) -> None:
    values = np.array(rows, dtype=float)
    highest, lowest = moving_extremes(values, -values, length)
    expected = plain(values, length, np.max)
    np.testing.assert_array_equal(highest, expected)
    np.testing.assert_array_equal(lowest, -expected)


@settings(max_examples=100, deadline=None)
@given(st.lists(numbers, max_size=60), st.integers(2, 25))
def test_moving_slope(rows: list[float], length: int) -> None:
    values = np.array(rows, dtype=float)
    expected = plain(
        values,
        length,
        lambda w: np.polyfit(np.arange(length), w, 1)[0] if not np.isnan(w).any() else np.nan,
    )
    np.testing.assert_allclose(moving_slope(values, length), expected, rtol=1e-9, atol=1e-7)


def test_a_flat_window_has_no_slope_no_correlation_and_no_channel() -> None:
    flat, moving = np.full(40, 0.1), np.arange(40.0)
    assert (moving_slope(flat, 7)[6:] == 0).all()
    assert np.isnan(moving_correlation(flat, moving, 7)).all()
    assert np.isnan(channel_index(flat, 7)).all()


@pytest.mark.parametrize("length", [3, 20, 600])
def test_windows_are_the_same_across_pieces(length: int) -> None:
    """Long series are worked on in pieces; a value depends on its own window alone, to the bit."""
    x, y = np.random.default_rng(2).random((2, 7000))
    for moving in (
        lambda x, _: moving_sum(x, length),
        lambda x, _: moving_std(x, length),
        lambda x, _: moving_slope(x, length),
        lambda x, y: moving_extremes(x, y, length)[0],
        lambda x, y: moving_correlation(x, y, length),
        lambda x, _: channel_index(x, length),
    ):
        whole = moving(x, y)
        for start in (1, 2047, 2049, 5000):
            part = moving(x[start:], y[start:])
            assert np.array_equal(part[length - 1 :], whole[start + length - 1 :])


@pytest.mark.parametrize("long_bars", [4, 100])
def test_rounding_is_put_on_the_ends_and_inf_is_nan(
    long_bars: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("alphamill.indicators.columns.LONG_BARS", long_bars)
    values = np.array([-np.inf, -1e-12, 0.0, 0.5, 100 + 1e-10, 101.0, np.inf, np.nan])
    output = OutputColumns(8, np.array([0.0, 0.0, -np.inf]), np.array([100.0, 100.0, np.inf]))
    for row in output.rows(np.arange(3), 0, 8):
        row[:] = values
    output.keep_in_range(np.array([0, 2]), 0, 7)
    within = [np.nan, 0.0, 0.0, 0.5, 100.0, 101.0, np.nan, np.nan]
    frame = output.frame(pd.RangeIndex(8), ("a", "b", "c"))
    np.testing.assert_array_equal(frame["a"], within)
    np.testing.assert_array_equal(frame["b"], values)
    np.testing.assert_array_equal(frame["c"], [np.nan, *values[1:6], np.nan, np.nan])
    output.keep_in_range(np.array([1]), 1, 6)
    (row,) = output.rows(np.array([1]), 0, 8)
    np.testing.assert_array_equal(row, [-np.inf, *within[1:6], np.inf, np.nan])
