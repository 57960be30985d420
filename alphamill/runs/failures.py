"""Jobs that did not get through, grouped by what stopped them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from alphamill.frames import Month
from alphamill.ledger import JobRecord, JobState

KEY_REFUSED = "the endpoint refused the key"  # in the reason of a job that a refused key ended
REPAIR = "repair"  # a propose job's second call
_NAMED = 3  # jobs of a group that are named


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Jobs of one stage with one state and reason. `subjects`: what the first few were about."""

    stage: str
    state: JobState
    reason: str
    jobs: int
    subjects: tuple[str, ...]

    @property
    def about(self) -> str:
        """For example "BTCUSDT 1h 2024-01, ETHUSDT 1h 2024-01, ..."; "" where nothing is named."""
        named = ", ".join(filter(None, self.subjects))
        return f"{named}, ..." if named and self.jobs > len(self.subjects) else named


@dataclass(frozen=True, slots=True)
class Unasked:
    """Jobs of one stage that asked no model, and why the first of them did not.

    stage: "repair" for calls that were to mend what others had answered. unfunded: the budget that
    was in the way ("run", "day"), "" where it was something else; needs_usd_micros: what all
    their calls together may cost.
    """

    stage: str
    jobs: int
    reason: str
    unfunded: str = ""
    needs_usd_micros: int = 0


def group_unasked(results: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Unasked]:
    """By stage, in the order given. results: a job's stage and what it returned."""
    found: dict[tuple[str, str], Unasked] = {}
    for of_stage, result in results:
        stopped = result.get("stopped")
        reason = str(stopped or result.get("repair_stopped") or "")
        if not reason:
            continue
        stage = of_stage if stopped else REPAIR
        short_of, needs = result.get("unfunded") or "", result.get("needs_usd_micros") or 0
        known = found.get((stage, short_of), Unasked(stage, 0, reason, short_of))
        found[stage, short_of] = replace(
            known, jobs=known.jobs + 1, needs_usd_micros=known.needs_usd_micros + needs
        )
    return list(found.values())


def missing_row(job: JobRecord) -> dict[str, Any]:
    """A job that a run ended without, as its summary in the lake has it."""
    return {
        "stage": job.stage,
        "id": job.id,
        "state": job.state.value,
        "message": job.message,
        "reason": job.error,
    }


def missing_job(row: Mapping[str, Any]) -> JobRecord:
    """The reverse of `missing_row`; an old summary says only stage, id and reason."""
    return JobRecord(
        row["id"],
        row["stage"],
        queue="",
        message=row.get("message", {}),
        state=JobState(row.get("state", JobState.DEAD)),
        error=row["reason"],
    )


def group_failures(jobs: Iterable[JobRecord]) -> list[FailureGroup]:
    """Dead jobs before skipped ones before those that will be tried again, large groups first."""
    found: dict[tuple[str, JobState, str], FailureGroup] = {}
    for job in jobs:
        key = (job.stage, job.state, job.error)
        known = found.get(key, FailureGroup(*key, jobs=0, subjects=()))
        named = (*known.subjects, subject(job.message))[:_NAMED]
        found[key] = replace(known, jobs=known.jobs + 1, subjects=named)
    order = [JobState.DEAD, JobState.SKIPPED]

    def rank(group: FailureGroup) -> tuple[int, int, str]:
        at = order.index(group.state) if group.state in order else len(order)
        return at, -group.jobs, group.stage

    return sorted(found.values(), key=rank)


def subject(message: Mapping[str, Any]) -> str:
    """What a job is about, for a reader: "BTCUSDT 1h 2024-01", "1h round 2"."""
    named = ("symbol", "kind", "interval")
    parts = [str(message[name]) for name in named if message.get(name)]
    if "start_ms" in message:
        parts.append(str(Month.of_ms(int(message["start_ms"]))))
    if "round" in message:
        parts.append(f"round {int(message['round']) + 1}")
    return " ".join(parts)
