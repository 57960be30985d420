"""A value has the same bits whatever bar a panel begins at, once the look-back is inside."""

import numpy as np
import pytest

from alphamill.factors import (
    OPERATORS,
    Factor,
    FactorError,
    Tail,
    compute,
    compute_many,
    parse,
    zoo,
)
from alphamill.factors.operators import Family
from alphamill.factors.tail import Plan
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


def panel_of(fields, start, stop, interval=Interval.H1):
    times_ms = np.array([open_ms(interval, FIRST + bar) for bar in range(start, stop)])
    symbols = tuple(f"S{number}" for number in range(next(iter(fields.values())).shape[1]))
    cut = {name: values[start:stop] for name, values in fields.items()}
    return Panel(interval, times_ms, symbols, cut)


def same_bits(one, two):
    both = np.isnan(one) & np.isnan(two)
    return ((one.view(np.int64) == two.view(np.int64)) | both).all(axis=-1)


@pytest.fixture(scope="module")
def many(call_of):
    """Every operator at two windows, the 101 formulas, and what answers before its window."""
    texts = [call_of(operator, window=w) for operator in OPERATORS.values() for w in (5, 21)]
    texts += ["close", "vwap - fill(ema(fill(ts_std(volume, 9), 0), 5), 1)", "adv20 ^ 0.7"]
    factors = {factor.hash: factor for factor in map(parse, texts)}
    factors |= {one.hash: one for one in (entry.factor() for entry in zoo("alpha101"))}
    return [factor for factor in factors.values() if factor.lookback_bars < 700]


def test_the_tail_has_the_bits_of_the_whole_history(many, traded, groups):
    tail = Tail(many, groups)
    whole = np.empty((len(many), *traded["close"].shape))
    for index, values in compute_many(many, panel_of(traded, 0, 760), groups):
        whole[index] = values
    rng = np.random.default_rng(5)
    for newest in (759, 381, *rng.integers(tail.lookback_bars, 759, 6)):
        start = int(rng.integers(0, max(1, newest - tail.lookback_bars)))
        got = tail.newest(panel_of(traded, start, int(newest) + 1))
        computed = [one.lookback_bars <= newest - start for one in many]
        wrong = ~same_bits(got[computed], whole[computed, newest])
        assert not wrong.any(), [
            f.text for f, bad in zip(np.array(many)[computed], wrong, strict=True) if bad
        ]
        assert np.isnan(got[~np.array(computed)]).all()


def test_the_tail_of_a_short_history_is_that_of_compute(many, traded, groups):
    tail = Tail(many, groups)
    for stop in (1, 6, 40):
        panel = panel_of(traded, 0, stop)
        want = np.stack([compute(factor, panel, groups)[-1] for factor in many])
        assert same_bits(tail.newest(panel), want).all()


def test_the_tail_follows_bar_by_bar_as_symbols_come_and_go(traded):
    """A window of the newest bars that moves on; a symbol lists at 380, another ends at 570."""
    factors = [parse("rank(ts_mean(returns, 21))"), parse("close / ema(close, 8) - 1")]
    tail = Tail(factors)
    whole = [compute(factor, traded, first_bar=FIRST) for factor in factors]
    for newest in (*range(375, 395), *range(565, 580)):
        got = tail.newest(panel_of(traded, newest - tail.lookback_bars, newest + 1))
        assert same_bits(got, np.stack([values[newest] for values in whole])).all()


@pytest.fixture
def begun(monkeypatch):
    """How often all rows were made anew."""
    calls, run = [], Plan.run

    def counted(plan, *args):
        calls.append(plan)
        return run(plan, *args)

    monkeypatch.setattr(Plan, "run", counted)
    return calls


def test_the_tail_keeps_its_rows_from_bar_to_bar(many, traded, groups, begun):
    """Twice the longest of most windows, so that rows have moved to the front; then one bar twice,
    one left out, and a panel that begins earlier."""
    tail = Tail(many, groups)
    whole = np.empty((len(many), *traded["close"].shape))
    for index, values in compute_many(many, panel_of(traded, 0, 760), groups):
        whole[index] = values

    def follow(newest, more=0):
        got = tail.newest(panel_of(traded, newest - tail.lookback_bars - more, newest + 1))
        wrong = ~same_bits(got, whole[:, newest])
        assert not wrong.any(), [f.text for f, bad in zip(many, wrong, strict=True) if bad]

    first = tail.lookback_bars
    for newest in range(first, 750):
        follow(newest)
    assert len(begun) == 1
    follow(749)
    follow(751)
    assert len(begun) == 3
    follow(752, more=20)
    follow(753)
    assert len(begun) == 3


@pytest.mark.parametrize("ago", [1, 5, 41])
def test_a_bar_that_is_another_now_is_not_computed_with_what_it_was(traded, begun, ago):
    factors = [
        parse("rank(ts_mean(returns, 21)) - vwap / ema(close, 3)"),
        parse("ts_corr(rank(close), rank(volume), 10) + ts_rank(close, 9)"),
    ]
    tail = Tail(factors)
    assert tail.lookback_bars >= 21
    for newest in (600, 601):
        tail.newest(panel_of(traded, newest - 45, newest + 1))
    now = {name: values.copy() for name, values in traded.items()}
    now["close"][602 - ago, 5] = np.nextafter(now["close"][602 - ago, 5], np.inf)
    got = tail.newest(panel_of(now, 602 - 45, 603))
    want = np.stack([compute(factor, now, first_bar=FIRST)[602] for factor in factors])
    assert same_bits(got, want).all()
    assert len(begun) == (2 if ago < 41 else 1)  # older than what is looked back on


def test_other_symbols_are_not_computed_with_what_these_were(traded):
    tail = Tail([parse("rank(ts_mean(returns, 5))")])
    tail.newest(panel_of(traded, 580, 601))
    turned = {name: values[:, ::-1].copy() for name, values in traded.items()}
    fewer = {name: values[:, 4:] for name, values in traded.items()}
    for fields in (turned, fewer):
        want = compute(tail.factors[0], fields, first_bar=FIRST)[601]
        assert same_bits(tail.newest(panel_of(fields, 581, 602))[0], want).all()


def test_the_tail_says_what_it_needs(traded):
    tail = Tail([parse("ts_mean(close / open, 7)"), parse("group_rank(adv20, sector)")])
    assert (tail.lookback_bars, tail.columns) == (19, ("close", "open", "quote_volume"))
    with pytest.raises(FactorError, match="no group table 'sector'"):
        tail.newest(panel_of(traded, 0, 30))
    with pytest.raises(FactorError, match="the panel has no field 'open'"):
        tail.newest(panel_of({"close": traded["close"]}, 0, 30))
    with pytest.raises(ValueError, match="without a bar"):
        tail.newest(panel_of(traded, 5, 5))
