"""Every gate with its margin in whole sentences, and where a factor comes from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alphamill.evaluation import Gate, Grade
from alphamill.frames import Market
from alphamill.report.factor.certificate import certificate
from alphamill.report.factor.tear_sheet import saw_holdout
from alphamill.report.page import page_of, render


def told(run, sheet):
    return dict(certificate(run, sheet).lines)


def test_failed_gates_come_first_and_each_margin_says_how_far(mined, sheets):
    made = certificate(mined, sheets[1])
    marks = [gate.passed for gate in made.gates]
    assert marks == sorted(marks)
    assert made.passed == sum(marks) < len(marks) == len(mined.factors[1].gates)
    for gate, of_record in zip(
        made.gates, sorted(mined.factors[1].gates, key=lambda one: one.passed), strict=True
    ):
        if gate.margin != "–":
            wanted = abs(of_record.value - of_record.threshold)
            assert abs(float(gate.margin)) == float(f"{wanted:.3g}")
            assert gate.margin.startswith("+" if of_record.passed else "-")


def test_a_gate_s_sentence_is_whole(mined, sheets):
    meaning = "share of " + "very long words " * 20 + "in the end"
    gate = Gate("coverage", False, 0.5, 0.8, meaning, Grade.PREDICTIVE)
    factor = replace(mined.factors[0], gates=(gate,))
    sheet = replace(sheets[0], subject=replace(sheets[0].subject, factor=factor))
    page = page_of(mined)
    shown = render(
        replace(page, sheets=[replace(page.sheets[0], certificate=certificate(mined, sheet))])
    )
    assert meaning in shown


def test_it_says_what_was_proved_tried_and_looked_at(mined, sheets):
    lines, factor = told(mined, sheets[0]), mined.factors[0]
    assert "changes no past value" in lines["look-ahead"]
    assert f"{factor.n_trials} expressions were tried at 1h" in lines["trials"]
    after = next(gate.value for gate in factor.gates if gate.name == "net_deflated_sharpe")
    assert f"{factor.deflated_sharpe:.3f} before costs, {after:.3f} after" in lines["trials"]
    assert "shown to 2 factors so far, 0 of them by earlier runs" in lines["holdout"]
    assert lines["data hash"] == factor.snapshot
    assert told(mined, sheets[2])["holdout"].startswith("Sealed")


def test_what_funding_is_not_known_is_said(mined, sheets):
    """Of a run on futures; spot pays none."""
    assert "funding" not in told(mined, sheets[0])
    futures = type(mined)(mined.lake, mined.id, {"spec": dict(mined.plain_spec), "missing": []})
    for name in ("factors", "trials", "calls"):
        futures.__dict__[name] = getattr(mined, name)
    futures.__dict__["spec"] = replace(mined.spec, market=Market.USD_M)
    known = [replace(one, funding_unknown={"ETHUSDT": 12}) for one in mined.manifests]
    futures.__dict__["manifests"] = known
    assert "Funding is not known in 12 bars" in told(futures, sheets[0])["funding"]
    futures.__dict__["manifests"] = [replace(one, funding_unknown={}) for one in known]
    assert told(futures, sheets[0])["funding"] == "Known and charged in every bar."


@pytest.mark.parametrize(
    ("looks", "coverage", "seen"),
    [(2, None, True), (0, 0.9, False), (None, 0.9, True), (None, None, False)],
)
def test_of_a_run_that_did_not_count_looks_the_figures_say_whether_it_was_opened(
    mined, looks, coverage, seen
):
    holdout = replace(mined.factors[0].holdout, coverage=coverage)
    assert saw_holdout(replace(mined.factors[0], holdout_looks=looks, holdout=holdout)) is seen


def test_it_names_the_prompt_and_what_it_cost(mined, sheets):
    lines, factor = told(mined, sheets[0]), mined.factors[0]
    (call,) = mined.calls_of(factor)
    assert call.prompt_hash in lines["prompt"]
    assert f"alphamill prompt quick_scan --run {mined.id} --call {call.call_id}" in lines["prompt"]
    assert f"{call.prompt_tokens:,} prompt tokens" in lines["cost"]
    assert lines["again"] == f"alphamill replay {factor.hash}"


def test_gaps_are_counted_on_the_bars_that_it_has_seen(mined, sheets):
    """The control market loses three bars of every coin that trades, and some lose one more."""
    seen = sum(sum(piece.missing.values()) for piece in sheets[0].pieces)
    assert seen >= 3 * 6
    assert f"{seen} bars are missing of" in told(mined, sheets[0])["data gaps"]
    assert sum(sum(piece.missing.values()) for piece in sheets[2].pieces) <= seen
