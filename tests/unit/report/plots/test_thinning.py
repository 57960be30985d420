"""A thinned series covers the pixels that the whole one covers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.report.plots.thinning import thinned


def test_a_short_series_is_left_as_it_is():
    assert thinned(np.arange(5.0), np.zeros(5), columns=3).tolist() == [0, 1, 2, 3, 4]


def test_every_column_keeps_its_lowest_and_its_highest_and_the_ends_stay():
    x, y = np.arange(100.0), np.zeros(100)
    y[[37, 63]] = 5.0, -7.0
    kept = thinned(x, y, columns=4)
    assert {0, 37, 63, 99} <= set(kept.tolist())
    assert len(kept) <= 2 * 5 + 2


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20), st.integers(0, 2**32 - 1), st.integers(3, 900))
def test_no_extreme_of_any_column_is_lost(columns, seed, n):
    rng = np.random.default_rng(seed)
    x, y = np.cumsum(rng.exponential(size=n)), rng.normal(size=n).round(1)
    kept = thinned(x, y, columns)
    assert np.all(np.diff(kept) > 0)
    assert kept[0] == 0
    assert kept[-1] == n - 1
    column = ((x - x[0]) * (columns / (x[-1] - x[0]))).astype(int)
    for one in np.unique(column):
        own, left = column == one, column[kept] == one
        assert y[own].min() == y[kept][left].min()
        assert y[own].max() == y[kept][left].max()


@pytest.mark.parametrize("n", [10_000, 1_000_000])
def test_what_is_kept_is_bounded_by_the_columns(n):
    x = np.arange(float(n))
    assert len(thinned(x, np.random.default_rng(0).normal(size=n), columns=340)) <= 2 * 341 + 2
