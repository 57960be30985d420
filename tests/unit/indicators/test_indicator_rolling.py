"""Moving sums and deviations against plain windows, with spikes, NaN and flat stretches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.indicators.rolling import delay, divide, moving_mean, moving_std, moving_sum

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
