"""The same inputs given to skfolio, scikit-learn, alphalens and LightGBM, where models coincide."""

import sys

import numpy as np
import pandas as pd
import pytest

from alphamill.combination import (
    Combiner,
    FactorRanks,
    frozen_expression,
    refit_schedule,
    walk_forward,
)
from alphamill.combination.statistics import products
from alphamill.combination.weights import lasso_coefficients, ridge_coefficients

pytestmark = pytest.mark.filterwarnings("ignore")  # the peers' own

HOUR_MS = 3_600_000
N_BARS, N_SYMBOLS, N_FACTORS, HORIZON, LAG = 150, 10, 4, 3, 1
TIMES = pd.date_range("2024-01-01", periods=N_BARS, freq="h", tz="UTC")
SCHEDULE = refit_schedule(
    1_704_067_200_000 + HOUR_MS * np.arange(N_BARS), 24 * HOUR_MS, 40, HORIZON + LAG
)


def market(seed=0):
    """Factors' values, one-bar returns that the first factor leads, and mean forward returns."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(N_FACTORS, N_BARS, N_SYMBOLS)).cumsum(axis=1)
    returns = rng.normal(0, 0.01, (N_BARS, N_SYMBOLS))
    returns[1:] += 1e-3 * values[0, :-1]
    forward = np.full(returns.shape, np.nan)
    for t in range(N_BARS - HORIZON - LAG + 1):
        forward[t] = returns[t + LAG : t + LAG + HORIZON].mean(axis=0)
    return FactorRanks.of(list(values), [1] * N_FACTORS), returns, forward


@pytest.mark.parametrize(("half_life", "penalty"), [(20.0, 1e-6), (60.0, 0.1), (5.0, 0.0)])
def test_ridge_without_costs_is_skfolios_online_least_squares(half_life, penalty):
    alpha = pytest.importorskip("skfolio.alpha", reason="skfolio is not installed")
    from skfolio.containers import AssetPanel
    from skfolio.descriptor import Passthrough

    ranks, returns, forward = market()
    names = [f"f{number}" for number in range(N_FACTORS)]
    scores = dict(zip(names, ranks.read(slice(None)), strict=True))
    model = alpha.EWSharpeOptimalAlpha(
        descriptors=[(name, Passthrough(name)) for name in names],
        half_life=half_life,
        ridge_scale=penalty,
        horizon=HORIZON,
        signal_lag=LAG,
        outlier_transformer="passthrough",
        scoring_transformer="passthrough",
    )
    fields = scores | {"idio_returns": returns, "idio_variances": np.ones(returns.shape)}
    whole = AssetPanel(fields, np.arange(N_BARS), [f"C{one}" for one in range(N_SYMBOLS)])
    combiner = Combiner("ridge", penalty=penalty, turnover_bps=0, half_life_bars=half_life)
    walked = walk_forward(ranks, forward, combiner, SCHEDULE, HORIZON)
    start = 0
    for refit, bar in enumerate(SCHEDULE.bars.tolist()):
        # What it has been shown by then: bars up to the refit's, whose last label has just matured.
        model.partial_fit(whole[start:bar])
        start = bar
        ours = walked.weights[refit] * walked.scales[refit]
        np.testing.assert_allclose(ours, model.coef_, rtol=1e-9)


@pytest.mark.parametrize("penalty", [0.05, 0.5])
def test_lasso_is_scikit_learns(penalty):
    linear_model = pytest.importorskip(
        "sklearn.linear_model", reason="scikit-learn is not installed"
    )
    ranks, _, forward = market()
    combiner = Combiner("lasso", penalty=penalty)
    walked = walk_forward(ranks, forward, combiner, SCHEDULE, HORIZON)
    for refit, matured in enumerate(SCHEDULE.matured.tolist()):
        x = ranks.read(slice(0, matured)).reshape(N_FACTORS, -1).T
        y = (forward[:matured] - forward[:matured].mean(axis=1, keepdims=True)).ravel()
        size = penalty * np.abs(x.T @ y).max() / len(y)
        theirs = linear_model.Lasso(size, fit_intercept=False, tol=1e-14, max_iter=100_000)
        ours = walked.weights[refit] * walked.scales[refit]
        np.testing.assert_allclose(ours, theirs.fit(x, y).coef_, rtol=1e-6, atol=1e-12)


def test_the_ic_of_a_combination_is_alphalenss():
    alphalens = pytest.importorskip("alphalens", reason="alphalens-reloaded is not installed")
    from alphamill.evaluation import forward_returns, information_coefficient

    ranks, returns, _ = market()
    close = 100 * np.exp(returns.cumsum(axis=0))
    panel = {"open": np.vstack([close[:1], close[:-1]]), "close": close}
    labels = forward_returns(panel, HORIZON, LAG)
    walked = walk_forward(ranks, labels, Combiner("ic"), SCHEDULE, HORIZON)
    names = [f"C{number:02d}" for number in range(N_SYMBOLS)]
    factor = pd.DataFrame(walked.signal, TIMES, names).stack()
    factor.index.names = ["date", "asset"]
    data = alphalens.utils.get_clean_factor_and_forward_returns(
        factor,
        pd.DataFrame(panel["open"], TIMES, names).shift(-LAG).iloc[:-LAG],
        quantiles=2,
        periods=(HORIZON,),
        filter_zscore=None,
        max_loss=0.9,
    )
    theirs = alphalens.performance.factor_information_coefficient(data).iloc[:, 0]
    ours = information_coefficient(walked.signal, labels)
    assert np.isfinite(ours).sum() == len(theirs) > 60
    np.testing.assert_allclose(ours[np.isfinite(ours)], theirs, rtol=0, atol=1e-12)


# --- what no peer does


def test_costs_in_the_objective_move_weight_to_what_trades_less():
    """Two factors that say as much of the returns; one turns round at every bar."""
    rng = np.random.default_rng(1)
    slow = np.repeat(rng.normal(size=(N_BARS // 30, N_SYMBOLS)), 30, axis=0)
    fast = rng.normal(size=(N_BARS, N_SYMBOLS))
    ranks = FactorRanks.of([slow, fast], [1, 1])
    both = ranks.read(slice(None))
    labels = 0.001 * both.sum(axis=0) + rng.normal(0, 1e-5, fast.shape)
    shares, traded = [], []
    for bps in (0.0, 1.0, 10.0, 100.0):
        combiner = Combiner("ridge", penalty=1e-6, turnover_bps=bps)
        walked = walk_forward(ranks, labels, combiner, SCHEDULE, 1)
        shares.append(walked.weights[-1, 1])
        steps = np.diff(walked.signal[SCHEDULE.first_bar :], axis=0)
        size = np.abs(walked.signal[SCHEDULE.first_bar :]).mean()
        traded.append(np.abs(steps).mean() / size)
    assert shares[0] == pytest.approx(0.5, abs=0.02)
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.1
    assert traded == sorted(traded, reverse=True)
    assert traded[-1] < 0.5 * traded[0]


@pytest.mark.parametrize("scale", [0.01, 100.0])
def test_costs_are_in_the_unit_of_the_returns_and_nothing_else_has_one(scale):
    """Returns a hundred times as large bear a hundred times the costs."""
    ranks, _, forward = market(2)

    def weights(combiner, labels):
        return walk_forward(ranks, labels, combiner, SCHEDULE, HORIZON).weights

    given = weights(Combiner("ridge", turnover_bps=5), forward)
    same = weights(Combiner("ridge", turnover_bps=5 * scale), scale * forward)
    np.testing.assert_allclose(same, given, rtol=1e-9)
    free = weights(Combiner("ridge", turnover_bps=0), forward)
    other = weights(Combiner("ridge", turnover_bps=5), scale * forward)
    moved = np.abs(other - free).sum() / np.abs(given - free).sum()
    assert moved < 0.1 if scale > 1 else moved > 2
    for unmoved in (Combiner("ridge", turnover_bps=0), Combiner("lasso"), Combiner("ic")):
        np.testing.assert_allclose(
            weights(unmoved, scale * forward), weights(unmoved, forward), rtol=1e-9, atol=1e-12
        )


def test_ridge_with_costs_minimises_what_it_says():
    """No step from the weights lowers the objective, whose sums are made here one by one."""
    ranks, _, forward = market(2)
    sums = products(ranks, forward, SCHEDULE, HORIZON, 30.0)
    matured = int(SCHEDULE.matured[0])
    x = ranks.read(slice(0, matured))
    fade = 0.5 ** (np.arange(matured)[::-1] / 30.0)
    y = forward[:matured] - forward[:matured].mean(axis=1, keepdims=True)
    dx = x[:, HORIZON:] - x[:, :-HORIZON]
    pairs = fade[HORIZON:].sum() * N_SYMBOLS
    assert sums.changes[0] == pytest.approx(pairs)

    def objective(b, m):
        left = y - np.tensordot(b, x, axes=1)
        traded = np.tensordot(b, dx, axes=1)
        rho = 0.1 * np.trace(sums.normal[0]) / N_FACTORS
        return (
            (fade[:, None] * left**2).sum() / 2
            + rho / 2 * (b**2).sum()
            + 10e-4 / (2 * m) * (fade[HORIZON:, None] * traded**2).sum()
        )

    free = ridge_coefficients(sums.normal[0], sums.target[0], 0.1)
    step = np.tensordot(free, dx, axes=1)
    m = np.sqrt((fade[HORIZON:, None] * step**2).sum() / pairs)
    found = ridge_coefficients(
        sums.normal[0], sums.target[0], 0.1, sums.change[0], float(sums.changes[0]), 10.0
    )
    least = objective(found, m)
    rng = np.random.default_rng(0)
    for _ in range(50):
        assert objective(found * (1 + 1e-3 * rng.normal(size=N_FACTORS)), m) > least


def test_many_picks_at_once_are_each_by_itself():
    ranks, _, forward = market(3)
    sums = products(ranks, forward, SCHEDULE, HORIZON, np.inf)
    picks = np.array([[0, 1], [2, 3], [3, 0]])
    normal = sums.normal[-1][picks[:, :, None], picks[:, None, :]]
    change = sums.change[-1][picks[:, :, None], picks[:, None, :]]
    together = ridge_coefficients(
        normal, sums.target[-1][picks], 0.1, change, float(sums.changes[-1]), 10.0
    )
    sparse = lasso_coefficients(normal, sums.target[-1][picks], 0.1)
    for number, pick in enumerate(picks):
        own = np.ix_(pick, pick)
        alone = ridge_coefficients(
            sums.normal[-1][own],
            sums.target[-1][pick],
            0.1,
            sums.change[-1][own],
            float(sums.changes[-1]),
            10.0,
        )
        np.testing.assert_allclose(together[number], alone, rtol=1e-12)
        lone = lasso_coefficients(sums.normal[-1][own], sums.target[-1][pick], 0.1)
        np.testing.assert_allclose(sparse[number], lone, rtol=1e-9, atol=1e-15)


def test_a_factor_twice_without_a_penalty_still_has_weights():
    ranks, _, forward = market(4)
    twice = FactorRanks.of([ranks.series(0), ranks.series(0)], [1, 1])
    combiner = Combiner("ridge", penalty=0, turnover_bps=0)
    walked = walk_forward(twice, forward, combiner, SCHEDULE, HORIZON)
    np.testing.assert_allclose(walked.weights, 0.5, rtol=0.01)


def test_a_lasso_that_keeps_nothing_says_nothing():
    ranks, _, forward = market(5)
    walked = walk_forward(ranks, forward, Combiner("lasso", penalty=1.0), SCHEDULE, HORIZON)
    assert not walked.weights.any()
    assert np.isnan(walked.signal).all()
    with pytest.raises(ValueError, match="take a later refit or a lower penalty"):
        frozen_expression(walked.weights[0], ["returns"] * N_FACTORS, [1] * N_FACTORS)


# --- trees


def test_trees_without_their_library_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    ranks, _, forward = market()
    with pytest.raises(ValueError, match="`pip install lightgbm`, or combine with ridge or lasso"):
        walk_forward(ranks, forward, Combiner("lightgbm"), SCHEDULE, HORIZON)


def test_trees_learn_what_is_there_and_nothing_that_had_not_matured():
    pytest.importorskip("lightgbm", reason="lightgbm is not installed")
    ranks, _, forward = market()
    combiner = Combiner("lightgbm", trees=20)
    walked = walk_forward(ranks, forward, combiner, SCHEDULE, HORIZON)
    assert walked.weights[-1].argmax() == 0  # the factor that leads the returns
    np.testing.assert_allclose(walked.weights.sum(axis=1), 1)
    late = forward.copy()
    matured, bar = int(SCHEDULE.matured[1]), int(SCHEDULE.bars[2])
    late[matured:] = np.random.default_rng(0).normal(size=late[matured:].shape)
    after = walk_forward(ranks, late, combiner, SCHEDULE, HORIZON)
    assert np.array_equal(after.signal[:bar], walked.signal[:bar], equal_nan=True)
    assert not np.array_equal(after.signal[bar:], walked.signal[bar:], equal_nan=True)
    late[matured - 1] *= -50
    seen = walk_forward(ranks, late, combiner, SCHEDULE, HORIZON)
    assert not np.array_equal(seen.weights[1], walked.weights[1])
