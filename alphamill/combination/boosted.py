"""The combined signal of regression trees, by LightGBM, which is installed on demand."""

from __future__ import annotations

from typing import Any

import numpy as np

from alphamill.combination.combiner import Combiner
from alphamill.combination.factor_ranks import FactorRanks
from alphamill.combination.schedule import Schedule
from alphamill.combination.statistics import demeaned
from alphamill.frames import FloatArray

_ROWS = 500_000  # (bar, symbol) pairs that a refit learns from at most; more bars are thinned out


def walk_boosted(
    ranks: FactorRanks, labels: FloatArray, combiner: Combiner, schedule: Schedule
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Shares of gain (refits, factors), scales of 1, and the signal, as `walk.Walked` has them.

    Trees of demeaned forward returns on ranks; where there are more than half a million pairs,
    every so many bars are learnt from. Equal arguments give equal signals on one machine.
    Raises ValueError where LightGBM is not installed.
    """
    lightgbm = _lightgbm()
    gains = np.zeros((len(schedule), ranks.shape[0]))
    signal = np.full(labels.shape, np.nan)
    options = {
        "objective": "regression",
        "num_leaves": combiner.leaves,
        "seed": combiner.seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbosity": -1,
    }
    for refit, span in schedule.spans():
        x, y = _learnt_from(ranks, labels, int(schedule.matured[refit]))
        trees = lightgbm.train(options, lightgbm.Dataset(x, y), combiner.trees)
        gain = trees.feature_importance("gain")
        gains[refit] = gain / gain.sum() if gain.sum() > 0 else 0.0
        present = ranks.present(span).any(axis=0)
        rows = ranks.read(span, None, np.float32).transpose(1, 2, 0)[present]
        if len(rows):
            signal[span][present] = trees.predict(rows, num_threads=1)
    return gains, np.ones(len(schedule)), signal


def _learnt_from(
    ranks: FactorRanks, labels: FloatArray, matured: int
) -> tuple[FloatArray, FloatArray]:
    """Ranks (pairs, factors) and demeaned labels (pairs,) of the bars before `matured`."""
    stride = -(-int(np.isfinite(labels[:matured]).sum()) // _ROWS) or 1
    rows = slice(
        matured - 1 - (matured - 1) // stride * stride, matured, stride
    )  # ends on the last
    y, known = demeaned(labels[rows])
    x: Any = ranks.read(rows, None, np.float32).transpose(1, 2, 0)
    return x[known], y[known]


def _lightgbm() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise ValueError(
            "lightgbm is not installed here; `pip install lightgbm`, or combine with ridge or lasso"
        ) from error
    return lightgbm
