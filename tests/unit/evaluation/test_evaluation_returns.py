"""Labels by hand on a panel small enough to read: prices of bar t are 100 + t (open), 100.5 + t."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill.evaluation import forward_returns
from alphamill.evaluation.returns import holding_returns

nan = math.nan


def ramp(n_bars=8, n_symbols=2):
    open_ = np.repeat(100.0 + np.arange(n_bars)[:, None], n_symbols, axis=1)
    return {"open": open_, "close": open_ + 0.5}


def without(panel, bars, symbol=0):
    for field in panel.values():
        field[bars, symbol] = nan
    return panel


def test_entry_is_the_next_open_and_exit_the_open_after_the_horizon():
    got = forward_returns(ramp(6), 2)
    expected = [103 / 101, 104 / 102, 105 / 103, nan, nan, nan]
    np.testing.assert_allclose(got[:, 0], np.array(expected) - 1)


def test_lag_zero_trades_at_closes():
    got = forward_returns(ramp(4), 2, entry_lag_bars=0)
    np.testing.assert_allclose(got[:, 0], [102.5 / 100.5 - 1, 103.5 / 101.5 - 1, nan, nan])


def test_lag_three_and_log():
    got = forward_returns(ramp(6), 1, entry_lag_bars=3, log=True)
    np.testing.assert_allclose(got[:, 0], [math.log(104 / 103), math.log(105 / 104), *[nan] * 4])


def test_a_hole_at_the_entry_inside_or_at_the_exit_leaves_no_label():
    got = forward_returns(without(ramp(9), 4), 2)[:, 0]
    # Bar 4 is the exit of t=1, inside of t=2, the entry of t=3.
    np.testing.assert_array_equal(np.isnan(got), [0, 1, 1, 1, 0, 0, 1, 1, 1])
    untouched = forward_returns(without(ramp(9), 4), 2)[:, 1]
    np.testing.assert_array_equal(np.isnan(untouched), [0, 0, 0, 0, 0, 0, 1, 1, 1])


def test_a_delisted_symbol_exits_at_its_last_close():
    panel = without(ramp(10), slice(5, None))
    panel["close"][4, 0] = 1.0  # collapses in its last bar
    got = forward_returns(panel, 3)[:, 0]
    expected = [104 / 101 - 1, 1 / 102 - 1, 1 / 103 - 1, 1 / 104 - 1, *[nan] * 6]
    np.testing.assert_allclose(got, expected)


def test_a_delisted_symbol_at_closes_cannot_be_entered_at_its_last_one():
    panel = without(ramp(10), slice(5, None))
    panel["close"][4, 0] = 1.0
    got = forward_returns(panel, 2, entry_lag_bars=0)[:, 0]
    expected = [102.5 / 100.5, 103.5 / 101.5, 1 / 102.5, 1 / 103.5]
    np.testing.assert_allclose(got, [*(np.array(expected) - 1), *[nan] * 6])


def test_a_hole_before_a_delisting_still_counts():
    panel = without(without(ramp(10), slice(6, None)), 4)
    assert math.isnan(forward_returns(panel, 4)[1, 0])
    assert np.isfinite(forward_returns(panel, 4)[4, 0])


def test_rows_after_everyones_last_bar_are_no_delisting():
    panel = ramp(8)
    for field in panel.values():
        field[6:] = nan
    assert np.isnan(forward_returns(panel, 2)[4:]).all()
    assert np.isfinite(forward_returns(panel, 2)[:3]).all()


def test_impossible_prices_are_missing_bars():
    panel = ramp(8)
    panel["open"][3, 0], panel["close"][5, 1] = 0.0, math.inf
    got = forward_returns(panel, 1)
    np.testing.assert_array_equal(np.isnan(got[:, 0]), [0, 1, 1, 0, 0, 0, 1, 1])
    np.testing.assert_array_equal(np.isnan(got[:, 1]), [0, 0, 0, 1, 1, 0, 1, 1])


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (5, 0), (3, 2)])
def test_too_short_a_panel_has_no_labels(shape):
    panel = {"open": np.ones(shape), "close": np.ones(shape)}
    got = forward_returns(panel, 3)
    assert got.shape == shape
    assert np.isnan(got).all()
    holding_returns(panel, 3)


@pytest.mark.parametrize(("horizon", "lag"), [(0, 1), (-1, 1), (1, -1)])
def test_a_label_never_looks_back(horizon, lag):
    with pytest.raises(ValueError, match="horizon_bars"):
        forward_returns(ramp(), horizon, lag)


@given(st.integers(1, 5), st.integers(0, 3), st.integers(0, 2**32 - 1))
def test_labels_use_no_price_up_to_the_signal_and_none_after_the_exit(horizon, lag, seed):
    rng = np.random.default_rng(seed)
    panel = {name: rng.uniform(1, 2, (14, 3)) for name in ("open", "close")}
    bar = 5
    label = forward_returns(panel, horizon, lag)[bar]
    changed = {name: field.copy() for name, field in panel.items()}
    first = bar + lag if lag else bar
    for field in changed.values():
        field[:first] *= 3
        field[bar + lag + horizon + 1 :] *= 3
    np.testing.assert_array_equal(forward_returns(changed, horizon, lag)[bar], label)


def test_a_book_earns_the_jump_over_an_outage_when_trading_resumes():
    panel = without(ramp(6, 1), slice(2, 4))
    holding = holding_returns(panel)
    # Trades at the opens of bars 1..4; bars 2 and 3 are missing, the price stands at close 1.
    np.testing.assert_allclose(
        holding.returns[:, 0], [101.5 / 101 - 1, 0, 104 / 101.5 - 1, 105 / 104 - 1]
    )
    np.testing.assert_array_equal(holding.tradable[:, 0], [True, False, False, True])
    assert holding.listed.all()


def test_a_book_is_paid_out_at_the_last_close_and_then_earns_nothing():
    panel = without(ramp(7), slice(4, None))
    holding = holding_returns(panel)
    np.testing.assert_allclose(
        holding.returns[:, 0], [102 / 101 - 1, 103 / 102 - 1, 103.5 / 103 - 1, 0, 0]
    )
    np.testing.assert_array_equal(holding.listed[:, 0], [True, True, True, False, False])


def test_the_book_and_the_label_agree_where_nothing_is_missing():
    rng = np.random.default_rng(0)
    panel = {name: rng.uniform(1, 2, (20, 3)) for name in ("open", "close")}
    for lag in (0, 1, 2):
        label = forward_returns(panel, 1, lag)
        book = holding_returns(panel, lag).returns
        np.testing.assert_allclose(book, label[: len(book)])
        assert np.isnan(label[len(book) :]).all()


def test_a_symbol_listed_later_earns_nothing_before():
    holding = holding_returns(without(ramp(6), slice(0, 3)))
    np.testing.assert_allclose(holding.returns[:, 0], [0, 0, 104 / 103 - 1, 105 / 104 - 1])
