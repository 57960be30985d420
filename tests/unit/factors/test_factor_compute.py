"""Whole factors over panels: no peeking, derived fields, scale, and what is missing."""

import numpy as np
import pytest

from alphamill.factors import OPERATORS, FactorError, check, compute, parse
from alphamill.factors.canonical import canonical
from alphamill.factors.factor import factor_of
from alphamill.factors.syntax import Call, Field, Group, Number
from alphamill.frames import Interval, Panel


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_no_operator_looks_ahead(name, panel, groups, call_of):
    """Bit-equal up to t when what follows is cut off, or replaced by anything."""
    factors = [parse(call_of(OPERATORS[name], window=w)) for w in (5, 17)]
    for factor in factors:
        whole = compute(factor, panel, groups)
        for t in (1, 40, 41, 52, 85, 255):
            cut = {k: v[:t] for k, v in panel.items()}
            assert np.array_equal(compute(factor, cut, groups), whole[:t], equal_nan=True)
            for poison in (np.nan, 1e10, -np.inf):
                other = {
                    k: np.concatenate([v[:t], np.full_like(v[t:], poison)])
                    for k, v in panel.items()
                }
                assert np.array_equal(compute(factor, other, groups)[:t], whole[:t], equal_nan=True)


def test_the_first_bars_are_nan_even_where_a_condition_could_answer(panel):
    factor = parse("fill(ts_mean(returns, 5), 0)")
    values = compute(factor, panel)
    assert np.isnan(values[:5]).all()
    assert np.isfinite(values[5:]).all()


def test_derived_fields(panel):
    p = {k: v.copy() for k, v in panel.items()}
    p["volume"][100, 0] = p["quote_volume"][100, 0] = 0.0
    vwap = compute(parse("vwap"), p)
    typical = (p["high"] + p["low"] + p["close"]) / 3
    with np.errstate(invalid="ignore"):
        exact = p["quote_volume"] / p["volume"]
    assert vwap[100, 0] == typical[100, 0]
    assert np.array_equal(vwap[101:], exact[101:], equal_nan=True)
    prices = {k: p[k] for k in ("open", "high", "low", "close")}
    assert np.array_equal(compute(parse("vwap"), prices), typical, equal_nan=True)
    assert np.array_equal(
        compute(parse("returns + 0 * close"), p),
        compute(parse("pct_change(close, 1) + 0 * close"), p),
        equal_nan=True,
    )
    adv = compute(parse("adv15"), p)
    assert np.array_equal(adv, compute(parse("ts_mean(quote_volume, 15)"), p), equal_nan=True)
    given_by_panel = {**p, "returns": np.full_like(p["close"], 7.0)}
    assert (compute(parse("returns"), given_by_panel)[1:] == 7.0).all()


def test_a_missing_field_is_named(panel):
    with pytest.raises(
        FactorError, match="the panel has no field 'quote_volume'; did you mean volume"
    ):
        compute(parse("adv20 / quote_volume"), {"volume": panel["volume"]})


@pytest.mark.parametrize("seed", range(20))
def test_gathering_a_product_s_constants_changes_no_bit(seed, panel):
    rng = np.random.default_rng(seed)
    tree = Field("close")
    for _ in range(6):
        constant = [2.0 ** int(rng.integers(-9, 10)), float(rng.uniform(0.1, 9)), 3.0, 0.1]
        factor = [Field("volume"), *map(Number, constant)][rng.integers(0, 5)]
        tree = Call("mul", (tree, factor) if rng.random() < 0.5 else (factor, tree))
    as_written, settled = factor_of(tree), factor_of(canonical(tree))
    assert compute(as_written, panel).tobytes() == compute(settled, panel).tobytes()
    assert parse(settled.text).tree == settled.tree


def test_a_constant_that_could_not_be_written_is_not_made():
    factor = parse("close * 1e12 * 2 * 2 * 2")
    assert parse(factor.text).hash == factor.hash


def test_the_panel_is_neither_changed_nor_handed_out(panel):
    before = {k: v.copy() for k, v in panel.items()}
    for text in ("close", "-close", "rank(close)", "fill(close, 0)", "close ^ 2 + abs(close)"):
        values = compute(parse(text), panel)
        values[:] = -1.0
    assert all(np.array_equal(panel[k], before[k], equal_nan=True) for k in panel)


def test_other_layouts_give_the_same(panel):
    factor = parse("rank(ts_std(close, 9) / close)")
    want = compute(factor, panel)
    frozen = panel["close"].copy()
    frozen.flags.writeable = False
    for close in (np.asfortranarray(panel["close"]), frozen, panel["close"][:, :]):
        assert np.array_equal(compute(factor, {"close": close}), want, equal_nan=True)
    infinite = np.where(np.isnan(panel["close"]), np.inf, panel["close"])
    assert np.array_equal(compute(factor, {"close": infinite}), want, equal_nan=True)


def test_an_infinity_counts_as_nan_in_a_panel_too(panel):
    factor = parse("ts_min(close, 9)")
    want = compute(factor, panel)
    assert np.isnan(panel["close"]).any()
    close = np.where(np.isnan(panel["close"]), -np.inf, panel["close"])
    times_ms = np.arange(len(close)) * Interval.H1.ms
    symbols = tuple(f"S{i}" for i in range(close.shape[1]))
    made = Panel(Interval.H1, times_ms, symbols, {"close": close, "open": panel["open"]})
    assert np.array_equal(compute(factor, made), want, equal_nan=True)
    assert np.isinf(close).any()  # the caller's array stays as it was
    assert made["open"] is panel["open"]


def test_shared_parts_are_computed_once(panel, monkeypatch):
    from alphamill.factors.kernels import table

    calls = []
    real = table.WINDOW["ts_mean"]
    monkeypatch.setattr(
        table, "WINDOW", {**table.WINDOW, "ts_mean": lambda *a: calls.append(1) or real(*a)}
    )
    text = "(close - ts_mean(close, 9)) / ts_mean(close, 9) + rank(ts_mean(close, 9) / open)"
    values = compute(parse(text), panel)
    assert len(calls) == 1
    mean = real(panel["close"], 9, 0)
    ratio = compute(parse("rank(close / open)"), {"close": mean, "open": panel["open"]})
    np.testing.assert_allclose(values[8:], ((panel["close"] - mean) / mean + ratio)[8:], rtol=1e-12)


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (3, 1), (40, 1), (5, 400)])
def test_any_shape(shape):
    close = 1 + np.random.default_rng(0).random(shape)
    for text in (
        "ts_std(close, 20)",
        "rank(ts_corr(close, close * close, 5))",
        "ema(close, 3) / close",
        "delay(close, 7) + rank(close)",
        "ts_rank(close, 4) > zscore(close)",
    ):
        assert compute(parse(text), {"close": close}).shape == shape


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("close", "the factor is in price"),
        ("rank(close)", "close is in price"),
        ("rank(volume)", "volume is in volume"),
        ("close + volume", "price and volume do not go together"),
        ("close - 1", "price and ratio do not go together"),
        ("close > 100", "ratio and price do not go together"),
        ("max(close, volume) / close", "do not go together"),
        ("exp(close)", "exp needs a ratio; price given"),
        ("volume / adv20", "price\\^-1"),
        ("log(close)", "log price"),
        ("zscore(log(close))", "log price"),
        ("log(close) * returns", "depends on the coin's scale"),
        ("close ^ returns", "has no unit"),
        ("ts_cov(close, volume, 9) * volume", "quote*volume|price\\*volume"),
    ],
)
def test_faults(text, fault):
    faults = check(parse(text))
    assert len(faults) == 1
    assert isinstance(faults[0], str)
    import re

    assert re.search(fault, faults[0]), faults


@pytest.mark.parametrize(
    "text",
    [
        "delta(log(close), 5)",
        "rank(quote_volume)",
        "close > 0 ? returns : 0",
        "ts_rank(volume, 9)",
        "log(close) - ts_mean(log(close), 9)",
        "sqrt(close * close) / open",
        "ts_beta(close, open, 9)",
        "ts_corr(close, volume, 9)",
        "(close - ts_min(low, 9)) / (ts_max(high, 9) - ts_min(low, 9))",
        "quote_volume / trades / ts_mean(quote_volume / trades, 9)",
        "ts_std(log(close), 9)",
        "ts_cov(close, volume, 9) / quote_volume",
        "exp(delta(log(volume), 1))",
    ],
)
def test_sound_units(text):
    assert check(parse(text)) == []


def random_tree(rng, depth):
    if depth == 0 or rng.random() < 0.1:
        if rng.random() < 0.15:
            return Number(float(rng.integers(0, 4)))
        names = [
            "open",
            "high",
            "low",
            "close",
            "volume",
            "quote_volume",
            "trades",
            "vwap",
            "returns",
            "adv5",
        ]
        return Field(str(rng.choice(names)))
    operator = list(OPERATORS.values())[rng.integers(len(OPERATORS))]
    args = []
    for param in operator.params:
        if param.kind == "bars":
            args.append(Number(float(rng.integers(max(2, param.low), 12))))
        elif param.kind == "number":
            args.append(Number(float(rng.choice([0.25, 0.5]))))
        elif param.kind == "group":
            args.append(Group("sector"))
        else:
            args.append(random_tree(rng, depth - 1))
    return Call(operator.name, tuple(args))


def clean_factors(count, seed):
    """Random factors without faults, all of them different."""
    rng, found = np.random.default_rng(seed), {}
    while len(found) < count:
        try:
            factor = factor_of(canonical(random_tree(rng, int(rng.integers(1, 4)))))
            factor = parse(factor.text)
        except FactorError:
            continue
        if not check(factor) and len(factor.text) > 12:
            found[factor.hash] = factor
    return list(found.values())


@pytest.mark.parametrize("factor", clean_factors(150, seed=11), ids=str)
def test_a_clean_factor_does_not_see_a_coin_s_scale(factor, make_market, groups):
    """A coin split a million to one (2^20, so that the panel itself is exact) changes nothing."""
    panel = make_market(n_bars=90)
    split = {k: v.copy() for k, v in panel.items()}
    for name in ("open", "high", "low", "close"):
        split[name][:, 4] *= 2.0**-20
    for name in ("volume", "taker_buy_base"):
        split[name][:, 4] *= 2.0**20
    before, after = compute(factor, panel, groups), compute(factor, split, groups)
    size = np.nan_to_num(np.abs(before)).max()
    np.testing.assert_allclose(after, before, rtol=1e-9, atol=1e-9 * max(size, 1e-3))
