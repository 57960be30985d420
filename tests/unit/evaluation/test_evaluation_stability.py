import math

import numpy as np
import pytest

from alphamill.evaluation import fold_overfitting
from alphamill.evaluation.stability import FOLDS, Folds


def test_a_series_that_never_changes_sign_is_stable():
    series = np.full(800, 0.02)
    series[-5:] = np.nan
    found = Folds.of(800, 5).stability(series)
    assert found["fold_rank_corrs"] == pytest.approx([0.02] * FOLDS)
    assert found["walk_forward_rank_corr"] == pytest.approx(0.02)
    assert found["cpcv_same_sign_frac"] == 1.0
    turned = Folds.of(800, 5).stability(-series)
    assert turned["walk_forward_rank_corr"] == pytest.approx(0.02)


def test_a_series_that_turns_half_way_is_found_out():
    series = np.repeat([0.05, -0.05], 400)
    found = Folds.of(800, 5).stability(series)
    assert found["fold_rank_corrs"] == pytest.approx([0.05] * 4 + [-0.05] * 4)
    # Three folds as learnt, then one whose past says the opposite, and three more.
    assert found["walk_forward_rank_corr"] == pytest.approx((3 * 0.05 - 4 * 0.05) / 7)
    assert found["cpcv_same_sign_frac"] < 0.5


def test_a_label_that_reaches_into_the_next_fold_is_not_in_its_fold():
    series = np.zeros(800)
    series[95:100] = 1e6  # the last labels of the first fold
    assert Folds.of(800, 5).stability(series)["fold_rank_corrs"] == (0.0,) * FOLDS


def test_what_no_bar_says_is_nan():
    found = Folds.of(800, 5).stability(np.full(800, math.nan))
    assert math.isnan(found["walk_forward_rank_corr"])
    assert math.isnan(found["cpcv_same_sign_frac"])
    few = Folds.of(9, 5).stability(np.ones(9))
    assert len(few["fold_rank_corrs"]) == FOLDS


def test_overfitting_of_folds_is_half_on_noise_and_none_where_one_trial_is_true():
    rng = np.random.default_rng(0)
    noise = [fold_overfitting(rng.normal(size=(8, 40))) for _ in range(60)]
    assert np.mean(noise) == pytest.approx(0.5, abs=0.08)
    true = rng.normal(0, 0.01, size=(8, 40))
    true[:, 7] -= 0.05  # in either direction
    assert fold_overfitting(true) == 0.0
    assert math.isnan(fold_overfitting(true[:, :1]))
    assert math.isnan(fold_overfitting(true[:7]))
