"""Books that follow their targets slowly: a no-trade band, and a least holding time."""

import math

import numpy as np
import pytest

from alphamill.evaluation import Rebalancing, Scorer, backtest, portfolio_weights
from alphamill.evaluation.portfolio import MarketToTrade

nan = math.nan


def market(seed, n_bars=120, n_symbols=7, holes=0.0):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(rng.normal(0, 0.03, (n_bars, n_symbols)).cumsum(axis=0))
    open_ = close * np.exp(rng.normal(0, 0.005, (n_bars, n_symbols)))
    missing = rng.random((n_bars, n_symbols)) < holes
    if holes:
        missing[n_bars * 2 // 3 :, 1] = True  # delisted
    funding = rng.normal(0, 1e-3, (n_bars, n_symbols))
    panel = {"open": np.where(missing, nan, open_), "close": np.where(missing, nan, close)}
    values = np.where(missing, nan, rng.normal(size=(n_bars, n_symbols)))
    return panel | {"funding_rate": funding}, values


def by_hand(panel, targets, cost_frac, horizon, band):
    """The book symbol by symbol and bar by bar, from the definition: gross, net, both sides."""
    holding = MarketToTrade.of(panel, 1).holding
    n_rows, n_symbols = holding.returns.shape
    own, out = [0.0] * n_symbols, []
    for t in range(n_rows):
        wanted = [
            sum(targets[max(0, t - horizon + 1) : t + 1, j]) / horizon for j in range(n_symbols)
        ]
        for j in range(n_symbols):  # of a symbol without a bar: what it wanted last
            if not holding.listed[t, j]:
                wanted[j] = 0.0
            elif not holding.tradable[t, j]:
                before = [s for s in range(t) if holding.tradable[s, j]]
                at = before[-1] if before else None
                wanted[j] = (
                    0.0
                    if at is None
                    else sum(targets[max(0, at - horizon + 1) : at + 1, j]) / horizon
                )
        wanted = [weight if abs(weight) > 1e-12 else 0.0 for weight in wanted]
        sizes = [abs(weight) for weight in wanted if weight]
        width = band * sum(sizes) / len(sizes) if sizes else 0.0
        new, traded = list(own), 0.0
        for j in range(n_symbols):
            if holding.listed[t, j] and not holding.tradable[t, j]:
                continue
            gap = wanted[j] - own[j]
            if wanted[j] == 0:
                new[j] = 0.0
            elif abs(gap) > width:
                new[j] = wanted[j] - math.copysign(width, gap)
            traded += abs(new[j] - own[j])
        earned = sum(w * r for w, r in zip(new, holding.returns[t], strict=True))
        rates = panel["funding_rate"][t + 1]
        net = earned - sum(w * f for w, f in zip(new, rates, strict=True)) - cost_frac * traded
        out.append((earned, net, traded))
        own = [w * (1 + r) / (1 + net) for w, r in zip(new, holding.returns[t], strict=True)]
    return np.array(out).T


@pytest.mark.parametrize(("holes", "horizon"), [(0.0, 1), (0.0, 4), (0.15, 3)])
def test_a_band_is_the_definition_bar_by_bar(holes, horizon):
    panel, values = market(3, holes=holes)
    targets = portfolio_weights(values)
    slowly = Rebalancing(band=0.4)
    series = MarketToTrade.of(panel, 1).series(targets, 11.0, horizon, slowly)
    gross, net, traded = by_hand(panel, targets, 11e-4, horizon, 0.4)[:, series.first_bar :]
    np.testing.assert_allclose(series.gross, gross, atol=1e-13)
    np.testing.assert_allclose(series.net, net, atol=1e-13)
    np.testing.assert_allclose(series.traded, traded, atol=1e-13)
    assert series.earned_by_symbol.sum() == pytest.approx(gross.sum())
    book = backtest(values, panel, 11.0, horizon_bars=horizon, rebalancing=slowly)
    assert book.turnover_per_bar == pytest.approx(traded.mean() / 2)
    assert book.break_even_bps == pytest.approx(11 + 1e4 * net.sum() / traded.sum())
    np.testing.assert_array_equal(book.net_returns, series.net)


def test_what_is_inside_the_band_drifts_and_what_is_outside_goes_to_its_edge():
    # Targets +-1/4, -+1/4 of four symbols: mean size 1/4, so that a band of 0.2 is 0.05 wide.
    targets = np.array([[0.25, -0.25, 0.25, -0.25], [0.29, -0.29, 0.21, -0.21], [0, 0, 0, 0.0]])
    opens = np.array([[100.0] * 4] * 2 + [[100, 100, 100, 100.0]] * 3)
    panel = {"open": opens, "close": opens}
    series = MarketToTrade.of(panel, 1).series(targets, 0.0, 1, Rebalancing(band=0.2))
    # From cash to the edge: 4 x 0.2; then all are within 0.05 of 0.2 but the two at 0.29 (by 0.04);
    # no target at all: everything is sold.
    np.testing.assert_allclose(series.traded, [0.8, 0.08, 0.88], atol=1e-12)


def test_the_default_and_a_band_of_nothing_are_the_book_without():
    panel, values = market(5)
    plain = backtest(values, panel, 11.0, horizon_bars=4)
    for rebalancing in (Rebalancing(), Rebalancing(hold_bars=4), Rebalancing(hold_bars=2)):
        same = backtest(values, panel, 11.0, horizon_bars=4, rebalancing=rebalancing)
        np.testing.assert_array_equal(same.net_returns, plain.net_returns)
    narrow = backtest(values, panel, 11.0, horizon_bars=4, rebalancing=Rebalancing(band=1e-12))
    np.testing.assert_allclose(narrow.net_returns, plain.net_returns, atol=1e-12)


def test_held_longer_is_more_tranches_of_the_same_decisions():
    panel, values = market(6, holes=0.1)
    longer = backtest(values, panel, 11.0, horizon_bars=24)
    held = backtest(values, panel, 11.0, horizon_bars=4, rebalancing=Rebalancing(hold_bars=24))
    np.testing.assert_array_equal(held.net_returns, longer.net_returns)
    assert held.turnover_per_bar < backtest(values, panel, 11.0, horizon_bars=4).turnover_per_bar


def held_at(panel, targets, bar, rebalancing):
    """What is held after a bar's trade: what each symbol earned by the next, over its return."""
    earned = [
        MarketToTrade.of({name: field[:n] for name, field in panel.items()}, 1)
        .series(targets[:n], 11.0, 4, rebalancing)
        .earned_by_symbol
        for n in (bar + 2, bar + 3)
    ]
    return (earned[1] - earned[0]) / MarketToTrade.of(panel, 1).holding.returns[bar]


def test_a_wider_band_trades_less_and_bounds_what_is_held():
    panel, values = market(7, n_bars=400)
    traded = []
    for band in (0.0, 0.3, 1.0):
        slowly = Rebalancing(band)
        targets = portfolio_weights(values)
        held = [np.abs(held_at(panel, targets, bar, slowly)).sum() for bar in range(10, 390, 20)]
        assert 0 < max(held) <= (1 + band) * np.abs(targets).sum(axis=1).max() + 1e-9
        traded.append(backtest(values, panel, 11.0, horizon_bars=4, rebalancing=slowly))
    turnovers = [one.turnover_per_bar for one in traded]
    assert turnovers[0] > 1.5 * turnovers[1] > 2 * turnovers[2] > 0


def test_a_score_says_how_its_book_is_rebalanced_and_older_ones_say_nothing():
    panel, values = market(8, n_bars=200)
    options = {"horizon_bars": 4, "entry_lag_bars": 1, "skip_bars": 20, "fee_bps": 11.0}
    plain = Scorer(panel, **options, bars_per_year=8760.0).score(values)
    slowly = Rebalancing(0.5, 12)
    scorer = Scorer(panel, **options, bars_per_year=8760.0, rebalancing=slowly)
    slow = scorer.score(values)
    assert {"band", "hold_bars"} & plain.to_dict().keys() == set()
    assert (slow.to_dict()["band"], slow.to_dict()["hold_bars"]) == (0.5, 12)
    assert type(slow).from_dict(slow.to_dict()) == slow
    assert type(plain).from_dict(plain.to_dict()).band == 0.0
    assert slow.rank_ic_t == plain.rank_ic_t
    assert slow.turnover_per_bar < plain.turnover_per_bar / 2
    series = scorer.series(values, slow.direction)
    assert series.book.traded.mean() / 2 == pytest.approx(slow.turnover_per_bar)


@pytest.mark.parametrize(("band", "hold"), [(-0.1, 0), (nan, 0), (math.inf, 0), (0, -1)])
def test_what_is_no_rebalancing_is_refused(band, hold):
    with pytest.raises(ValueError, match="at least 0"):
        Rebalancing(band, hold)
