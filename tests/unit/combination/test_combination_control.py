"""Random formulas under the same combiner, and what a combination adds to them."""

import math

import numpy as np
import pytest

from alphamill.combination import (
    Combiner,
    FactorRanks,
    control_draws,
    control_pool,
    excess_over_random,
    refit_schedule,
    walk_forward,
)
from alphamill.evaluation import information_coefficient

HORIZON = 2
N_BARS, N_SYMBOLS, N_POOL = 200, 11, 12
TIMES = 3_600_000 * np.arange(N_BARS)
SCHEDULE = refit_schedule(TIMES, 24 * 3_600_000, 50, HORIZON + 1)
DISCOVERY, SCORED = slice(0, 110), slice(110, 190)
COMBINERS = (
    Combiner("equal"),
    Combiner("ic", half_life_bars=50),
    Combiner("icir_shrunk", prior_labels=20),
    Combiner("ridge", half_life_bars=80),
    Combiner("lasso", penalty=0.2),
)


def panel(seed=0, holes=0.15):
    """Formulas' values with holes, and labels that some of them order."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(N_POOL, N_BARS, N_SYMBOLS)).cumsum(axis=1)
    labels = rng.normal(0, 0.01, (N_BARS, N_SYMBOLS)) + 1e-4 * values[0] - 2e-4 * values[3]
    values[rng.random(values.shape) < holes] = np.nan
    values[:, 120, 4] = np.nan
    labels[rng.random(labels.shape) < holes / 3] = np.nan
    labels[-HORIZON - 1 :] = np.nan
    return values, labels


@pytest.fixture(scope="module")
def pool():
    values, labels = panel()
    made = control_pool(values, N_POOL, labels, COMBINERS, SCHEDULE, HORIZON, DISCOVERY)
    return values, labels, made


# --- draws


def test_a_draw_is_what_walking_its_own_formulas_forward_gives(pool):
    values, labels, made = pool
    ics = [information_coefficient(one[DISCOVERY], labels[DISCOVERY]) for one in values]
    directions = np.array([-1 if np.nanmean(ic) < 0 else 1 for ic in ics])
    assert {-1, 1} == set(directions.tolist())
    draws = control_draws(made, 4, 5, seed=3, bars=SCORED, threads=2)
    assert [one.combiner for one in draws] == list(COMBINERS)
    for one in draws:
        for pick, ic in zip(one.picks, one.ic, strict=True):
            ranks = FactorRanks.of(values[pick], directions[pick])
            walked = walk_forward(ranks, labels, one.combiner, SCHEDULE, HORIZON)
            wanted = information_coefficient(walked.signal, labels)[SCORED]
            np.testing.assert_allclose(ic, wanted, rtol=0, atol=2e-7)


def test_picks_are_without_repeats_and_by_seed(pool):
    made = pool[-1]
    first, again, other = (
        control_draws(made, 6, 8, seed=seed, bars=SCORED)[0].picks for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert all(len(set(pick.tolist())) == 6 for pick in first)


def test_a_pick_without_a_value_for_a_symbol_gives_it_none():
    """Though other formulas of the pool have one; as in `walk_forward`."""
    values, labels = panel(holes=0.0)
    values[:8, 130:, 2] = np.nan
    made = control_pool(values, N_POOL, labels, COMBINERS[:1], SCHEDULE, HORIZON, DISCOVERY)
    draws = control_draws(made, 3, 12, seed=0, bars=SCORED)[0]
    without = [bool(pick.max() < 8) for pick in draws.picks]
    assert {True, False} == set(without)
    for pick, ic, none in zip(draws.picks, draws.ic, without, strict=True):
        own = np.array([made.ranks.series(one) for one in pick])
        signal = np.nan_to_num(own).mean(axis=0)
        signal[np.isnan(own).all(axis=0)] = np.nan
        assert np.isnan(signal[150, 2]) == none
        wanted = information_coefficient(np.round(signal, 10), labels)[SCORED]
        np.testing.assert_allclose(ic, wanted, rtol=0, atol=2e-7)


def test_formulas_that_cannot_be_measured_are_not_drawn(pool):
    values, labels, _ = pool
    empty, constant = np.full(labels.shape, np.nan), np.ones(labels.shape)
    sparse = np.where(np.arange(N_SYMBOLS) < 7, values[0], np.nan)
    offered = [empty, constant, sparse, *values]
    made = control_pool(offered, N_POOL, labels, COMBINERS[:1], SCHEDULE, HORIZON, DISCOVERY)
    plain = control_pool(values, N_POOL, labels, COMBINERS[:1], SCHEDULE, HORIZON, DISCOVERY)
    assert np.array_equal(made.ic, plain.ic, equal_nan=True)


def test_no_more_formulas_are_computed_than_the_pool_holds(pool):
    values, labels, _ = pool
    left = iter(values)
    control_pool(left, 5, labels, COMBINERS[:1], SCHEDULE, HORIZON, DISCOVERY)
    assert len(list(left)) >= N_POOL - 6


def test_threads_make_the_same_pool(pool):
    values, labels, _ = pool
    offered = [np.full(labels.shape, np.nan), *values]
    one, many = (
        control_pool(offered, 6, labels, COMBINERS, SCHEDULE, HORIZON, DISCOVERY, threads=threads)
        for threads in (1, 3)
    )
    assert np.array_equal(one.ic, many.ic, equal_nan=True)
    assert np.array_equal(one.ranks.read(slice(None)), many.ranks.read(slice(None)))


def test_too_few_formulas_say_so(pool):
    values, labels, made = pool
    with pytest.raises(ValueError, match="of 3 random formulas 3 can be measured on these bars"):
        control_pool(values[:3], 4, labels, COMBINERS, SCHEDULE, HORIZON, DISCOVERY)
    with pytest.raises(ValueError, match="at least as many formulas as there are factors"):
        control_draws(made, N_POOL + 1, 5, seed=0, bars=SCORED)


def test_trees_have_no_control_arm(pool):
    values, labels, _ = pool
    with pytest.raises(ValueError, match="leave it out, or ask for no control"):
        control_pool(values, 4, labels, [Combiner("lightgbm")], SCHEDULE, HORIZON, DISCOVERY)


def test_means_and_ratios_of_draws(pool):
    draws = control_draws(pool[-1], 4, 3, seed=0, bars=SCORED)[1]
    wanted = np.nanmean(draws.ic.astype(float), axis=1)
    np.testing.assert_allclose(draws.mean_ic, wanted, rtol=1e-12)
    spread = np.nanstd(draws.ic.astype(float), axis=1, ddof=1)
    np.testing.assert_allclose(draws.icir, wanted / spread, rtol=1e-12)


# --- the excess


def series(rng, n_bars, n_draws, own, between, common):
    """A combination's RankIC and its control's, with a skill for each draw and time in common."""
    together = common * np.repeat(rng.normal(size=n_bars // 4 + 1), 4)[:n_bars]
    ic = own + together + rng.normal(0, 0.1, n_bars)
    skill = rng.normal(0, between, (n_draws, 1))
    return ic, skill + 0.9 * together + rng.normal(0, 0.1, (n_draws, n_bars))


def test_excess_is_the_difference_of_means_and_its_place_among_draws():
    ic = np.array([0.125, 0.375, np.nan, 0.25])
    control = np.array([[0.125, 0.125, 0.125, np.nan], [0.25] * 4, [0.375, 0.375, 0.375, 0.875]])
    found = excess_over_random(ic, control, 1)
    assert found.mean_ic == 0.25
    assert found.random_mean_ic == pytest.approx((0.125 + 0.25 + 0.5) / 3)
    assert found.excess == pytest.approx(0.25 - 0.875 / 3)
    assert found.percentile == 0.5
    assert found.p_value == 3 / 4
    assert found.icir == pytest.approx(0.25 / np.std([0.125, 0.375, 0.25], ddof=1))
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert found.to_dict()["low"] is None
    assert (found.draws, found.bars, found.block_bars) == (3, 4, 5)


def test_what_moves_everything_together_leaves_the_interval_as_it_is():
    rng = np.random.default_rng(0)
    ic, control = series(rng, 900, 30, 0.02, 0.01, 0.0)
    plain = excess_over_random(ic, control, 1)
    shaken = rng.normal(0, 1, 900)
    moved = excess_over_random(ic + shaken, control + shaken, 1)
    assert (moved.excess, moved.low, moved.high) == pytest.approx(
        (plain.excess, plain.low, plain.high), abs=1e-12
    )


@pytest.mark.parametrize(
    ("n_draws", "between", "common"), [(40, 0.0, 0.3), (12, 0.03, 0.0)], ids=["time", "draws"]
)
def test_the_interval_holds_the_truth_as_often_as_it_says(n_draws, between, common):
    """With the spread in time alone the second would hold it in half of the cases."""
    rng = np.random.default_rng(5)
    held = 0
    for seed in range(100):
        ic, control = series(rng, 800, n_draws, 0.01, between, common)
        found = excess_over_random(ic, control, 4, seed=seed, resamples=200)
        held += found.low <= 0.01 <= found.high
    assert 88 <= held <= 99


def test_an_interval_is_by_seed():
    ic, control = series(np.random.default_rng(0), 400, 20, 0.0, 0.01, 0.1)
    first, again, other = (excess_over_random(ic, control, 1, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.low != other.low


def test_draws_over_other_bars_are_refused():
    with pytest.raises(ValueError, match="over the same bars"):
        excess_over_random(np.zeros(5), np.zeros((3, 4)), 1)
