"""Two factors side by side: one run or two, on the same axes where that means something."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from alphamill.errors import GiveUp
from alphamill.frames import Interval
from alphamill.report import page
from alphamill.report.comparison import compare
from alphamill.report.factor.tear_sheet import chosen, subjects
from alphamill.report.page import page_of, render
from producers.cli import main
from producers.read import report as command
from tests.hostile_pages import harmless, poisoned


@pytest.fixture(scope="module")
def beside(mined):
    first, second, _ = subjects(mined)
    return compare((mined, first), (mined, second))


def test_figures_of_record_stand_beside_each_other(beside, mined):
    rows = {name: (mine, theirs) for name, mine, theirs in beside.figures}
    first, second, _ = mined.factors
    for at, factor in enumerate((first, second)):
        sign = factor.direction
        ics = [
            sign * one.rank_ic_mean for one in (factor.discovery, factor.validation, factor.holdout)
        ]
        assert rows["RankIC"][at] == " / ".join(f"{ic:+.4f}" for ic in ics)
        assert rows["verdict"][at] == factor.verdict
    assert beside.same_run
    assert not beside.runs
    assert not beside.settings


def test_every_question_has_both_plots_on_the_same_axes(beside):
    assert len(beside.pairs) >= 6
    for question, mine, theirs in beside.pairs:
        assert mine.question == theirs.question == question
        assert [p.y.low for p in mine.panels] == [p.y.low for p in theirs.panels]


def test_books_are_correlated_over_the_bars_that_both_hold(beside):
    one, other = (side.sheet for side in beside.sides)
    times = [np.concatenate([piece.held_ms for piece in sheet.pieces]) for sheet in (one, other)]
    gross = [
        np.concatenate([piece.series.book.gross for piece in sheet.pieces])
        for sheet in (one, other)
    ]
    both = sorted(set(times[0]) & set(times[1]))
    kept = [series[np.isin(at, both)] for series, at in zip(gross, times, strict=True)]
    r = np.corrcoef(*kept)[0, 1]
    assert f"correlate {r:+.2f} over the {len(both):,} bars" in beside.together


def test_of_two_runs_it_says_what_was_asked_for_otherwise_and_what_both_found(mined):
    asked = json.loads(json.dumps(dict(mined.plain_spec)))
    asked["fees"]["taker_bps"] = 2.5
    asked["strategy"] = "<script>alert(1)</script>"
    other = type(mined)(mined.lake, "mine-other", {"spec": asked, "missing": []})
    for name in ("factors", "trials", "calls"):
        other.__dict__[name] = getattr(mined, name)  # cached properties
    other.__dict__["manifests"] = mined.manifests
    best = subjects(mined)[0]
    made = compare((mined, best), (other, best))
    settings = {name: (mine, theirs) for name, mine, theirs in made.settings}
    assert settings["fees.taker_bps"] == ("10.0", "2.5")
    assert set(settings) == {"fees.taker_bps", "strategy"}
    assert [row[0] for row in made.shared] == [one.traded for one in subjects(mined)]
    assert {row[0]: row[1:] for row in made.runs}["rejected"] == ("2", "2")
    shown = render(made)
    assert "<script" not in shown
    assert "&lt;script&gt;" in shown
    assert "No plots: the run&#39;s panel at 1h is no longer in the lake" in shown


def test_hostile_text_on_either_side_stays_text(beside):
    shown = render(poisoned(beside))
    assert harmless(shown)
    assert "&lt;script&gt;" in shown
    assert shown.count("<path") > 20


def test_bars_of_other_lengths_are_drawn_each_on_their_own_axes(beside):
    first, second = beside.sides
    subject = replace(second.sheet.subject, interval=Interval.H4)
    apart = replace(
        beside, sides=(first, replace(second, sheet=replace(second.sheet, subject=subject)))
    )
    assert "each on its own axes" in render(apart)
    assert "on the same axes" in render(beside)


@pytest.mark.parametrize("text", ["2", "#2"])
def test_a_factor_is_chosen_by_its_number(mined, text):
    assert chosen(mined, text) == subjects(mined)[1]


def test_a_factor_is_chosen_by_its_hash_and_an_unknown_one_names_what_there_is(mined):
    wanted = subjects(mined)[2]
    assert chosen(mined, wanted.hash[:6]) == wanted
    with pytest.raises(GiveUp, match=r"#1 \w{8} -ts_zscore\(close, 24\); #2"):
        chosen(mined, "77")


def test_of_many_the_first_are_shown_in_full_and_the_page_says_how_to_see_another(
    mined, monkeypatch
):
    assert not page_of(mined).more
    monkeypatch.setattr(page, "PLOTTED", 2)
    made = page_of(mined)
    assert len(made.sheets) == 2
    assert (
        f"first 2 of 3 are shown in full below; another: alphamill report {mined.id} --factor 3"
        in render(made)
    )


def test_the_page_of_one_factor_has_nothing_of_the_others(mined):
    shown = render(page_of(mined, subjects(mined)[1]))
    assert shown.count('class="factor"') == 1
    assert "Funnel" not in shown
    assert "-(ts_mean(returns, 60))" in shown
    assert "Caveats" in shown


@pytest.fixture
def alphamill(mined, tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHAMILL_LAKE", mined.lake.uri)
    monkeypatch.setenv("ALPHAMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ALPHAMILL_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.delenv("ALPHAMILL_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(main, ("report", *arguments))


def test_without_a_run_the_newest_is_reported_and_opened(alphamill, mined, tmp_path, monkeypatch):
    opened = []
    monkeypatch.setattr(command.webbrowser, "open", lambda url: opened.append(url) or True)
    result = alphamill("--open")
    assert result.exit_code == 0, result.output
    path = tmp_path / f"{mined.id}.html"
    assert result.stdout.strip() == str(path)
    assert opened == [path.as_uri()]
    assert path.read_text(encoding="utf-8").count('class="factor"') == 3


def test_where_there_is_no_browser_it_says_so(alphamill, monkeypatch):
    monkeypatch.setattr(command.webbrowser, "open", lambda url: False)
    result = alphamill("--open")
    assert result.exit_code == 0
    assert "open the file by hand" in result.stderr


def test_one_factor_and_two_have_files_of_their_own(alphamill, mined, tmp_path):
    assert alphamill("--factor", "2").exit_code == 0
    assert alphamill(mined.id, "--factor", "#1", "--factor", "2").exit_code == 0
    one, two = (tmp_path / f"{mined.id}-{end}.html" for end in ("2", "1-2"))
    assert one.read_text(encoding="utf-8").count('class="factor"') == 1
    assert "Two factors side by side" in two.read_text(encoding="utf-8")
    assert alphamill(mined.id, mined.id).exit_code == 0
    assert (tmp_path / f"{mined.id}-{mined.id}.html").exists()


@pytest.mark.parametrize(
    "arguments", [("a", "b", "c"), ("--factor", "1", "--factor", "2", "--factor", "3")]
)
def test_more_than_two_are_refused(alphamill, arguments):
    result = alphamill(*arguments)
    assert result.exit_code == 2
    assert "at most two" in result.stderr


def test_one_factor_for_two_runs_is_refused_and_an_unknown_one_fails(alphamill, mined):
    assert alphamill(mined.id, mined.id, "--factor", "1").exit_code == 2
    result = alphamill("--factor", "77")
    assert result.exit_code == 1
    assert "name one by number or hash: #1" in result.stderr
