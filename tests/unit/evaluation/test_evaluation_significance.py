"""Printed numbers: Bailey and Lopez de Prado (2012, 2014), and vectors recomputed independently."""

import itertools
import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kurtosis, norm, skew

from alphamill.evaluation import (
    benjamini_hochberg,
    default_lags,
    deflated_sharpe_ratio,
    effective_trials,
    expected_maximum_sharpe,
    minimum_track_record_length,
    newey_west_t,
    overfitting_logits,
    probabilistic_sharpe_ratio,
    probability_of_backtest_overfitting,
    trial_correlation,
)
from alphamill.evaluation.significance import corrected_t, moments, two_sided_p

VECTOR = [0.05, 0.03, -0.01, 0.04, 0.02, 0.06, -0.02, 0.01, 0.03, 0.05, 0.0, 0.04]


@pytest.mark.parametrize(
    ("lags", "t"), [(0, 3.560345), (1, 4.509876), (2, 5.447048), (3, 8.164966)]
)
def test_newey_west_reproduces_the_vector(lags, t):
    assert newey_west_t(VECTOR, lags) == pytest.approx(t, abs=5e-7)


@pytest.mark.parametrize("persistence", [-0.6, 0.0, 0.8])
@pytest.mark.parametrize("lags", [0, 4, 17])
def test_newey_west_equals_statsmodels(persistence, lags):
    rng = np.random.default_rng(7)
    x = np.zeros(400)
    for i, shock in enumerate(rng.normal(size=400)):
        x[i] = persistence * x[i - 1] + shock
    x += 0.1
    fit = sm.OLS(x, np.ones(400)).fit(
        cov_type="HAC", cov_kwds={"maxlags": lags, "use_correction": False}
    )
    assert newey_west_t(x, lags) == pytest.approx(fit.tvalues[0], rel=1e-10)


def test_negative_autocorrelation_raises_t_and_positive_lowers_it():
    alternating = 0.1 + np.tile([1.0, -1.0], 50) + np.linspace(0, 0.1, 100)
    assert newey_west_t(alternating, 5) > newey_west_t(alternating, 0)
    slow = 0.1 + np.sin(np.arange(100) / 10)
    assert newey_west_t(slow, 5) < newey_west_t(slow, 0)


def test_newey_west_drops_nan_and_refuses_to_divide_by_nothing():
    assert newey_west_t([*VECTOR, math.nan], 2) == newey_west_t(VECTOR, 2)
    assert math.isnan(newey_west_t([0.1] * 50, 3))
    assert math.isnan(newey_west_t([1.0], 0))
    assert math.isnan(newey_west_t([], 0))
    with pytest.raises(ValueError, match="lags"):
        newey_west_t(VECTOR, -1)


@pytest.mark.parametrize(
    ("n_obs", "horizon", "lags"),
    [(252, 1, 4), (1000, 1, 6), (8760, 1, 10), (35040, 1, 14), (252, 24, 23), (8760, 4, 10)],
)
def test_default_lags(n_obs, horizon, lags):
    assert default_lags(n_obs, horizon) == lags


@pytest.mark.parametrize("t", [0.0, -1.96, 3.0, 12.0])
def test_p_value_is_two_sided_normal(t):
    assert two_sided_p(t) == pytest.approx(2 * norm.sf(abs(t)), rel=1e-12)


@pytest.mark.parametrize(
    ("benchmark", "skewness", "raw_kurtosis", "psr"),
    [(0.0, -2.448, 10.164, 0.9134), (0.1, -2.448, 10.164, 0.8564), (0.1, 0.0, 3.0, 0.9488)],
)
def test_probabilistic_sharpe_of_the_paper(benchmark, skewness, raw_kurtosis, psr):
    assert probabilistic_sharpe_ratio(
        0.458, benchmark, 24, skewness, raw_kurtosis
    ) == pytest.approx(psr, abs=5e-5)


@pytest.mark.parametrize(
    ("per_year", "skewness", "raw_kurtosis", "years"),
    [(250, 0.0, 3.0, 2.7312), (12, 0.0, 3.0, 3.2398), (12, -0.72, 5.78, 4.9913)],
)
def test_minimum_track_record_of_the_paper(per_year, skewness, raw_kurtosis, years):
    observations = minimum_track_record_length(
        2 / math.sqrt(per_year), 1 / math.sqrt(per_year), skewness, raw_kurtosis
    )
    assert observations / per_year == pytest.approx(years, abs=5e-5)


def test_minimum_track_record_is_where_psr_reaches_the_confidence():
    n_obs = minimum_track_record_length(0.1, 0.03, -0.5, 6.0, confidence=0.9)
    assert probabilistic_sharpe_ratio(0.1, 0.03, n_obs, -0.5, 6.0) == pytest.approx(0.9)
    assert minimum_track_record_length(0.1, 0.1) == math.inf
    assert math.isnan(minimum_track_record_length(math.nan, 0.1))
    with pytest.raises(ValueError, match="confidence"):
        minimum_track_record_length(0.1, 0.0, confidence=95)


@pytest.mark.parametrize(
    ("n_trials", "skewness", "raw_kurtosis", "dsr"),
    [(100, -3, 10, 0.9003968), (46, -3, 10, 0.9505017), (88, 0, 3, 0.9504908)],
)
def test_deflated_sharpe_of_the_paper(n_trials, skewness, raw_kurtosis, dsr):
    sharpe, variance = 2.5 / math.sqrt(250), 0.5 / 250
    assert deflated_sharpe_ratio(
        sharpe, variance, n_trials, 1250, skewness, raw_kurtosis
    ) == pytest.approx(dsr, abs=5e-8)


def test_hurdle_of_the_paper():
    hurdle = expected_maximum_sharpe(0.5 / 250, 100)
    assert hurdle == pytest.approx(0.1132, abs=5e-5)
    assert hurdle * math.sqrt(250) == pytest.approx(1.7894, abs=5e-5)


@pytest.mark.parametrize(
    ("n_trials", "multiple"),
    [(10, 1.57460), (50, 2.27630), (100, 2.53060), (1000, 3.25512), (10000, 3.86066)],
)
def test_expected_maximum_multiples(n_trials, multiple):
    assert expected_maximum_sharpe(1.0, n_trials) == pytest.approx(multiple, abs=5e-6)


def test_expected_maximum_is_that_of_normal_draws():
    draws = np.random.default_rng(1).normal(size=(20_000, 100)).max(axis=1)
    assert expected_maximum_sharpe(1.0, 100) == pytest.approx(draws.mean(), rel=0.02)


def test_one_trial_deflates_nothing_and_nonsense_is_refused():
    one = deflated_sharpe_ratio(0.1, 5.0, 1, 500, 0.1, 4.0)
    assert one == probabilistic_sharpe_ratio(0.1, 0.0, 500, 0.1, 4.0)
    assert expected_maximum_sharpe(1.0, 1.1) == 0.0  # between one and two: never a negative hurdle
    for variance, n_trials in [(-1.0, 10), (1.0, 0)]:
        with pytest.raises(ValueError, match="n_trials"):
            deflated_sharpe_ratio(0.1, variance, n_trials, 500, 0.0, 3.0)


@given(
    st.floats(-2, 2), st.floats(-2, 2), st.integers(2, 10**6), st.floats(-5, 5), st.floats(0, 50)
)
def test_psr_is_a_probability_and_falls_with_the_benchmark(sharpe, benchmark, n_obs, g3, excess):
    g4 = 1 + g3**2 + excess  # no distribution has less
    psr = probabilistic_sharpe_ratio(sharpe, benchmark, n_obs, g3, g4)
    if not math.isnan(psr):
        assert 0 <= psr <= 1
        assert probabilistic_sharpe_ratio(sharpe, benchmark + 0.1, n_obs, g3, g4) <= psr


def test_benjamini_hochberg_vector():
    p = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, 0.216]
    adjusted = benjamini_hochberg(p)
    expected = [0.01, 0.04, 0.084, 0.084, 0.084, 0.1, 0.105714, 0.216, 0.216, 0.216]
    np.testing.assert_allclose(adjusted, expected, atol=5e-7)
    assert (adjusted <= 0.05).sum() == 2
    shuffled = np.random.default_rng(0).permutation(10)
    np.testing.assert_array_equal(benjamini_hochberg(np.array(p)[shuffled]), adjusted[shuffled])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_benjamini_hochberg_never_lowers_a_p_and_keeps_their_order(p):
    adjusted = benjamini_hochberg(p)
    assert np.all(adjusted >= np.array(p) - 1e-15)
    assert np.all(adjusted <= 1)
    assert np.all(np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0)


def test_a_trial_without_p_value_still_counts():
    adjusted = benjamini_hochberg([0.01, math.nan, math.nan])
    assert adjusted[0] == pytest.approx(0.03)
    assert np.isnan(adjusted[1:]).all()
    assert benjamini_hochberg([]).shape == (0,)
    with pytest.raises(ValueError, match="between 0 and 1"):
        benjamini_hochberg([1.2])


def test_moments_are_those_of_scipy():
    x = np.random.default_rng(3).standard_t(5, size=500) + 0.1
    got = moments(x)
    assert got.sharpe == pytest.approx(x.mean() / x.std(ddof=1))
    assert got.skew == pytest.approx(skew(x))
    assert got.kurtosis == pytest.approx(kurtosis(x, fisher=False))
    assert math.isnan(moments(np.full(9, 0.1)).sharpe)
    assert moments(np.zeros(0)).n_obs == 0


def sines() -> np.ndarray:
    t, n = np.arange(64)[:, None], np.arange(6)[None, :]
    return np.sin((t + 1) * (n + 1) * 0.7) + 0.02 * n


@pytest.mark.parametrize(
    ("blocks", "splits", "pbo", "mean_logit"),
    [(8, 70, 0.7, -0.4771495803586), (4, 6, 1 / 3, 0.8890760687)],
)
def test_overfitting_vector(blocks, splits, pbo, mean_logit):
    logits = overfitting_logits(sines(), blocks)
    assert len(logits) == splits
    assert probability_of_backtest_overfitting(sines(), blocks) == pytest.approx(pbo)
    assert logits.mean() == pytest.approx(mean_logit, abs=2e-10)


def test_overfitting_equals_the_plain_procedure():
    returns = np.random.default_rng(5).normal(0.01, 1, size=(61, 7))
    blocks = np.array_split(returns[:60], 6)
    logits = []
    for inside in itertools.combinations(range(6), 3):
        outside = [block for block in range(6) if block not in inside]
        sharpe_in, sharpe_out = (
            (lambda part: part.mean(axis=0) / part.std(axis=0, ddof=1))(
                np.vstack([blocks[block] for block in chosen])
            )
            for chosen in (inside, outside)
        )
        rank = 1 + (sharpe_out < sharpe_out[sharpe_in.argmax()]).sum()
        logits.append(math.log(rank / 8 / (1 - rank / 8)))
    np.testing.assert_allclose(overfitting_logits(returns, 6), logits)


def test_overfitting_tells_noise_from_skill():
    rng = np.random.default_rng(11)
    noise = [probability_of_backtest_overfitting(rng.normal(size=(500, 50)), 10) for _ in range(6)]
    assert 0.2 < np.mean(noise) < 0.8
    skilled = rng.normal(size=(500, 50))
    skilled[:, 3] += 0.3
    assert probability_of_backtest_overfitting(skilled, 10) < 0.05


def test_all_splits_of_sixteen_blocks_are_tried():
    assert len(overfitting_logits(np.random.default_rng(0).normal(size=(64, 5)), 16)) == 12_870


def test_a_constant_strategy_neither_wins_nor_breaks():
    returns = np.random.default_rng(2).normal(0.5, 1, size=(80, 4))
    returns[:, 2] = 0.0
    assert np.isfinite(overfitting_logits(returns, 4)).all()


@pytest.mark.parametrize(
    ("returns", "blocks"),
    [
        (np.zeros((64, 4)), 5),
        (np.zeros((64, 4)), 0),
        (np.zeros((64, 1)), 4),
        (np.zeros((6, 4)), 4),
        (np.full((64, 4), np.nan), 4),
        (np.zeros(64), 4),
    ],
)
def test_overfitting_refuses_what_it_cannot_split(returns, blocks):
    with pytest.raises(ValueError, match=r"blocks|returns"):
        probability_of_backtest_overfitting(returns, blocks)


def test_effective_trials_of_three_families():
    rng = np.random.default_rng(4)
    families = np.repeat(rng.normal(size=(2000, 3)), 10, axis=1)
    returns = families + 0.3 * rng.normal(size=(2000, 30))
    found = effective_trials(trial_correlation(returns))
    assert found.by_clusters == 3
    rho = (np.corrcoef(returns.T).sum() - 30) / (30 * 29)
    assert found.average_correlation == pytest.approx(rho)
    assert found.by_average_correlation == pytest.approx(rho + (1 - rho) * 30)


def test_effective_trials_at_the_ends():
    assert effective_trials(np.ones((8, 8))).by_average_correlation == pytest.approx(1)
    assert effective_trials(np.ones((8, 8))).by_clusters == 1
    independent = effective_trials(np.eye(8))
    assert (independent.by_average_correlation, independent.by_clusters) == (8, 8)
    assert effective_trials(np.eye(1)).by_average_correlation == 1
    opposed = np.array([[1.0, -1.0], [-1.0, 1.0]])
    assert effective_trials(opposed).by_average_correlation == 2
    with pytest.raises(ValueError, match="square"):
        effective_trials(np.ones((2, 3)))


def test_a_trial_that_never_traded_counts_as_its_own():
    returns = np.random.default_rng(0).normal(size=(50, 3))
    returns[:, 1] = 0.0
    correlation = trial_correlation(returns)
    assert np.isnan(correlation[1]).all()
    assert effective_trials(correlation).by_clusters == 3


@pytest.mark.parametrize(("tests", "expected"), [(2, 1.9557), (11, 2.6052), (101, 3.2905)])
def test_a_t_among_many_tests_has_its_share_of_the_error(tests, expected):
    found = corrected_t(1.64, tests)
    assert found == pytest.approx(expected, abs=1e-4)
    assert norm.sf(found) * tests == pytest.approx(norm.sf(1.64), rel=1e-9)


def test_a_single_test_is_not_corrected_at_all():
    assert corrected_t(1.64, 1) == 1.64
    with pytest.raises(ValueError, match="tests 0"):
        corrected_t(1.64, 0)
