"""What of a review or a paid repair cannot be read is on record, on the board and in the funnel."""

import html
import json

import pytest
from click.testing import CliRunner

from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import Search
from alphamill.llm.scripted import ScriptedChat
from alphamill.report.caveats import caveats
from alphamill.report.page import page_of, render
from alphamill.runs.funnel import tier_funnels
from alphamill.testing import work_market
from producers.cli import main

MARKET = ControlMarket(seed=11, n_symbols=3, n_bars=600)
GOOD = ["ts_mean(returns, 3)", "-ts_zscore(close, 24)", "volume / ts_mean(volume, 10)"]
DRAFT = '<think>{"keep": [], "veto": [{"index": 2, "reason": "a draft"}]}</think>'
REVIEW = {
    "keep": ["2"],
    "veto": [{"index": "1", "reason": "luck"}, {"index": "last", "reason": ""}],
}
REPAIRS = {"repairs": [{"index": "1", "expression": "-returns"}, {"index": 2, "expression": 7}]}


class Careless:
    """A model that proposes, mends and reviews with slips."""

    def complete(self, request):
        task = request.messages[0].content
        if "you mend expressions" in task:
            text = json.dumps(REPAIRS)
        elif "you check factors" in task:
            text = DRAFT + json.dumps(REVIEW)
        else:
            rows = [*GOOD, "close +* open", "open +* close", "（close－open）／open"]
            text = json.dumps({"candidates": [{"expression": one} for one in rows]})
        return ScriptedChat([text]).complete(request)

    def models(self):
        return []


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lake")
    return work_market(folder, MARKET, Search(candidates=3, decoys=False), Careless()).published


def test_the_veto_that_was_meant_counts_and_the_draft_does_not(run):
    vetoed = [factor.veto_reason for factor in run.factors if factor.veto_reason]
    assert vetoed == ["luck"]
    assert sum(bool(factor.kept_by_model) for factor in run.factors) == 1


def test_a_repair_with_its_number_as_text_is_used_and_a_lost_one_has_its_reason(run):
    first = next(trial for trial in run.trials if trial.proposed == "close +* open")
    assert (first.repair, first.expression, first.repair_unread) == ("model", "-returns", None)
    lost = [trial for trial in run.trials if trial.repair_unread]
    assert {trial.proposed for trial in lost} == {"open +* close"}
    assert "the repair is no expression: {'index': 2" in lost[0].repair_unread


def test_full_width_signs_are_mended_for_nothing(run):
    wide = [trial for trial in run.trials if trial.proposed == "（close－open）／open"]
    assert {(trial.repair, trial.repair_unread) for trial in wide} == {("free", None)}


def test_the_board_the_page_and_the_funnel_say_so(run, monkeypatch):
    lost = sum(bool(trial.repair_unread) for trial in run.trials)
    said = (
        "final_verification's reply at 1h could not be read in one place (no number that can be "
        "read: {'index': 'last', 'reason': ''}): a veto may be lost there.",
        f"Paid repairs that could not be read: {lost} (the repair is no expression: ",
    )
    told = caveats(run)
    for sentence in said:
        assert any(line.startswith(sentence) for line in told)
    assert "a veto may be lost there" in html.unescape(render(page_of(run)))
    quick, detailed, final, total = tier_funnels(run.trials, run.factors, run.calls, 3.0)
    assert (final.reviews_unread, total.reviews_unread) == (1, 1)
    assert quick.repairs_unread + detailed.repairs_unread == total.repairs_unread == lost > 0
    monkeypatch.setenv("ALPHAMILL_LAKE", run.lake.uri)
    monkeypatch.setenv("ALPHAMILL_REDIS_URL", "redis://127.0.0.1:1/0")  # nobody is there
    shown = CliRunner().invoke(main, ["funnel", "--run", run.id]).output
    counts = {" ".join(line.split()[:-4]): line.split()[-1] for line in shown.splitlines()}
    assert counts["places of a review not read"] == "1"
    assert counts["paid repairs not read"] == str(lost)
    board = CliRunner().invoke(main, ["factors", "--run", run.id]).output
    assert "a veto may be lost there" in " ".join(board.split())
