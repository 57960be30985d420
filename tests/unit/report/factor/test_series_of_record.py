"""What is drawn adds up to what the verdict says, bar by bar, also for a factor that is sold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from alphamill.evaluation import Grade, Segment, newey_west_t
from alphamill.evaluation.portfolio import capacity, compounded, drawdown, underwater
from alphamill.report.factor.laid_out import Axes, Drawn, by_month, means
from alphamill.report.factor.tear_sheet import Sheets, subjects
from alphamill.runs import reader


@pytest.fixture(scope="module", params=["bought", "sold", "vetoed"])
def sheet(request, sheets):
    return dict(zip(("bought", "sold", "vetoed"), sheets, strict=True))[request.param]


@pytest.fixture(scope="module")
def scores(sheet, mined):
    """The scores of record of each segment that is shown."""
    told = {Segment.DISCOVERY: mined.discovery_score(sheet.subject.factor)}
    return [
        (piece, sheet.subject.figures[piece.segment], told.get(piece.segment))
        for piece in sheet.pieces
    ]


def test_the_three_are_what_the_tests_think(mined):
    assert [(one.direction, bool(one.veto_reason)) for one in mined.factors] == [
        *((1, False), (-1, False), (1, True))
    ]
    assert mined.factors[0].verdict is Grade.PREDICTIVE


def test_the_mean_of_the_ic_and_its_t_are_those_of_record(scores, sheet):
    sign = sheet.subject.direction
    for piece, figures, score in scores:
        ic = piece.series.correlations
        assert np.nanmean(ic) == pytest.approx(sign * figures.rank_ic_mean, rel=1e-12)
        if score:
            t = newey_west_t(ic, score.hac_lags)
            assert t == pytest.approx(sign * figures.rank_ic_t, rel=1e-12)
            assert len(ic) == score.n_bars


def test_the_ic_at_each_horizon_is_the_decay_of_record(scores, sheet):
    _, _, score = scores[0]
    for horizon, ic in score.decay.items():
        series = scores[0][0].series.by_horizon[horizon]
        assert np.nanmean(series) == pytest.approx(sheet.subject.direction * ic, rel=1e-12)


def test_quantiles_spread_as_they_did(scores, sheet):
    """Top minus bottom of what is traded, so that it is turned round for a factor that is sold."""
    piece, _, score = scores[0]
    earned = np.nanmean(piece.series.quantile_returns, axis=0)
    wanted = sheet.subject.direction * score.quantile_spread
    assert earned[-1] - earned[0] == pytest.approx(wanted, rel=1e-9)


def test_the_book_has_the_sharpe_ratios_and_drawdown_of_record(scores, sheet):
    year = math.sqrt(sheet.subject.interval.bars_per_year)
    for piece, figures, _ in scores:
        book = piece.series.book
        for returns, of_record in (
            (book.gross, figures.gross_sharpe),
            (book.net, figures.net_sharpe),
        ):
            assert returns.mean() / returns.std(ddof=1) * year == pytest.approx(of_record, rel=1e-9)
        assert drawdown(book.net)[0] == pytest.approx(figures.max_drawdown_frac, rel=1e-12)
        assert -underwater(book.net).min() == pytest.approx(figures.max_drawdown_frac, rel=1e-9)


def test_turnover_break_even_and_capacity_are_those_of_record(scores, sheet):
    for piece, figures, _ in scores:
        book = piece.series.book
        assert 0.5 * book.traded.mean() == pytest.approx(figures.turnover_per_bar, rel=1e-12)
        even = sheet.fee_bps + 1e4 * book.net.sum() / book.traded.sum()
        assert even == pytest.approx(figures.break_even_bps, rel=1e-9)
        assert capacity(book.room) == pytest.approx(figures.capacity_quote, rel=1e-12)
        costs = 1e-4 * sheet.fee_bps * book.traded
        np.testing.assert_allclose(book.gross + book.funding - costs, book.net, atol=1e-15)


def test_what_the_coins_earned_is_what_the_book_earned(scores):
    for piece, _, _ in scores:
        book = piece.series.book
        assert book.earned_by_symbol.sum() == pytest.approx(book.gross.sum(), rel=1e-9)


def test_a_bar_of_the_book_ends_when_the_next_trade_could_be_made(scores, sheet):
    """Decided at a close, traded at that open and marked at the next; the last is the panel's."""
    for piece, _, _ in scores:
        assert piece.held_ms[0] >= piece.ends_ms[0] + sheet.subject.interval.ms
        assert piece.held_ms[-1] == piece.ends_ms[-1] - sheet.subject.interval.ms
        assert len(piece.held_ms) == len(piece.series.book.net)


def test_months_add_up_to_the_whole(sheet):
    drawn = Drawn.of(sheet, Axes())
    months = list(by_month(drawn.held_ms))
    growth = np.prod([compounded(drawn.net[rows])[-1] for _, rows in months])
    assert growth == pytest.approx(compounded(drawn.net)[-1], rel=1e-9)
    assert [rows.stop for _, rows in months[:-1]] == [rows.start for _, rows in months[1:]]
    total = sum(np.nansum(drawn.ic[rows]) for _, rows in by_month(drawn.ends_ms))
    assert total == pytest.approx(np.nansum(drawn.ic), rel=1e-9)


def test_likenesses_are_those_that_chose_the_finalists(sheets):
    """With the nearest better finalist, whatever the directions."""
    for at, sheet in enumerate(sheets):
        better = [one.name for one in (other.subject for other in sheets[:at])]
        known = [abs(one.correlation) for one in sheet.likenesses if one.name in better]
        of_record = sheet.subject.factor.library_correlation
        assert max(known, default=0.0) == pytest.approx(of_record, rel=1e-12)
    one, other = sheets[0].likenesses[0], sheets[1].likenesses[0]
    assert (one.name, other.name) == ("#2", "#1")
    assert one.correlation == other.correlation


def test_a_holdout_that_was_not_opened_is_not_read(mined, monkeypatch):
    """Nor plotted: whoever looks at a plot has looked."""
    read = []

    def spy(lake, run_id, interval, segment, fields=None, real=reader.load_panel):
        read.append(segment)
        return real(lake, run_id, interval, segment, fields)

    monkeypatch.setattr(reader, "load_panel", spy)
    vetoed = subjects(mined)[2]
    (sheet,) = Sheets(mined).of([vetoed])
    assert set(read) == {Segment.DISCOVERY, Segment.VALIDATION}
    assert [piece.segment for piece in sheet.pieces] == [Segment.DISCOVERY, Segment.VALIDATION]
    assert sheet.sealed == [Segment.HOLDOUT]
    assert Segment.HOLDOUT in sheet.spans


def test_a_rolling_mean_is_the_mean_of_each_window():
    assert means(np.array([1.0, 2.0, 6.0, 4.0]), 2).tolist() == [1.5, 4.0, 5.0]
