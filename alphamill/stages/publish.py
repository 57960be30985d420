"""publish: a run's results as trials.parquet, factors.parquet, calls.parquet and run.json."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from alphamill.errors import GiveUp
from alphamill.evaluation import Grade
from alphamill.frames import Interval
from alphamill.jobs import Facts, PublishJob, RunKind, ScoreJob
from alphamill.lake import run_key
from alphamill.ledger import JobRecord
from alphamill.llm.journal.records import CallRecord
from alphamill.runs.panels import read_refusal
from alphamill.runs.schemas import (
    CALLS,
    GIVEN_TRIALS,
    MINED_TRIALS,
    SCORE_COLUMNS,
    SUMMARY,
    UNMEASURED,
    VERDICTS,
    Row,
    RunDeps,
    read_rows,
    read_trials,
)
from alphamill.stages.score import unscored


@dataclass(frozen=True, slots=True)
class PublishDeps(RunDeps):
    """calls: the run's journal. missing: jobs that ended badly, as {stage, id, reason} rows."""

    calls: Iterable[CallRecord]
    missing: Sequence[Row]


@dataclass(frozen=True, slots=True)
class PublishFacts(Facts):
    """How many trials there are, how many jobs ended badly, and how many factors by grade."""

    trials: int
    missing: int
    counts: dict[str, int]


def missing_rows(dead: Iterable[JobRecord]) -> list[Row]:
    """Rows of `PublishDeps.missing`, in the order of the jobs' ids."""
    return [
        {
            "stage": job.stage,
            "id": job.id,
            "state": job.state.value,
            "message": job.message,
            "reason": job.error,
        }
        for job in sorted(dead, key=lambda job: job.id)
    ]


def run(_: PublishJob, deps: PublishDeps) -> PublishFacts:
    """Gather everything; raises GiveUp if there is nothing at all, with the first reason why.

    Bars that no factor could be measured on are a row with that reason. Where a fetch failed they
    are none: the run may be resumed.
    """
    trials = [row for interval in deps.spec.intervals for row in _joined(deps, interval)]
    verdicts = read_rows(deps.lake, run_key(deps.run_id, "verdicts"))
    if not trials:
        why = deps.missing[0]["reason"] if deps.missing else "no candidate was proposed"
        raise GiveUp(f"the run has no trial to show: {why}")
    grades = list(Grade)
    verdicts.sort(key=lambda row: (-grades.index(Grade(row["verdict"])), row["rank"]))
    mined = deps.spec.kind is RunKind.MINE
    _write(deps, "trials", trials, MINED_TRIALS if mined else GIVEN_TRIALS)
    if mined:
        _write(deps, "factors", verdicts, VERDICTS)
        _write(deps, "calls", [call.to_row() for call in deps.calls], CALLS)
    summary = {"run": deps.run_id, "spec": deps.spec.to_message(), "missing": list(deps.missing)}
    text = json.dumps(summary, indent=1, sort_keys=True)
    deps.lake.write_bytes(run_key(deps.run_id, SUMMARY), text.encode())
    found = {grade.value: sum(row["verdict"] == grade for row in verdicts) for grade in grades}
    return PublishFacts(len(trials), len(deps.missing), found)


def _joined(deps: PublishDeps, interval: Interval) -> list[Row]:
    """Discovery and validation side by side; from here on no model is asked."""

    def by_hash(kind: str) -> dict[str, Row]:
        rows = read_rows(deps.lake, run_key(deps.run_id, f"{kind}/interval={interval.value}"))
        return {row["hash"]: row for row in rows}

    validated, ranking = by_hash("validation"), by_hash("ranking")
    rows = _refused(deps, interval)
    for trial in read_trials(deps.lake, deps.run_id, interval):
        own = trial["hash"] if trial["status"] == "evaluated" else None
        later, ranked = validated.get(own or "", {}), ranking.get(own or "", {})
        rows.append(
            trial
            | {f"validation_{name}": later.get(name) for name in SCORE_COLUMNS}
            | {"validation_rank": ranked.get("rank"), "finalist": ranked.get("finalist"),
               "why_not_finalist": ranked.get("why")}
        )  # fmt: skip
    return rows


def _refused(deps: PublishDeps, interval: Interval) -> list[Row]:
    """Rows that say why an interval has no panel; none if it has one, or a fetch was in its way."""
    reason = read_refusal(deps.lake, deps.run_id, interval)
    if reason is None or any(row["stage"] == "fetch" for row in deps.missing):
        return []
    if deps.spec.kind is RunKind.EVALUATE:
        return unscored(ScoreJob(interval), deps.spec, reason)
    return [{"interval": interval.value, "round": 0, "status": UNMEASURED, "reason": reason}]


def _write(deps: PublishDeps, name: str, rows: Sequence[Row], schema: pa.Schema) -> None:
    table = pa.Table.from_pylist(list(rows), schema=schema)
    deps.lake.write(run_key(deps.run_id, f"{name}.parquet"), table, {})
