import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import pearsonr, rankdata, spearmanr

from alphamill.evaluation import (
    coverage,
    decay_half_life_bars,
    ic_decay,
    information_coefficient,
    nearest_in_library,
    rank_autocorrelation,
    residual_signal,
    signal_correlation,
    time_series_products,
)
from alphamill.evaluation.ranks import centred_ranks, demean_rows, rank_rows

small = st.one_of(st.integers(-3, 3).map(float), st.just(math.nan), st.floats(-1e6, 1e6))
panels = arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=small)


def pairs(n_bars=4, n_symbols=7):
    shape = arrays(np.float64, (n_bars, n_symbols), elements=small)
    return st.tuples(shape, shape)


@given(panels)
def test_ranks_equal_scipy(values):
    expected = rankdata(values, axis=1, nan_policy="omit")
    np.testing.assert_array_equal(rank_rows(values), expected)
    lowest = rankdata(values, axis=1, nan_policy="omit", method="min")
    np.testing.assert_array_equal(rank_rows(values, ties="min"), lowest)


def test_ranks_of_nothing():
    assert rank_rows(np.zeros((0, 4))).shape == (0, 4)
    assert rank_rows(np.zeros((4, 0))).shape == (4, 0)
    np.testing.assert_array_equal(centred_ranks(np.array([[2.0, 2.0, np.nan]])), [[0, 0, 0]])


@pytest.mark.parametrize(("method", "oracle"), [("spearman", spearmanr), ("pearson", pearsonr)])
def test_each_bar_equals_scipy(method, oracle):
    rng = np.random.default_rng(0)
    values = np.round(rng.normal(size=(60, 11)), 1)  # rounding makes ties
    forward = rng.normal(size=(60, 11))
    values[rng.random((60, 11)) < 0.2] = np.nan
    forward[rng.random((60, 11)) < 0.2] = np.nan
    ic = information_coefficient(values, forward, method, min_symbols=2)
    for bar in range(60):
        both = np.isfinite(values[bar]) & np.isfinite(forward[bar])
        assert ic[bar] == pytest.approx(oracle(values[bar, both], forward[bar, both])[0])


def test_too_few_pairs_and_constants_have_no_ic():
    values = np.array(
        [[1.0, 2, np.nan, 4], [1, 2, np.nan, np.nan], [5, 5, 5, 5], [1, 2, 3, np.inf]]
    )
    forward = np.tile([0.1, 0.2, 0.3, 0.4], (4, 1))
    for method in ("spearman", "pearson"):
        ic = information_coefficient(values, forward, method)
        np.testing.assert_array_equal(np.isnan(ic), [False, True, True, False])
        two = information_coefficient(values, forward, method, min_symbols=2)
        np.testing.assert_array_equal(np.isnan(two), [False, False, True, False])


def test_constant_is_judged_relative_to_size():
    tiny = np.array([[1.2e-5, 1.3e-5, 1.1e-5, 1.4e-5]]) * 1e-8
    forward = np.array([[1.0, 2.0, 0.0, 3.0]])
    assert information_coefficient(tiny, forward, "pearson")[0] == pytest.approx(1)
    noise = np.array([[0.1 + 0.2, 0.3, 0.3, 0.3]])
    assert np.isnan(information_coefficient(noise, forward, "pearson")[0])
    huge = np.array([[1e300, 2e300, -1e300, 1.5e300]])
    assert np.isfinite(information_coefficient(huge, forward, "pearson")[0])
    assert not demean_rows(np.full((2, 3), 7.3)).any()


def test_ic_refuses_unlike_shapes_and_unknown_methods():
    with pytest.raises(ValueError, match="shape"):
        information_coefficient(np.zeros((3, 4)), np.zeros((4, 4)))
    with pytest.raises(ValueError, match="kendall"):
        information_coefficient(np.zeros((3, 4)), np.zeros((3, 4)), "kendall")


@given(pairs())
def test_rank_ic_ignores_monotone_maps_and_follows_the_sign(pair):
    values, forward = pair
    values = np.round(values, 3)  # so that the map cannot merge two values
    ic = information_coefficient(values, forward)
    np.testing.assert_allclose(information_coefficient(np.cbrt(values) * 3 + 1, forward), ic)
    np.testing.assert_allclose(information_coefficient(-values, forward), -ic, atol=1e-12)
    known = ic[np.isfinite(ic)]
    assert np.all(np.abs(known) <= 1)


@given(pairs())
def test_ic_is_symmetric_and_does_not_depend_on_the_order_of_symbols(pair):
    values, forward = pair
    ic = information_coefficient(values, forward)
    np.testing.assert_allclose(information_coefficient(forward, values), ic, atol=1e-12)
    order = [3, 0, 6, 1, 5, 2, 4]
    np.testing.assert_allclose(
        information_coefficient(values[:, order], forward[:, order]), ic, atol=1e-12
    )


def test_time_series_correlation_is_spearmans():
    rng = np.random.default_rng(1)
    values, forward = rng.normal(size=(2, 200, 1))
    forward += 0.3 * values
    forward[5] = np.nan
    known = np.isfinite(forward[:, 0])
    products = time_series_products(values, forward)
    assert np.isnan(products[5])
    assert np.nanmean(products) == pytest.approx(spearmanr(values[known, 0], forward[known, 0])[0])
    assert np.isnan(time_series_products(np.ones((50, 1)), forward[:50])).all()


def test_decay_of_a_signal_about_the_next_bar_only():
    rng = np.random.default_rng(2)
    returns = rng.normal(0, 0.01, size=(4000, 20))
    close = 100 * np.exp(returns.cumsum(axis=0))
    open_ = np.vstack([np.full((1, 20), 100.0), close[:-1]])
    values = np.full_like(returns, np.nan)
    values[:-1] = returns[1:] + rng.normal(0, 0.02, size=(3999, 20))
    decay = ic_decay(values, {"open": open_, "close": close}, (1, 4, 16), entry_lag_bars=1)
    assert decay[1] > 0.3
    assert decay[4] == pytest.approx(decay[1] / 2, abs=0.03)  # one of four bars: 1/sqrt(4)
    assert decay[16] == pytest.approx(decay[1] / 4, abs=0.03)
    assert math.isnan(ic_decay(values[:8], {"open": open_[:8], "close": close[:8]}, (32,))[32])


@pytest.mark.parametrize(
    ("decay", "half_life"),
    [
        ({1: 0.1, 2: 0.05, 4: 0.02}, 2.0),
        ({1: 0.1, 4: 0.0}, 2.0),  # half of the fall, half of the way in log2
        ({1: 0.02, 2: 0.1, 4: 0.05}, 4.0),  # from the peak, not from the first
        ({1: -0.1, 2: -0.05}, 2.0),
        ({1: 0.1, 2: 0.09}, math.nan),
        ({1: 0.1, 2: math.nan, 4: 0.05}, 4.0),
        ({1: math.nan}, math.nan),
        ({1: 0.0, 2: 0.0}, math.nan),
        ({}, math.nan),
    ],
)
def test_half_life(decay, half_life):
    assert decay_half_life_bars(decay) == pytest.approx(half_life, nan_ok=True)


def test_coverage_counts_existing_bars_only():
    values = np.array([[1.0, np.nan], [np.inf, 2.0]])
    assert coverage(values, np.array([[True, True], [True, False]])) == pytest.approx(1 / 3)
    assert math.isnan(coverage(values, np.zeros((2, 2), dtype=bool)))


def test_rank_autocorrelation_of_a_standing_and_a_reversing_order():
    standing = np.tile(np.arange(5.0), (4, 1))
    np.testing.assert_allclose(rank_autocorrelation(standing), [1, 1, 1])
    standing[1::2] *= -1
    np.testing.assert_allclose(rank_autocorrelation(standing), [-1, -1, -1])
    np.testing.assert_allclose(rank_autocorrelation(standing, 2), [1, 1])


@settings(max_examples=20)
@given(st.integers(1, 7))
def test_the_nearest_is_found_whatever_its_sign_and_the_stride(stride):
    rng = np.random.default_rng(3)
    values, noise, other = rng.normal(size=(3, 300, 12))
    library = {
        "noise": noise,
        "mirrored": -values + 0.2 * other,
        "none": np.full_like(noise, np.nan),
    }
    nearest = nearest_in_library(values, library, stride)
    assert nearest is not None
    assert nearest.name == "mirrored"
    assert nearest.correlation < -0.9
    assert nearest_in_library(values, {}) is None
    assert nearest_in_library(values, {"none": library["none"]}) is None


def test_one_symbol_is_compared_in_time():
    a = np.random.default_rng(4).normal(size=(200, 1))
    assert signal_correlation(a, a**3) == pytest.approx(1)
    assert signal_correlation(a, -a) == pytest.approx(-1)


def test_what_is_left_beside_others_is_uncorrelated_with_them():
    rng = np.random.default_rng(5)
    shared, own = rng.normal(size=(2, 400, 15))
    values = shared + own
    left = residual_signal(values, [shared])
    explained = np.vdot(left, centred_ranks(shared)) / np.vdot(left, left)
    assert explained == pytest.approx(0, abs=1e-9)
    assert signal_correlation(values, shared) > 0.5
    assert signal_correlation(left, own) > 0.8
    # A copy and a sum of others leave nothing; without others nothing is taken.
    np.testing.assert_allclose(residual_signal(shared, [own, -shared]), 0, atol=1e-9)
    np.testing.assert_allclose(signal_correlation(residual_signal(values, []), values), 1)


def test_what_is_left_has_the_factors_own_holes():
    values = np.arange(40.0).reshape(8, 5) % 7
    values[2, 3] = np.nan
    other = np.where(np.arange(5) == 1, np.nan, values[::-1])
    assert (np.isnan(residual_signal(values, [other])) == np.isnan(values)).all()
