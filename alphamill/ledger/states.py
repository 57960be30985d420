"""One run of the in-memory ledger: the transitions of states.lua, in Python."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from alphamill.ledger.names import dependencies
from alphamill.ledger.protocol import (
    REPUBLISH_CAP_MS,
    Counts,
    Hint,
    JobRecord,
    JobSpec,
    JobState,
    RunRecord,
    RunState,
)
from alphamill.ledger.raises import BudgetRaise
from alphamill.settings import LedgerSettings

CANCELLED_REASON = "the run was cancelled"

_TAKEN = {JobState.QUEUED, JobState.RUNNING}


@dataclass(slots=True)
class Job:
    """A job; `pending` and `bad` are exact in every state (see states.lua)."""

    id: str
    stage: str
    queue: str
    message: str  # JSON
    goal: bool
    state: JobState
    attempts: int = 0
    deaths: int = 0
    republished: int = 0
    pending: int = 0  # dependencies that are not settled
    bad: int = 0  # needs that settled other than done
    due_ms: int = 0  # lease, deadline or due time, by state
    token: str = ""
    worker: str = ""
    build: str = ""
    error: str = ""
    result: str | None = None  # JSON
    unfunded: str = ""  # the budget that kept it from asking its model, while it is done
    started_ms: int | None = None
    finished_ms: int | None = None
    waiters: list[tuple[str, bool]] = field(default_factory=list)  # id, whether it needs this one

    def record(self) -> JobRecord:
        """As `Ledger.job` tells it."""
        return JobRecord(
            id=self.id,
            stage=self.stage,
            queue=self.queue,
            message=json.loads(self.message),
            state=self.state,
            attempts=self.attempts,
            error=self.error,
            result=None if self.result is None else json.loads(self.result),
            worker=self.worker,
            build=self.build,
            goal=self.goal,
            started_ms=self.started_ms,
            finished_ms=self.finished_ms,
        )

    def forget_attempts(self) -> None:
        """As if nobody had claimed it yet."""
        self.attempts = self.deaths = self.republished = 0
        self.error = self.token = self.worker = ""
        self.started_ms = self.finished_ms = None


@dataclass(slots=True)
class Run:
    """A run and its indices. The caller sets `now_ms` before every operation."""

    id: str
    kind: str
    spec: str  # JSON
    priority: int
    created_ms: int
    settings: LedgerSettings
    state: RunState = RunState.SUBMITTING
    sealed: bool = False
    finished_ms: int | None = None
    now_ms: int = 0
    jobs: dict[str, Job] = field(default_factory=dict)
    ready: defaultdict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    taken: Counter[str] = field(default_factory=Counter)
    tally: Counter[tuple[str, JobState]] = field(default_factory=Counter)
    builds: Counter[str] = field(default_factory=Counter)
    raises: list[BudgetRaise] = field(default_factory=list)

    def record(self) -> RunRecord:
        """As `Ledger.run` tells it."""
        return RunRecord(
            id=self.id,
            kind=self.kind,
            spec=json.loads(self.spec),
            state=self.state,
            priority=self.priority,
            created_ms=self.created_ms,
            finished_ms=self.finished_ms,
            counts=self.counts(),
            builds=dict(+self.builds),
            raises=tuple(self.raises),
            unfunded=dict(Counter(job.unfunded for job in self.jobs.values() if job.unfunded)),
        )

    def counts(self) -> Counts:
        """Jobs by stage and state."""
        table: Counts = {}
        for (stage, state), n in self.tally.items():
            if n:
                table.setdefault(stage, {})[state.value] = n
        return table

    def move(self, job: Job, state: JobState, due_ms: int = 0) -> None:
        """The only place where a job's state changes."""
        self.tally[job.stage, job.state] -= 1
        self.ready[job.queue].pop(job.id, None)
        self.taken[job.queue] += (state in _TAKEN) - (job.state in _TAKEN)
        self._enter(job, state, due_ms)

    def _enter(self, job: Job, state: JobState, due_ms: int = 0) -> None:
        self.tally[job.stage, state] += 1
        if state is JobState.READY:
            self.ready[job.queue][job.id] = None
        job.state, job.due_ms = state, due_ms

    def add(self, spec: JobSpec, message: str) -> None:
        """A new job; its dependencies exist."""
        job = Job(spec.id, spec.stage, spec.queue, message, spec.goal, JobState.WAITING)
        for needed, others in zip((True, False), dependencies(spec), strict=True):
            for other in (self.jobs[name] for name in others):
                other.waiters.append((job.id, needed))
                job.pending += not other.state.settled
                if needed and other.state.settled and other.state is not JobState.DONE:
                    job.bad += 1
                    job.error = _why_skipped(other)
        if self.state is RunState.CANCELLED:
            job.error, state = CANCELLED_REASON, JobState.CANCELLED
        elif job.bad:
            state = JobState.SKIPPED
        else:
            state = JobState.WAITING if job.pending else JobState.READY
        job.finished_ms = self.now_ms if state.settled else None
        self.jobs[job.id] = job
        self._enter(job, state)

    def release(self, job: Job) -> None:
        """Ready, unless something it depends on is open (again, after a resume)."""
        self.move(job, JobState.WAITING if job.pending else JobState.READY)

    def settle(self, first: Job, outcome: JobState, why: str = "") -> None:
        """Settle a job; those that need it follow, those that waited are released."""
        work = [(first, outcome, why)]
        for job, state, reason in work:  # grows while it is walked
            if job.state.settled:
                continue
            job.error, job.finished_ms = reason, self.now_ms
            self.move(job, state)
            for waiter, needed in ((self.jobs[name], needed) for name, needed in job.waiters):
                waiter.pending -= 1
                waiter.bad += needed and state is not JobState.DONE
                if waiter.state is JobState.WAITING and waiter.bad:
                    cancelled = state is JobState.CANCELLED
                    follows = JobState.CANCELLED if cancelled else JobState.SKIPPED
                    work.append((waiter, follows, _why_skipped(job)))
                elif waiter.state is JobState.WAITING and not waiter.pending:
                    self.move(waiter, JobState.READY)

    def reopen(self, first: Job) -> None:
        """The reverse of `settle`, for what is dead, skipped or cancelled and has no bad need."""
        work = [first]
        for job in work:  # grows while it is walked
            if not job.state.settled or job.state is JobState.DONE or job.bad:
                continue
            job.forget_attempts()
            self.release(job)
            for waiter, needed in ((self.jobs[name], needed) for name, needed in job.waiters):
                waiter.pending += 1
                if needed:
                    waiter.bad -= 1
                    work.append(waiter)
                if waiter.state in {JobState.READY, JobState.QUEUED}:
                    self.move(waiter, JobState.WAITING)

    def undo(self, first: Job) -> None:
        """Take back that a job is done, and that those are that waited for it."""
        work = {first.id: first}
        while work:
            job = work.pop(next(iter(work)))
            if job.build:
                self.builds[job.build] -= 1
            job.result, job.unfunded, job.build = None, "", ""
            job.forget_attempts()
            self.release(job)
            for waiter in (self.jobs[name] for name, _ in job.waiters):
                waiter.pending += 1
                if waiter.state is JobState.DONE:
                    work.setdefault(waiter.id, waiter)
                elif waiter.state is JobState.READY:
                    self.move(waiter, JobState.WAITING)

    def complete(self) -> None:
        """Settle the run if it is sealed and nothing is open."""
        jobs = self.jobs.values()
        if self.state is RunState.RUNNING and all(job.state.settled for job in jobs):
            goals = [job for job in jobs if job.goal]
            failed = goals and all(job.state is not JobState.DONE for job in goals)
            self.state = RunState.FAILED if failed else RunState.DONE
            self.finished_ms = self.now_ms

    def exhausted(self, job: Job) -> bool:
        """Settle a job that may not be tried again as dead; whether it was so."""
        if job.attempts < self.settings.max_attempts:
            return False
        reason = f"its worker died {job.deaths} time{'' if job.deaths == 1 else 's'}"
        self.settle(
            job, JobState.DEAD, f"{reason}; last error: {job.error}" if job.error else reason
        )
        return True

    def publish(self, job: Job) -> Hint:
        """Queue a job; the grace doubles with each republication."""
        grace_ms = self.settings.republish_after_s * 1000 * 2.0 ** min(job.republished, 64)
        self.move(job, JobState.QUEUED, self.now_ms + int(min(grace_ms, REPUBLISH_CAP_MS)))
        message = json.loads(job.message)
        return Hint(self.id, job.id, job.stage, job.queue, self.priority, message)

    def feed(self) -> list[Hint]:
        """Queue what is ready, up to the window."""
        hints: list[Hint] = []
        for queue, ready in self.ready.items() if self.state.active else ():
            room = max(0, self.settings.window - self.taken[queue])
            hints += [self.publish(self.jobs[name]) for name in list(ready)[:room]]
        return hints


def _why_skipped(cause: Job) -> str:
    if cause.state is JobState.DEAD:
        return f"needs {cause.id}, which is dead: {cause.error}"
    return cause.error
