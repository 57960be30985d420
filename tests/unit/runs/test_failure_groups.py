"""Failures are grouped by what stopped them, the worst first, and stay readable."""

from __future__ import annotations

from alphamill.ledger import JobRecord, JobState
from alphamill.report.terminal.status import failures_table
from alphamill.runs.failures import group_failures, subject
from tests.rendering import shown

JAN_2024 = 1_704_067_200_000


def job(number, state=JobState.DEAD, stage="fetch", error="HTTP 451", **message):
    message = message or {"symbol": f"C{number}USDT", "interval": "1h", "start_ms": JAN_2024}
    return JobRecord(f"{stage}-{number}", stage, "fetch", message, state, error=error)


def test_one_group_a_stage_state_and_reason_the_dead_and_the_many_first():
    skipped = [job(n, JobState.SKIPPED, "features", "fetch-1 is dead") for n in range(9)]
    waiting = [job(20, JobState.DELAYED, error="timeout")]
    dead = [job(n) for n in range(5)] + [job(7, error="HTTP 400")]
    found = group_failures([*waiting, *skipped, *dead])
    assert [(t.stage, t.state, t.jobs) for t in found] == [
        ("fetch", "dead", 5),
        ("fetch", "dead", 1),
        ("features", "skipped", 9),
        ("fetch", "delayed", 1),
    ]
    assert found[0].subjects == ("C0USDT 1h 2024-01", "C1USDT 1h 2024-01", "C2USDT 1h 2024-01")


def test_subjects_name_what_the_job_is_about():
    assert subject({"tier": "quick_scan", "interval": "4h", "round": 0, "symbol": "AUSDT"}) == (
        "AUSDT 4h round 1"
    )
    assert subject({}) == ""


def test_a_reason_is_text_and_not_markup():
    text = shown(failures_table(group_failures([job(1, error="[red]x[/red] \x1b[31mboo")])))
    assert "[red]x[/red]" in text
    assert "\x1b" not in text


def test_many_kinds_are_cut_and_say_so():
    text = shown(
        failures_table(group_failures([job(n, error=f"reason {n:02d}") for n in range(15)]))
    )
    assert "and 3 more kinds" in text
    assert "reason 11" in text
    assert "reason 12" not in text
    assert max(len(line) for line in text.splitlines()) <= 80
