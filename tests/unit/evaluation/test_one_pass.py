"""One pass over a factor's rows says what the plain formulas say of each row by itself."""

import math

import numpy as np
import pytest
from scipy.stats import rankdata

from alphamill.evaluation.one_pass import RankedLabels, measured

nan = math.nan
N_BARS = 25
QUANTILES = 3


def by_hand(values, labels, forward):
    """Each bar by the definitions: RankICs, IC in long doubles, quantile means, weights."""
    ranks = [
        [spearman(row, other) for row, other in zip(values, label, strict=True)] for label in labels
    ]
    before = [spearman(row, other) for row, other in zip(values[1:], values[:-1], strict=True)]
    pairs = list(zip(values, forward, strict=True))
    return (
        np.array(ranks).reshape(len(labels), len(values)),
        np.array([pearson(*paired(row, other)) for row, other in pairs]),
        np.array([quantile_means(*paired(row, other)) for row, other in pairs]),
        np.array(before),
        np.array([weights(row) for row in values]),
    )


def paired(a, b):
    both = np.isfinite(a) & np.isfinite(b)
    return a[both], b[both]


def spearman(a, b):
    a, b = paired(a, b)
    return pearson(rankdata(a), rankdata(b))


def pearson(a, b):
    if len(a) < 3 or (a == a[0]).all() or (b == b[0]).all():
        return nan
    x, y = (side.astype(np.longdouble) for side in (a, b))
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / np.sqrt((x * x).sum() * (y * y).sum()))


def quantile_means(a, earned):
    if len(a) < QUANTILES:
        return [nan] * QUANTILES
    below = rankdata(a, "min") - 1
    label = np.maximum(np.ceil(below * QUANTILES / (len(a) - 1)), 1)
    sides = [earned[label == q + 1] for q in range(QUANTILES)]
    return [side.mean() if side.size else nan for side in sides]


def weights(row):
    there = np.isfinite(row)
    result = np.zeros(len(row))
    if there.sum() >= 3:
        result[there] = rankdata(row[there]) - (there.sum() + 1) / 2
        result /= np.abs(result).sum() or 1.0
    return result


def kinds(rng, shape):
    """Values of every kind that a row may hold."""
    plain = rng.normal(size=shape)
    holes = np.where(rng.random(shape) < 0.3, nan, plain)
    empty = plain.copy()
    empty[::3] = nan
    return {
        "plain": plain,
        "holes": holes,
        "empty rows": empty,
        "few values": np.where(rng.random(shape) < 0.8, nan, plain),
        "ties": np.round(plain),
        "ties with holes": np.round(holes),
        "constant rows": np.where(np.arange(shape[0])[:, None] % 4 == 0, 7.0, plain),
        "infinities": np.where(holes > 1, np.inf, np.where(holes < -1, -np.inf, holes)),
        "nearer than half of the digits": 1.0 + 1e-9 * plain,
        "squares overflow": 1e300 * plain,
        "squares vanish": 1e-200 * plain,
        "subnormal": np.round(plain * 1e6) * 5e-324,
        "signed zeros": np.where(plain > 0.5, 0.0, np.where(plain < 0, -0.0, plain)),
        "far from 0": 1e6 + 1e-3 * plain,
    }


@pytest.mark.parametrize("n_symbols", [2, 8, 50, 170])
def test_every_figure_is_that_of_the_plain_formula(n_symbols):
    rng = np.random.default_rng(n_symbols)
    shape = (N_BARS, n_symbols)
    forward = rng.normal(size=shape)
    gaps = np.where(rng.random(shape) < 0.2, nan, forward)
    coarse = np.round(rng.normal(size=shape))
    labels = [forward, gaps, coarse, np.full(shape, nan)]
    ranked = RankedLabels.of(labels, shape)
    for name, values in kinds(rng, shape).items():
        for earned in (forward, gaps):
            target = np.empty(shape)
            found = measured(
                values,
                ranked,
                earned,
                min_pairs=3,
                pearson=True,
                quantiles=QUANTILES,
                persistence=True,
                weights=target,
            )
            rank_ic, ic, means, persistence, held = by_hand(values, labels, earned)
            near = {"rtol": 0, "atol": 1e-12, "err_msg": name}
            np.testing.assert_allclose(found.rank_ic, rank_ic, **near)
            np.testing.assert_allclose(found.pearson, ic, **near)
            np.testing.assert_allclose(found.quantiles, means, **near)
            np.testing.assert_allclose(found.persistence, persistence, **near)
            np.testing.assert_array_equal(target, held, err_msg=name)


def test_what_is_not_asked_for_has_no_rows_and_no_symbols_no_figures():
    values = np.random.default_rng(0).normal(size=(5, 4))
    found = measured(values, RankedLabels.of((), values.shape), min_pairs=3)
    assert [len(part) for part in (found.rank_ic, found.pearson, found.persistence)] == [0, 0, 0]
    assert found.quantiles.shape == (5, 0)
    nobody = np.empty((5, 0))
    found = measured(nobody, RankedLabels.of([nobody], nobody.shape), nobody, min_pairs=3)
    assert np.isnan(found.rank_ic).all()


def test_more_symbols_than_small_numbers_hold_are_ranked_in_larger_ones():
    few, many = ((1, 20_000), (1, 10_000))
    wide = RankedLabels.of([np.arange(20_000.0)[None, ::-1]], few)
    assert wide.twice[0, 0, 0] == 40_000
    assert RankedLabels.of([np.arange(10_000.0)[None]], many).twice.itemsize == 2
