"""A run under way: how its jobs stand, what it was allowed to spend, and what models were asked.

From Redis, since only a finished run lies in the lake.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import redis

from alphamill.errors import GiveUp, RetryLater
from alphamill.ledger import FAILED, SETTLED, Counts, JobRecord, JobState, Ledger, RunRecord
from alphamill.llm.journal.budget import Account as Account
from alphamill.llm.journal.budget import utc_day
from alphamill.llm.journal.records import CallRecord as CallRecord
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import Message

_UNREACHABLE_S = 60.0  # a Redis server that restarts is back by then
_LOOK_EVERY_S = 0.4
STAGES = (  # in the order of a run's plan
    *("fetch", "bars", "reverify", "recheck", "features", "funding", "wide", "panel"),
    *("propose.quick_scan", "evaluate", "propose.detailed_analysis", "score", "combine"),
    *("validate", "rank", "veto", "verify", "publish"),
)
_PLACES = {stage: place for place, stage in enumerate(STAGES)}


def in_plan_order(counts: Counts) -> Counts:
    """The same counts, the stages as a run goes through them; unknown ones last.

    The ledger counts in the order in which jobs came to a state, which says nothing.
    """
    return {
        stage: counts[stage]
        for stage in sorted(counts, key=lambda stage: _PLACES.get(stage, len(STAGES)))
    }


@dataclass(frozen=True, slots=True)
class JobTotals:
    """How many jobs are settled, and of them done and failed (dead or skipped), of how many."""

    settled: int
    done: int
    failed: int
    total: int


def job_totals(counts: Counts, stages: Iterable[str] | None = None) -> JobTotals:
    """Of some stages, or of all."""
    states = [counts.get(stage, {}) for stage in (counts if stages is None else stages)]

    def number(among: Collection[JobState]) -> int:
        return sum(stage.get(state, 0) for stage in states for state in among)

    total = sum(sum(stage.values()) for stage in states)
    return JobTotals(number(SETTLED), number((JobState.DONE,)), number(FAILED), total)


def record_of(ledger: Ledger, run_id: str, each: Callable[[], object] = lambda: None) -> RunRecord:
    """The run as it is now; a Redis server that restarts is waited for, `each` called meanwhile.

    Raises GiveUp for a run that the ledger does not know, RetryLater after a minute.
    """
    until_s = time.monotonic() + _UNREACHABLE_S
    while True:
        try:
            run = ledger.run(run_id)
        except RetryLater:
            if time.monotonic() > until_s:
                raise
            each()
            time.sleep(_LOOK_EVERY_S)
            continue
        if run is None:
            raise GiveUp(f"the ledger does not know run {run_id}")
        return run


def failing_jobs(run: RunRecord, ledger: Ledger) -> list[JobRecord]:
    """Jobs that failed, and open ones whose last attempt did; by id."""
    # A healthy run of a million jobs is not read job by job to say that nothing is wrong.
    if not run.state.active and not job_totals(run.counts).failed:
        return []
    return sorted(
        (
            job
            for job in ledger.jobs(run.id)
            if job.state in FAILED or (job.error and not job.state.settled)
        ),
        key=lambda job: job.id,
    )


def account_of(client: redis.Redis, run_id: str) -> Account:
    """What a mining run has spent and set aside so far."""
    return RedisJournal(client).state(run_id, utc_day(int(time.time() * 1000))).run


def account_of_today(client: redis.Redis) -> Account:
    """What all runs together have spent and set aside since midnight UTC."""
    return RedisJournal(client).accounts((), utc_day(int(time.time() * 1000)))[1]


def calls_so_far(client: redis.Redis, run_id: str) -> list[CallRecord]:
    """Every attempt at a model call of a run, by start time."""
    return list(RedisJournal(client).calls(run_id))


def prompt_sent(
    client: redis.Redis, run_id: str, tier: str, call: str | None
) -> tuple[CallRecord, tuple[Message, ...]]:
    """The latest attempt of the tier, or of the call named, and its messages word for word.

    call: an id or its unique beginning. Raises GiveUp if there is none, or more than one fits.
    """
    journal = RedisJournal(client)
    sent = chosen_call(journal.calls(run_id), run_id, tier, call)
    return sent, journal.prompt(sent)


def chosen_call(
    calls: Iterable[CallRecord], run_id: str, tier: str, call: str | None
) -> CallRecord:
    """The latest attempt of the tier, or of the call named; raises as `prompt_sent` does."""
    sent = [record for record in calls if record.tier == tier]
    if call is not None:
        sent = [record for record in sent if record.call_id.startswith(call)]
        others = {record.call_id for record in sent}
        if len(others) > 1:
            raise GiveUp(
                f"{call!r} fits {len(others)} calls; name one: {', '.join(sorted(others))}"
            )
    if not sent:
        which = f" whose id begins with {call!r}" if call else ""
        raise GiveUp(f"{run_id} made no {tier} call{which}")
    return sent[-1]
