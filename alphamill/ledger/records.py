"""Records from what Redis holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from alphamill.ledger.protocol import Counts, JobRecord, JobState, RunRecord, RunState


def mapping(text: str) -> dict[str, Any]:
    """A JSON object that the ledger wrote."""
    return cast("dict[str, Any]", json.loads(text))


def counts(fields: Mapping[str, str]) -> Counts:
    """From "stage|state" -> jobs, without the zeros."""
    table: Counts = {}
    for name, value in fields.items():
        stage, state = name.rsplit("|", 1)
        if int(value):
            table.setdefault(stage, {})[state] = int(value)
    return table


def run_record(run_id: str, run: Mapping[str, str], count_fields: Mapping[str, str]) -> RunRecord:
    """From the `run` and `counts` hashes of states.lua."""
    return RunRecord(
        id=run_id,
        kind=run["kind"],
        spec=mapping(run["spec"]),
        state=RunState(run["state"]),
        priority=int(run["priority"]),
        created_ms=_whole(run["created_ms"]),
        finished_ms=_whole(run["finished_ms"]) if "finished_ms" in run else None,
        counts=counts(count_fields),
    )


def job_record(job_id: str, job: str, message: str, result: str | None) -> JobRecord:
    """From a job's entries in the `jobs`, `messages` and `results` hashes of states.lua."""
    fields = mapping(job)
    return JobRecord(
        id=job_id,
        stage=fields["stage"],
        queue=fields["queue"],
        message=mapping(message),
        state=JobState(fields["state"]),
        attempts=_whole(fields.get("attempts", 0)),
        error=fields.get("error", ""),
        result=None if result is None else mapping(result),
        worker=fields.get("worker", ""),
        goal=bool(fields.get("goal", False)),
        started_ms=_time(fields, "started_ms"),
        finished_ms=_time(fields, "finished_ms"),
    )


def _time(fields: Mapping[str, Any], name: str) -> int | None:
    return _whole(fields[name]) if name in fields else None


def _whole(value: str | float) -> int:
    return int(float(value))  # a Lua number may be written 1.7e+12
