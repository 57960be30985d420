"""Eight questions at most, each with its axes, its words and its data."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from alphamill.evaluation import Segment
from alphamill.report.drawing import Drawing
from alphamill.report.factor.plots import figures, side_by_side
from alphamill.report.page import FactorPage, page_of, render
from alphamill.report.values import number
from tests.hostile_pages import HOSTILE, harmless, poisoned

WORDS = {  # of those who come from alphalens and quantstats
    *("Cumulative IC", "rolling IC", "IC decay", "Mean return by quantile"),
    *("cumulative return by quantile", "Cumulative returns", "underwater", "Sharpe ratio"),
    *("Max drawdown", "turnover", "Monthly returns", "Newey-West"),
}


@pytest.fixture(scope="module")
def plots(sheets):
    return [figures(sheet) for sheet in sheets]


def test_at_most_eight_each_with_a_question_and_its_data(plots):
    for own in plots:
        questions = [one.question for one in own]
        assert 6 <= len(own) <= 8
        assert len(set(questions)) == len(own)
        assert all(question.endswith("?") for question in questions)
        assert all(one.table.rows for one in own)
        assert all(len(row) == len(one.table.columns) for one in own for row in one.table.rows)


def test_every_axis_has_ticks_and_a_unit(plots):
    for one in (one for own in plots for one in own[:-1]):
        for axes in one.panels:
            assert axes.unit
            assert 2 <= len(axes.y_ticks) <= 8, (one.question, axes.unit)
        assert one.panels[-1].x_ticks or one.panels[-1].words


def test_everything_is_within_its_plot(plots):
    for one in (one for own in plots for one in own):
        for axes in one.panels:
            assert 0 <= axes.left < axes.right <= one.width
            assert 0 <= axes.top < axes.bottom <= one.height
            for box in (*axes.boxes, *axes.backgrounds):
                assert box.height >= 0
                assert box.width >= 0
                assert -4 <= box.x <= box.x + box.width <= one.width + 4


def test_ticks_and_labels_do_not_overlap(plots):
    """At about 6.2 pixels a letter, as they are set."""
    for one in (one for own in plots for one in own):
        for axes in one.panels:
            places = sorted((tick.at, 3.1 * len(tick.text)) for tick in axes.x_ticks)
            for (at, half), (after, its_half) in pairwise(places):
                assert after - at >= half + its_half, (one.question, axes.x_ticks)
            heights = sorted(tick.at for tick in axes.y_ticks)
            assert all(gap >= 12 for gap in np.diff(heights)), (one.question, axes.y_ticks)


def test_the_words_are_those_that_researchers_look_for(plots):
    said = " ".join(
        " ".join((one.caption, one.table.note, *(axes.unit for axes in one.panels)))
        for one in plots[0]
    )
    missing = [word for word in WORDS if word.lower() not in said.lower()]
    assert not missing


def test_captions_have_the_figures_of_record_turned_as_they_are_traded(plots, sheets):
    for own, sheet in zip(plots, sheets, strict=True):
        ics = [
            number(sheet.subject.direction * one.rank_ic_mean, 4, True)
            for one in sheet.subject.figures.values()
        ]
        assert " / ".join(ics) in own[0].caption
        equity = next(one for one in own if "costs" in one.question)
        net = [number(one.net_sharpe, 2, True) for one in sheet.subject.figures.values()]
        assert " / ".join(net) in equity.caption


def test_a_sold_factor_s_cumulative_ic_rises(plots, sheets):
    assert sheets[1].subject.direction == -1
    assert sheets[1].subject.figures[Segment.DISCOVERY].rank_ic_mean < 0
    last = plots[1][0].table.rows
    discovery_end = next(row for row in last if float(row[3]) != 0)
    assert float(discovery_end[3]) > 0


def test_what_is_sealed_is_greyed_and_has_no_line(plots, sheets):
    own = plots[2][0]
    sealed = [box for axes in own.panels for box in axes.backgrounds if box.kind == "sealed"]
    assert len(sealed) == 2
    assert "sealed: this factor has not seen it" in own.caption
    assert any(word.text == "holdout, sealed" for word in own.panels[0].words)
    for line in own.panels[0].lines:
        start, _, steps = line.path.removeprefix("M").partition("l")
        numbers = [int(n) for n in (start + " " + steps).replace("-", " -").split()]
        assert np.cumsum(numbers[::2]).max() / 10 <= sealed[0].x + 0.1
    seen = [box for axes in plots[0][0].panels for box in axes.backgrounds]
    assert "segment holdout" in {box.kind for box in seen}
    assert "2 factors were shown its bars so far" in plots[0][0].caption
    assert sheets[0].sealed == []


def test_two_factors_side_by_side_are_drawn_on_the_same_axes(sheets):
    first, second = side_by_side(sheets[:2])
    for one, other in zip(first, second, strict=True):
        for mine, theirs in zip(one.panels, other.panels, strict=True):
            assert (mine.y.low, mine.y.high) == (theirs.y.low, theirs.y.high), one.question
    alone = figures(sheets[1])[0].panels[0].y
    assert second[0].panels[0].y.high >= alone.high


def changed(sheet, segment=None, **parts):
    """The sheet with other series: of one segment, or of all."""
    pieces = [
        replace(one, series=replace(one.series, **{k: v(one.series) for k, v in parts.items()}))
        if segment in (None, one.segment)
        else one
        for one in sheet.pieces
    ]
    return replace(sheet, pieces=tuple(pieces))


def question(sheet, word):
    return next(one for one in figures(sheet) if word in one.question)


def test_where_coins_were_delisted_quantiles_that_are_others_are_left_out_and_named(sheets):
    """Below five symbols there are fewer quantiles, and none of them is the same slice."""
    fewer = changed(
        sheets[0], Segment.HOLDOUT, quantile_returns=lambda series: series.quantile_returns[:, :4]
    )
    plot = question(fewer, "quantile")
    assert "Without holdout, where there are other quantiles" in plot.caption
    assert len(plot.table.rows) == 5
    known = question(replace(sheets[0], pieces=sheets[0].pieces[:2]), "quantile").table.rows
    assert plot.table.rows == known


def test_a_book_that_never_traded_has_no_lines_and_no_error(sheets):
    none = np.empty(0)
    idle = changed(
        sheets[0],
        book=lambda series: replace(
            series.book,
            **dict.fromkeys(("gross", "net", "funding", "traded", "room"), none),
            earned_by_symbol=np.zeros_like(series.book.earned_by_symbol),
        ),
    )
    idle = replace(idle, pieces=tuple(replace(one, held_ms=none) for one in idle.pieces))
    assert question(idle, "costs").panels[0].lines == []
    assert "0 % of all that was gained" in question(idle, "coins").caption


def test_few_correlations_in_many_bars_are_rolled_over_as_many_as_there_are(sheets):
    def few(series):
        sparse = np.full_like(series.correlations, np.nan)
        sparse[::40] = series.correlations[::40]
        return {**series.by_horizon, series.horizon_bars: sparse}

    sparse = changed(sheets[0], by_horizon=few)
    rolling = question(sparse, "keep predicting").panels[1]
    assert len(rolling.lines) == 1
    assert np.isfinite([rolling.y.low, rolling.y.high]).all()


def test_all_that_is_lost_stays_within_a_log_scale(sheets):
    ruined = changed(
        sheets[0], book=lambda series: replace(series.book, net=np.full_like(series.book.net, -0.2))
    )
    upper, lower = question(ruined, "costs").panels
    assert upper.y.log
    assert upper.y.low > 0
    assert lower.y.low < -99


def test_hostile_names_stay_text_in_every_plot(mined, sheets):
    """In what the run says: its expressions, hypotheses and symbols; and in what is drawn of it."""
    page = page_of(mined)
    dirty_sheet = poisoned(sheets[0])
    of_the_sheet = FactorPage(dirty_sheet, figures(dirty_sheet), page.sheets[0].certificate)
    shown = render(replace(page, sheets=[of_the_sheet]))
    assert harmless(shown)
    assert "&lt;script&gt;" in shown
    drawn = render(replace(page, sheets=[poisoned(page.sheets[0])]))
    assert harmless(drawn)
    assert drawn.count("<path") > 20
    assert 'd="&lt;' not in drawn  # what is no path is not drawn
    assert "&lt;/text&gt;" in drawn


def test_hostile_text_in_a_plot_that_is_saved_stays_text(sheets, tmp_path):
    """As a page, and as an image: those a reader opens by themselves, without the page's policy."""
    drawing = Drawing(poisoned(figures(sheets[0])), HOSTILE)
    for name in ("plot.svg", "plot.html"):
        shown = drawing.save(tmp_path / name).read_text(encoding="utf-8")
        assert harmless(shown)
        assert "&lt;script&gt;" in shown


def test_hostile_words_of_a_run_stay_text_on_its_page(mined):
    """The wish, names of groups and symbols, what models said, their names, why something lacks."""
    asked = dict(mined.plain_spec) | {
        "strategy": HOSTILE,
        "groups": {HOSTILE: {"BTCUSDT": HOSTILE}},
    }
    missing = [{"id": HOSTILE, "stage": HOSTILE, "reason": HOSTILE}]
    run = type(mined)(mined.lake, mined.id, {"spec": asked, "missing": missing})
    kept = ("expression", "hash", "snapshot", "interval")
    for name in ("factors", "trials"):
        run.__dict__[name] = poisoned(getattr(mined, name), but=kept)
    model = HOSTILE.partition("\x1b")[0]  # one that can be counted is printable
    run.__dict__["calls"] = [replace(call, model=model) for call in mined.calls]
    run.__dict__["manifests"] = mined.manifests
    shown = render(page_of(run))
    assert harmless(shown)
    assert shown.count("&lt;script&gt;") > 10


def test_a_run_whose_panel_is_gone_says_so_in_place_of_its_plots(mined, monkeypatch):
    monkeypatch.setattr(type(mined), "manifest", lambda self, interval: None)
    page = page_of(mined)
    assert all(not one.figures for one in page.sheets)
    assert "No plots: the run&#39;s panel at 1h is no longer in the lake" in render(page)
