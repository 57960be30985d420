"""Weights of one refit from what had matured by then; for many picks of factors at once.

Arrays may have leading axes: picks of k factors give weights (..., k).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from alphamill.combination.combiner import Combiner
from alphamill.combination.statistics import Associations, Products
from alphamill.frames import FloatArray

_SWEEPS = 2000
_STILL = 1e-12  # a sweep that moves no weight by more, of the largest, is the last
_BPS = 1e-4
_LEAST = 1e-12  # penalty: of a factor that is there twice, each has half


def refit_weights(
    combiner: Combiner,
    refit: int,
    picks: NDArray[np.int64],
    known: Associations | None,
    products: Products | None,
    horizon_bars: int,
) -> tuple[FloatArray, FloatArray]:
    """Weights of picks (..., k), whose magnitudes add up to 1, and what they were divided by.

    All 0 where the labels give no reason to weigh anything. For ridge and lasso, weights times
    that divisor forecast the return over the horizon. known: for ic and icir_shrunk; products:
    for ridge and lasso.
    """
    raw = _raw(combiner, refit, picks, known, products, horizon_bars)
    total = np.abs(raw).sum(axis=-1)
    divisor = np.where(total > 0, total, 1.0)
    return raw / divisor[..., None], total


def _raw(
    combiner: Combiner,
    refit: int,
    picks: NDArray[np.int64],
    known: Associations | None,
    products: Products | None,
    horizon_bars: int,
) -> FloatArray:
    if combiner.method == "equal":
        return np.ones(picks.shape)
    if combiner.method in ("ic", "icir_shrunk"):
        assert known is not None  # noqa: S101  the callers gather what a method reads
        mean: FloatArray = known.mean[refit][picks]
        if combiner.method == "ic":
            return mean
        apart = known.labels[refit][picks] / horizon_bars  # labels that do not overlap
        return shrunk_icir(mean, known.std[refit][picks], apart, combiner.prior_labels)
    assert products is not None  # noqa: S101
    rows, columns = picks[..., :, None], picks[..., None, :]
    normal = products.normal[refit][rows, columns]
    target = products.target[refit][picks]
    if combiner.method == "lasso":
        return lasso_coefficients(normal, target, combiner.penalty)
    return ridge_coefficients(
        normal,
        target,
        combiner.penalty,
        products.change[refit][rows, columns],
        float(products.changes[refit]),
        combiner.turnover_bps,
    )


def shrunk_icir(
    mean: FloatArray, std: FloatArray, labels: FloatArray, prior_labels: float
) -> FloatArray:
    """RankIC over its standard deviation, shrunk to equal weights; all (..., k).

    n / (n + n0) of the ICIRs, their magnitudes brought to a sum of 1, and n0 / (n + n0) of 1 / k;
    n: labels that do not overlap, n0: prior_labels.
    """
    ratio = np.divide(mean, std, out=np.zeros_like(mean), where=std > 0)
    total = np.abs(ratio).sum(axis=-1, keepdims=True)
    measured = np.divide(ratio, total, out=np.zeros_like(ratio), where=total > 0)
    both = labels + prior_labels
    share = np.divide(labels, both, out=np.zeros_like(labels), where=both > 0)
    shrunk: FloatArray = share * measured + (1 - share) / mean.shape[-1]
    return shrunk


def ridge_coefficients(
    normal: FloatArray,
    target: FloatArray,
    penalty: float,
    change: FloatArray | None = None,
    changes: float = 0.0,
    turnover_bps: float = 0.0,
) -> FloatArray:
    """Least squares of y on x with a penalty on size and on trading; returns over the horizon.

    Minimises 1/2 sum (y - x'b)^2 + rho / 2 |b|^2 + cost / (2 m) sum (dx'b)^2. rho: penalty times
    the mean diagonal of sum x x', so that it has no unit. cost: turnover_bps as a fraction of what
    is traded, as y is a fraction of the price: y twice as large, in percent or over a horizon that
    moves more, is as cost half as large. m: the root mean square of
    dx'b at the b without costs, so that a trade of that size costs `cost` a unit, one way, like one
    that is charged by its magnitude: 1/2 (d^2 / m + m) touches |d| at |d| = m and is above it
    elsewhere. So (sum x x' + cost / m sum dx dx' + rho) b = sum x y.
    normal, change: (..., k, k); target: (..., k); changes: how many dx were summed.
    Without costs these are the weights of exponentially weighted least squares with a ridge. Source
    of a quadratic cost of trading: Garleanu and Pedersen (2013).
    """
    size = np.trace(normal, axis1=-2, axis2=-1) / normal.shape[-1]
    ridge = (max(penalty, _LEAST) * size)[..., None, None] * np.eye(normal.shape[-1])
    free = _solved(normal + ridge, target)
    if change is None or not turnover_bps or not changes:
        return free
    traded = np.einsum("...i,...ij,...j->...", free, change, free) / changes
    m = np.sqrt(np.maximum(traded, 0.0))
    rate = np.divide(turnover_bps * _BPS, m, out=np.zeros_like(m), where=m > 0)
    return _solved(normal + ridge + rate[..., None, None] * change, target)


def _solved(matrix: FloatArray, target: FloatArray) -> FloatArray:
    try:
        found = np.linalg.solve(matrix, target[..., None])
    except np.linalg.LinAlgError:  # no factor has had a value
        found = np.linalg.pinv(matrix, hermitian=True) @ target[..., None]
    coefficients: FloatArray = found[..., 0].astype(np.float64)
    return coefficients


def lasso_coefficients(normal: FloatArray, target: FloatArray, penalty: float) -> FloatArray:
    """Minimises 1/2 sum (y - x'b)^2 + a sum |b_j|, by coordinate descent over all picks at once.

    a: penalty times the largest |sum x_j y|, from which on every b is 0. normal: (..., k, k);
    target: (..., k). Source: Friedman, Hastie and Tibshirani (2010).
    """
    k = target.shape[-1]
    a = penalty * np.abs(target).max(axis=-1)
    diagonal = np.diagonal(normal, axis1=-2, axis2=-1)
    found: FloatArray = np.zeros(target.shape)
    gradient: FloatArray = target.copy()  # target - normal @ found
    for _ in range(_SWEEPS):
        moved = 0.0
        for j in range(k):
            size = diagonal[..., j]
            pull = gradient[..., j] + size * found[..., j]
            shrunk = np.sign(pull) * np.maximum(np.abs(pull) - a, 0.0)
            new: FloatArray = np.divide(shrunk, size, out=np.zeros_like(shrunk), where=size > 0)
            step = new - found[..., j]
            found[..., j] = new
            np.subtract(gradient, step[..., None] * normal[..., j, :], out=gradient)
            moved = max(moved, float(np.abs(step).max(initial=0.0)))
        largest = float(np.abs(found).max(initial=0.0))
        if moved <= _STILL * largest or math.isclose(largest, 0.0, abs_tol=0.0):
            break
    return found
