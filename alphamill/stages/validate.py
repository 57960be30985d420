"""validate: every trial on validation. No model sees a number from here."""

from __future__ import annotations

from dataclasses import dataclass

from alphamill.evaluation import Segment
from alphamill.jobs import Facts, ValidateJob
from alphamill.language import read_expression
from alphamill.runs.figures import Measures, dump_score
from alphamill.runs.reader import SegmentReader
from alphamill.runs.rows import Trial, ValidatedTrial
from alphamill.runs.schemas import VALIDATION, RunDeps, interval_key, read_trials, write_rows


@dataclass(frozen=True, slots=True)
class ValidateFacts(Facts):
    """The file of the shard's trials on validation, and how many there are."""

    key: str
    validated: int


def run(job: ValidateJob, deps: RunDeps) -> ValidateFacts:
    """Score this shard's trials on validation, each in its discovery direction."""
    trials = read_trials(deps.lake, deps.run_id, job.interval)
    measured = sorted((one for one in trials if one.evaluated), key=lambda one: one.hash or "")
    reader = SegmentReader(
        deps.lake, deps.run_id, job.interval, Segment.VALIDATION, deps.spec.groups
    )
    mine = measured[job.shard :: job.shards]
    key = interval_key(deps.run_id, "validation", job.interval, f"shard-{job.shard}")
    write_rows(deps.lake, key, (validated(trial, reader, deps) for trial in mine), VALIDATION)
    return ValidateFacts(key, len(mine))


def validated(trial: Trial, reader: SegmentReader, deps: RunDeps) -> ValidatedTrial:
    """The trial on validation, with the gross returns that count its luck."""
    factor = read_expression(trial.text)
    result, book = reader.measure(factor, deps.spec, trial.direction)
    return ValidatedTrial(
        hash=trial.hash or "",
        expression=trial.text,
        direction=result.direction,
        fault=result.fault,
        figures=Measures.of(result),
        score_text=dump_score(result),
        gross_returns=book.gross_returns.tolist() if book else None,
    )
