"""How much of a result is selection: backtest overfitting, and how many trials there were."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, islice

import numpy as np
from numpy.typing import NDArray

from alphamill.evaluation.ranks import divide, rank_rows
from alphamill.frames import FloatArray

_SPLITS_AT_ONCE = 1024  # bounds memory: that many splits x strategies at a time
_CLUSTER_CORRELATION = 0.5  # clusters merge while their members correlate at least so on average


def probability_of_backtest_overfitting(returns: FloatArray, blocks: int) -> float:
    """Share of splits in which the best strategy in sample lands in the lower half out of sample.

    returns: float64 (observations, strategies), no NaN. blocks: even number S of contiguous blocks;
    all C(S, S/2) ways to call half of them "in sample" are tried; trailing observations that do not
    fill a block are left out. Worthless strategies give about 0.5, not 1.
    Source: Bailey, Borwein, Lopez de Prado and Zhu (2017), combinatorially symmetric CV.
    """
    return float(np.mean(overfitting_logits(returns, blocks) <= 0))


def overfitting_logits(returns: FloatArray, blocks: int) -> FloatArray:
    """Per split ln(w / (1 - w)), w = out-of-sample rank of the best in sample / (N + 1)."""
    _require_blocks(returns, blocks)
    n_strategies = returns.shape[1]
    length = len(returns) // blocks
    used = returns[: length * blocks]
    cells = (used - used.mean(axis=0)).reshape(blocks, length, n_strategies)
    sums, squares = cells.sum(axis=1), (cells**2).sum(axis=1)
    offset = used.mean(axis=0)
    n_obs = length * blocks // 2
    logits = []
    for inside in _splits(blocks):
        best = _sharpe(inside @ sums, inside @ squares, n_obs, offset).argmax(axis=1)
        outside = 1.0 - inside
        ranks = rank_rows(_sharpe(outside @ sums, outside @ squares, n_obs, offset))
        share = ranks[np.arange(len(best)), best] / (n_strategies + 1)
        logits.append(np.log(share / (1 - share)))
    return np.concatenate(logits)


def _require_blocks(returns: FloatArray, blocks: int) -> None:
    if blocks < 2 or blocks % 2:
        raise ValueError(f"blocks {blocks} must be even and at least 2")
    if returns.ndim != 2 or returns.shape[1] < 2 or len(returns) < 2 * blocks:
        raise ValueError(
            f"returns {returns.shape} must be (observations, strategies): at least two strategies, "
            f"and two observations in each of {blocks} blocks"
        )
    if not np.isfinite(returns).all():
        raise ValueError(
            "returns must be finite: every strategy needs a return at every observation"
        )


def _splits(blocks: int) -> Iterator[FloatArray]:
    """Rows of zeros and ones: which blocks are in sample; every choice of half of them."""
    choices = combinations(range(blocks), blocks // 2)
    while chunk := list(islice(choices, _SPLITS_AT_ONCE)):
        inside = np.zeros((len(chunk), blocks))
        inside[np.arange(len(chunk))[:, None], np.array(chunk)] = 1.0
        yield inside


def _sharpe(sums: FloatArray, squares: FloatArray, n_obs: int, offset: FloatArray) -> FloatArray:
    """Mean / std (ddof 1) from sums of returns less `offset`; 0 where nothing varies."""
    mean = sums / n_obs
    variance = (squares - n_obs * mean**2) / (n_obs - 1)
    scale = np.sqrt(np.maximum(variance, 0.0))
    mean = mean + offset
    varies = scale > 1e-12 * np.abs(mean)
    return divide(mean, scale, varies, otherwise=0.0)


@dataclass(frozen=True, slots=True)
class EffectiveTrials:
    """How many independent trials M correlated ones amount to, by two estimates; both 1 to M."""

    n_trials: int
    average_correlation: float  # mean pairwise correlation, not below 0
    by_average_correlation: float  # rho + (1 - rho) M
    by_clusters: int  # average-linkage clusters whose members correlate above 0.5


def effective_trials(correlation: FloatArray) -> EffectiveTrials:
    """From the correlation matrix (trials, trials) of the trials' returns.

    NaN (a trial that never traded) counts as uncorrelated, which is the cautious side. A negative
    average is taken as 0: trials never amount to more than their number.
    """
    n_trials = len(correlation)
    if correlation.shape != (n_trials, n_trials):
        raise ValueError(f"correlation {correlation.shape} is not square")
    if n_trials < 2:
        return EffectiveTrials(n_trials, 0.0, float(n_trials), n_trials)
    matrix = np.clip(np.nan_to_num(correlation, nan=0.0), -1.0, 1.0)
    matrix = (matrix + matrix.T) / 2
    np.fill_diagonal(matrix, 1.0)
    rho = max(0.0, float(matrix.sum() - n_trials) / (n_trials * (n_trials - 1)))
    return EffectiveTrials(n_trials, rho, rho + (1 - rho) * n_trials, int(_clusters(matrix).max()))


def trial_correlation(returns: FloatArray) -> FloatArray:
    """Correlation (trials, trials) of returns (observations, trials); NaN for a constant."""
    centred = returns - returns.mean(axis=0)
    scale = np.sqrt((centred**2).sum(axis=0))
    products = np.outer(scale, scale)
    return divide(centred.T @ centred, products, products > 0)


def _clusters(matrix: FloatArray) -> NDArray[np.int64]:
    from scipy.cluster.hierarchy import fcluster, linkage  # 0.2 s to import
    from scipy.spatial.distance import squareform

    tree = linkage(squareform(1 - matrix, checks=False), method="average")
    labels: NDArray[np.int64] = fcluster(tree, t=1 - _CLUSTER_CORRELATION, criterion="distance")
    return labels
