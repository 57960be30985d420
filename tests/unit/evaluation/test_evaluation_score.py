import json
import math
import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from alphamill.evaluation import (
    Score,
    Scorer,
    backtest,
    forward_returns,
    information_coefficient,
    newey_west_t,
    quantile_returns,
    score,
)

nan = math.nan

KWARGS = {
    "horizon_bars": 4,
    "entry_lag_bars": 1,
    "skip_bars": 20,
    "fee_bps": 11.0,
    "bars_per_year": 8760.0,
}


def market(seed=0, n_bars=400, n_symbols=6, edge=0.0):
    """A panel and values that know `edge` of the next bar's return."""
    rng = np.random.default_rng(seed)
    returns = rng.normal(0, 0.01, (n_bars, n_symbols))
    close = 100 * np.exp(returns.cumsum(axis=0))
    open_ = np.vstack([np.full((1, n_symbols), 100.0), close[:-1]])
    values = rng.normal(0, 0.01, (n_bars, n_symbols))
    values[:-2] += edge * returns[1:-1]  # entered at the open of t+1, which is the close of t
    return values, {"open": open_, "close": close, "volume": np.ones_like(close)}


def test_every_figure_is_that_of_its_own_function():
    values, panel = market(edge=0.5)
    got = score(values, panel, **KWARGS)
    forward = forward_returns(panel, 4)[20:]
    ic = information_coefficient(values[20:], forward)
    assert got.fault is None
    assert (got.n_bars, got.n_symbols, got.coverage) == (380, 6, 1.0)
    assert got.rank_ic_mean == pytest.approx(np.nanmean(ic))
    assert got.rank_ic_t == pytest.approx(newey_west_t(ic, got.hac_lags))
    assert got.hac_lags == 11
    assert got.rank_icir == pytest.approx(np.nanmean(ic) / np.nanstd(ic, ddof=1))
    assert got.p_value == pytest.approx(math.erfc(abs(got.rank_ic_t) / math.sqrt(2)))
    assert got.direction == 1
    book = backtest(values, panel, 11.0, horizon_bars=4, bars_per_year=8760, skip_bars=20)
    assert got.net_sharpe == book.net_sharpe
    assert got.kurtosis == book.kurtosis
    assert got.n_obs == book.n_obs
    assert got.decay[1] > got.decay[16]
    assert got.decay[4] == got.rank_ic_mean
    by_quantile = quantile_returns(values[20:], forward)
    assert got.quantile_spread == pytest.approx(by_quantile[-1] - by_quantile[0])
    assert got.monotonicity == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("n_symbols", [1, 7])
@pytest.mark.parametrize("direction", [1, -1])
def test_the_book_is_that_of_a_backtest_to_the_last_bit(n_symbols, direction):
    values, panel = market(seed=5, n_symbols=n_symbols, edge=0.1)
    values[50:60, 0] = nan
    for name in ("open", "close"):
        panel[name][100:103] = nan  # an outage
        panel[name][300:, -1] = nan if n_symbols > 1 else panel[name][300:, -1]  # delisted
    base = {name: value for name, value in KWARGS.items() if name != "fee_bps"}
    found, book = Scorer(panel, fee_bps=11.0, **base).measure(values, direction)
    del base["bars_per_year"]
    scheme = "rank" if n_symbols > 1 else "time_series"
    alone = backtest(values, panel, 0.0, scheme=scheme, direction=direction, **base)
    assert book.gross_returns.tobytes() == alone.gross_returns.tobytes()
    assert found.gross_sharpe_per_bar == alone.gross_sharpe_per_bar != 0


def test_direction_is_chosen_on_discovery_and_kept_elsewhere():
    values, panel = market(edge=-0.5)
    found = score(values, panel, **KWARGS)
    assert found.direction == -1
    assert found.rank_ic_mean < 0 < found.gross_sharpe
    given = score(values, panel, **KWARGS, direction=1)
    assert given.direction == 1
    assert given.rank_ic_mean == found.rank_ic_mean
    assert given.gross_sharpe == pytest.approx(-found.gross_sharpe)
    # A sign that was fixed before is tested on one side only.
    kept = score(values, panel, **KWARGS, direction=-1)
    assert kept.p_value == pytest.approx(found.p_value / 2)
    assert given.p_value == pytest.approx(1 - kept.p_value)


def test_skipped_bars_are_not_scored():
    values, panel = market(1, edge=0.3)
    scrambled = values.copy()
    scrambled[:20] = 1e6 * np.random.default_rng(9).normal(size=(20, 6))
    assert score(scrambled, panel, **KWARGS) == score(values, panel, **KWARGS)
    assert score(values, panel, **{**KWARGS, "skip_bars": 21}).n_bars == 379


def test_infinite_values_are_missing_values():
    values, panel = market(2)
    holed, infinite = values.copy(), values.copy()
    holed[50:60, 2], infinite[50:60, 2] = nan, np.inf
    assert score(infinite, panel, **KWARGS) == score(holed, panel, **KWARGS)
    assert score(holed, panel, **KWARGS).coverage == pytest.approx(1 - 10 / (380 * 6))


def test_one_symbol_is_scored_in_time_and_under_that_name():
    values, panel = market(3, n_bars=800, n_symbols=1, edge=1.0)
    got = score(values, panel, **{**KWARGS, "horizon_bars": 1, "skip_bars": 100})
    assert got.fault is None
    assert math.isnan(got.rank_ic_mean)
    assert math.isnan(got.rank_ic_t)
    assert math.isnan(got.ic_mean)
    forward = forward_returns(panel, 1)[100:, 0]
    known = np.isfinite(forward)
    expected = spearmanr(values[100:, 0][known], forward[known])[0]
    assert got.time_series_rank_corr == pytest.approx(expected)
    assert got.association_t == got.time_series_t > 5
    assert got.gross_sharpe > 0
    assert got.p_value < 1e-6


def test_two_symbols_are_no_cross_section():
    values, panel = market(4, n_symbols=2, edge=1.0)
    got = score(values, panel, **KWARGS)
    assert got.fault is None
    assert math.isnan(got.rank_ic_mean)
    assert np.isfinite(got.time_series_t)


def all_values(number):
    return lambda values, _: values.fill(number)


def same_for_all_symbols(values, _):
    values[:] = values[:, :1]


def values_only(rows, columns=slice(None)):
    def spoil(values, _):
        kept = values[rows, columns].copy()
        values[:] = nan
        values[rows, columns] = kept

    return spoil


def fields(number, *names):
    return lambda _, panel: [panel[name].fill(number) for name in names]


BAD = [
    (all_values(3.7), {}, "constant across symbols"),
    (same_for_all_symbols, {}, "constant across symbols"),
    (all_values(nan), {}, "no value"),
    (all_values(np.inf), {}, "no value"),
    (values_only(slice(20)), {}, "no value"),
    (values_only(slice(40)), {}, "only 20 bars"),
    (values_only(slice(None), slice(2)), {}, "only 0 bars"),
    (None, {"horizon_bars": 380}, "do not fit"),
    (None, {"skip_bars": 400}, r"fewer bars \(400\)"),
    (None, {"skip_bars": 4000}, r"fewer bars \(400\)"),
    (fields(0.0, "volume"), {}, "volume is 0"),
    (fields(nan, "volume"), {}, "volume is 0"),
    (fields(nan, "open", "close"), {}, "no symbol has a bar"),
    (fields(5.0, "open", "close"), {}, "only 0 bars"),
]


def assert_is_a_fault(got, reason, direction):
    assert got.fault is not None
    assert re.search(reason, got.fault)
    assert math.isnan(got.association)
    assert math.isnan(got.net_sharpe)
    assert got.direction == (direction or 1)
    again = Score.from_dict(json.loads(json.dumps(got.to_dict(), allow_nan=False)))
    assert again.to_dict() == got.to_dict()


@pytest.mark.parametrize(("spoil", "changed", "reason"), BAD)
@pytest.mark.parametrize("direction", [None, -1])
def test_a_bad_factor_is_a_row_with_a_reason(spoil, changed, reason, direction):
    values, panel = market()
    if spoil:
        spoil(values, panel)
    assert_is_a_fault(
        score(values, panel, **{**KWARGS, **changed}, direction=direction), reason, direction
    )


@pytest.mark.parametrize(
    ("shape", "reason"),
    [((0, 6), "no bars"), ((400, 0), "no bars"), ((400, 1), "constant in time")],
)
def test_a_panel_of_any_shape_is_a_row_with_a_reason(shape, reason):
    panel = {name: np.ones(shape) for name in ("open", "close", "volume")}
    assert_is_a_fault(score(np.full(shape, 2.0), panel, **KWARGS), reason, None)


def test_arguments_that_do_not_fit_are_the_callers_mistake():
    values, panel = market()
    with pytest.raises(ValueError, match="panel"):
        score(values[1:], panel, **KWARGS)
    with pytest.raises(ValueError, match="direction"):
        score(values, panel, **KWARGS, direction=0)
    with pytest.raises(ValueError, match="skip_bars"):
        score(values, panel, **{**KWARGS, "skip_bars": -1})


def test_a_score_survives_json():
    values, panel = market(5)
    got = score(values, panel, **{**KWARGS, "skip_bars": 380 - 20})
    text = json.dumps(got.to_dict(), allow_nan=False)
    assert math.isnan(got.decay[32]) or got.decay[32]
    again = Score.from_dict(json.loads(text))
    assert again.to_dict() == got.to_dict()
    assert again.decay.keys() == got.decay.keys()
    assert isinstance(again.n_bars, int)


def test_hard_values_raise_no_warning():
    values, panel = market(6)
    values[::3] *= 1e300
    values[1::3] *= 1e-300
    values[::7, :3] = nan
    for field in panel.values():
        field[100:110] = nan
        field[300:, 0] = nan
        field[:50, 1] = nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score(values, panel, **KWARGS).fault is None


def noise_t(horizon, n_bars, repetitions):
    """t of worthless, slowly changing factors, the hard case for overlapping labels."""
    kwargs = {**KWARGS, "horizon_bars": horizon}
    for seed in range(repetitions):
        values, panel = market(seed, n_bars=n_bars)
        slow = values.cumsum(axis=0)
        yield score(slow, panel, **kwargs), slow, panel


@pytest.mark.parametrize("horizon", [1, 4])
def test_t_of_noise_exceeds_1_96_about_as_often_as_it_says(horizon):
    rejected = [abs(got.rank_ic_t) > 1.96 for got, *_ in noise_t(horizon, 1000, 120)]
    assert 0.0 < np.mean(rejected) < 0.11


def test_lags_beyond_the_overlap_keep_t_honest_at_a_long_horizon():
    ours, short = [], []
    for got, slow, panel in noise_t(24, 3000, 60):
        ic = information_coefficient(slow[20:], forward_returns(panel, 24)[20:])
        ours.append(abs(got.rank_ic_t) > 1.96)
        short.append(abs(newey_west_t(ic, 23)) > 1.96)
    assert np.mean(ours) < 0.15
    assert np.mean(ours) < np.mean(short)


BARS = Path(__file__).resolve().parents[4] / "shared" / "data" / "klines"


@pytest.mark.skipif(not BARS.is_dir(), reason="no real bars beside the checkout")
def test_real_bars_give_finite_figures():
    import pandas as pd

    files = sorted((BARS / "um").glob("*-4h.parquet"))
    if len(files) < 3:
        pytest.skip("fewer than three symbols of bars")
    frames = [pd.read_parquet(file).set_index("open_time") for file in files]
    panel = {
        field: pd.concat([frame[field] for frame in frames], axis=1).to_numpy(np.float64)[-5000:]
        for field in ("open", "close", "volume")
    }
    reversal = np.full_like(panel["close"], nan)
    reversal[24:] = -(panel["close"][24:] / panel["close"][:-24] - 1)
    got = score(reversal, panel, **{**KWARGS, "skip_bars": 24})
    assert got.fault is None
    assert got.coverage > 0.9
    assert np.isfinite([got.rank_ic_t, got.net_sharpe, got.kurtosis, got.max_drawdown_frac]).all()
    assert got.net_sharpe < got.gross_sharpe
