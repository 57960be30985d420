"""A value has the same bits whatever bar a panel begins at, once the look-back is inside."""

import numpy as np
import pytest

from alphamill.factors import OPERATORS, Factor, compute, parse, zoo
from alphamill.factors.operators import Family
from alphamill.frames import Interval, Panel
from alphamill.grid import index_at, open_ms

FIRST = 438_291  # not 0: a kernel that counts from the first row must be seen to do so
WINDOWS = (1, 5, 8, 21)


def as_traded(panel):
    """As an exchange has it: holes, bars without trades, listings, a delisting, a coin at rest."""
    rng = np.random.default_rng(8)
    made = {name: values.copy() for name, values in panel.items()}
    n_bars = len(made["close"])
    idle = rng.random(made["close"].shape) < 0.05
    for name in ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"):
        made[name][idle] = 0.0
    made["close"][idle] = made["open"][idle]  # returns of 0 and -0 once they are turned
    for name, values in made.items():
        values[: n_bars // 2, 1] = np.nan
        values[3 * n_bars // 4 :, 2] = np.nan
        if name in ("open", "high", "low", "close"):
            values[:, 3] = 0.1
            values[::60, 4] = 1e9
    return made


@pytest.fixture(scope="module")
def traded(make_market):
    return as_traded(make_market(n_bars=760))


def cuts(factor: Factor, n_bars: int, count: int, seed: int):
    """Random parts that hold at least one value with its look-back."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        start = int(rng.integers(0, n_bars - factor.lookback_bars))
        stop = int(rng.integers(start + factor.lookback_bars + 1, n_bars + 1))
        yield start, stop


def assert_same_bits(factor: Factor, panel, groups, count: int, seed: int = 0) -> None:
    n_bars, back = len(panel["close"]), factor.lookback_bars
    whole = compute(factor, panel, groups, FIRST)
    for start, stop in cuts(factor, n_bars, count, seed):
        cut = {name: values[start:stop] for name, values in panel.items()}
        part = compute(factor, cut, groups, FIRST + start)
        assert np.isnan(part[:back]).all()
        same = part[back:].view(np.int64) == whole[start + back : stop].view(np.int64)
        same |= np.isnan(part[back:]) & np.isnan(whole[start + back : stop])
        assert same.all(), (factor.text, start, stop, np.argwhere(~same)[:3])


@pytest.mark.parametrize("name", sorted(OPERATORS))
def test_every_operator(name, traded, groups, call_of):
    operator = OPERATORS[name]
    texts = {call_of(operator, window=w) for w in WINDOWS}
    if operator.family is Family.WINDOW:  # of what is computed, and has zeros of either sign
        texts |= {
            text.replace("close", "(-returns * (volume > 0))").replace("volume", "rank(volume)")
            for text in texts
        }
    factors = {factor.hash: factor for factor in map(parse, sorted(texts))}
    for number, factor in enumerate(factors.values()):
        assert_same_bits(factor, traded, groups, count=6, seed=number)


def test_operators_within_operators(traded, groups):
    factors = [entry.factor() for entry in zoo("alpha101")]
    short = [factor for factor in factors if factor.lookback_bars < 500]
    assert len(short) > 90
    for number, factor in enumerate(short):
        assert_same_bits(factor, traded, groups, count=3, seed=number)


def test_what_could_answer_before_its_window_is_full(traded, groups):
    for text in (
        "ts_mean(fill(ts_std(close, 20) / close, 0), 7)",
        "ema(fill(ema(returns, 9), 0), 5)",
        "is_nan(ts_sum(volume, 12)) ? ts_rank(close, 30) : ts_corr(close, volume, 6)",
    ):
        assert_same_bits(parse(text), traded, groups, count=10)


@pytest.mark.parametrize("interval", [Interval.H1, Interval.D3, Interval.W1, Interval.MO1])
def test_a_panel_knows_the_numbers_of_its_bars(interval, traded):
    """Parts of a Panel agree by themselves, on every interval's own grid."""
    first = index_at(interval, 1_600_000_000_000)
    n_bars, back = 760, 60
    times_ms = np.array([open_ms(interval, first + bar) for bar in range(n_bars)])
    symbols = tuple(f"S{number}" for number in range(12))
    factor = parse("ts_std(close, 21) / close + ema(returns, 5) + ts_mean(returns, 17)")
    assert factor.lookback_bars <= back
    whole = compute(factor, Panel(interval, times_ms, symbols, traded))
    assert np.array_equal(whole, compute(factor, traded, first_bar=first), equal_nan=True)
    assert not np.array_equal(whole, compute(factor, traded), equal_nan=True)
    for start in (1, 10, 77):
        fields = {name: values[start:] for name, values in traded.items()}
        part = compute(factor, Panel(interval, times_ms[start:], symbols, fields))
        assert np.array_equal(part[back:], whole[start + back :], equal_nan=True)
