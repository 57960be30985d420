import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.evaluation import Segment, purged_training_bars, split_bars
from alphamill.evaluation.splits import combinatorial_purged, fold_slices, walk_forward


def test_segments_follow_each_other_with_an_embargo_between():
    cut = split_bars(1000, 0.6, 0.2, embargo_bars=5)
    assert cut.discovery == Segment(0, 600)
    assert cut.validation == Segment(605, 800)
    assert cut.holdout == Segment(805, 1000)
    assert cut.holdout.n_bars == 195


def test_a_window_reaches_back_for_history_only():
    assert Segment(605, 800).window(50) == (slice(555, 800), 50)
    assert Segment(10, 800).window(50) == (slice(0, 800), 10)


@pytest.mark.parametrize(
    ("n_bars", "discovery", "validation", "embargo"),
    [
        (100, 0.8, 0.2, 0),
        (100, 0.0, 0.2, 0),
        (100, 0.6, -0.1, 0),
        (2, 0.6, 0.2, 0),
        (100, 0.6, 0.2, 20),
        (100, 0.6, 0.2, -1),
    ],
)
def test_a_cut_that_leaves_nothing_is_refused(n_bars, discovery, validation, embargo):
    with pytest.raises(ValueError, match=r"frac|bars"):
        split_bars(n_bars, discovery, validation, embargo)


@given(st.integers(30, 5000), st.floats(0.2, 0.6), st.floats(0.1, 0.3), st.integers(0, 2))
def test_segments_never_overlap(n_bars, discovery, validation, embargo):
    cut = split_bars(n_bars, discovery, validation, embargo)
    assert cut.discovery.stop_bar + embargo == cut.validation.start_bar
    assert cut.validation.stop_bar + embargo == cut.holdout.start_bar
    assert cut.holdout.stop_bar == n_bars


def test_purging_by_hand():
    allowed = purged_training_bars(20, [slice(8, 11)], label_bars=2, embargo_bars=3)
    # 6 and 7 have labels that reach 8; 11 and 12 are reached by labels of 9 and 10; then 13 to 15.
    np.testing.assert_array_equal(np.flatnonzero(~allowed), np.arange(6, 16))
    assert purged_training_bars(20, [slice(5, 5)], 2, 3).all()


@given(st.integers(0, 40), st.integers(1, 10), st.integers(0, 5), st.integers(0, 5))
def test_no_training_label_meets_a_test_label(start, length, label, embargo):
    allowed = purged_training_bars(60, [slice(start, start + length)], label, embargo)
    tested = range(start, min(start + length, 60))
    for bar in np.flatnonzero(allowed):
        for test in tested:
            assert bar + label < test or bar > test + label


@given(st.integers(40, 400), st.integers(2, 8), st.integers(1, 6), st.integers(0, 5))
def test_no_training_window_of_any_split_meets_a_test_bar(n_bars, folds, label, embargo):
    ahead = walk_forward(n_bars, folds, label, embargo)
    purged = combinatorial_purged(n_bars, folds, min(2, folds - 1), label, embargo)
    assert len(ahead) == folds - 1
    assert len(purged) == math.comb(folds, min(2, folds - 1))
    for split in (*ahead, *purged):
        assert split.test.any()
        # Bars that a label of a training bar covers, [t, t + label].
        covered = np.convolve(split.train, np.ones(label + 1))[:n_bars] > 0
        assert not (covered & split.test).any()
        tested = np.convolve(split.test, np.ones(label + 1))[:n_bars] > 0
        assert not (tested & split.train).any()
    for split in ahead:
        before = np.flatnonzero(split.test)[0]
        assert not split.train[max(before - label, 0) :].any()
        assert split.train[: max(before - label, 0)].all()
    counts = np.sum([split.test for split in purged], axis=0)
    assert (counts == counts[0]).all()  # every bar is tested in as many splits


def test_folds_cover_every_bar_once():
    for n_bars in (8, 37, 1000):
        blocks = fold_slices(n_bars, 8)
        assert np.concatenate([np.arange(n_bars)[block] for block in blocks]).tolist() == list(
            range(n_bars)
        )
        assert max(b.stop - b.start for b in blocks) - min(b.stop - b.start for b in blocks) <= 1
