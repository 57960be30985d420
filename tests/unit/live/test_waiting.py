"""What waiting less or more would have published, against values worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from alphamill.evaluation.weights import portfolio_weights
from alphamill.factors import compute
from alphamill.frames import Panel
from alphamill.lake import Lake
from alphamill.language import read_given
from alphamill.live import Journal
from alphamill.live.following import Following
from alphamill.live.parity import Heard
from alphamill.live.waited import Waited, keep_waited, prices_of, read_waited
from alphamill.live.waiting import price_of_waiting
from tests.unit.live.test_engine import BAR, START, SYMBOLS, market, spec, values_at

CLOSE, BEFORE, TURNED = ("close", "delay(close, 1)", "rank(delay(close, 3) / close)")
FIRST = 30  # the first row that is listened to


class Arrivals:
    """Bars of a panel as they came: `hear(row, {symbol: after_ms})`."""

    def __init__(self, rows=60):
        self.panel, self.heard = market(rows), {}

    def hear(self, row, came, **changed):
        bar_ms = int(self.panel.times_ms[row])
        for symbol, after_ms in came.items():
            values = values_at(self.panel, row, SYMBOLS.index(symbol))
            values[3] = changed.get("close", values[3])
            told = Heard(bar_ms + BAR + after_ms, tuple(map(float, values)))
            self.heard.setdefault((symbol, bar_ms), []).append(told)

    def priced(self, text, *rows):
        bars = [int(self.panel.times_ms[row]) for row in rows]
        found = price_of_waiting(spec((text,)), bars, self.panel, self.heard)
        return {(one.bar_ms, one.after_ms): one for one in found}


def at(after_ms, *but):
    """All come so long after the end, but those named: `("CUSDT", 700)`."""
    return {**dict.fromkeys(SYMBOLS, after_ms), **dict(but)}


@pytest.fixture
def arrivals():
    return Arrivals()


def by_hand(closes, there):
    """Mean gap of ranks, and active share, of the ranks of `there` beside those of all."""
    order = sorted(closes, key=closes.get)
    short = [symbol for symbol in order if symbol in there]

    def rank(symbol, among):
        return among.index(symbol) / (len(among) - 1)

    def weight(symbol, among):
        middle = (len(among) - 1) / 2
        gross = sum(abs(place - middle) for place in range(len(among)))
        return (among.index(symbol) - middle) / gross if symbol in among else 0.0

    gap = sum(abs(rank(one, short) - rank(one, order)) for one in short) / len(short)
    moved = sum(abs(weight(one, short) - weight(one, order)) for one in order) / 2
    return gap, moved


def test_who_comes_late_is_not_there_and_moves_the_others(arrivals):
    arrivals.hear(FIRST, at(50, ("CUSDT", 700)))
    priced = arrivals.priced(CLOSE, FIRST)
    bar_ms = int(arrivals.panel.times_ms[FIRST])
    closes = {one: arrivals.panel["close"][FIRST, SYMBOLS.index(one)] for one in SYMBOLS}
    early = priced[bar_ms, 200]
    assert (early.symbols, early.there, early.signal, early.differ) == (6, 5, True, 0)
    gap, moved = by_hand(closes, set(SYMBOLS) - {"CUSDT"})
    assert early.rank_gap == pytest.approx(gap, abs=1e-12)
    assert early.moved == pytest.approx(moved, abs=1e-12)
    assert moved > 0.05
    for after_ms in (2_000, 10_000):
        whole = priced[bar_ms, after_ms]
        assert (whole.there, whole.differ, whole.rank_gap, whole.moved) == (6, 0, 0.0, 0.0)


def test_the_moment_itself_counts(arrivals):
    arrivals.hear(FIRST, at(200, ("BUSDT", 201)))
    priced = arrivals.priced(CLOSE, FIRST)
    assert [one.there for one in priced.values()] == [5, 6, 6]


def test_a_value_that_is_corrected_differs_until_it_is(arrivals):
    arrivals.hear(FIRST, at(50))
    highest = float(arrivals.panel["close"][FIRST].max())
    arrivals.hear(FIRST, {"DUSDT": 60}, close=2 * highest)
    arrivals.hear(FIRST, {"DUSDT": 3_000})
    priced = arrivals.priced(CLOSE, FIRST)
    assert [(one.differ, one.moved > 0) for one in priced.values()] == [
        (1, True),
        (1, True),
        (0, False),
    ]


def test_below_the_quorum_nothing_is_said(arrivals):
    late = [(symbol, 5_000) for symbol in SYMBOLS[2:]]
    arrivals.hear(FIRST, at(50, *late))
    priced = list(arrivals.priced(CLOSE, FIRST).values())
    assert [(one.signal, one.there) for one in priced] == [(False, 2), (False, 2), (True, 6)]
    assert math.isnan(priced[0].rank_gap)
    assert math.isnan(priced[0].moved)


def test_a_late_bar_counts_in_the_windows_of_those_after_it(arrivals):
    arrivals.hear(FIRST, at(50, ("AUSDT", BAR + 5_000)))
    arrivals.hear(FIRST + 1, at(50))
    priced = arrivals.priced(BEFORE, FIRST + 1)
    assert [(one.there, one.differ) for one in priced.values()] == [(6, 1), (6, 1), (6, 0)]


def test_a_bar_that_nobody_heard_of_is_history_and_not_measured(arrivals):
    for row in (FIRST, FIRST + 2):
        arrivals.hear(row, at(50))
    priced = arrivals.priced(BEFORE, FIRST, FIRST + 1, FIRST + 2)
    assert {bar_ms for bar_ms, _ in priced} == {
        int(arrivals.panel.times_ms[row]) for row in (FIRST, FIRST + 2)
    }
    assert {(one.differ, one.moved) for one in priced.values()} == {(0, 0.0)}


def test_who_has_no_bar_in_the_end_is_not_expected():
    arrivals = Arrivals()
    fields = {name: values.copy() for name, values in arrivals.panel.fields.items()}
    for values in fields.values():
        values[FIRST, 5] = np.nan
    arrivals.hear(FIRST, dict.fromkeys(SYMBOLS[:5], 50))
    panel = arrivals.panel
    arrivals.panel = Panel(panel.interval, panel.times_ms, panel.symbols, fields)
    priced = list(arrivals.priced(CLOSE, FIRST).values())
    assert {(one.symbols, one.there, one.moved) for one in priced} == {(5, 5, 0.0)}


@pytest.mark.parametrize("release_ms", [200, 2_000])
def test_each_moment_is_what_a_live_of_that_release_publishes(tmp_path, release_ms):
    arrivals, random = Arrivals(), np.random.default_rng(release_ms)
    lags = random.choice([20, 150, 900, 1_800, 4_000, 70_000], (30, len(SYMBOLS)))
    for row in range(FIRST, 60):
        came = dict(zip(SYMBOLS, lags[row - FIRST].tolist(), strict=True))
        arrivals.hear(row, came)
    rules = {"release_ms": release_ms, "correct_within_ms": release_ms, "quorum": 0.3}
    asked = spec((TURNED,), **rules)
    journal = Journal(Lake(str(tmp_path / "lake")), asked.id, START)
    panel, now_ms = arrivals.panel, int(arrivals.panel.times_ms[FIRST]) + 1
    following = Following(asked, journal, now_ms, lambda _: None)
    history = [
        (symbol, int(panel.times_ms[row]), values_at(panel, row, column))
        for row in range(FIRST)
        for column, symbol in enumerate(SYMBOLS)
    ]
    following.recover(history, now_ms)
    events = sorted(
        (one.at_ms, symbol, bar_ms, one.values)
        for (symbol, bar_ms), told in arrivals.heard.items()
        for one in told
    )
    ends = [int(time) + BAR + release_ms for time in panel.times_ms[FIRST:60]]
    for at_ms, symbol, bar_ms, values in events:
        for end_ms in [one for one in ends if one < at_ms]:
            following.tick(end_ms)
            ends.remove(end_ms)
        following.heard(symbol, bar_ms, values, at_ms)
    for end_ms in ends:
        following.tick(end_ms)
    said = {row.bar_time: row for row in (link.row for link in journal.read())}
    assert len(said) == 30
    found = price_of_waiting(asked, list(said), panel, arrivals.heard, (release_ms,))
    final = portfolio_weights(compute(read_given(TURNED), panel))[FIRST:60]
    moved = []
    for one, weights in zip(found, final, strict=True):
        row = said[one.bar_ms]
        assert (one.signal, one.there) == (row.state == "signal", len(row.symbols))
        if one.signal:
            held = dict(zip(row.symbols, row.weights, strict=True))
            then = np.nan_to_num([held.get(symbol, 0.0) for symbol in SYMBOLS])
            assert one.moved == pytest.approx(np.abs(then - weights).sum() / 2, abs=1e-12)
            moved.append(one.moved)
    assert len(moved) > 10
    assert max(moved) > 0.1


def test_what_is_kept_is_read_and_summed_up(tmp_path):
    lake, day = Lake(str(tmp_path)), 86_400_000
    rows = [
        Waited(
            START + number * BAR, "f", after_ms, 4, there, there > 2, int(there > 3), gap, gap / 2
        )
        for number in range(40)
        for after_ms, there, gap in (
            (200, 2 if number == 0 else 3, math.nan if number == 0 else number / 100),
            (2_000, 4, 0.0),
        )
    ]
    keep_waited(lake, "live-1", 0, rows[:10])
    keep_waited(lake, "live-1", 10, rows[10:])
    assert repr(read_waited(lake, "live-1")) == repr(rows)  # NaN is not itself
    all_early, all_later, early, _ = prices_of(read_waited(lake, "live-1"))
    assert (all_early.factor, early.factor) == ("", "f")
    assert (early.bars, early.silent) == (40, 1)
    assert early.absent_frac == pytest.approx((0.5 + 39 * 0.25) / 40)
    assert (early.rank_gap_median, early.rank_gap_p95) == (0.20, 0.38)
    assert (early.moved_median, early.moved_p95) == (0.10, 0.19)
    assert (all_later.absent_frac, all_later.differ_frac, all_later.moved_p95) == (0.0, 1 / 4, 0.0)
    later = [replace(rows[0], bar_ms=START + number * day) for number in (1, 9)]
    keep_waited(lake, "live-1", 90, later)
    assert {row.bar_ms for row in read_waited(lake, "live-1", days=1)} == {START + 9 * day}
    assert prices_of([]) == []
