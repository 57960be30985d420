"""Every published value is batch's, or differs because of a bar that is named."""

from dataclasses import replace

import numpy as np
import pytest

from alphamill.frames import KLINE_FIELDS, Panel
from alphamill.lake import Lake
from alphamill.live import Journal
from alphamill.live.following import Following
from alphamill.live.parity import Heard, Why, check_parity
from tests.unit.live.test_engine import BAR, START, SYMBOLS, market, spec, values_at

SPEC = spec(("rank(delay(close, 5) / close)", "-ts_min(volume, 20)"))
CROSS, OWN = (followed.factor for followed in SPEC.factors)
COLUMN = SYMBOLS.index("CUSDT")


class Session:
    """A live that hears the bars of a panel from row 40 on, and what it heard."""

    def __init__(self, tmp_path, panel):
        self.panel, self.heard = panel, {}
        self.journal = Journal(Lake(str(tmp_path / "lake")), SPEC.id, START)
        now_ms = int(panel.times_ms[40]) + 1
        self.following = Following(SPEC, self.journal, now_ms, lambda _: None)
        history = [
            (symbol, int(panel.times_ms[row]), values_at(panel, row, column))
            for row in range(40)
            for column, symbol in enumerate(SYMBOLS)
        ]
        self.following.recover(history, now_ms)

    def hear(self, row, symbols, at_ms, values=None):
        bar_ms = int(self.panel.times_ms[row])
        for symbol in symbols:
            bar = values or values_at(self.panel, row, SYMBOLS.index(symbol))
            now_ms = bar_ms + BAR + at_ms
            heard = Heard(now_ms, tuple(map(float, bar)))
            self.heard.setdefault((symbol, bar_ms), []).append(heard)
            self.following.arrived(symbol, bar_ms, bar, now_ms)

    def parity(self, truth=None, rows=None):
        rows = rows or [link.row for link in self.journal.read()]
        return check_parity(SPEC, rows, truth or self.panel, self.heard)


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path, market(60))


def others(symbol):
    return [name for name in SYMBOLS if name != symbol]


def test_whole_bars_are_equal_to_the_bit(session):
    for row in range(40, 60):
        session.hear(row, SYMBOLS, 50)
    parity = session.parity()
    assert parity.holds
    assert parity.counts == {Why.EQUAL: 20 * 6 * 2}
    assert (parity.rows, parity.unchecked_rows, parity.differences) == (40, 0, [])


def test_what_a_late_bar_changed_names_it(session):
    session.hear(40, SYMBOLS, 50)
    session.hear(41, others("CUSDT"), 50)
    session.following.tick(int(session.panel.times_ms[41]) + BAR + 2_000)
    session.hear(41, ["CUSDT"], 5_000)
    parity = session.parity()
    assert parity.holds
    assert {one.why for one in parity.differences} == {Why.LATE}
    assert {one.because for one in parity.differences} == {
        ("CUSDT", int(session.panel.times_ms[41]))
    }
    assert {(one.factor, one.revision) for one in parity.differences} == {(CROSS, 0)}
    newest = [link.row for link in session.journal.read() if link.row.revision == 1]
    assert session.parity(rows=newest).counts == {Why.EQUAL: 12}


def test_what_an_absent_bar_changes_later_names_it(session):
    session.hear(40, others("CUSDT"), 50)
    session.following.tick(int(session.panel.times_ms[40]) + BAR + 2_000)
    for row in range(41, 60):
        session.hear(row, SYMBOLS, 50)
    parity = session.parity()
    assert parity.holds
    assert {one.why for one in parity.differences} == {Why.ABSENT}
    own = {one.symbol for one in parity.differences if one.factor == OWN}
    assert own == {"CUSDT"}


def test_what_a_corrected_bar_changed_names_it(session):
    wrong = [2 * value for value in values_at(session.panel, 45, COLUMN)]
    for row in range(40, 60):
        session.hear(row, others("CUSDT"), 50)
        session.hear(row, ["CUSDT"], 60, wrong if row == 45 else None)
    parity = session.parity()
    assert parity.holds
    assert {one.why for one in parity.differences} == {Why.CORRECTED}
    assert parity.differences[0].because == ("CUSDT", int(session.panel.times_ms[45]))


def test_a_value_that_nothing_explains_is_counted(session):
    for row in range(40, 50):
        session.hear(row, SYMBOLS, 50)
    rows = [link.row for link in session.journal.read()]
    wrong = (np.nextafter(rows[6].values[2], 2.0), *rows[6].values[3:])
    rows[6] = replace(rows[6], values=(*rows[6].values[:2], *wrong))
    parity = session.parity(rows=rows)
    assert not parity.holds
    assert parity.counts[Why.UNEXPLAINED] == 1
    [difference] = parity.differences
    assert (difference.seq, difference.symbol, difference.because) == (6, SYMBOLS[2], None)


def test_another_symbols_bar_does_not_explain_a_factor_of_one_symbol(session):
    session.hear(40, others("CUSDT"), 50)
    session.following.tick(int(session.panel.times_ms[40]) + BAR + 2_000)
    for row in range(41, 50):
        session.hear(row, SYMBOLS, 50)
    rows = [link.row for link in session.journal.read() if link.row.factor == OWN]
    at = next(n for n, row in enumerate(rows) if "CUSDT" in row.symbols)
    rows[at] = replace(rows[at], values=(rows[at].values[0] - 1.0, *rows[at].values[1:]))
    parity = session.parity(rows=rows)
    assert parity.counts[Why.UNEXPLAINED] == 1


def test_rows_that_the_lake_has_not_reached_are_not_judged(session):
    for row in range(40, 60):
        session.hear(row, SYMBOLS, 50)
    fields = {name: session.panel[name][:50] for name in KLINE_FIELDS}
    truth = Panel(session.panel.interval, session.panel.times_ms[:50], SYMBOLS, fields)
    parity = session.parity(truth)
    assert (parity.rows, parity.unchecked_rows) == (20, 20)
    assert parity.holds


def test_what_the_chain_says_was_absent_explains_where_arrivals_were_lost(session):
    session.hear(40, others("CUSDT"), 50)
    session.following.tick(int(session.panel.times_ms[40]) + BAR + 2_000)
    for row in range(41, 60):
        session.hear(row, SYMBOLS, 50)
    rows = [link.row for link in session.journal.read()]
    newest = session.heard[SYMBOLS[0], int(session.panel.times_ms[50])]
    session.heard = {(SYMBOLS[0], int(session.panel.times_ms[50])): newest}  # the rest was lost
    parity = session.parity()
    assert parity.holds
    assert {one.why for one in parity.differences} == {Why.ABSENT}
    missing = ("CUSDT", int(session.panel.times_ms[40]))
    assert {one.because for one in parity.differences} == {missing}
    later = [row for row in rows if row.bar_time > session.panel.times_ms[40]]
    alone = check_parity(SPEC, later, session.panel, session.heard)
    assert not alone.holds
    before = [row for row in rows if row.bar_time == session.panel.times_ms[40]]
    told = check_parity(SPEC, later, session.panel, session.heard, before)
    assert told.holds
    assert {one.because for one in told.differences} == {missing}


def test_a_bar_that_came_explains_nothing_after_it_was_there(session):
    session.hear(40, others("CUSDT"), 50)
    session.following.tick(int(session.panel.times_ms[40]) + BAR + 2_000)
    session.hear(40, ["CUSDT"], 5_000)
    for row in range(41, 50):
        session.hear(row, SYMBOLS, 50)
    rows = [link.row for link in session.journal.read()]
    rows[-1] = replace(rows[-1], values=(rows[-1].values[0] - 1.0, *rows[-1].values[1:]))
    assert session.parity(rows=rows).counts[Why.UNEXPLAINED] == 1
