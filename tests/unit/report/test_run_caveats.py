"""Sentences that belong to every figure of a run."""

from dataclasses import replace

import pytest

from alphamill.evaluation import Grade
from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.llm.journal.records import CallStatus
from alphamill.report.caveats import caveats, known_line, looks_line, page_caveats, spent_line
from alphamill.runs.builds import Share
from alphamill.runs.panels import PanelManifest, write_manifest
from tests import rows

INTERVALS = (Interval.H1, Interval.H4)
SPEC = RunSpec(RunKind.MINE, "/lake", Market.SPOT, ("AUSDT",), (Interval.H1,), 0, 3_600_000)
UNKNOWN = replace(rows.CALL, status=CallStatus.UNKNOWN, cost_usd_micros=None)


def factor(verdict=Grade.PREDICTIVE, looks=3, before=0):
    return replace(rows.FACTOR, verdict=verdict, holdout_looks=looks, holdout_looks_before=before)


@pytest.mark.parametrize(
    ("calls", "verdicts", "line"),
    [
        (
            [rows.CALL] * 2,
            [Grade.PREDICTIVE, Grade.REJECTED, Grade.TRADABLE],
            "$0.002000 for 2 model calls; $0.001000 an admitted factor",
        ),
        (
            [rows.CALL, UNKNOWN],
            [Grade.PREDICTIVE],
            "$0.001000 for 1 model call, $0.005000 more possibly billed; "
            "$0.006000 an admitted factor",
        ),
        ([rows.CALL], [Grade.REJECTED], "$0.001000 for 1 model call"),
        (
            [rows.CALL, replace(rows.CALL, usage_estimated=True), UNKNOWN],
            [Grade.PREDICTIVE],
            "$0.002000 for 2 model calls, of which $0.001000 for 1 is estimated, $0.005000 more "
            "possibly billed; $0.007000 an admitted factor",
        ),
    ],
)
def test_what_was_paid_and_may_have_been_billed_and_what_a_factor_cost(
    tmp_path, calls, verdicts, line
):
    run = rows.publish(
        Lake(str(tmp_path)),
        "mine-1",
        SPEC.to_message(),
        factors=[factor(verdict) for verdict in verdicts],
        calls=calls,
    )
    assert spent_line(run) == line


@pytest.mark.parametrize(
    ("factors", "said"),
    [
        ([], ""),
        ([factor(looks=0)], ""),
        ([factor(looks=2), factor(looks=2)], "shown to 2 factors"),
        (
            [factor(looks=7, before=5)] * 2,
            "7 factors so far, 5 of them by earlier runs: the hurdle",
        ),
        ([factor(looks=2), factor(looks=2), factor(looks=0)], "so far."),
    ],
)
def test_looks_at_the_holdout_are_told_and_whose_they_are(factors, said):
    assert said in looks_line(factors)
    assert bool(looks_line(factors)) is bool(said)
    assert ("earlier runs" in looks_line(factors)) is ("earlier runs" in said)


def test_trials_that_the_library_has_are_counted_once():
    trials = [
        replace(rows.TRIAL, reason="admitted by mine-1"),
        replace(rows.TRIAL, why_not_finalist="admitted by mine-1 as rank(close)"),
        replace(
            rows.TRIAL, reason="proposed before in this run", why_not_finalist="not among the best"
        ),
    ]
    assert known_line(trials).startswith("2 trials")
    assert known_line(trials[2:]) == ""


def test_symbols_without_a_bar_are_named(tmp_path):
    symbols = ("AUSDT", "BUSDT", "CUSDT")
    spec, lake = replace(SPEC, symbols=symbols), Lake(str(tmp_path))
    for interval, missing in ((Interval.H1, ("CUSDT",)), (Interval.H4, ("BUSDT", "CUSDT"))):
        write_manifest(lake, "mine-1", PanelManifest(interval, ("AUSDT",), missing, "s", {}))
    run = rows.publish(lake, "mine-1", replace(spec, intervals=INTERVALS).to_message())
    said = "No bar in the range, and so in no figure: 2 of 3 symbols asked for (BUSDT, CUSDT)."
    assert said in caveats(run)
    assert said in page_caveats(run)


def test_jobs_done_by_different_code_are_told_on_the_board_and_the_page(tmp_path):
    shares = [Share("0.1.0+aa", 9, "0.1.0", "a", {}), Share("0.1.0+bb", 1, "0.1.0", "b", {})]
    run = rows.publish(Lake(str(tmp_path)), "mine-1", SPEC.to_message(), builds=shares)
    said = "0.1.0+aa (9 jobs), 0.1.0+bb (1 job: other source files)"
    assert run.builds == shares
    assert any(said in line for line in caveats(run))
    assert any(said in line for line in page_caveats(run))
    one = rows.publish(Lake(str(tmp_path)), "mine-2", SPEC.to_message(), builds=shares[:1])
    assert not any("different code" in line for line in (*caveats(one), *page_caveats(one)))
