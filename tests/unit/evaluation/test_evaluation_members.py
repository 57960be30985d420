"""Scores of a universe that changes: who does not belong counts nowhere, and leaving is paid."""

from dataclasses import asdict

import numpy as np
import pytest

from alphamill.evaluation import Scorer
from tests.unit.evaluation.test_evaluation_score import KWARGS, market


def scored(values, panel, members=None, direction=None, **more):
    return Scorer(panel, members=members, **(KWARGS | more)).measure(values, direction)


def same(one, other):
    for name, value in asdict(one).items():
        assert asdict(other)[name] == pytest.approx(value, nan_ok=True, abs=1e-12), name


def test_who_never_belongs_might_as_well_not_be_there():
    values, panel = market(n_symbols=9, edge=0.4)
    belongs = np.zeros(values.shape, dtype=bool)
    belongs[:, [0, 2, 3, 5, 8]] = True
    alone = {name: np.ascontiguousarray(field[:, belongs[0]]) for name, field in panel.items()}
    inside, book = scored(values, panel, belongs)
    without, other = scored(np.ascontiguousarray(values[:, belongs[0]]), alone)
    same(inside, without)
    assert np.allclose(book.net_returns, other.net_returns, atol=1e-15)
    assert inside.n_symbols == 5
    assert inside.coverage == 1.0
    everybody = np.ones(values.shape, dtype=bool)
    assert scored(values, panel, everybody)[0] == scored(values, panel)[0]


def test_values_of_who_does_not_belong_change_nothing():
    values, panel = market(n_symbols=8, edge=0.3)
    belongs = np.ones(values.shape, dtype=bool)
    belongs[100:200, 1] = belongs[:150, 2] = belongs[250:, 3] = False
    wild = np.where(belongs, values, 1e6 * np.sign(values))
    assert scored(wild, panel, belongs)[0] == scored(values, panel, belongs)[0]
    first, second = (
        Scorer(panel, members=belongs, **KWARGS).series(one, 1) for one in (wild, values)
    )
    assert np.array_equal(first.book.net, second.book.net)
    assert np.array_equal(first.quantile_returns, second.quantile_returns, equal_nan=True)


def test_a_coin_that_left_is_held_out_and_sold_and_both_are_paid():
    """One tranche a bar: what was decided while it belonged is held for its horizon, then sold."""
    values, panel = market(n_symbols=5)
    values[:] = np.arange(5.0)  # always the same book
    for field in panel.values():
        field[120:] = field[120]  # at rest from here on: no weight drifts
    panel["open"][120:] = panel["close"][120]
    belongs = np.ones(values.shape, dtype=bool)
    belongs[200:, 4] = False
    for members, sides in ((None, 0), (belongs, 1)):
        scorer = Scorer(panel, members=members, **KWARGS)
        book = scorer.series(values, 1).book
        at = 200 - book.first_bar
        before = book.traded[130 - book.first_bar : at]
        after = book.traded[at + KWARGS["horizon_bars"] :]
        changing = book.traded[at : at + KWARGS["horizon_bars"]]
        assert np.allclose(before, 0, atol=1e-12)
        assert np.allclose(after, 0, atol=1e-3)  # what the fees themselves have moved
        assert bool(sides) is bool((changing > 0.01).all())
    # The largest had a third of the gross; four are left, and the book is made of them.
    assert changing.sum() == pytest.approx(np.abs(weights(5) - weights(4)).sum(), 2e-3)
    assert np.allclose(book.net[at : at + 4], -changing * KWARGS["fee_bps"] / 1e4, atol=1e-12)


def weights(count):
    """By rank, of gross 1, over the first `count` of five."""
    ranks = np.arange(count) - (count - 1) / 2
    return np.concatenate([ranks / np.abs(ranks).sum(), np.zeros(5 - count)])


def test_nobody_in_a_segment_is_a_fault_with_its_reason():
    values, panel = market()
    found, book = scored(values, panel, np.zeros(values.shape, dtype=bool))
    assert found.fault == "no member of the universe has a bar in the segment"
    assert book is None


def test_fewer_than_three_at_once_are_no_cross_section_however_many_belong_in_turn():
    values, panel = market(n_symbols=6)
    belongs = np.zeros(values.shape, dtype=bool)
    for at in range(3):
        belongs[at * 130 : (at + 1) * 140, [2 * at, 2 * at + 1]] = True
    belongs[130:140, :2] = belongs[260:280, 2:4] = False
    found, _ = scored(values, panel, belongs)
    assert found.weighting == "time_series"
    assert np.isnan(found.rank_ic_mean)
