"""Factors of a universe that changes: ranks are over members, windows read every bar."""

import numpy as np
import pytest

from alphamill.factors import compute, compute_many, parse


@pytest.fixture
def members(panel):
    """Each symbol belongs in stretches of its own; the first always, the last never."""
    n_bars, n_symbols = panel["close"].shape
    belongs = np.ones((n_bars, n_symbols), dtype=bool)
    for at in range(1, n_symbols - 1):
        belongs[at * 7 : at * 7 + 20, at] = False
    belongs[:, -1] = False
    return belongs


def row_by_row(text, panel, members, at):
    """The bar's value over the panel of its members alone."""
    columns = np.flatnonzero(members[at])
    alone = {name: np.ascontiguousarray(field[:, columns]) for name, field in panel.items()}
    want = np.full(members.shape[1], np.nan)
    want[columns] = compute(parse(text), alone)[at]
    return want


@pytest.mark.parametrize(
    "text",
    [
        "rank(ts_mean(close, 20))",
        "zscore(close) + demean(returns)",
        "quantile(ts_std(returns, 5), 3)",
        "winsorize(close, 0.2) - cs_median(close)",
        "neutralize(returns, log(volume))",
        "scale(rank(close) - 0.5)",
        "ts_mean(close, 10)",
    ],
)
def test_a_cross_section_is_that_of_the_members_of_its_bar(text, panel, members):
    found = compute(parse(text), panel, members=members)
    assert np.isfinite(found[members]).any()
    for at in (25, 30, 44, len(found) - 1):
        want = row_by_row(text, panel, members, at)
        assert np.array_equal(found[at], want, equal_nan=True), at


def test_nobody_who_does_not_belong_has_a_value(panel, members):
    for text in ("close", "fill(ts_mean(close, 3), 1)", "rank(close)", "close > 0 ? 1 : 2"):
        assert np.isnan(compute(parse(text), panel, members=members)[~members]).all()


def test_windows_of_a_symbol_read_its_bars_from_before_it_belonged(panel, members):
    found = compute(parse("ts_mean(close, 20)"), panel, members=members)
    want = compute(parse("ts_mean(close, 20)"), panel)
    assert np.array_equal(found[members], want[members], equal_nan=True)
    entered = 7 + 20  # the first bar of symbol 1 after its absence
    assert not members[entered - 1, 1]
    assert members[entered, 1]
    assert np.isfinite(found[entered, 1])


def test_a_window_over_ranks_has_only_the_ranks_of_a_member(panel, members):
    found = compute(parse("ts_mean(rank(close), 5)"), panel, members=members)
    assert np.isnan(found[27:31, 1]).all()
    assert np.isfinite(found[31, 1])


def test_all_members_is_as_without_and_a_batch_as_each_alone(panel, members):
    texts = ["rank(close)", "ts_mean(rank(close), 5)", "rank(close) * close", "close"]
    factors = [parse(text) for text in texts]
    everybody = np.ones_like(members)
    for factor in factors:
        plain = compute(factor, panel)
        assert np.array_equal(compute(factor, panel, members=everybody), plain, equal_nan=True)
    for index, values in compute_many(factors, panel, members=members):
        alone = compute(factors[index], panel, members=members)
        assert np.array_equal(values, alone, equal_nan=True)


def test_the_panel_stays_as_it_was(panel, members):
    before = panel["close"].copy()
    compute(parse("close"), panel, members=members)
    assert np.array_equal(panel["close"], before, equal_nan=True)
