"""The alarm rings seldom while a factor holds, and soon after it decays, look when you like."""

import numpy as np
import pytest

from alphamill.live.decay import (
    ALARM,
    THRESHOLD,
    YEAR_BARS,
    Health,
    decay_of,
    detector_path,
    mean_sequence,
)

PROMISED = 0.04


def ic(mean, bars, paths=1, spread=0.15, seed=3):
    draw = np.random.default_rng(seed)
    return np.clip(draw.normal(mean, spread, (paths, bars)), -1, 1)


def overlapping(mean, bars, horizon, paths, seed=3):
    """RankIC whose labels overlap: each is the mean of `horizon` independent ones."""
    each = ic(mean, bars + horizon - 1, paths, 0.3, seed)
    windows = np.lib.stride_tricks.sliding_window_view(each, horizon, axis=1)
    return windows.mean(axis=2)


def test_false_alarms_are_as_rare_as_promised():
    rang = detector_path(ic(PROMISED, 2_000, 400), PROMISED).max(axis=1) >= THRESHOLD
    assert rang.mean() <= ALARM


def test_labels_that_overlap_give_no_more_of_them():
    paths = overlapping(PROMISED, 2_000, 6, 400)
    rang = detector_path(paths, PROMISED, 6).max(axis=1) >= THRESHOLD
    assert rang.mean() <= ALARM
    naive = detector_path(paths, PROMISED, 1).max(axis=1) >= THRESHOLD
    assert naive.mean() > 2 * ALARM  # which is why each phase has a detector of its own


@pytest.mark.parametrize("worst", [-1.0, 0.0])
def test_the_mean_of_the_wealth_is_at_most_the_bars(worst):
    # Two-point distributions with mean PROMISED, the hardest of all.
    draw = np.random.default_rng(5)
    chance = (PROMISED - worst) / (1 - worst)
    paths = np.where(draw.random((4_000, 40)) < chance, 1.0, worst)
    mean = detector_path(paths, PROMISED).mean(axis=0)
    error = detector_path(paths, PROMISED).std(axis=0) / np.sqrt(4_000)
    assert (mean <= np.arange(1, 41) + 4 * error).all()


def test_a_factor_that_dies_after_good_months_is_found():
    paths = np.concatenate([ic(PROMISED, 3_000, 40), ic(0.0, 2_000, 40, seed=4)], axis=1)
    rang = detector_path(paths, PROMISED) >= THRESHOLD
    delays = np.argmax(rang[:, 3_000:], axis=1)[rang.any(axis=1)]
    assert rang[:, :3_000].any(axis=1).mean() <= ALARM
    assert rang.any(axis=1).mean() > 0.95
    assert np.median(delays) < 600


def test_what_is_less_than_half_is_graver_and_never_rings_first():
    paths = ic(0.0, 3_000, 50)
    weakening = detector_path(paths, PROMISED)
    dead = detector_path(paths, PROMISED / 2)
    assert (dead <= weakening).all()
    decay = decay_of(ic(0.0, 6_000)[0], PROMISED)
    assert decay.health is Health.DEAD
    assert decay.dead >= 1
    assert decay.at_bar is not None


def test_its_words():
    holding = decay_of(ic(PROMISED, 4_000)[0], PROMISED)
    assert (holding.health, holding.at_bar, holding.bars) == (Health.HOLDING, None, 4_000)
    half = decay_of(ic(PROMISED / 2, 3_000)[0], PROMISED)
    assert half.health is Health.WEAKENING
    assert decay_of(ic(0.0, 100)[0], None).health is Health.UNKNOWN
    assert decay_of(ic(0.0, 100)[0], -0.02).health is Health.UNKNOWN
    assert decay_of(np.full(5, np.nan), PROMISED).health is Health.UNKNOWN


def test_bars_without_a_rank_ic_change_nothing():
    path = ic(0.0, 500)[0]
    holes = np.insert(path, [100, 200, 300], np.nan)
    with_holes, without = (decay_of(one, PROMISED) for one in (holes, path))
    assert with_holes.weakening == pytest.approx(without.weakening)
    assert with_holes.bars == without.bars


def test_what_is_no_rank_ic_is_refused():
    with pytest.raises(ValueError, match="RankIC"):
        decay_of(np.array([0.1, 1.5]), PROMISED)


def test_the_confidence_sequence_holds_the_mean_at_all_times_at_once():
    missed = 0
    for path in ic(PROMISED, 1_500, 60):
        bounds = [mean_sequence(path[:bars]) for bars in range(1, 1_501, 50)]
        missed += any(not low <= PROMISED <= high for low, high in bounds)
    assert missed / 60 <= ALARM
    low, high = mean_sequence(ic(PROMISED, YEAR_BARS)[0])
    assert low > 0
    assert high - low < 0.03
    assert mean_sequence(np.array([])) == (-1.0, 1.0)
