"""The ledger in Redis. Every transition is one Lua script, on the server's clock."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from itertools import islice
from typing import Any

import redis

from alphamill.errors import GiveUp, RetryLater
from alphamill.ledger import names as entries
from alphamill.ledger import records
from alphamill.ledger.protocol import (
    BATCH_JOBS,
    FAILED,
    Claim,
    Counts,
    Hint,
    JobRecord,
    JobSpec,
    NoSuchRun,
    RunRecord,
    RunState,
)
from alphamill.settings import LedgerSettings

SCAN_COUNT = 500
UNREACHABLE_AFTER_S = 2.0

_SCRIPTS = (
    "open_run", "add_jobs", "seal", "feed", "claim", "renew", "finish", "fail", "put_back",
    "sweep", "cancel", "resume", "forget",
)  # fmt: skip


@cache
def _source(name: str) -> str:
    folder = files("alphamill.ledger")
    shared = folder.joinpath("states.lua").read_text(encoding="utf-8")
    return shared + "\n" + folder.joinpath(f"{name}.lua").read_text(encoding="utf-8")


@contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
        reason = f"ledger unreachable ({error})"
        raise RetryLater(reason, after_s=UNREACHABLE_AFTER_S, counts=False) from error


class RedisLedger:
    """`Ledger` over a Redis-compatible server; processes and threads may share the data freely.

    client: any redis.Redis; its timeouts are the caller's. prefix: begins every key.
    """

    def __init__(
        self, client: redis.Redis, settings: LedgerSettings, prefix: str = "alphamill"
    ) -> None:
        self._client: Any = client
        self._prefix = entries.check_name(prefix, "prefix")
        self._index = f"{prefix}:runs"  # zset: run id -> created, UTC epoch milliseconds
        self._settings = (
            settings.window,
            round(settings.republish_after_s * 1000),
            round(settings.lease_s * 1000),
            settings.max_attempts,
        )
        self._scripts = {name: self._client.register_script(_source(name)) for name in _SCRIPTS}

    def open_run(
        self, run_id: str, kind: str, spec: Mapping[str, Any], priority: int = 0
    ) -> RunRecord:
        """See Ledger."""
        entries.check_run(run_id, priority)
        self._call("open_run", run_id, kind, entries.to_json(spec, "run spec"), priority)
        record = self._known(run_id)
        # After the run: a process killed in between leaves a run that is open but not listed, and
        # opening it again lists it. Nothing is swept before its producer comes back.
        with _reachable():
            self._client.zadd(self._index, {run_id: record.created_ms})
        return record

    def add_jobs(self, run_id: str, jobs: Sequence[JobSpec]) -> None:
        """See Ledger."""
        rows = [_row(entries.checked(job)) for job in jobs]
        for start in range(0, len(rows), BATCH_JOBS):
            batch = json.dumps(rows[start : start + BATCH_JOBS])
            verdict = [_text(part) for part in self._call("add_jobs", run_id, batch)]
            _raise_refusal(run_id, verdict)

    def seal(self, run_id: str) -> RunRecord:
        """See Ledger."""
        self._call("seal", run_id)
        return self._known(run_id)

    def feed(self, run_id: str) -> list[Hint]:
        """See Ledger."""
        return _hints(run_id, self._call("feed", run_id))

    def claim(self, run_id: str, job_id: str, worker: str) -> Claim | None:
        """See Ledger."""
        token = uuid.uuid4().hex[:16]
        answer = self._call("claim", run_id, job_id, token, entries.clip(worker))
        if answer is None:
            return None
        record = records.job_record(job_id, _text(answer[0]), _text(answer[1]), None)
        return Claim(run_id, job_id, token, record.attempts, record)

    def renew(self, claim: Claim) -> bool:
        """See Ledger."""
        return bool(self._call("renew", claim.run, claim.job, claim.token))

    def finish(self, claim: Claim, result: Mapping[str, Any]) -> list[Hint] | None:
        """See Ledger."""
        text = entries.to_json(result, f"result of {claim.job}")
        answer = self._call("finish", claim.run, claim.job, claim.token, text)
        return None if answer is None else _hints(claim.run, answer)

    def fail(self, claim: Claim, reason: str) -> list[Hint]:
        """See Ledger."""
        answer = self._call("fail", claim.run, claim.job, claim.token, entries.clip(reason))
        return _hints(claim.run, answer)

    def put_back(
        self, claim: Claim, reason: str, after_s: float, counts: bool = True
    ) -> list[Hint]:
        """See Ledger."""
        text, after_ms = entries.clip(reason), round(after_s * 1000)
        answer = self._call(
            "put_back", claim.run, claim.job, claim.token, text, after_ms, int(counts)
        )
        return _hints(claim.run, answer)

    def sweep(self, limit: int = 500) -> list[Hint]:
        """See Ledger. Costs one look at each known run's state, then what is due."""
        hints: list[Hint] = []
        for run_id in self._active():
            hints += _hints(run_id, self._call("sweep", run_id, limit))
        return hints

    def cancel(self, run_id: str) -> RunRecord:
        """See Ledger."""
        self._step_through("cancel", run_id, 1)
        return self._known(run_id)

    def resume(self, run_id: str) -> list[Hint]:
        """See Ledger."""
        self._step_through("resume", run_id)
        return self.feed(run_id)

    def forget(self, run_id: str) -> None:
        """See Ledger."""
        state = self._call("forget", run_id)
        if state is None:
            raise NoSuchRun(f"no run {run_id}")
        if RunState(_text(state)).active:
            raise GiveUp(f"run {run_id} is {_text(state)}; cancel it first")
        with _reachable():
            self._client.zrem(self._index, run_id)

    def run(self, run_id: str) -> RunRecord | None:
        """See Ledger."""
        return next(iter(self._records([run_id])), None)

    def runs(self) -> list[RunRecord]:
        """See Ledger."""
        return self._records(self._ids()[::-1])

    def counts(self, run_id: str) -> Counts:
        """See Ledger."""
        with _reachable():
            return records.counts(_texts(self._client.hgetall(self._key(run_id, "counts"))))

    def job(self, run_id: str, job_id: str) -> JobRecord | None:
        """See Ledger."""
        return next(self._job_page(run_id, [job_id]), None)

    def jobs(self, run_id: str) -> Iterator[JobRecord]:
        """See Ledger."""
        seen: set[str] = set()  # a scan may show a field twice while the hash grows
        with _reachable():
            scan = self._client.hscan_iter(self._key(run_id, "jobs"), count=SCAN_COUNT)
            while page := [_text(name) for name, _ in islice(scan, SCAN_COUNT)]:
                fresh = [name for name in dict.fromkeys(page) if name not in seen]
                seen.update(fresh)
                yield from self._job_page(run_id, fresh)

    def dead(self, run_id: str) -> Iterator[JobRecord]:
        """See Ledger."""
        return (job for job in self.jobs(run_id) if job.state in FAILED)

    def result(self, run_id: str, job_id: str) -> dict[str, Any] | None:
        """See Ledger."""
        with _reachable():
            text = self._client.hget(self._key(run_id, "results"), job_id)
        return None if text is None else records.mapping(_text(text))

    def _key(self, run_id: str, name: str) -> str:
        return f"{self._prefix}:{{{entries.check_name(run_id, 'run id')}}}:{name}"

    def _call(self, script: str, run_id: str, *arguments: str | int) -> Any:
        with _reachable():
            return self._scripts[script](
                keys=[self._key(run_id, "")], args=[*self._settings, *arguments]
            )

    def _step_through(self, script: str, run_id: str, *first: int) -> None:
        """Run a stepwise script to its end; `first` is its flag, zeros after the first step."""
        cursor = "0"
        while True:
            answer = self._call(script, run_id, cursor, *first)
            if answer is None:
                raise NoSuchRun(f"no run {run_id}")
            cursor, first = _text(answer), tuple(0 for _ in first)
            if cursor == "0":
                return

    def _ids(self) -> list[str]:
        with _reachable():
            return [_text(run) for run in self._client.zrange(self._index, 0, -1)]

    def _active(self) -> list[str]:
        """Active runs, the highest priority first, then the oldest."""
        ids = self._ids()
        with _reachable(), self._client.pipeline(transaction=False) as pipe:
            for run_id in ids:
                pipe.hmget(self._key(run_id, "run"), "state", "priority")
            heads = zip(ids, pipe.execute(), strict=True)
        active = [
            (-int(priority), run_id)
            for run_id, (state, priority) in heads
            if state is not None and RunState(_text(state)).active
        ]
        return [run_id for _, run_id in sorted(active, key=lambda head: head[0])]

    def _known(self, run_id: str) -> RunRecord:
        record = self.run(run_id)
        if record is None:
            raise NoSuchRun(f"no run {run_id}")
        return record

    def _records(self, run_ids: list[str]) -> list[RunRecord]:
        with _reachable(), self._client.pipeline(transaction=False) as pipe:
            for run_id in run_ids:
                pipe.hgetall(self._key(run_id, "run"))
                pipe.hgetall(self._key(run_id, "counts"))
            answers = [_texts(answer) for answer in pipe.execute()]
        found = zip(run_ids, answers[::2], answers[1::2], strict=True)
        return [records.run_record(run_id, run, n) for run_id, run, n in found if run]

    def _job_page(self, run_id: str, ids: list[str]) -> Iterator[JobRecord]:
        if not ids:
            return
        with _reachable(), self._client.pipeline() as pipe:
            for name in ("jobs", "messages", "results"):
                pipe.hmget(self._key(run_id, name), ids)
            columns = pipe.execute()
        for job_id, job, message, result in zip(ids, *columns, strict=True):
            if job is not None:
                text = None if result is None else _text(result)
                yield records.job_record(job_id, _text(job), _text(message), text)


def _row(job: JobSpec) -> dict[str, Any]:
    needs, after = entries.dependencies(job)
    return {
        "id": job.id,
        "stage": job.stage,
        "queue": job.queue,
        "goal": job.goal,
        "message": entries.to_json(job.message, f"message of {job.id}"),
        "needs": needs,
        "after": after,
    }


def _raise_refusal(run_id: str, verdict: list[str]) -> None:
    match verdict:
        case ["no run"]:
            raise NoSuchRun(f"no run {run_id}")
        case ["unknown", job_id, other_id]:
            raise ValueError(f"{job_id} depends on {other_id}, which is not in run {run_id}")
        case ["settled", state]:
            raise GiveUp(f"run {run_id} is {state} and takes no new jobs")


def _hints(run_id: str, answer: Sequence[Any]) -> list[Hint]:
    priority, *names = (_text(part) for part in answer)
    columns = zip(names[::3], names[1::3], names[2::3], strict=True)
    return [Hint(run_id, job, stage, queue, int(priority)) for job, stage, queue in columns]


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _texts(mapping: Mapping[Any, Any]) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in mapping.items()}
