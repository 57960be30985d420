"""A ledger in this process's memory, for tests and notebooks; the clock may be moved by hand."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from threading import RLock
from typing import Any

from alphamill.clock import Clock, SystemClock
from alphamill.errors import GiveUp
from alphamill.ledger import names
from alphamill.ledger.protocol import (
    BATCH_JOBS,
    FAILED,
    Claim,
    Counts,
    Hint,
    JobRecord,
    JobSpec,
    JobState,
    NoSuchRun,
    RunRecord,
    RunState,
)
from alphamill.ledger.raises import BudgetRaise
from alphamill.ledger.states import CANCELLED_REASON, Job, Run
from alphamill.settings import LedgerSettings


class MemoryLedger:
    """`Ledger` for the threads of one process; gone when the process ends."""

    def __init__(self, settings: LedgerSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._lock = RLock()
        self._runs: dict[str, Run] = {}

    def open_run(
        self, run_id: str, kind: str, spec: Mapping[str, Any], priority: int = 0
    ) -> RunRecord:
        names.check_run(run_id, priority)
        text = names.to_json(spec, "run spec")
        with self._lock:
            if run_id not in self._runs:
                now_ms = self._clock.now_ms()
                self._runs[run_id] = Run(run_id, kind, text, priority, now_ms, self._settings)
            return self._known(run_id).record()

    def add_jobs(self, run_id: str, jobs: Sequence[JobSpec]) -> None:
        rows = [
            (names.checked(job), names.to_json(job.message, f"message of {job.id}")) for job in jobs
        ]
        with self._lock:
            run = self._known(run_id)
            for start in range(0, len(rows), BATCH_JOBS):
                self._add_batch(run, rows[start : start + BATCH_JOBS])

    def _add_batch(self, run: Run, rows: list[tuple[JobSpec, str]]) -> None:
        fresh: dict[str, tuple[JobSpec, str]] = {}
        for spec, message in rows:
            if spec.id in run.jobs or spec.id in fresh:
                continue
            for other in (*spec.needs, *spec.after):
                if other not in run.jobs and other not in fresh:
                    raise ValueError(f"{spec.id} depends on {other}, which is not in run {run.id}")
            fresh[spec.id] = spec, message
        if fresh and run.state in {RunState.DONE, RunState.FAILED}:
            raise GiveUp(f"run {run.id} is {run.state} and takes no new jobs")
        for spec, message in fresh.values():
            run.add(spec, message)

    def seal(self, run_id: str) -> RunRecord:
        with self._lock:
            run = self._known(run_id)
            run.sealed = True
            if run.state is RunState.SUBMITTING:
                run.state = RunState.RUNNING
                run.complete()
            return run.record()

    def feed(self, run_id: str) -> list[Hint]:
        with self._lock:
            run = self._find(run_id)
            return run.feed() if run else []

    def claim(self, run_id: str, job_id: str, worker: str) -> Claim | None:
        with self._lock:
            run = self._find(run_id)
            job = run.jobs.get(job_id) if run and run.state.active else None
            if run is None or job is None or not self._claimable(run, job):
                return None
            job.attempts += 1
            job.token, job.worker = uuid.uuid4().hex, names.clip(worker)
            job.started_ms, job.republished = run.now_ms, 0
            run.move(job, JobState.RUNNING, self._lease_end(run))
            return Claim(run_id, job_id, job.token, job.attempts, job.record())

    def _claimable(self, run: Run, job: Job) -> bool:
        if job.state.settled or job.state is JobState.WAITING:
            return False
        if job.state in {JobState.RUNNING, JobState.DELAYED} and job.due_ms > run.now_ms:
            return False
        if job.state is JobState.RUNNING:
            job.deaths += 1
        if run.exhausted(job):
            run.complete()
            return False
        if job.pending:
            run.release(job)
            return False
        taken = job.state in {JobState.QUEUED, JobState.RUNNING}
        return taken or run.taken[job.queue] < self._settings.window

    def renew(self, claim: Claim) -> bool:
        with self._lock:
            run, job = self._held(claim)
            if run and job:
                job.due_ms = self._lease_end(run)
            return job is not None

    def finish(self, claim: Claim, result: Mapping[str, Any], build: str = "") -> list[Hint] | None:
        text = names.to_json(result, f"result of {claim.job}")
        with self._lock:
            run, job = self._held(claim)
            if run is None or job is None:
                return [] if self._was_done_by(claim) else None
            job.result, job.unfunded = text, names.unfunded(result)
            if build:
                job.build = names.clip(build)
                run.builds[job.build] += 1
            run.settle(job, JobState.DONE)
            run.complete()
            return run.feed()

    def fail(self, claim: Claim, reason: str) -> list[Hint]:
        with self._lock:
            run, job = self._held(claim)
            if run is None or job is None:
                return []
            run.settle(job, JobState.DEAD, names.clip(reason))
            run.complete()
            return run.feed()

    def put_back(
        self, claim: Claim, reason: str, after_s: float, counts: bool = True
    ) -> list[Hint]:
        with self._lock:
            run, job = self._held(claim)
            if run is None or job is None:
                return []
            if counts and job.attempts >= self._settings.max_attempts:
                return self.fail(claim, reason)
            job.attempts -= not counts
            job.error = names.clip(reason)
            if after_s > 0:
                run.move(job, JobState.DELAYED, run.now_ms + round(after_s * 1000))
            else:
                run.release(job)
            return run.feed()

    def sweep(self, limit: int = 500) -> list[Hint]:
        with self._lock:
            active = [run for run in self._runs.values() if run.state.active]
            active.sort(key=lambda run: (-run.priority, run.created_ms))
            return [hint for run in active for hint in self._sweep_run(run, limit)]

    def _sweep_run(self, run: Run, limit: int) -> list[Hint]:
        run.now_ms = self._clock.now_ms()
        hints: list[Hint] = []
        timed = [job for job in run.jobs.values() if job.due_ms and job.due_ms <= run.now_ms]
        for job in sorted(timed, key=lambda job: (job.due_ms, job.id))[:limit]:
            if job.state is JobState.DELAYED:
                run.release(job)
            elif job.state is JobState.QUEUED:
                job.republished += 1
                hints.append(run.publish(job))
            elif job.state is JobState.RUNNING:
                job.deaths += 1
                if not run.exhausted(job):
                    if job.pending:
                        run.release(job)
                    else:
                        hints.append(run.publish(job))
        run.complete()
        return hints + run.feed()

    def cancel(self, run_id: str) -> RunRecord:
        with self._lock:
            run = self._known(run_id)
            if run.state.active:
                run.state, run.finished_ms = RunState.CANCELLED, run.now_ms
                for job in run.jobs.values():
                    run.settle(job, JobState.CANCELLED, CANCELLED_REASON)
            return run.record()

    def resume(self, run_id: str, *, unfunded: bool = False) -> list[Hint]:
        with self._lock:
            run = self._known(run_id)
            for job in run.jobs.values():
                run.reopen(job)
                if unfunded and job.unfunded and not run.state.active:
                    run.undo(job)
            is_open = not all(job.state.settled for job in run.jobs.values())
            if run.state is RunState.CANCELLED or (is_open and not run.state.active):
                run.state = RunState.RUNNING if run.sealed else RunState.SUBMITTING
                run.finished_ms = None
                run.complete()
            return run.feed()

    def raise_budget(self, run_id: str, usd_micros: int) -> RunRecord:
        with self._lock:
            run = self._known(run_id)
            current = run.record().budget_usd_micros
            if usd_micros <= current and not (run.raises and usd_micros == current):
                raise GiveUp(names.not_higher(run_id, usd_micros, current))
            if usd_micros > current:
                run.raises.append(BudgetRaise(run.now_ms, usd_micros))
            return run.record()

    def forget(self, run_id: str) -> None:
        with self._lock:
            run = self._known(run_id)
            if run.state.active:
                raise GiveUp(f"run {run_id} is {run.state}; cancel it first")
            del self._runs[run_id]

    def run(self, run_id: str) -> RunRecord | None:
        with self._lock:
            run = self._find(run_id)
            return run.record() if run else None

    def runs(self) -> list[RunRecord]:
        with self._lock:
            newest_first = sorted(self._runs.values(), key=lambda run: -run.created_ms)
            return [run.record() for run in newest_first]

    def counts(self, run_id: str) -> Counts:
        with self._lock:
            run = self._find(run_id)
            return run.counts() if run else {}

    def job(self, run_id: str, job_id: str) -> JobRecord | None:
        with self._lock:
            run = self._find(run_id)
            job = run.jobs.get(job_id) if run else None
            return job.record() if job else None

    def jobs(self, run_id: str) -> Iterator[JobRecord]:
        with self._lock:
            run = self._find(run_id)
            return iter([job.record() for job in run.jobs.values()] if run else [])

    def dead(self, run_id: str) -> Iterator[JobRecord]:
        return (job for job in self.jobs(run_id) if job.state in FAILED)

    def result(self, run_id: str, job_id: str) -> dict[str, Any] | None:
        record = self.job(run_id, job_id)
        return record.result if record else None

    def _find(self, run_id: str) -> Run | None:
        run = self._runs.get(run_id)
        if run is not None:
            run.now_ms = self._clock.now_ms()
        return run

    def _known(self, run_id: str) -> Run:
        run = self._find(run_id)
        if run is None:
            raise NoSuchRun(f"no run {run_id}")
        return run

    def _lease_end(self, run: Run) -> int:
        return run.now_ms + round(self._settings.lease_s * 1000)

    def _held(self, claim: Claim) -> tuple[Run | None, Job | None]:
        """The claim's run, and its job if the claim still runs it."""
        run = self._find(claim.run)
        job = run.jobs.get(claim.job) if run and run.state.active else None
        if job and job.state is JobState.RUNNING and job.token == claim.token:
            return run, job
        return run, None

    def _was_done_by(self, claim: Claim) -> bool:
        run = self._find(claim.run)
        job = run.jobs.get(claim.job) if run else None
        return job is not None and job.state is JobState.DONE and job.token == claim.token
