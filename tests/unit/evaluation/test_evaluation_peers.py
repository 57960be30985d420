"""The same inputs given to alphalens-reloaded and vectorbt, where the models coincide."""

import warnings

import numba.typed  # whose own loops are decorated as it is imported
import numpy as np
import pandas as pd
import pytest

from alphamill.evaluation import (
    backtest,
    forward_returns,
    information_coefficient,
    portfolio_weights,
    quantile_returns,
    quantile_returns_by_bar,
    quantile_turnover,
    rank_autocorrelation,
)

pytestmark = pytest.mark.filterwarnings("ignore")  # the peers' own

N_BARS, N_SYMBOLS = 160, 12
TIMES = pd.date_range("2024-01-01", periods=N_BARS, freq="h", tz="UTC")
NAMES = [f"C{number:02d}" for number in range(N_SYMBOLS)]


def market(holes=0.0, seed=0):
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(rng.normal(0, 0.02, (N_BARS, N_SYMBOLS)).cumsum(axis=0))
    open_ = np.vstack([close[:1], close[:-1]]) * np.exp(rng.normal(0, 0.003, close.shape))
    values = rng.normal(size=close.shape)
    values[rng.random(close.shape) < holes] = np.nan
    return values, {"open": open_, "close": close}


def frame(array):
    return pd.DataFrame(array, TIMES, NAMES)


# --- alphalens


HORIZONS = (1, 4)


@pytest.fixture(scope="module", params=[0.0, 0.15], ids=["whole", "with holes"])
def beside_alphalens(request):
    alphalens = pytest.importorskip("alphalens", reason="alphalens-reloaded is not installed")
    values, panel = market(request.param)
    factor = frame(values).stack()
    factor.index.names = ["date", "asset"]
    data = alphalens.utils.get_clean_factor_and_forward_returns(
        factor,
        frame(panel["open"]).shift(-1).iloc[:-1],  # a signal trades at the next bar's open
        quantiles=5,
        periods=HORIZONS,
        filter_zscore=None,
        max_loss=0.5,
    )
    names = dict(zip(HORIZONS, data.columns, strict=False))
    # It drops what has no return at its longest horizon, at every horizon.
    kept = np.where(np.isfinite(forward_returns(panel, max(HORIZONS))), values, np.nan)
    kept = kept[: N_BARS - max(HORIZONS) - 1]
    forwards = {names[h]: forward_returns(panel, h)[: len(kept)] for h in HORIZONS}
    return alphalens.performance, data, kept, forwards


def test_rank_ic_is_alphalenss(beside_alphalens):
    performance, data, values, forwards = beside_alphalens
    theirs = performance.factor_information_coefficient(data)
    for name, forward in forwards.items():
        ours = information_coefficient(values, forward)
        np.testing.assert_allclose(ours, theirs[name], atol=1e-12)


def test_quantile_returns_are_alphalenss(beside_alphalens):
    performance, data, values, forwards = beside_alphalens
    by_bar, _ = performance.mean_return_by_quantile(data, by_date=True, demeaned=False)
    pooled, _ = performance.mean_return_by_quantile(data, demeaned=False)
    whole = np.isfinite(values).all()
    for name, forward in forwards.items():
        theirs = by_bar[name].unstack("factor_quantile")
        np.testing.assert_allclose(quantile_returns_by_bar(values, forward), theirs, atol=1e-14)
        if whole:  # else alphalens weighs a bar by its symbols
            ours = quantile_returns(values, forward)
            np.testing.assert_allclose(ours, pooled[name], atol=1e-14)


@pytest.mark.parametrize("lag_bars", [1, 4])
def test_turnover_and_rank_autocorrelation_are_alphalenss(beside_alphalens, lag_bars):
    performance, data, values, _ = beside_alphalens
    ours = quantile_turnover(values, 5, lag_bars)
    for quantile in range(1, 6):
        theirs = performance.quantile_turnover(data["factor_quantile"], quantile, lag_bars)
        np.testing.assert_allclose(ours[:, quantile - 1], theirs)
    theirs = performance.factor_rank_autocorrelation(data, lag_bars)
    if np.isfinite(values).all():  # with holes alphalens correlates ranks of unlike sets
        np.testing.assert_allclose(
            rank_autocorrelation(values, lag_bars), theirs[lag_bars:], atol=1e-14
        )


def test_zscore_book_earns_alphalenss_factor_returns(beside_alphalens):
    performance, data, values, forwards = beside_alphalens
    limited = np.clip(values, -1.5, 1.5)  # no z-score beyond the limit of ours
    centred = limited - np.nanmean(limited, axis=1, keepdims=True)
    data = data.assign(factor=frame(np.vstack([centred, np.full((5, N_SYMBOLS), np.nan)])).stack())
    theirs = performance.factor_returns(data)
    weights = portfolio_weights(limited, "zscore")
    for name, forward in forwards.items():
        ours = np.where(np.isfinite(forward), weights * forward, 0.0).sum(axis=1)
        np.testing.assert_allclose(ours, theirs[name], atol=1e-14)


# --- vectorbt


@pytest.fixture(scope="module")
def vectorbt():
    """It, as plain Python: to compile its loops takes 20 s, to interpret them for these books 2."""
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        warnings.simplefilter("ignore")  # of the exchanges' clients that it imports
        patch.setattr(numba.config, "DISABLE_JIT", True)  # looked at where a loop is decorated
        return pytest.importorskip("vectorbt", reason="vectorbt is not installed")


@pytest.mark.parametrize("fee_bps", [0.0, 11.0, 60.0])
@pytest.mark.parametrize("scheme", ["rank", "zscore", "quantile"])
def test_the_book_is_vectorbts(vectorbt, scheme, fee_bps):
    values, panel = market(seed=1)
    ours = backtest(values, panel, fee_bps, scheme=scheme, bars_per_year=8760)
    # Decided at the close of t, traded at the open of t + 1, marked at opens.
    targets = frame(np.vstack([np.zeros((1, N_SYMBOLS)), portfolio_weights(values, scheme)[:-1]]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = vectorbt.Portfolio.from_orders(
            frame(panel["open"]),
            targets,
            size_type="targetpercent",
            fees=fee_bps / 1e4,
            init_cash=1e6,
            cash_sharing=True,
            group_by=True,
            call_seq="auto",
            freq="1h",
        )
        returns = theirs.returns().to_numpy()
        stats = theirs.returns_acc(year_freq="365d")
        sharpe, volatility = stats.sharpe_ratio(), stats.annualized_volatility()
        drawdown = theirs.max_drawdown()
        recovery = theirs.drawdowns.records_readable
    # vectorbt takes a trade's fee from the bar of the trade, we from the bar that it opens.
    value, fees = theirs.value().to_numpy(), theirs.orders.records_readable.groupby("Timestamp")
    paid = fees["Fees"].sum().reindex(TIMES, fill_value=0.0).to_numpy()
    before = value + paid
    np.testing.assert_allclose(ours.net_returns, before[2:] / before[1:-1] - 1, atol=1e-12)
    if not fee_bps:
        np.testing.assert_allclose(ours.gross_returns, returns[2:], atol=1e-12)
        assert ours.max_drawdown_frac == pytest.approx(-drawdown)
        assert ours.net_sharpe == pytest.approx(_sharpe(returns[2:], 8760))
        assert ours.volatility == pytest.approx(returns[2:].std(ddof=1) * np.sqrt(8760))
        assert sharpe == pytest.approx(_sharpe(returns, 8760))
        assert volatility == pytest.approx(returns.std(ddof=1) * np.sqrt(8760))
        deepest = recovery.loc[(recovery["Valley Value"] / recovery["Peak Value"]).idxmin()]
        length = (deepest["End Timestamp"] - deepest["Start Timestamp"]) / pd.Timedelta("1h")
        assert ours.max_drawdown_bars == length + 1  # from the peak, not from the first fall


def _sharpe(returns, bars_per_year):
    return returns.mean() / returns.std(ddof=1) * np.sqrt(bars_per_year)
