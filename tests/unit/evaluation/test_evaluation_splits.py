import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.controls import direct
from alphamill.evaluation import Segment, SegmentBars, purged_training_bars, split_bars
from alphamill.evaluation.splits import combinatorial_purged, fold_slices, walk_forward
from alphamill.frames import Interval, Panel
from alphamill.runs.segments import cut_segments
from alphamill.settings import SegmentSettings
from alphamill.stages.panel import HISTORY_BARS


def test_segments_follow_each_other_with_an_embargo_between():
    cut = split_bars(1000, 0.6, 0.2, embargo_bars=5)
    assert cut == {
        Segment.DISCOVERY: SegmentBars(0, 600),
        Segment.VALIDATION: SegmentBars(600, 800, embargo_bars=5),
        Segment.HOLDOUT: SegmentBars(800, 1000, embargo_bars=5),
    }
    assert cut[Segment.HOLDOUT].n_bars == 195
    assert (cut[Segment.HOLDOUT].rows, cut[Segment.HOLDOUT].skip_bars) == (slice(800, 1000), 5)


def test_a_segment_reaches_back_for_history_only():
    validation = split_bars(1000, 0.6, 0.2, embargo_bars=5, history_bars=50)[Segment.VALIDATION]
    assert (validation.rows, validation.skip_bars) == (slice(550, 800), 55)
    early = split_bars(100, 0.1, 0.2, history_bars=50)[Segment.VALIDATION]
    assert (early.rows, early.skip_bars) == (slice(0, 30), 10)


def test_a_run_the_library_and_the_controls_cut_alike(monkeypatch):
    """At the default fractions, of every length of a panel that is worth a run."""
    settings, asked = SegmentSettings(), []

    def scored(values, panel, *, skip_bars, **_):
        asked.append((values[skip_bars, 0], len(values) - skip_bars, panel["close"].shape))
        return SimpleNamespace(direction=1, p_value=0.5)

    monkeypatch.setattr(direct, "score", scored)
    monkeypatch.setattr(direct, "judge", lambda *_, **__: None)
    monkeypatch.setattr(direct, "sees_no_future", lambda *_: True)
    monkeypatch.setattr(direct, "compute", lambda _, panel: panel["close"])
    longest = np.arange(9000.0)[:, None]  # each bar's price is its number
    for bars in range(300, 9000):
        panel = Panel(Interval.H1, np.arange(bars), ("BTCUSDT",), {"close": longest[:bars]})
        direct.judge_panel(panel, "close", settings)
        told, asked[:] = asked[:], []
        run = cut_segments(bars, settings, HISTORY_BARS)
        library = split_bars(bars, settings.discovery_frac, settings.validation_frac, 5)
        for segment, (first, length, shape) in zip(run, told, strict=True):
            ours = run[segment]
            assert (first, length) == (ours.start_bar + ours.skip_bars, ours.n_bars)
            assert shape[0] == length + 5 * (segment is not Segment.DISCOVERY)
            theirs = library[segment]
            assert (first, length) == (theirs.start_bar + theirs.skip_bars, theirs.n_bars)
    assert run[Segment.HOLDOUT].stop_bar == bars


def test_fractions_of_a_bar_are_cut_off():
    """As the panels of runs that are in lakes already were cut: 402 * 0.4 = 160.8."""
    cut = split_bars(402, 0.4, 0.3)
    assert [bars.stop_bar for bars in cut.values()] == [160, 281, 402]


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
    assert cut[Segment.DISCOVERY].stop_bar == cut[Segment.VALIDATION].start_bar
    assert cut[Segment.VALIDATION].stop_bar == cut[Segment.HOLDOUT].start_bar
    assert cut[Segment.HOLDOUT].stop_bar == n_bars
    assert [bars.skip_bars for bars in cut.values()] == [0, embargo, embargo]


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
