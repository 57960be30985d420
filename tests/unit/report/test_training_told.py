"""What models may have read about a run's bars, what was clipped, and whose bars they are."""

import json
from dataclasses import asdict, replace

import pytest

from alphamill.evaluation import Segment
from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake, run_key
from alphamill.llm.journal.records import CallStatus
from alphamill.report.caveats import caveats, page_caveats, returns_line, training_words
from alphamill.report.factor.certificate import certificate
from alphamill.report.factor.tear_sheet import Sheets, subjects
from alphamill.report.page import page_of, render
from alphamill.runs.panels import PanelManifest, SegmentFacts, write_manifest
from alphamill.runs.published import PublishedRun
from alphamill.runs.schemas import SUMMARY
from alphamill.runs.training import (
    TrainedModel,
    models_that_answered,
    training_to_json,
    unread_segments,
)
from alphamill.settings import PortfolioSettings
from tests.rows import CALL, publish

DAY = 86_400_000
MAY_1 = 1_777_593_600_000  # 2026-05-01 00:00 UTC
SPEC = RunSpec(
    RunKind.MINE, "/lake", Market.SPOT, ("AUSDT", "BUSDT"), (Interval.H1,), MAY_1, MAY_1 + 90 * DAY
)


def facts(day, history=0, embargo=0):
    """A segment whose first scored bar opens at 00:00, so many days after 1 May 2026."""
    start_ms = MAY_1 + day * DAY - (history + embargo) * Interval.H1.ms
    return SegmentFacts(start_ms, 1000, history, embargo, {})


MANIFEST = PanelManifest(
    Interval.H1,
    ("AUSDT", "BUSDT"),
    (),
    "abc",
    {
        Segment.DISCOVERY: facts(0),
        Segment.VALIDATION: facts(32, history=30, embargo=5),  # 2 June
        Segment.HOLDOUT: facts(62, history=30, embargo=5),  # 2 July
    },
    ended=(),
)
LUNA = TrainedModel("gpt-6-luna", "2026-05-18", "its page", "2026-12-01")
TERRA = TrainedModel("gpt-6.1-terra", "2026-06-01", "its page", "2026-12-01")
LATER = TrainedModel("later", "2026-06-02")
UNKNOWN = TrainedModel("who")
GRAMMAR = TrainedModel("offline-proposer", "untrained")


@pytest.fixture
def told(tmp_path):
    """`told(models)`: a published run that such models answered."""

    def of(*models):
        lake = Lake(str(tmp_path))
        write_manifest(lake, "mine-1", MANIFEST)
        publish(lake, "mine-1", SPEC.to_message())
        summary = json.loads(lake.read_bytes(run_key("mine-1", SUMMARY)))
        summary["trained_models"] = [asdict(one) for one in models]
        lake.write_bytes(run_key("mine-1", SUMMARY), json.dumps(summary).encode())
        return PublishedRun.open(lake, "mine-1")

    return of


@pytest.mark.parametrize(
    ("models", "clean"),
    [
        ([], ["validation", "holdout"]),
        ([GRAMMAR], ["validation", "holdout"]),
        ([LUNA], ["validation", "holdout"]),
        ([TERRA], ["validation", "holdout"]),  # the bar after its last day is the first unread
        ([LUNA, LATER], ["holdout"]),  # the latest of all that were asked
        ([GRAMMAR, LATER], ["holdout"]),
        ([TrainedModel("next", "2026-07-02")], []),
        ([LUNA, UNKNOWN], []),  # nothing known of one: nothing is clean
        ([UNKNOWN], []),
    ],
)
def test_a_segment_is_clean_if_it_begins_after_all_training_data(models, clean):
    assert unread_segments(models, MANIFEST) == clean
    plain = training_to_json(models, [MANIFEST])
    assert plain["clean"] == {"1h": clean}
    assert plain["models"] == [asdict(one) for one in models]


def test_who_answered_counts_by_the_name_that_the_reply_states():
    calls = [
        CALL,
        replace(CALL, served_model="m-2026-01-01", tier="final_verification"),
        replace(CALL, model="refused", status=CallStatus.FAILED),
        replace(CALL, model="silent", status=CallStatus.UNKNOWN),
    ]
    assert models_that_answered(calls) == ["m", "m-2026-01-01"]


@pytest.mark.parametrize(
    ("models", "said"),
    [
        ((LUNA, TERRA), "Validation and holdout begin after that: both are clean."),
        ((LATER,), "The holdout begins after that and is clean; validation does not."),
        (
            (TrainedModel("next", "2026-08-01"),),
            "No segment is clean: even the holdout begins on 2026-07-02 00:00.",
        ),
        ((LUNA, UNKNOWN), "training data of who reaches is not known here"),
    ],
)
def test_board_page_and_certificate_say_it(told, models, said):
    run = told(*models)
    for lines in (caveats(run), page_caveats(run)):
        assert any(said in line for line in lines)
    assert said in training_words(run)
    assert said in render(page_of(run))
    (sheet,) = Sheets(run).of(subjects(run)[:1])
    assert said in dict(certificate(run, sheet).lines)["training data"]


def test_source_and_date_stand_beside_the_day(told):
    assert (
        "gpt-6-luna may have read about bars up to 2026-05-18 (its page, read 2026-12-01); "
        "gpt-6.1-terra may have" in training_words(told(LUNA, TERRA))
    )


def test_of_formulas_that_no_trained_model_wrote_the_board_says_nothing(told):
    run = told(GRAMMAR)
    assert not any("read about" in line for line in caveats(run))
    assert training_words(run).startswith("No trained model proposed a formula")


def test_a_run_of_older_code_knows_names_alone(tmp_path):
    lake = Lake(str(tmp_path))
    write_manifest(lake, "mine-1", MANIFEST)
    run = publish(lake, "mine-1", SPEC.to_message())
    assert run.trained_models == [TrainedModel("m")]
    assert "training data of m reaches is not known" in training_words(run)


def test_a_verdict_says_that_nothing_is_clipped_and_by_which_rule_symbols_belong(told):
    (sheet,) = Sheets(run := told(LUNA)).of(subjects(told(LUNA))[:1])
    lines = certificate(run, sheet).lines
    assert ("returns", returns_line(run.spec)) in lines
    assert "none is clipped" in returns_line(run.spec)
    universe = [text for name, text in lines if name == "universe"]
    assert universe[0].startswith("No rule: the symbols that were asked for")
    assert universe[1].startswith("Survivorship: each of the 2 symbols")
    by_z = replace(run.spec, portfolio=PortfolioSettings(weighting="zscore"))
    assert "held within 3: that limits weights, not returns" in returns_line(by_z)
