"""Every window operator against a two-pass oracle in extended precision."""

import numpy as np
import pandas as pd
import pytest

from alphamill.factors import OPERATORS, compute, parse
from alphamill.factors.operators import Family

L = np.longdouble


def mean(x):
    return x.sum() / len(x)


def spread(x):
    return ((x - mean(x)) ** 2).sum()


def cross(x, y):
    return ((x - mean(x)) * (y - mean(y))).sum()


def average_rank(x, value):
    return ((x < value).sum() + (x <= value).sum() + 1) / L(2)


def ranks(x):
    return np.array([average_rank(x, value) for value in x])


def corr(x, y):
    if spread(x) == 0 or spread(y) == 0:
        return np.nan
    return cross(x, y) / np.sqrt(spread(x)) / np.sqrt(spread(y))


def times(x):
    return np.arange(len(x)).astype(L)


def slope(x):
    return cross(times(x), x) / spread(times(x))


def skew(x):
    n, m2 = L(len(x)), spread(x)
    if m2 == 0:
        return np.nan
    m3 = ((x - mean(x)) ** 3).sum()
    return n * np.sqrt(n - 1) / (n - 2) * m3 / m2 ** L(1.5)


def kurt(x):
    n, m2 = L(len(x)), spread(x)
    if m2 == 0:
        return np.nan
    m4 = ((x - mean(x)) ** 4).sum()
    main = n * (n + 1) * (n - 1) / ((n - 2) * (n - 3)) * m4 / m2**2
    return main - 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))


def quantile(x, q):
    x, at = np.sort(x), L(q) * (len(x) - 1)
    low = int(at)
    return x[low] + (x[min(low + 1, len(x) - 1)] - x[low]) * (at - low)


def weighted(x, weights):
    weights = np.array(weights, dtype=L)
    return (x * weights).sum() / weights.sum()


def ratio(a, b):
    return a / b if b else np.nan


def std(x):
    return np.sqrt(spread(x) / (len(x) - 1))


def beta(y, x):
    return ratio(cross(x, y), spread(x))


def fitted(x, at):
    """The window's trend line at bar `at`, counted from its first."""
    return mean(x) + slope(x) * (L(at) - L(len(x) - 1) / 2)


def age(x, best):
    return next(i for i, value in enumerate(x[::-1]) if value == best)


ONE = {
    "delta": lambda x: x[-1] - x[0],
    "pct_change": lambda x: ratio(x[-1], x[0]) - 1,
    "log_return": lambda x: np.log(ratio(x[-1], x[0])) if ratio(x[-1], x[0]) > 0 else np.nan,
    "ts_sum": lambda x: x.sum(),
    "ts_mean": mean,
    "ts_std": std,
    "ts_std0": lambda x: np.sqrt(spread(x) / len(x)),
    "ts_var": lambda x: spread(x) / (len(x) - 1),
    "ts_skew": skew,
    "ts_kurt": kurt,
    "ts_min": np.min,
    "ts_max": np.max,
    "ts_argmin": lambda x: age(x, x.min()),
    "ts_argmax": lambda x: age(x, x.max()),
    "ts_median": lambda x: quantile(x, 0.5),
    "ts_mad": lambda x: np.abs(x - mean(x)).sum() / len(x),
    "ts_rank": lambda x: average_rank(x, x[-1]) / len(x),
    "ts_zscore": lambda x: ratio(x[-1] - mean(x), std(x)),
    "ts_scale": lambda x: ratio(x[-1] - x.min(), x.max() - x.min()),
    "ts_product": np.prod,
    "ts_count": lambda x: (x != 0).sum(),
    "decay_linear": lambda x: weighted(x, range(1, len(x) + 1)),
    "wma": lambda x: weighted(x, range(1, len(x) + 1)),
    "decay_exp": lambda x: weighted(
        x, [(1 - L(2) / (len(x) + 1)) ** age for age in range(len(x))][::-1]
    ),
    "ts_slope": slope,
    "ts_rsquare": lambda x: ratio(cross(times(x), x) ** 2, spread(times(x)) * spread(x)),
    "ts_resid": lambda x: x[-1] - fitted(x, len(x) - 1),
    "ts_linreg": lambda x: fitted(x, len(x) - 1),
    "ts_forecast": lambda x: fitted(x, len(x)),
    "ts_medad": lambda x: quantile(np.abs(x - quantile(x, 0.5)), 0.5),
    "ts_range": lambda x: x.max() - x.min(),
    "ts_av_diff": lambda x: x[-1] - mean(x),
    "ts_ir": lambda x: ratio(mean(x), std(x)),
}
TWO = {
    "ts_corr": corr,
    "ts_cov": lambda x, y: cross(x, y) / (len(x) - 1),
    "ts_beta": beta,
    "ts_regress_resid": lambda y, x: y[-1] - mean(y) - beta(y, x) * (x[-1] - mean(x)),
    "ts_rank_corr": lambda x, y: corr(ranks(x), ranks(y)),
    "ts_sum_if": lambda x, cond: x[cond != 0].sum(),
}
# What rounding may cost where the true value cancels to nearly nothing, in units of the window.
FLOORS = {
    "ts_sum": lambda x: 1e-15 * np.abs(x).sum(),
    "ts_sum_if": lambda x, y: 1e-15 * np.abs(x).sum(),
    "ts_mean": lambda x: 1e-15 * np.abs(x).max(),
    "decay_linear": lambda x: 1e-15 * np.abs(x).max(),
    "decay_exp": lambda x: 1e-15 * np.abs(x).max(),
    "wma": lambda x: 1e-15 * np.abs(x).max(),
    "ts_skew": lambda x: 1e-11,
    "ts_kurt": lambda x: 1e-11,
    "ts_zscore": lambda x: 1e-11,
    "ts_resid": lambda x: 1e-11 * std(x),
    "ts_linreg": lambda x: 1e-11 * std(x) + 1e-15 * np.abs(x).max(),
    "ts_forecast": lambda x: 1e-11 * std(x) + 1e-15 * np.abs(x).max(),
    "ts_medad": lambda x: 4e-16 * np.abs(x).max(),
    "ts_av_diff": lambda x: 1e-15 * np.abs(x).max(),
    "ts_ir": lambda x: ratio(1e-15 * np.abs(x).max(), std(x)),
    "ts_slope": lambda x: 1e-11 * std(x),
    "ts_rsquare": lambda x: 1e-11,
    "pct_change": lambda x: 4e-16,
    "log_return": lambda x: 4e-16,
    "ts_mad": lambda x: 4e-16 * np.abs(x).max(),
    "ts_corr": lambda x, y: 1e-11,
    "ts_rank_corr": lambda x, y: 1e-14,
    "ts_cov": lambda x, y: 1e-11 * std(x) * std(y),
    "ts_beta": lambda x, y: 1e-11 * ratio(std(x), std(y)),
    "ts_regress_resid": lambda y, x: 1e-11 * std(y),
}
LAGS = {"delta", "pct_change", "log_return"}


def lowest_window(name):
    return int(next(p.low for p in OPERATORS[name].params if p.kind == "bars"))


def oracle(function, floor, window, *columns, step=1):
    """Expected values and allowed absolute errors, bar by bar, from every step-th bar."""
    n = len(columns[0])
    want, allowed = np.full(n, np.nan), np.zeros(n)
    with np.errstate(all="ignore"):
        for t in range(window - 1, n):
            parts = [column[t - window + 1 : t + 1 : step].astype(L) for column in columns]
            if not any(np.isnan(part).any() for part in parts):
                want[t] = function(*parts)
                allowed[t] = np.nan_to_num(float(floor(*parts))) if floor else 0.0
    return want, allowed


def agree(got, want, allowed):
    assert np.array_equal(np.isnan(got), np.isnan(want)), (got[:50], want[:50])
    known = ~np.isnan(want)
    error = np.abs(got[known] - want[known])
    assert (error <= 1e-9 * np.abs(want[known]) + allowed[known]).all(), error.max()


@pytest.mark.parametrize("window", [1, 2, 4, 20, 61])
@pytest.mark.parametrize("name", sorted(ONE))
def test_one_series(name, window, awkward):
    if window < lowest_window(name):
        pytest.skip("below the operator's shortest window")
    got = compute(parse(f"{name}(close, {window})"), {"close": awkward})
    span = window + 1 if name in LAGS else window
    with np.errstate(over="ignore"):
        for j in range(awkward.shape[1]):
            step = window if name in LAGS else 1
            want, allowed = oracle(ONE[name], FLOORS.get(name), span, awkward[:, j], step=step)
            want[np.isinf(want)] = np.nan
            agree(got[:, j], want, allowed)


@pytest.mark.parametrize("window", [2, 3, 20, 61])
@pytest.mark.parametrize("name", sorted(TWO))
def test_two_series(name, window, awkward):
    if window < lowest_window(name):
        pytest.skip("below the operator's shortest window")
    x = awkward
    y = np.ascontiguousarray(np.roll(x, 1, axis=1))
    if name == "ts_sum_if":
        y = np.where(np.isnan(y), np.nan, (y > 20).astype(float))
    got = compute(parse(f"{name}(close, open, {window})"), {"close": x, "open": y})
    for j in range(x.shape[1]):
        want, allowed = oracle(TWO[name], FLOORS.get(name), window, x[:, j], y[:, j])
        agree(got[:, j], want, allowed)


@pytest.mark.parametrize("q", [0, 0.1, 0.5, 0.77, 1])
def test_quantile(q, awkward):
    got = compute(parse(f"ts_quantile(close, 20, {q})"), {"close": awkward})
    for j in range(awkward.shape[1]):
        want, allowed = oracle(lambda x: quantile(x, q), None, 20, awkward[:, j])
        agree(got[:, j], want, allowed)


@pytest.mark.parametrize("lag", [1, 5])
def test_autocorrelation(lag, awkward):
    got = compute(parse(f"ts_autocorr(close, 20, {lag})"), {"close": awkward})
    for j in range(awkward.shape[1]):
        x = awkward[:, j]
        earlier = np.concatenate([np.full(lag, np.nan), x[:-lag]])
        agree(got[:, j], *oracle(corr, FLOORS["ts_corr"], 20, x, earlier))


@pytest.mark.parametrize(
    ("text", "alpha"),
    [
        ("ema(close, {w})", lambda w: 2 / (w + 1)),
        ("rma(close, {w})", lambda w: 1 / w),
        ("sma_cn(close, {w}, 1)", lambda w: 1 / w),
        ("sma_cn(close, {w}, 1.5)", lambda w: min(1.5 / w, 1)),
    ],
)
@pytest.mark.parametrize("window", [2, 3, 14])
def test_exponential_means_are_of_what_still_weighs_and_begin_again_after_a_hole(
    text, alpha, window, awkward
):
    factor = parse(text.format(w=window))
    span, keep = factor.lookback_bars + 1, L(1) - L(alpha(window))
    assert keep**span <= 1e-4 or span == window
    got = compute(factor, {"close": awkward})
    for j in range(awkward.shape[1]):
        want, seen = np.full(len(awkward), np.nan), []
        for t, value in enumerate(awkward[:, j].astype(L)):
            seen = [] if np.isnan(value) else [*seen, value][-span:]
            if t >= span - 1 and len(seen) >= window:
                want[t] = weighted(np.array(seen), [keep**age for age in range(len(seen))][::-1])
        agree(got[:, j], want, np.zeros(len(want)))


def test_an_exponential_mean_is_that_of_all_history_as_pandas_has_it():
    x = 100 * np.exp(np.cumsum(np.random.default_rng(4).normal(0, 0.01, 900)))
    for text, alpha in (("ema(close, 20)", 2 / 21), ("rma(close, 14)", 1 / 14)):
        factor = parse(text)
        got = compute(factor, {"close": x[:, None]})[factor.lookback_bars :, 0]
        want = pd.Series(x).ewm(alpha=alpha).mean().to_numpy()[factor.lookback_bars :]
        assert np.abs(got / want - 1).max() < 1e-4 * np.ptp(np.log(x))
    flat = compute(parse("ema(close, 20)"), {"close": np.full((300, 2), 0.1)})
    assert (flat[100:] == 0.1).all()


def test_every_window_operator_has_an_oracle():
    tested = {*ONE, *TWO, "delay", "ts_quantile", "ts_autocorr", "ema", "rma", "sma_cn"}
    assert tested == {op.name for op in OPERATORS.values() if op.family is Family.WINDOW}


@pytest.mark.parametrize("lag", [1, 7, 400])
def test_delay(lag, awkward):
    got = compute(parse(f"delay(close, {lag})"), {"close": awkward})
    assert np.isnan(got[:lag]).all()
    assert np.array_equal(got[lag:], awkward[:-lag], equal_nan=True)


def test_a_flat_stretch_is_exact(awkward):
    flat = {"close": np.full((50, 3), 0.1)}
    assert (compute(parse("ts_std(close, 20)"), flat)[19:] == 0).all()
    assert (compute(parse("ts_mean(close, 20)"), flat)[19:] == 0.1).all()
    assert np.isnan(compute(parse("ts_corr(close, close, 20)"), flat)).all()
    assert np.isnan(compute(parse("ts_zscore(close, 20)"), flat)).all()


def test_a_constant_up_to_rounding_is_a_constant():
    rng = np.random.default_rng(1)
    x = rng.uniform(0.5, 1.5, (300, 2))
    noise = {"close": x * 0.1 / x}  # 0.1 give or take a bit
    assert noise["close"].std() > 0
    assert np.isnan(compute(parse("ts_corr(close, delay(close, 1), 20)"), noise)).all()


@pytest.mark.parametrize(
    ("text", "values", "newest"),
    [
        ("decay_linear(close, 5)", [1, 2, 3, 4, 5], 11 / 3),
        ("ts_argmax(close, 4)", [5, 1, 5, 2], 1),
        ("ts_argmin(close, 4)", [5, 1, 5, 2], 2),
        ("ts_rank(close, 4)", [2, 1, 2, 2], 0.75),
        ("ts_slope(close, 3)", [1, 3, 5], 2),
        ("ts_median(close, 4)", [4, 1, 3, 2], 2.5),
        ("ema(close, 3)", [*[0.0] * 10, 1, 2, 3, 4], 3.062691),  # pandas: ewm(span=3)
        ("ts_kurt(close, 5)", [1, 2, 3, 4, 10], 3.152),  # pandas: Series([1,2,3,4,10]).kurt()
    ],
)
def test_by_hand(text, values, newest):
    got = compute(parse(text), {"close": np.array(values, dtype=float)[:, None]})
    assert got[-1, 0] == pytest.approx(newest, rel=1e-4)
