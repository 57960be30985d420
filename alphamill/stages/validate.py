"""validate: every trial on validation. No model sees a number from here."""

from __future__ import annotations

from dataclasses import dataclass

from alphamill.evaluation import Segment
from alphamill.jobs import Facts, ValidateJob
from alphamill.language import read_expression
from alphamill.runs.reader import SegmentReader
from alphamill.runs.schemas import (
    VALIDATION,
    Row,
    RunDeps,
    interval_key,
    read_trials,
    score_columns,
    write_rows,
)


@dataclass(frozen=True, slots=True)
class ValidateFacts(Facts):
    """The file of the shard's trials on validation, and how many there are."""

    key: str
    validated: int


def run(job: ValidateJob, deps: RunDeps) -> ValidateFacts:
    """Score this shard's trials on validation, each in its discovery direction."""
    trials = [
        row
        for row in read_trials(deps.lake, deps.run_id, job.interval)
        if row["status"] == "evaluated"
    ]
    mine = sorted(trials, key=lambda row: row["hash"])[job.shard :: job.shards]
    reader = SegmentReader(
        deps.lake, deps.run_id, job.interval, Segment.VALIDATION, deps.spec.groups
    )
    rows = [validated_row(row, reader, deps) for row in mine]
    key = interval_key(deps.run_id, "validation", job.interval, f"shard-{job.shard}")
    write_rows(deps.lake, key, rows, VALIDATION)
    return ValidateFacts(key, len(rows))


def validated_row(trial: Row, reader: SegmentReader, deps: RunDeps) -> Row:
    """The trial on validation, with the gross returns that count its luck."""
    factor = read_expression(trial["expression"])
    result, book = reader.measure(factor, deps.spec, trial["direction"])
    return {
        "hash": trial["hash"],
        "expression": trial["expression"],
        "fault": result.fault,
        **score_columns(result),
        "gross_returns": book.gross_returns.tolist() if book else None,
    }
