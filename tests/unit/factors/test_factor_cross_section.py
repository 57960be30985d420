"""Operators over the symbols of a bar, and over one bar, against plain loops."""

import math

import numpy as np
import pytest

from alphamill.factors import OPERATORS, FactorError, compute, parse
from alphamill.factors.elementwise import ELEMENTWISE
from alphamill.factors.operators import Family

L = np.longdouble


def rows(x, function):
    """The oracle, row by row, over the finite symbols."""
    out = np.full(x.shape, np.nan)
    for t, row in enumerate(x):
        known = np.flatnonzero(np.isfinite(row))
        if len(known):
            out[t, known] = function(row[known].astype(L))
    return out


def rank(x):
    return np.array([((x < v).sum() + (x <= v).sum() + 1) / L(2) for v in x]) / len(x)


def centred(x):
    """By way of exact differences: the mean of numbers near 1e9 has but ten digits to spare."""
    return x - x[0] - (x - x[0]).sum() / len(x)


def zscore(x):
    if len(x) < 2 or (x == x[0]).all():
        return np.full(len(x), np.nan)
    return centred(x) / np.sqrt((centred(x) ** 2).sum() / (len(x) - 1))


def winsorize(x, tail=0.05):
    return np.clip(x, np.quantile(x.astype(float), tail), np.quantile(x.astype(float), 1 - tail))


def alike(statistic, least=1):
    """A statistic that all symbols share."""
    return lambda x: np.full(len(x), statistic(x) if len(x) >= least else np.nan)


def spread(x):
    return (centred(x) ** 2).sum()


def skew(x):
    n, m2, m3 = L(len(x)), spread(x), (centred(x) ** 3).sum()
    return n * np.sqrt(n - 1) / (n - 2) * m3 / m2 ** L(1.5) if (x != x[0]).any() else np.nan


def kurt(x):
    n, m2, m4 = L(len(x)), spread(x), (centred(x) ** 4).sum()
    if (x == x[0]).all():
        return np.nan
    main = n * (n + 1) * (n - 1) / ((n - 2) * (n - 3)) * m4 / m2**2
    return main - 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))


ORACLES = {
    "cs_mean": alike(lambda x: x.sum() / len(x)),
    "cs_median": alike(lambda x: np.median(x.astype(float))),
    "cs_std": alike(lambda x: np.sqrt(spread(x) / (len(x) - 1)), 2),
    "cs_skew": alike(skew, 3),
    "cs_kurt": alike(kurt, 4),
    "cs_min": alike(np.min),
    "cs_max": alike(np.max),
    "rank": rank,
    "zscore": zscore,
    "demean": centred,
    "scale": lambda x: x / np.abs(x).sum() if np.abs(x).sum() else np.full(len(x), np.nan),
    "winsorize": winsorize,
    "quantile": lambda x: np.array([math.ceil(r * 5 - 1e-12) for r in rank(x)]),
}


def cross_section(n_symbols=13, n_bars=60):
    """Bars that are each hard for some way of going over symbols; a fifth of most is missing."""
    rng = np.random.default_rng(5)
    x = np.round(rng.normal(0, 1, (n_bars, n_symbols)), 1)
    x[22:26] = np.round(30_000 * np.exp(rng.normal(0, 0.01, (4, n_symbols))), 2)
    x[26:30] = np.round(0.000012 * np.exp(rng.normal(0, 0.1, (4, n_symbols))), 8)
    x[30:34] += 1e9
    x[34:38, 0] = x[38:40, -1] = 1e12
    x[rng.random(x.shape) < 0.2] = np.nan
    x[10], x[11, 1:], x[12], x[13, 2:] = np.nan, np.nan, 0.3, 0.1
    x[20] = x[20] * 1e-12 + 1e-5
    x[21, 0] = 1e12
    x[40:50] = np.where(np.isnan(x[40:50]), 0.5, x[40:50])  # no holes
    return x


# What rounding may cost where the true value cancels to nearly nothing, in units of the bar.
FLOORS = {
    "cs_mean": lambda x: 1e-15 * np.abs(x).max(),
    "demean": lambda x: 1e-15 * (x.max() - x.min()),
    "winsorize": lambda x: 1e-15 * np.abs(x).max(),
    "zscore": lambda x: 1e-11,
    "cs_skew": lambda x: 1e-11,
    "cs_kurt": lambda x: 1e-11,
}


@pytest.mark.parametrize("n_symbols", [1, 2, 13, 160, 300])
@pytest.mark.parametrize("name", sorted(ORACLES))
def test_across_symbols(name, n_symbols):
    x = cross_section(n_symbols)
    got = compute(parse(f"{name}(close)"), {"close": x})
    want = rows(x, ORACLES[name])
    for t, row in enumerate(x):
        known = row[np.isfinite(row)]
        floor = FLOORS[name](known) if name in FLOORS and len(known) else 0.0
        np.testing.assert_allclose(
            got[t], want[t].astype(float), rtol=1e-9, atol=floor, err_msg=f"bar {t}: {row}"
        )


def test_groups_are_worked_out_apart():
    x = cross_section(6)
    labels = ["a", "b", "a", None, "b", "a"]
    for name, plain in (
        ("group_rank", "rank"),
        ("group_zscore", "zscore"),
        ("group_demean", "demean"),
        ("group_neutralize", "demean"),
    ):
        got = compute(parse(f"{name}(close, sector)"), {"close": x}, {"sector": labels})
        assert np.isnan(got[:, 3]).all()
        for members in ([0, 2, 5], [1, 4]):
            alone = np.ascontiguousarray(x[:, members])
            want = compute(parse(f"{plain}(close)"), {"close": alone})
            assert np.array_equal(got[:, members], want, equal_nan=True)


def test_group_tables_are_checked():
    factor, x = parse("group_rank(close, sector)"), {"close": np.ones((3, 2))}
    with pytest.raises(FactorError, match="no group table 'sector'; did you mean sectors"):
        compute(factor, x, {"sectors": ["a", "b"]})
    with pytest.raises(FactorError, match="3 labels for 2 symbols"):
        compute(factor, x, {"sector": ["a", "b", "c"]})


def test_neutralize_leaves_what_a_regression_leaves():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 9)), rng.normal(size=(30, 9))
    x[3, 4], y[4, 5], y[5] = np.nan, np.nan, 2.0
    x[6, 2:] = np.nan
    got = compute(parse("neutralize(close, open)"), {"close": x, "open": y})
    for t in range(30):
        both = np.isfinite(x[t]) & np.isfinite(y[t])
        assert np.array_equal(np.isfinite(got[t]), both & (both.sum() >= 3))
        if both.sum() >= 3:
            design = np.column_stack([np.ones(both.sum()), y[t, both]])
            fit = design @ np.linalg.lstsq(design, x[t, both], rcond=None)[0]
            np.testing.assert_allclose(got[t, both], x[t, both] - fit, atol=1e-12)


def test_ranked_covariances_of_ranks_tie_exactly():
    """Formula 13 ranks numbers that are integers over a constant; rounding must not break ties."""
    rng = np.random.default_rng(13)
    n_bars, n, w = 400, 20, 5
    panel = {
        "close": rng.permuted(np.tile(np.arange(1.0, n + 1), (n_bars, 1)), axis=1),
        "volume": rng.permuted(np.tile(np.arange(1.0, n + 1), (n_bars, 1)), axis=1),
    }
    got = compute(
        parse("rank(covariance(rank(close), rank(volume), 5))", dialect="alpha101"), panel
    )
    a, b = panel["close"].astype(int), panel["volume"].astype(int)
    tied = 0
    for t in range(w - 1, n_bars):
        x, y = a[t - w + 1 : t + 1], b[t - w + 1 : t + 1]
        exact = w * (x * y).sum(0) - x.sum(0) * y.sum(0)
        tied += len(set(exact)) < n
        want = rank(exact.astype(L)).astype(float)
        assert np.array_equal(got[t], want), t
    assert tied > n_bars / 8


NEAR = 17_000_000_000_000.0  # in the currency of a small country; a unit is its 14th digit


def near_equals(n_bars=60, n=7, seed=5):
    """Decimals that agree to 12 digits, some of them equal."""
    rng = np.random.default_rng(seed)
    columns = ("open", "high", "low", "close", "volume", "quote_volume", "trades")
    return {name: NEAR + rng.integers(0, 4, (n_bars, n)).astype(float) for name in columns}


def average_ranks(values):
    """By the definition, in integers: twice the average rank of each."""
    return [sum((v < u) + (v <= u) for v in values) + 1 for u in values]


AS_SENT = ["close", "quote_volume", "-trades", "delay(close, 2)", "max(ts_min(low, 3), abs(open))"]
ROUNDED = ["close * 1.0001", "ts_mean(close, 2)", "vwap", "close + volume"]


@pytest.mark.parametrize("text", AS_SENT)
def test_what_the_exchange_sent_ties_where_it_is_equal_and_nowhere_else(text):
    panel, groups = near_equals(), {"g": ["a", "b", "a", "a", "b", "b", "a"]}
    x = compute(parse(text), panel)
    got = {
        name: compute(parse(f"{name}({text}{more})"), panel, groups)
        for name, more in (
            ("rank", ""),
            ("group_rank", ", g"),
            ("quantile", ", 3"),
            ("ts_rank", ", 9"),
        )
    }
    n = x.shape[1]
    for t in range(20, len(x)):
        twice = np.array(average_ranks(x[t].tolist()))
        assert np.array_equal(got["rank"][t], twice * 0.5 / n)
        assert np.array_equal(got["quantile"][t], np.ceil(twice * 3 / (2 * n)))
        for label in "ab":
            members = [j for j, name in enumerate(groups["g"]) if name == label]
            ranks = np.array(average_ranks(x[t, members].tolist())) * 0.5 / len(members)
            assert np.array_equal(got["group_rank"][t, members], ranks)
        for j in range(n):
            newest = average_ranks(x[t - 8 : t + 1, j].tolist())[-1]
            assert got["ts_rank"][t, j] == newest * 0.5 / 9


@pytest.mark.parametrize("text", ROUNDED)
def test_what_is_computed_ties_within_12_digits(text):
    panel = near_equals()
    assert np.all(compute(parse(f"rank({text})"), panel)[20:] == 4 / 7)  # all share the middle one
    assert np.all(compute(parse(f"ts_rank({text}, 9)"), panel)[20:] == 5 / 9)
    assert np.isnan(compute(parse(f"ts_rank_corr({text}, open, 9)"), panel)).all()  # no spread


@pytest.mark.parametrize("many", [7, 200])
def test_ranks_of_many_symbols_are_as_exact(many):
    """Above a number of symbols they are sorted, not counted."""
    x = near_equals(n=many)["close"]
    got = compute(parse("rank(close)"), {"close": x})
    for t in range(0, len(x), 7):
        assert np.array_equal(got[t], np.array(average_ranks(x[t].tolist())) * 0.5 / many)


def test_rank_correlations_of_what_was_sent_are_exact():
    panel, w = near_equals(), 9
    got = compute(parse("ts_rank_corr(close, -volume, 9)"), panel)
    for t in range(w - 1, 60):
        for j in range(7):
            a = average_ranks(panel["close"][t - w + 1 : t + 1, j].tolist())
            b = average_ranks((-panel["volume"][t - w + 1 : t + 1, j]).tolist())
            a, b = [value - (w + 1) for value in a], [value - (w + 1) for value in b]
            xx, yy = sum(v * v for v in a), sum(v * v for v in b)
            want = sum(u * v for u, v in zip(a, b, strict=True)) / math.sqrt(xx) / math.sqrt(yy)
            assert got[t, j] == pytest.approx(want, rel=1e-14, abs=0)


BY_HAND = [
    ("close / open", 1, 0, math.nan),
    ("close ^ open", -8, 1 / 3, math.nan),
    ("close ^ open", math.nan, 0, math.nan),
    ("close ^ open", 1, math.nan, math.nan),
    ("signed_power(close, open)", -8, 2, -64),
    ("close < open", 1, math.nan, math.nan),
    ("close < open", 1, 2, 1),
    ("close >= open", 1, 2, 0),
    ("close > open", 3, 2, 1),
    ("close <= open", 2, 2, 1),
    ("close == open", 2, 2, 1),
    ("close != open", 2, 2, 0),
    ("close and open", 1, 0, 0),
    ("close or open", 1, 0, 1),
    ("close or open", math.nan, 1, math.nan),
    ("not close + open", 0, 0, 1),
    ("close > 0 ? open : 7", 1, 5, 5),
    ("close > 0 ? open : 7", 0, math.nan, 7),
    ("close > 0 ? open : 7", math.nan, 5, math.nan),
    ("mask(open, close > 0)", 1, 5, 5),
    ("mask(open, close > 0)", 0, 5, math.nan),
    ("mask(open, close > 0)", math.nan, 5, math.nan),
    ("min(close, open)", 1, 2, 1),
    ("max(close, open)", 1, math.nan, math.nan),
    ("log(close) + open", 0, 1, math.nan),
    ("log1p_abs(close) + open", -1, 0, -math.log(2)),
    ("exp(close) * open", 1e6, 0, 0),
    ("sqrt(close) + open", -1, 0, math.nan),
    ("clip(close, -1, 1) + open", 5, 0, 1),
    ("floor(close) + open", -1.5, 0, -2),
    ("sign(close) + open", -1.5, 0, -1),
    ("abs(close) + open", -1.5, 0, 1.5),
    ("is_nan(close) + open", math.nan, 0, 1),
    ("fill(close, 3) + open", math.nan, 0, 3),
    ("tanh(close) + open", 1, 0, math.tanh(1)),
    ("sigmoid(close) + open", -2, 0, 1 / (1 + math.exp(2))),
    ("square(close) - open", -3, 1, 8),
    ("inv(close) * open", 4, 2, 0.5),
    ("close * open", 1e200, 1e200, math.nan),
    ("-close + open", 3, 1, -2),
]


@pytest.mark.parametrize(("text", "close", "open_", "want"), BY_HAND)
def test_one_bar(text, close, open_, want):
    got = compute(
        parse(text), {"close": np.array([[float(close)]]), "open": np.array([[float(open_)]])}
    )
    np.testing.assert_allclose(got[0, 0], want, rtol=1e-15)


def test_every_operator_is_implemented():
    from alphamill.factors.canonical import SHORTHANDS
    from alphamill.factors.kernels.table import _MODES, WINDOW

    by_family = {
        family: {o.name for o in OPERATORS.values() if o.family is family} for family in Family
    }
    assert set(ELEMENTWISE) == by_family[Family.BAR]
    assert set(WINDOW) == by_family[Family.WINDOW] - SHORTHANDS
    assert {*_MODES, "neutralize"} == by_family[Family.CROSS] | by_family[Family.GROUPED]
