import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.evaluation import (
    backtest,
    forward_returns,
    funding_by_bar,
    monotonicity,
    one_way_bps,
    portfolio_weights,
    quantile_returns,
    quantile_returns_by_bar,
    quantile_spread,
    turnover,
)
from alphamill.evaluation.portfolio import drawdown
from alphamill.evaluation.quantiles import quantile_labels
from alphamill.frames import Interval, Panel
from alphamill.settings import FeeSettings

nan = math.nan


def market(seed=0, n_bars=60, n_symbols=6, holes=0.0):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(rng.normal(0, 0.02, (n_bars, n_symbols)).cumsum(axis=0))
    open_ = close * np.exp(rng.normal(0, 0.005, (n_bars, n_symbols)))
    missing = rng.random((n_bars, n_symbols)) < holes
    if holes:
        missing[n_bars * 2 // 3 :, 1] = True  # delisted
        missing[: n_bars // 4, 2] = True  # listed later
    return {"open": np.where(missing, nan, open_), "close": np.where(missing, nan, close)}


def test_a_return_beyond_every_bound_is_earned_as_it_is():
    """No label and no book is clipped: a coin that rises tenfold in a bar, and one that dies."""
    panel = market(n_bars=8, n_symbols=3)
    for prices in (panel["open"], panel["close"]):
        prices[:] = 100.0
        prices[4:, 0], prices[4:, 1] = 1000.0, 1.0
    panel["close"][3] = [1000.0, 1.0, 100.0]
    for log, tenfold, lost in ((False, 9.0, -0.99), (True, math.log(10), math.log(0.01))):
        labels = forward_returns(panel, 1, log=log)
        assert labels[2, 0] == pytest.approx(tenfold)
        assert labels[2, 1] == pytest.approx(lost)
    values = np.tile([2.0, 1.0, 0.0], (8, 1))
    book = backtest(values, panel, 0.0)
    weight = portfolio_weights(values[:1], "rank")[0]
    # Only that bar earns, and costs are paid on both sides of what is turned over one way.
    earned = book.break_even_bps * 1e-4 * 2 * book.turnover_per_bar * book.n_obs
    assert earned == pytest.approx(weight @ np.array([9.0, -0.99, 0.0]))


# --- weights


@pytest.mark.parametrize("scheme", ["rank", "zscore", "quantile"])
def test_a_long_short_book_is_dollar_neutral_and_fully_invested(scheme):
    rng = np.random.default_rng(0)
    values = rng.standard_t(2, size=(200, 11))
    values[rng.random((200, 11)) < 0.3] = nan
    values[3], values[4, 2:], values[5, 0] = 7.0, nan, np.inf
    weights = portfolio_weights(values, scheme)
    np.testing.assert_allclose(weights.sum(axis=1), 0, atol=1e-12)
    gross = np.abs(weights).sum(axis=1)
    assert np.all(np.isclose(gross, 1) | (gross == 0))
    assert np.isclose(gross, 1).mean() > 0.9
    assert not weights[3].any()
    assert not weights[4].any()
    assert not weights[~np.isfinite(values)].any()


def test_weights_by_hand():
    values = np.array([[1.0, 5.0, 2.0, 100.0, nan]])
    np.testing.assert_allclose(
        portfolio_weights(values), [[-1.5 / 4, 0.5 / 4, -0.5 / 4, 1.5 / 4, 0]]
    )
    np.testing.assert_allclose(
        portfolio_weights(values, "quantile", 2), [[-0.25, 0.25, -0.25, 0.25, 0]]
    )
    z = values[0, :4] - values[0, :4].mean()
    np.testing.assert_allclose(portfolio_weights(values, "zscore")[0, :4], z / np.abs(z).sum())


def test_zscore_weights_limit_an_outlier():
    values = np.append(np.linspace(-1, 1, 39), 5.0)[None, :]
    weights = portfolio_weights(values, "zscore")
    z = values - values.mean()
    assert 0.05 < weights[0, -1] < 0.9 * (z / np.abs(z).sum())[0, -1]
    assert np.all(np.isfinite(portfolio_weights(values * 1e290, "zscore")))


def test_unknown_scheme():
    with pytest.raises(ValueError, match="kelly"):
        portfolio_weights(np.zeros((2, 3)), "kelly")


def test_a_position_in_time_is_the_z_score_against_the_past_only():
    values = np.random.default_rng(1).normal(5e6, 3, size=(120, 1))
    position = portfolio_weights(values, "time_series")
    assert not position[:29].any()
    past = values[:90, 0]
    expected = np.clip((past[-1] - past.mean()) / past.std(), -3, 3) / 3
    assert position[89, 0] == pytest.approx(expected, rel=1e-6)
    later = values.copy()
    later[90:] *= 2
    np.testing.assert_array_equal(portfolio_weights(later, "time_series")[:90], position[:90])
    assert np.abs(position).max() <= 1
    assert not portfolio_weights(np.full((80, 1), 0.1), "time_series").any()


def test_turnover_is_half_of_what_is_traded():
    weights = np.array([[0.5, -0.5], [-0.5, 0.5], [nan, 0.5], [0.0, 0.0]])
    np.testing.assert_allclose(turnover(weights), [0.5, 1.0, 0.25, 0.25])
    assert turnover(np.zeros((0, 3))).shape == (0,)


# --- the book, against a plain simulator that trades symbol by symbol


def plain_book(values, panel, cost, horizon, lag, direction):
    n_bars, n_symbols = values.shape
    targets = direction * portfolio_weights(values)
    net, gross = [], []
    position = np.zeros(n_symbols)
    drifted = np.zeros(n_symbols)  # the position, grown with its price and the equity
    for t in range(n_bars - lag - 1):
        wanted = sum(targets[t - age] for age in range(horizon) if t >= age) / horizon
        trade_bar, earned, traded = t + lag, 0.0, 0.0
        growth = np.ones(n_symbols)
        for s in range(n_symbols):
            alive = [b for b in range(n_bars) if np.isfinite(panel["close"][b, s])]
            last = max(alive)
            delisted = last < n_bars - 1
            if delisted and trade_bar > last:
                new = 0.0
            elif trade_bar in alive:
                new = wanted[s]
            else:
                new = position[s]
            if trade_bar in alive or (delisted and trade_bar > last):
                traded += abs(new - drifted[s])
            position[s] = new

            def price(bar, s=s, alive=alive):
                if bar in alive:
                    return panel["open" if lag else "close"][bar, s]
                before = [b for b in alive if b < bar]
                return panel["close"][before[-1], s] if before else nan

            if new:
                growth[s] = price(trade_bar + 1) / price(trade_bar)
                earned += new * (growth[s] - 1)
        gross.append(earned)
        net.append(earned - cost * traded)
        drifted = position * growth / (1 + net[-1])
    return np.array(gross), np.array(net)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([-1, 1]),
)
def test_the_book_equals_a_plain_simulator(seed, horizon, lag, holes, direction):
    panel = market(seed, n_bars=36, holes=holes)
    values = np.random.default_rng(seed + 1).normal(size=(36, 6))
    values[np.isnan(panel["close"])] = nan
    if np.isnan(panel["close"][-1]).all():
        return
    got = backtest(
        values, panel, 11.0, horizon_bars=horizon, entry_lag_bars=lag, direction=direction
    )
    gross, net = plain_book(values, panel, 11e-4, horizon, lag, direction)
    first = len(gross) - got.n_obs
    assert not gross[:first].any()
    np.testing.assert_allclose(got.gross_returns, gross[first:], atol=1e-14)
    np.testing.assert_allclose(got.net_returns, net[first:], atol=1e-14)


def test_the_figures_follow_from_the_returns():
    panel = market(3, n_bars=400)
    values = np.random.default_rng(4).normal(size=(400, 6))
    got = backtest(values, panel, FeeSettings(), horizon_bars=4, bars_per_year=8760)
    gross, net = got.gross_returns, got.net_returns
    assert got.n_obs == 398
    assert got.gross_sharpe_per_bar == pytest.approx(gross.mean() / gross.std(ddof=1))
    assert got.net_sharpe == pytest.approx(net.mean() / net.std(ddof=1) * math.sqrt(8760))
    assert got.volatility == pytest.approx(net.std(ddof=1) * math.sqrt(8760))
    assert got.skew == pytest.approx(pd.Series(gross).skew(), rel=0.02)
    assert (gross - net).mean() == pytest.approx(2 * got.turnover_per_bar * 11e-4)
    even = backtest(values, panel, got.break_even_bps, horizon_bars=4)
    # Costs shift the drift of weights a little.
    assert even.net_returns.mean() == pytest.approx(0, abs=1e-8)
    assert math.isnan(even.net_sharpe)  # nobody said how many bars a year has


def test_a_longer_horizon_trades_less():
    panel = market(5, n_bars=500)
    values = np.random.default_rng(6).normal(size=(500, 6))
    traded = [backtest(values, panel, 10.0, horizon_bars=h).turnover_per_bar for h in (1, 4, 16)]
    assert traded[0] / traded[1] == pytest.approx(4, rel=0.1)
    assert traded[0] / traded[2] == pytest.approx(16, rel=0.15)


def test_bars_per_year_come_from_the_panel():
    fields = market(7, n_bars=100)
    panel = Panel(Interval.H4, np.arange(100) * 14_400_000, tuple("ABCDEF"), fields)
    values = np.random.default_rng(8).normal(size=(100, 6))
    got = backtest(values, panel, 0.0)
    assert got.net_sharpe == pytest.approx(got.net_sharpe_per_bar * math.sqrt(2190))


def test_the_future_changes_no_past_return():
    values = np.random.default_rng(9).normal(size=(80, 6))
    panel = market(10, n_bars=80)
    before = backtest(values, panel, 10.0, horizon_bars=3)
    changed = {name: field.copy() for name, field in panel.items()}
    for field in changed.values():
        field[60:] *= 1.5
    values = values.copy()
    values[60:] = 1.0
    after = backtest(values, changed, 10.0, horizon_bars=3)
    # Row 57 is paid at the open of bar 59.
    np.testing.assert_array_equal(after.net_returns[:58], before.net_returns[:58])


def test_opposite_directions_earn_opposite_gross_returns():
    panel, values = market(11), np.random.default_rng(12).normal(size=(60, 6))
    long, short = (backtest(values, panel, 0.0, direction=sign) for sign in (1, -1))
    np.testing.assert_allclose(long.gross_returns, -short.gross_returns)


def test_a_book_that_never_trades_has_no_figures():
    got = backtest(np.full((60, 6), nan), market(), 10.0, bars_per_year=8760)
    assert got.n_obs == 0
    assert math.isnan(got.net_sharpe)
    assert math.isnan(got.break_even_bps)
    assert math.isnan(got.max_drawdown_frac)


def test_skipped_bars_decide_nothing():
    panel, values = market(13), np.random.default_rng(14).normal(size=(60, 6))
    got = backtest(values, panel, 10.0, horizon_bars=2, skip_bars=20)
    blank = values.copy()
    blank[:20] = nan
    np.testing.assert_array_equal(
        got.net_returns, backtest(blank, panel, 10.0, horizon_bars=2).net_returns
    )
    assert got.n_obs == 38


@pytest.mark.parametrize("wrong", [{"direction": 0}, {"horizon_bars": 0}, {"entry_lag_bars": -1}])
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        backtest(np.zeros((60, 6)), market(), 10.0, **wrong)
    with pytest.raises(ValueError, match="panel"):
        backtest(np.zeros((60, 5)), market(), 10.0)


@pytest.mark.parametrize(
    ("returns", "depth", "length"),
    [
        ([0.1, 0.1], 0.0, 0),
        ([0.0, -0.5, 0.5, 1.0], 0.5, 3),  # falls in bar 2, at 0.75 after 3, back after 4
        ([-0.5], 0.5, 1),
        ([0.1, -0.1, 0.2, -0.3, 0.1, 0.1], 0.3, 3),  # the deeper one, never recovered
        ([-1.0, 5.0], 1.0, 2),
        ([-2.0, 1.0], 1.0, 2),
    ],
)
def test_drawdown(returns, depth, length):
    got = drawdown(np.array(returns))
    assert got == (pytest.approx(depth), length)


# --- quantiles, against pandas.qcut, which alphalens cuts with


@pytest.mark.parametrize("quantiles", [2, 3, 5])
@pytest.mark.parametrize("n_symbols", [5, 12, 17, 50])
def test_quantiles_are_cut_as_pandas_cuts(quantiles, n_symbols):
    rng = np.random.default_rng(n_symbols)
    values = rng.normal(size=(40, n_symbols))
    values[rng.random(values.shape) < 0.1] = nan
    labels = quantile_labels(values, quantiles)
    for row, got in zip(values, labels, strict=True):
        if np.isfinite(row).sum() >= quantiles:
            cut = pd.qcut(row, quantiles, labels=False) + 1
            # pandas' edge may miss a value by one rounding error; ours is exact
            assert (
                np.mean(cut[np.isfinite(row)] != got[np.isfinite(row)])
                <= 1 / np.isfinite(row).sum()
            )
        else:
            assert np.isnan(got).all()


def test_equal_values_stay_together():
    for row in ([1.0, 1, 1, 2, 3, 4, 5, 6], [1.0, 2, 3, 3, 3, 6, 7, 8]):
        expected = pd.qcut(row, 3, labels=False) + 1
        np.testing.assert_array_equal(quantile_labels(np.array([row]), 3)[0], expected)


def test_quantile_returns_by_hand():
    values = np.array([[1.0, 2, 3, 4], [4, 3, 2, 1], [1, 1, 1, nan]])
    forward = np.array([[0.1, 0.2, 0.3, 0.5], [0.5, 0.3, 0.2, nan], [1, 2, 3, 4]])
    by_bar = quantile_returns_by_bar(values, forward, 2)
    np.testing.assert_allclose(by_bar[0], [0.15, 0.4])
    np.testing.assert_allclose(by_bar[1], [0.25, 0.5])
    np.testing.assert_allclose(by_bar[2], [2, nan])
    np.testing.assert_allclose(quantile_returns(values[:2], forward[:2], 2), [0.2, 0.45])
    assert quantile_spread(quantile_returns(values[:2], forward[:2], 2)) == pytest.approx(0.25)


def test_quantile_returns_equal_the_pooled_mean_when_every_bar_is_alike():
    rng = np.random.default_rng(15)
    values, forward = rng.normal(size=(2, 100, 10))
    rows = pd.DataFrame(
        {"label": [pd.qcut(row, 5, labels=False) for row in values], "forward": list(forward)}
    ).explode(["label", "forward"])
    pooled = rows.astype(float).groupby("label")["forward"].mean()
    np.testing.assert_allclose(quantile_returns(values, forward, 5), pooled)


def test_monotonicity():
    assert monotonicity(np.array([0.1, 0.2, 0.3])) == pytest.approx(1)
    assert monotonicity(np.array([0.5, 0.2, 0.1, 0.0])) == pytest.approx(-1)
    assert math.isnan(monotonicity(np.array([0.1, nan, 0.3])))
    with pytest.raises(ValueError, match="quantiles"):
        quantile_labels(np.zeros((1, 3)), 1)


# --- costs


def test_a_maker_pays_his_fee_and_no_spread():
    fees = FeeSettings(taker_bps=5.0, maker_bps=2.0, spread_bps=1.0)
    assert one_way_bps(fees) == 6.0
    assert one_way_bps(fees.model_copy(update={"maker_frac": 1.0})) == 2.0
    assert one_way_bps(fees.model_copy(update={"maker_frac": 0.25})) == pytest.approx(5.0)
    assert one_way_bps(7) == 7.0


HOUR_MS = 3_600_000


def test_funding_belongs_to_the_bar_that_ends_with_it():
    times_ms = np.arange(4) * HOUR_MS
    settled_ms = np.array([0, 1, HOUR_MS, 2 * HOUR_MS + 1, 4 * HOUR_MS, 9 * HOUR_MS])
    rates = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    # That of the first open is paid by the position before it, the last lies behind the bars.
    got = funding_by_bar(times_ms, HOUR_MS, settled_ms, rates)
    np.testing.assert_array_equal(got, [6.0, 0.0, 8.0, 16.0])
    gap = funding_by_bar(times_ms[[0, 3]], HOUR_MS, settled_ms, rates)
    np.testing.assert_array_equal(gap, [6.0, 16.0])  # nothing is known of the hours between


@pytest.mark.parametrize(("lag", "first"), [(0, 1), (1, 1), (2, 2)])
def test_longs_pay_funding_while_they_hold(lag, first):
    panel, values = market(17), np.random.default_rng(18).normal(size=(60, 6))
    plain = backtest(values, panel, 10.0, entry_lag_bars=lag, horizon_bars=2)
    rates = np.random.default_rng(19).normal(0, 1e-4, (60, 6))
    rates[20, 3] = nan
    got = backtest(
        values, {**panel, "funding_rate": rates}, 10.0, entry_lag_bars=lag, horizon_bars=2
    )
    targets = portfolio_weights(values)
    book = (targets + np.vstack([np.zeros((1, 6)), targets[:-1]])) / 2
    rows = len(got.gross_returns)
    paid = (book[:rows] * np.nan_to_num(rates[first : first + rows])).sum(axis=1)
    np.testing.assert_array_equal(got.gross_returns, plain.gross_returns)
    # A cost moves the drift of what is held by its own size times the fee.
    np.testing.assert_allclose(got.net_returns, plain.net_returns - paid, atol=1e-6)
    assert got.funding_per_bar == pytest.approx(-paid.mean())
    assert plain.funding_per_bar == 0


def test_capacity_is_the_capital_that_the_bars_have_room_for():
    values = np.random.default_rng(20).normal(size=(80, 6))
    flat = {"open": np.full((80, 6), 50.0), "close": np.full((80, 6), 50.0)}
    volume = np.random.default_rng(21).lognormal(12, 1, (80, 6))
    got = backtest(values, {**flat, "quote_volume": volume}, 0.0, participation_frac=0.02)
    targets = portfolio_weights(values)[:78]  # prices stand still: what changes is traded
    change = np.abs(np.diff(targets, axis=0, prepend=np.zeros((1, 6))))
    with np.errstate(divide="ignore"):
        room = np.where(change > 1e-12, 0.02 * volume[1:79] / change, np.inf).min(axis=1)
    assert got.capacity_quote == pytest.approx(np.quantile(room[np.isfinite(room)], 0.05))
    asked = got.capacity_quote * change > 0.02 * volume[1:79]
    assert asked.any(axis=1).mean() == pytest.approx(0.05, abs=0.02)
    idle = backtest(values, {**flat, "quote_volume": np.zeros((80, 6))}, 0.0)
    assert idle.capacity_quote == 0
    assert math.isnan(backtest(values, flat, 0.0).capacity_quote)
