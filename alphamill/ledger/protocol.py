"""What the ledger remembers and what may be asked of it.

The ledger is the truth, a message is a hint: a job's state is written before its message is
published, and a message that comes twice, late or never changes nothing but the waiting time.

    waiting -> ready -> queued -> running -> done
       |         ^        ^         |---> delayed -> ready       (put_back)
       |         |        '---------'                            (its worker died: sweep)
       '-> skipped    cancelled <- any open state    dead <- fail, or attempts used up

A job is done once and for all, but for one that a budget kept from asking its model, and what came
after it: more money puts those back (resume).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from alphamill.errors import GiveUp
from alphamill.ledger.raises import BudgetRaise, budget_usd_micros

Counts = dict[str, dict[str, int]]  # stage -> state -> jobs; zeros are left out

RESULT_LIMIT_BYTES = 65_536  # of a result's or a message's JSON: keys and paths, never frames
REPUBLISH_CAP_MS = 600_000
BATCH_JOBS = 200  # jobs per atomic step of add_jobs, cancel and resume
UNFUNDED = "unfunded"  # in a result: the budget, "run" or "day", that kept the job from asking


class JobState(StrEnum):
    """Where a job is."""

    WAITING = "waiting"  # for other jobs
    READY = "ready"
    QUEUED = "queued"  # its message is out, with a deadline
    DELAYED = "delayed"  # put back until a due time
    RUNNING = "running"  # under a token and a lease
    DONE = "done"
    DEAD = "dead"
    SKIPPED = "skipped"  # a job that it needs was not done
    CANCELLED = "cancelled"

    @property
    def settled(self) -> bool:
        """Whether nothing more will happen to it, short of `resume`."""
        return self in SETTLED


SETTLED = frozenset({JobState.DONE, JobState.DEAD, JobState.SKIPPED, JobState.CANCELLED})
FAILED = frozenset({JobState.DEAD, JobState.SKIPPED})


class RunState(StrEnum):
    """Where a run is."""

    SUBMITTING = "submitting"  # jobs are still being added; those that are ready run already
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"  # it has goal jobs and none of them is done
    CANCELLED = "cancelled"

    @property
    def active(self) -> bool:
        """Whether its jobs may run."""
        return self in ACTIVE


ACTIVE = frozenset({RunState.SUBMITTING, RunState.RUNNING})
ENDED = frozenset({RunState.DONE, RunState.FAILED, RunState.CANCELLED})


class NoSuchRun(GiveUp):
    """The ledger does not know this run."""


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job as submitted. Ids, stages and queues are short names without blanks, `|` or braces."""

    id: str
    stage: str
    queue: str
    message: Mapping[str, Any]  # JSON values
    needs: tuple[str, ...] = ()  # jobs that must be done; if one is not, this job is skipped
    after: tuple[str, ...] = ()  # jobs that must merely be settled
    goal: bool = False


@dataclass(frozen=True, slots=True)
class Hint:
    """A message to publish: someone may claim this job."""

    run: str
    job_id: str
    stage: str
    queue: str
    priority: int  # the run's, 0 to 9, higher first
    job: Mapping[str, Any] = field(default_factory=dict, compare=False)  # its message, for people


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A job as remembered. Times are UTC epoch milliseconds of the ledger's clock, or None."""

    id: str
    stage: str
    queue: str
    message: dict[str, Any]
    state: JobState
    attempts: int = 0
    error: str = ""  # why it is dead, skipped or cancelled; else the last attempt's
    result: dict[str, Any] | None = None
    worker: str = ""  # the last to claim it
    build: str = ""  # of the code that did it; "" where it did not say
    goal: bool = False
    started_ms: int | None = None  # of the last attempt
    finished_ms: int | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as remembered.

    raises: of its budget, in their order. unfunded: budget, "run" or "day" -> done jobs that it
    kept from asking their models; zeros are left out.
    """

    id: str
    kind: str
    spec: dict[str, Any]
    state: RunState
    priority: int
    created_ms: int
    finished_ms: int | None = None
    counts: Counts = field(default_factory=dict)
    builds: Mapping[str, int] = field(default_factory=dict)  # build -> jobs that it has done
    raises: tuple[BudgetRaise, ...] = ()
    unfunded: Mapping[str, int] = field(default_factory=dict)

    @property
    def budget_usd_micros(self) -> int:
        """What it may spend: as asked for, or as raised since."""
        return budget_usd_micros(self.spec, self.raises)

    @property
    def whole(self) -> bool:
        """Whether it is done, no job of it has failed for good and no budget has stopped any.

        A run may end without some.
        """
        states = {JobState(state) for stage in self.counts.values() for state in stage}
        # Open jobs of a run that is done: somebody who resumed it died half way.
        short = JobState.DEAD in states or not states <= SETTLED or bool(self.unfunded)
        return self.state is RunState.DONE and not short


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to work on a job while the lease is renewed."""

    run: str
    job: str
    token: str
    attempt: int  # 1 for the first
    record: JobRecord


class Ledger(Protocol):
    """Every operation is atomic and may be repeated; any number of processes may call at once.

    Raises RetryLater (not counted as an attempt) when the ledger cannot be reached, and NoSuchRun
    where a run must exist: add_jobs, seal, cancel, resume, raise_budget, forget.
    """

    def open_run(
        self, run_id: str, kind: str, spec: Mapping[str, Any], priority: int = 0
    ) -> RunRecord:
        """The run, created in `submitting` if absent; an existing one is joined as it is."""

    def add_jobs(self, run_id: str, jobs: Sequence[JobSpec]) -> None:
        """Add jobs, dependencies before their dependents; known ids are left as they are.

        Each batch of BATCH_JOBS is all or nothing. Jobs added to a cancelled run are cancelled
        (`resume` revives them). Raises ValueError for a dependency that does not exist, a bad name
        or a message past RESULT_LIMIT_BYTES; GiveUp for new jobs in a done or failed run.
        """

    def seal(self, run_id: str) -> RunRecord:
        """Submission is complete: the run may now settle, at once if nothing is open."""

    def feed(self, run_id: str) -> list[Hint]:
        """Queue ready jobs, first come first, up to the window per run and queue."""

    def claim(self, run_id: str, job_id: str, worker: str) -> Claim | None:
        """Take a job that is queued, ready, due or whose lease lapsed; counts the attempt.

        None when there is nothing to do: held, settled, not yet due, waiting, unknown, the run not
        active, the window full (the job is fed later), or its attempts used up (it is then dead).
        """

    def renew(self, claim: Claim) -> bool:
        """Extend the lease; False when the job is no longer this claim's: stop working."""

    def finish(self, claim: Claim, result: Mapping[str, Any], build: str = "") -> list[Hint] | None:
        """Done: releases what waited, settles the run if it was the last, feeds.

        build: of the code that did it, remembered of the job and counted of the run.

        None when the claim is stale: the result is discarded. Repeated after a success: [].
        A result with `UNFUNDED` is counted as such. Raises ValueError past RESULT_LIMIT_BYTES.
        """

    def fail(self, claim: Claim, reason: str) -> list[Hint]:
        """Dead: skips what needs it, releases what comes after it, feeds; stale: []."""

    def put_back(
        self, claim: Claim, reason: str, after_s: float, counts: bool = True
    ) -> list[Hint]:
        """Try again in `after_s` seconds, or fail if the attempts are used up; stale: [].

        With `counts` False the attempt is given back.
        """

    def sweep(self, limit: int = 500) -> list[Hint]:
        """Of every active run, act on up to `limit` jobs whose time has come, and feed.

        Delayed jobs that are due become ready; messages not claimed by their deadline are published
        again, each time with twice the grace; jobs whose worker died are queued again or dead.
        """

    def cancel(self, run_id: str) -> RunRecord:
        """Settle an active run as cancelled, its open jobs with it. Large runs: bounded steps."""

    def resume(self, run_id: str, *, unfunded: bool = False) -> list[Hint]:
        """Dead, skipped and cancelled jobs go back with fresh attempts; the run goes on.

        unfunded: so do the done jobs of an ended run that a budget kept from asking, and all that
        came after them, without their results; of a run that is active they stay as they are.
        """

    def raise_budget(self, run_id: str, usd_micros: int) -> RunRecord:
        """The run may spend so much from now on; written down with the time.

        Repeated: nothing more. Raises GiveUp unless it is more than the run may spend now.
        """

    def forget(self, run_id: str) -> None:
        """Delete a settled run; raises GiveUp while it is active."""

    def run(self, run_id: str) -> RunRecord | None:
        """The run, or None."""

    def runs(self) -> list[RunRecord]:
        """All runs, the newest first."""

    def counts(self, run_id: str) -> Counts:
        """Jobs by stage and state, from counters; empty for an unknown run."""

    def job(self, run_id: str, job_id: str) -> JobRecord | None:
        """The job, or None."""

    def jobs(self, run_id: str) -> Iterator[JobRecord]:
        """Every job once, in no order."""

    def dead(self, run_id: str) -> Iterator[JobRecord]:
        """The dead and the skipped, with their reasons."""

    def result(self, run_id: str, job_id: str) -> dict[str, Any] | None:
        """What `finish` was given, or None."""
