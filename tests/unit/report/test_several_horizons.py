"""One run at several horizons: a row a factor and horizon, everywhere that figures are shown."""

from __future__ import annotations

import html
import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

import alphamill as am
from alphamill.controls.markets import ControlMarket
from alphamill.errors import GiveUp
from alphamill.evaluation.out_of_sample import in_sample_deflated_sharpe
from alphamill.jobs import RunKind, RunSpec
from alphamill.language import read_given
from alphamill.report.comparison import compare
from alphamill.report.factor.tear_sheet import chosen, subjects
from alphamill.report.page import page_of, render
from alphamill.report.terminal.leaderboard import run_board
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import by_strength
from alphamill.sim.market import PlantedFactor
from alphamill.testing import work_market

PLANTED, OTHER, BROKEN = "ts_zscore(close, 24)", "close / open", "rank(clsoe)"  # the first is sold
HORIZONS = (1, 4, 24)
MARKET = ControlMarket(5, 9, 700, (PlantedFactor(f"-{PLANTED}", 0.1),))


def scored(folder, *horizons: int) -> PublishedRun:
    asked = {"horizons_bars": horizons} if horizons else {}
    given = {"kind": RunKind.EVALUATE, "expressions": (PLANTED, OTHER, BROKEN)}
    return work_market(folder, MARKET, **given, **asked).published


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> PublishedRun:
    return scored(tmp_path_factory.mktemp("several"), *HORIZONS)


@pytest.fixture(scope="module")
def single(tmp_path_factory) -> PublishedRun:
    return scored(tmp_path_factory.mktemp("single"))


def board(run: PublishedRun, columns: int = 160) -> str:
    console = Console(width=columns, record=True, file=io.StringIO())
    console.print(run_board(run))
    return console.export_text()


def test_a_row_a_factor_and_horizon_each_as_a_run_of_its_own_has_it(run, single):
    rows = {(row.proposed, row.horizon_bars): row for row in run.trials}
    assert set(rows) == {(text, at) for text in (PLANTED, OTHER, BROKEN) for at in HORIZONS}
    for alone in single.trials:
        beside = rows[alone.proposed, alone.horizon_bars]
        assert alone.horizon_bars == single.spec.segments.horizon_bars == 4
        assert (beside.score_text, beside.reason) == (alone.score_text, alone.reason)
    assert {rows[PLANTED, at].score.horizon_bars for at in HORIZONS} == {*HORIZONS}


def test_each_horizon_counts_in_both_directions(run, single):
    readable = [row for row in run.trials if row.hash]
    assert {row.n_trials for row in readable} == {2 * 2 * 3}
    assert {row.n_trials for row in single.trials} == {2 * 2}
    for row in readable:
        assert row.deflated_sharpe == in_sample_deflated_sharpe(row.score, 12)
    alone = {row.proposed: row for row in single.trials}
    for row in readable:
        if row.horizon_bars == 4:
            assert row.deflated_sharpe < alone[row.proposed].deflated_sharpe


def test_a_run_of_one_horizon_has_the_id_and_the_message_that_it_always_had(run, single):
    assert "horizons_bars" not in single.spec.to_message()
    assert single.spec.horizons == (4,)
    assert RunSpec.from_message(run.spec.to_message()) == run.spec
    one = run.spec.at_horizon(4)
    assert (one.horizons, one.segments.horizon_bars) == ((4,), 4)
    ids = {run.spec.run_id, one.run_id, replace(run.spec, horizons_bars=(1, 4)).run_id}
    assert len(ids) == 3


def test_the_board_keeps_the_horizons_of_a_factor_together_the_strongest_factor_first(run):
    ranked = by_strength(run.trials)
    assert [row.horizon_bars for row in ranked] == [*HORIZONS] * 3
    assert [row.proposed for row in ranked[::3]] == [PLANTED, OTHER, BROKEN]
    shown = board(run)
    assert "Held for 1, 4 or 24 bars, weighted by rank; trading costs 11 bps one way" in shown
    assert re.findall(r"^ *([1-9]) .* 1h +(\d+) ", shown, re.MULTILINE) == [
        (str(at), str(HORIZONS[(at - 1) % 3])) for at in range(1, 10)
    ]
    for columns in (80, 160):
        assert board(run, columns).count("ts_zscore(close, 24)") == 1
    assert "each at each horizon and in both directions" in " ".join(shown.split())


def test_a_board_of_one_horizon_says_it_above_and_has_no_column_of_it(single):
    assert "Held for 4 bars" in board(single)
    assert "horizon" not in board(single)


def test_a_factor_is_named_by_its_hash_for_all_horizons_or_by_a_number_for_one(run):
    hash_ = read_given(PLANTED).hash
    assert [row.horizon_bars for row in run.given(hash_[:9])] == [*HORIZONS]
    assert [row.horizon_bars for row in run.given("#2")] == [4]
    assert chosen(run, "3").horizon_bars == 24
    with pytest.raises(GiveUp, match=r"#2 \w{8} -\(ts_zscore\(close, 24\)\) \(1h, horizon 4\)"):
        chosen(run, hash_)


def test_the_page_draws_each_row_at_its_own_horizon(run):
    page = page_of(run)
    assert [one.sheet.horizon_bars for one in page.sheets] == [*HORIZONS] * 2
    for one in page.sheets:
        (piece,) = one.sheet.pieces
        mean = piece.series.correlations[~(piece.series.correlations != piece.series.correlations)]
        turned = one.sheet.subject.direction * one.sheet.subject.trial.discovery.rank_ic_mean
        assert mean.mean() == pytest.approx(turned, rel=1e-12)
    text = render(page)
    assert [int(at) for at in re.findall(r"held for (\d+) bars?</small>", text)] == [*HORIZONS] * 2
    assert sorted(re.findall(r'href="(#f\d)"', text)) == [f"#f{at}" for at in range(1, 7)]
    assert "held for 1, 4 or 24 bars" in text
    assert "(each expression at each of 3 horizons and in both directions)" in text


def test_two_horizons_of_a_factor_and_two_runs_stand_side_by_side(run, single):
    text = render(compare((run, chosen(run, "1")), (run, chosen(run, "3"))))
    assert "at 1h, horizon 1</p>" in text
    assert "at 1h, horizon 24</p>" in text
    both = compare((run, subjects(run)[0]), (single, subjects(single)[0]))
    settings = {name: (mine, theirs) for name, mine, theirs in both.settings}
    assert settings["segments.horizon_bars"] == ("1, 4, 24", "4")
    assert "horizons_bars" not in settings


def test_what_is_sold_is_shown_so_that_it_can_be_pasted_back(run):
    sold = next(one for one in subjects(run) if one.direction < 0)
    assert sold.expression == PLANTED
    for text in (board(run), html.unescape(render(page_of(run)))):
        assert "sell " not in text
    shown = set(re.findall(r"<code>([^<]+)</code>", render(page_of(run))))
    assert read_given(html.unescape(f"-({PLANTED})")).text == f"-{PLANTED}"
    assert f"-({PLANTED})" in {html.unescape(text) for text in shown}
    for text in shown - {BROKEN}:
        read_given(html.unescape(text))


def test_python_gives_the_same_table(run):
    lake = am.lake(run.lake.uri)
    panel = lake.panel(run.spec.symbols, "1h", run.spec.start_ms, run.spec.end_ms)
    scores = am.factor(PLANTED).evaluate(panel, horizon=[24, 1, 4])
    assert [score.horizon_bars for score in scores] == [*HORIZONS]
    assert scores[1].plot("ic")
    table = scores.to_pandas()
    for row in run.trials:
        if row.proposed == PLANTED:
            mine = table.loc[row.horizon_bars]
            assert mine["rank_ic_t"] == row.discovery.rank_ic_t
            assert mine["net_sharpe"] == row.discovery.net_sharpe
            assert mine["direction"] == row.direction == -1
    assert set(table["expression"]) == {f"-({PLANTED})"}
    assert set(table["n_trials"]) == {6}
    frame = am.run(run.id, lake=run.lake.uri).trials()
    assert list(frame.loc[2:3, "horizon_bars"]) == [4, 24]  # by the board's numbers
    assert list(frame["proposed"]) == [row.proposed for row in by_strength(run.trials)]
    given = am.factor(PLANTED).evaluate(panel, horizon=(1, 4), direction=-1)
    assert given.n_trials == 2
    assert "6 trials, each horizon one" in scores._repr_html_()
    for wrong in ([], [0, 4], [1.5]):
        with pytest.raises(GiveUp, match=r"must be at least 1 bar"):
            am.factor(PLANTED).evaluate(panel, horizon=wrong)
