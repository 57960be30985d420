"""Every bar is published once, whoever follows, and is what batch gives."""

import random
from collections import Counter

import numpy as np
import pytest

from alphamill.errors import Misconfigured
from alphamill.factors import compute
from alphamill.lake import Lake
from alphamill.language import read_given
from alphamill.live import Journal, State, follow_chain
from alphamill.live.following import Following
from tests.unit.live.test_engine import BAR, START, SYMBOLS, market, spec, values_at

SPEC = spec()


@pytest.fixture(scope="module")
def panel():
    return market(120)


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


class Follower:
    """A process that follows: it may die, and its successor begins from the lake."""

    def __init__(self, lake, panel, now_ms, live=SPEC):
        self.told = []
        self.panel = panel
        self.journal = Journal(lake, live.id, START)
        self.following = Following(live, self.journal, now_ms, self.told.extend)
        first_ms = self.following.first_bar_ms
        self.following.recover(
            (
                (symbol, bar_ms, values_at(panel, row, column))
                for row, bar_ms in enumerate(panel.times_ms.tolist())
                if first_ms <= bar_ms and bar_ms + BAR <= now_ms
                for column, symbol in enumerate(SYMBOLS)
            ),
            now_ms,
        )

    def bar(self, row, absent=(), at_ms=5):
        bar_ms = int(self.panel.times_ms[row])
        for column, symbol in enumerate(SYMBOLS):
            if symbol not in absent:
                values = values_at(self.panel, row, column)
                self.following.arrived(symbol, bar_ms, values, bar_ms + BAR + at_ms)


def close_of(panel, row):
    return int(panel.times_ms[row]) + BAR


def check(lake, panel, live=SPEC):
    """All rows: each once, the chain whole, the newest revision of a whole bar equal to batch."""
    rows = [link.row for link in Journal(lake, live.id, START).read()]
    assert follow_chain(Journal(lake, live.id, START).read())[2] is None
    named = Counter((row.factor, row.bar_time, row.revision) for row in rows)
    assert max(named.values()) == 1
    batch = {}
    newest = {}
    for row in rows:
        newest[row.factor, row.bar_time] = row
    for followed in live.factors:
        batch[followed.factor] = compute(read_given(followed.expression), panel)
    for (factor, bar_ms), row in newest.items():
        if row.state is State.SIGNAL and not row.absent:
            at = int((bar_ms - panel.times_ms[0]) // BAR)
            assert np.array(row.values).tobytes() == batch[factor][at].tobytes()
    return rows


def test_bars_are_published_as_they_close(lake, panel):
    follower = Follower(lake, panel, close_of(panel, 39) + 1)
    assert follower.told == []  # the first bar is the one that is open
    for row in range(40, 60):
        follower.bar(row)
    rows = check(lake, panel)
    assert len(rows) == 20 * len(SPEC.factors)
    assert {row.revision for row in rows} == {0}
    assert [link.payload for link in follower.told] == [row.payload for row in rows]
    assert rows[0].published_at == close_of(panel, 40) + 5


def test_a_late_bar_is_a_revision_and_bars_after_it_only_where_they_change(lake, panel):
    follower = Follower(lake, panel, close_of(panel, 39) + 1)
    follower.bar(40)
    follower.bar(41, absent=("CUSDT",))
    follower.following.tick(close_of(panel, 41) + 2_000)
    follower.bar(42)
    column = SYMBOLS.index("CUSDT")
    at = close_of(panel, 42) + 100
    follower.following.arrived("CUSDT", int(panel.times_ms[41]), values_at(panel, 41, column), at)
    rows = check(lake, panel)
    by_bar = Counter((row.bar_time, row.revision) for row in rows)
    assert by_bar[int(panel.times_ms[41]), 1] == len(SPEC.factors)
    assert by_bar[int(panel.times_ms[40]), 1] == 0
    # delay(close, 5) of bar 42 does not see bar 41; the windows of the other two do
    revised = {row.factor for row in rows if row.bar_time == panel.times_ms[42] and row.revision}
    assert SPEC.factors[0].factor not in revised
    assert all(row.published_at == at for row in rows if row.revision)


def test_a_successor_goes_on_where_the_chain_ends(lake, panel):
    first = Follower(lake, panel, close_of(panel, 39) + 1)
    for row in range(40, 45):
        first.bar(row)
    second = Follower(lake, panel, close_of(panel, 45) + 10_000)  # bar 45 closed meanwhile
    assert {link.row.bar_time for link in second.told} == {int(panel.times_ms[45])}
    second.bar(46)
    assert len(check(lake, panel)) == 7 * len(SPEC.factors)


def test_what_was_missed_is_told_once_and_never_filled(lake, panel):
    first = Follower(lake, panel, close_of(panel, 39) + 1)
    first.bar(40)
    second = Follower(lake, panel, close_of(panel, 60) + 1)
    second.bar(61)
    third = Follower(lake, panel, close_of(panel, 61) + 50)
    third.bar(62)
    rows = check(lake, panel)
    [missed] = [row for row in rows if row.state is State.MISSED]
    assert missed.bar_time == panel.times_ms[41]
    told = {row.bar_time for row in rows if row.state is State.SIGNAL}
    assert missed.close_time == min(bar for bar in told if bar > panel.times_ms[40])
    assert {int(panel.times_ms[row]) for row in (61, 62)} <= told


def test_two_followers_that_take_each_other_for_dead(lake, panel):
    one = Follower(lake, panel, close_of(panel, 39) + 1)
    two = Follower(lake, panel, close_of(panel, 39) + 1)
    for row in range(40, 50):
        for follower in (one, two) if row % 2 else (two, one):
            follower.bar(row)
            follower.following.tick(close_of(panel, row) + 10)
    rows = check(lake, panel)
    assert len(rows) == 10 * len(SPEC.factors)
    assert len(one.told) + len(two.told) == len(rows)


def test_a_full_disk_makes_rows_wait_and_none_is_lost(lake, panel, monkeypatch):
    follower = Follower(lake, panel, close_of(panel, 39) + 1)
    follower.bar(40)
    full = Misconfigured("ALPHAMILL_LAKE", "cannot write: No space left on device", "free space")

    def refuse(*_):
        raise full

    with monkeypatch.context() as patch:
        patch.setattr(Lake, "update", refuse)
        follower.bar(41)
        follower.bar(42)
        assert follower.following.waiting == 2
        assert "No space left" in follower.following.problem
    at = close_of(panel, 42) + 500
    follower.following.tick(at)
    assert (follower.following.waiting, follower.following.problem) == (0, "")
    rows = check(lake, panel)
    assert len(rows) == 3 * len(SPEC.factors)
    assert {row.published_at for row in rows if row.bar_time > panel.times_ms[40]} == {at}


@pytest.mark.parametrize("seed", range(3))
def test_deaths_takeovers_and_late_bars_at_random(lake, panel, seed):
    draw = random.Random(seed)
    follower = Follower(lake, panel, close_of(panel, 39) + 1)
    late = []
    for row in range(40, 100):
        if draw.random() < 0.2:  # killed: perhaps between the lake and what it tells
            follower = Follower(lake, panel, close_of(panel, row - 1) + draw.randrange(50, 30_000))
        absent = tuple(name for name in SYMBOLS if draw.random() < 0.05)
        follower.bar(row, absent, at_ms=draw.randrange(1, 1_500))
        follower.following.tick(close_of(panel, row) + 2_000)
        for at, name in late:
            values = values_at(panel, at, SYMBOLS.index(name))
            bar_ms = int(panel.times_ms[at])
            follower.following.arrived(name, bar_ms, values, close_of(panel, row) + 3_000)
        follower.following.tick(close_of(panel, row) + 6_000)
        late = [(row, name) for name in absent if row < 99]
    rows = check(lake, panel)
    spoken = {row.bar_time for row in rows if row.state is not State.MISSED}
    assert spoken == {int(panel.times_ms[row]) for row in range(40, 100)}
