"""The forward book is the verdicts' book, of what was published when it was published."""

from dataclasses import replace

import numpy as np
import pytest

from alphamill.evaluation import Rebalancing, backtest, forward_returns, information_coefficient
from alphamill.factors import compute
from alphamill.language import read_given
from alphamill.live import LiveSpec, State
from alphamill.live.book import forward_book, published_rows
from alphamill.live.engine import Engine
from alphamill.live.release import Cause, Release
from tests.unit.live.test_engine import BAR, SYMBOLS, feed, market, spec

SPEC = spec(("rank(delay(close, 5) / close)",))
[FOLLOWED] = SPEC.factors
FEE_BPS = 10.0


@pytest.fixture(scope="module")
def panel():
    return market(300)


@pytest.fixture(scope="module")
def rows(panel):
    engine = Engine(SPEC)
    said = []
    for row in range(panel.n_bars):
        feed(engine, panel, row)
        if row >= 40:
            at = int(panel.times_ms[row])
            release = Release(at, 0, Cause.WHOLE, frozenset(SYMBOLS), frozenset(), signal=True)
            said += engine.signals(release, at + BAR + 40)
    return said


def test_it_is_the_verdicts_backtest(panel, rows):
    book = forward_book(SPEC, FOLLOWED, rows, panel, FEE_BPS)
    values = compute(read_given(FOLLOWED.expression), panel)
    verdict = backtest(values, panel, FEE_BPS, skip_bars=40)
    assert np.array_equal(book.at_open.gross, verdict.gross_returns)
    assert np.array_equal(book.at_open.net, verdict.net_returns)
    later = backtest(values, panel, FEE_BPS, skip_bars=40, entry_lag_bars=2)
    assert book.a_bar_later.gross == pytest.approx(later.gross_returns)
    assert (book.signals, book.silent) == (260, 0)


def test_it_is_rebalanced_as_slowly_as_the_verdicts(panel, rows):
    slow = replace(SPEC, band=0.5, hold_bars=6)
    book = forward_book(slow, FOLLOWED, rows, panel, FEE_BPS)
    values = compute(read_given(FOLLOWED.expression), panel)
    options = {"skip_bars": 40, "rebalancing": Rebalancing(0.5, 6)}
    assert np.array_equal(book.at_open.net, backtest(values, panel, FEE_BPS, **options).net_returns)
    assert {"band", "hold_bars"} & SPEC.to_message().keys() == set()
    assert LiveSpec.from_message(slow.to_message()) == slow
    assert slow.id != SPEC.id
    with pytest.raises(ValueError, match="at least 0"):
        replace(SPEC, band=-1)


def test_its_rank_ic_is_of_what_was_published(panel, rows):
    book = forward_book(SPEC, FOLLOWED, rows, panel, FEE_BPS)
    values = compute(read_given(FOLLOWED.expression), panel)
    ic = information_coefficient(values, forward_returns(panel, 1))
    ic[:40] = np.nan
    assert np.array_equal(book.ic.ic, ic, equal_nan=True)
    assert book.ic.mean == pytest.approx(np.nanmean(ic))
    assert book.ic.low < book.ic.mean < book.ic.high


def test_a_bar_without_a_signal_is_cash_and_is_counted(panel, rows):
    gone = [
        replace(row, state=State.NO_SIGNAL, symbols=(), values=(), ranks=(), weights=())
        if row.bar_time == panel.times_ms[100]
        else row
        for row in rows
        if row.bar_time != panel.times_ms[101]
    ]
    book = forward_book(SPEC, FOLLOWED, gone, panel, FEE_BPS)
    assert (book.signals, book.silent) == (258, 2)
    at = 100 - 40
    assert book.at_open.gross[at] == book.at_open.gross[at + 1] == 0.0
    assert book.at_open.gross[at + 2] != 0.0


def test_a_revision_counts_only_if_it_was_out_in_time(rows):
    row = rows[10]
    soon = replace(row, revision=1, published_at=row.close_time + 5_000)
    late = replace(row, revision=2, published_at=row.close_time + BAR)
    [chosen] = published_rows([row, soon, late], row.factor)
    assert chosen.revision == 1
    assert published_rows([late], row.factor) == []
    assert published_rows([row], "another") == []


def test_nothing_was_published_yet(panel):
    assert forward_book(SPEC, FOLLOWED, [], panel, FEE_BPS) is None
