"""Whether a factor keeps its sign inside discovery: walk-forward and combinatorial purged splits.

A formula has one thing to learn from data, its direction. Each split learns it on its training bars
and is tested on the others; training bars whose labels meet a test bar's are purged, and as many
more after a test block are embargoed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from alphamill.evaluation.ranks import divide, rank_rows
from alphamill.evaluation.splits import Split, combinatorial_purged, fold_slices, walk_forward
from alphamill.frames import FloatArray

FOLDS = 8  # 7 walk-forward tests, 28 combinatorial splits, 70 splits of the search's overfitting
_TEST_FOLDS = 2


@dataclass(frozen=True, slots=True)
class Folds:
    """Splits of one segment as weights (splits, pieces), made once for every factor.

    A piece are the bars from one of `starts` to the next: no split takes only a part of one.
    """

    starts: NDArray[np.int64]
    blocks: FloatArray  # (FOLDS, pieces)
    forward_train: FloatArray
    forward_test: FloatArray
    purged_train: FloatArray
    purged_test: FloatArray

    @classmethod
    def of(cls, n_bars: int, label_bars: int) -> Self:
        """label_bars: horizon + entry lag; also the embargo."""
        forward = walk_forward(n_bars, FOLDS, label_bars, label_bars)
        purged = combinatorial_purged(n_bars, FOLDS, _TEST_FOLDS, label_bars, label_bars)
        blocks = np.zeros((FOLDS, n_bars))
        for number, block in enumerate(fold_slices(n_bars, FOLDS)):
            blocks[number, block.start : max(block.start, block.stop - label_bars)] = 1.0
        sides = (blocks, *_sides(forward), *_sides(purged))
        edges = np.zeros(n_bars, dtype=bool)
        edges[:1] = True
        for side in sides:
            edges[1:] |= (side[:, 1:] != side[:, :-1]).any(axis=0)
        starts = np.flatnonzero(edges)
        return cls(starts, *(side[:, starts] for side in sides))

    def stability(self, series: FloatArray) -> dict[str, Any]:
        """A Score's fold_rank_corrs, walk_forward_rank_corr and cpcv_same_sign_frac.

        series: the RankIC of each bar. A fold's last labels, which reach into the next, are left
        out of fold_rank_corrs; NaN for a fold, or a figure, that no bar says anything of.
        """
        present = np.isfinite(series)
        sums = np.add.reduceat(np.where(present, series, 0.0), self.starts)
        counts = np.add.reduceat(present.astype(np.float64), self.starts)
        learnt = _means(self.forward_train, sums, counts)
        tested = np.sign(learnt) * _means(self.forward_test, sums, counts)
        known = np.isfinite(tested)
        held = np.sign(_means(self.purged_train, sums, counts)) * _means(
            self.purged_test, sums, counts
        )
        split = np.isfinite(held)
        return {
            "fold_rank_corrs": tuple(_means(self.blocks, sums, counts).tolist()),
            "walk_forward_rank_corr": float(tested[known].mean()) if known.any() else math.nan,
            "cpcv_same_sign_frac": float((held[split] > 0).mean()) if split.any() else math.nan,
        }


def _sides(splits: Sequence[Split]) -> tuple[FloatArray, FloatArray]:
    train = np.array([split.train for split in splits], dtype=np.float64)
    test = np.array([split.test for split in splits], dtype=np.float64)
    return train, test


def _means(weights: FloatArray, sums: FloatArray, counts: FloatArray) -> FloatArray:
    """Of each split's bars, from the sums and counts of its pieces."""
    total, n = (np.einsum("ij,j->i", weights, of) for of in (sums, counts))  # no BLAS, no threads
    return divide(total, n, n > 0)


def fold_overfitting(fold_rank_corrs: FloatArray) -> float:
    """Probability that the best trial on half of the folds is in the lower half on the rest.

    fold_rank_corrs: (folds, trials), an even number of folds. A trial is traded in the direction
    that the chosen half shows; all choices of half of the folds are tried. NaN for a fold counts
    as 0; NaN with fewer than two trials. As `probability_of_backtest_overfitting`, of rank
    correlations instead of Sharpe ratios; its null is about 0.5.
    """
    n_folds, n_trials = fold_rank_corrs.shape
    if n_trials < 2 or n_folds < 2 or n_folds % 2:
        return math.nan
    filled = np.nan_to_num(fold_rank_corrs)
    lost = []
    for chosen in combinations(range(n_folds), n_folds // 2):
        inside = filled[list(chosen)].mean(axis=0)
        outside = np.delete(filled, chosen, axis=0).mean(axis=0) * np.sign(inside)
        place = rank_rows(outside[None, :])[0, np.abs(inside).argmax()]
        lost.append(place <= (n_trials + 1) / 2)
    return float(np.mean(lost))
