"""The ledger in Redis. Every transition is one Lua script, on the server's clock."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, cast

import redis

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
from alphamill.ledger.raises import read_raises, read_unfunded
from alphamill.redis_store import as_text, reached, script
from alphamill.settings import LedgerSettings

SCAN_COUNT = 500
_reached = partial(reached, "ledger unreachable")

_STEPS = (
    *("open_run", "add_jobs", "seal", "feed", "claim", "renew", "finish", "fail", "put_back"),
    *("sweep", "cancel", "resume", "raise_budget", "forget"),
)


def _source(name: str) -> str:
    return f"{script(__package__, 'states')}\n{script(__package__, name)}"


class RedisLedger:
    """`Ledger` over a Redis-compatible server; processes and threads may share the data freely.

    client: any redis.Redis; its timeouts are the caller's. prefix: begins every key.
    """

    def __init__(
        self, client: redis.Redis, settings: LedgerSettings, prefix: str = "alphamill"
    ) -> None:
        self._client: Any = client
        self._prefix = names.check_name(prefix, "prefix")
        self._index = f"{prefix}:runs"  # zset: run id -> created, UTC epoch milliseconds
        self._settings = (
            settings.window,
            round(settings.republish_after_s * 1000),
            round(settings.lease_s * 1000),
            settings.max_attempts,
        )
        self._scripts = {name: self._client.register_script(_source(name)) for name in _STEPS}

    def open_run(
        self, run_id: str, kind: str, spec: Mapping[str, Any], priority: int = 0
    ) -> RunRecord:
        names.check_run(run_id, priority)
        self._call("open_run", run_id, kind, names.to_json(spec, "run spec"), priority)
        record = self._known(run_id)
        # After the run: a process killed in between leaves a run that is open but not listed, and
        # opening it again lists it. Nothing is swept before its producer comes back.
        with _reached():
            self._client.zadd(self._index, {run_id: record.created_ms})
        return record

    def add_jobs(self, run_id: str, jobs: Sequence[JobSpec]) -> None:
        rows = [_row(names.checked(job)) for job in jobs]
        for start in range(0, len(rows), BATCH_JOBS):
            batch = json.dumps(rows[start : start + BATCH_JOBS])
            verdict = [as_text(part) for part in self._call("add_jobs", run_id, batch)]
            _raise_refusal(run_id, verdict)

    def seal(self, run_id: str) -> RunRecord:
        self._call("seal", run_id)
        return self._known(run_id)

    def feed(self, run_id: str) -> list[Hint]:
        return _hints(run_id, self._call("feed", run_id))

    def claim(self, run_id: str, job_id: str, worker: str) -> Claim | None:
        token = uuid.uuid4().hex[:16]
        answer = self._call("claim", run_id, job_id, token, names.clip(worker))
        if answer is None:
            return None
        record = _job_record(job_id, as_text(answer[0]), as_text(answer[1]), None)
        return Claim(run_id, job_id, token, record.attempts, record)

    def renew(self, claim: Claim) -> bool:
        return bool(self._call("renew", claim.run, claim.job, claim.token))

    def finish(self, claim: Claim, result: Mapping[str, Any], build: str = "") -> list[Hint] | None:
        text = names.to_json(result, f"result of {claim.job}")
        short_of = names.unfunded(result)
        held = (claim.run, claim.job, claim.token)
        answer = self._call("finish", *held, text, names.clip(build), short_of)
        return None if answer is None else _hints(claim.run, answer)

    def fail(self, claim: Claim, reason: str) -> list[Hint]:
        answer = self._call("fail", claim.run, claim.job, claim.token, names.clip(reason))
        return _hints(claim.run, answer)

    def put_back(
        self, claim: Claim, reason: str, after_s: float, counts: bool = True
    ) -> list[Hint]:
        text, after_ms = names.clip(reason), round(after_s * 1000)
        answer = self._call(
            "put_back", claim.run, claim.job, claim.token, text, after_ms, int(counts)
        )
        return _hints(claim.run, answer)

    def sweep(self, limit: int = 500) -> list[Hint]:
        """Costs one look at each known run's state, then what is due."""
        hints: list[Hint] = []
        for run_id in self._active():
            hints += _hints(run_id, self._call("sweep", run_id, limit))
        return hints

    def cancel(self, run_id: str) -> RunRecord:
        cursor, first = "0", 1
        while True:
            answer = self._call("cancel", run_id, cursor, first)
            if answer is None:
                raise NoSuchRun(f"no run {run_id}")
            cursor, first = as_text(answer), 0
            if cursor == "0":
                return self._known(run_id)

    def resume(self, run_id: str, *, unfunded: bool = False) -> list[Hint]:
        seen = self._known(run_id).finished_ms if unfunded else None
        cursor = "0"
        while True:
            # When it ended: whoever resumes too, and is slower, must not undo it once more.
            answer = self._call("resume", run_id, cursor, "" if seen is None else seen)
            if answer is None:
                raise NoSuchRun(f"no run {run_id}")
            cursor = as_text(answer)
            if cursor == "0":
                return self.feed(run_id)

    def raise_budget(self, run_id: str, usd_micros: int) -> RunRecord:
        answer = self._call("raise_budget", run_id, usd_micros)
        if answer is None:
            raise NoSuchRun(f"no run {run_id}")
        verdict, current = (as_text(part) for part in answer)
        if verdict == "refused":
            raise GiveUp(names.not_higher(run_id, usd_micros, int(current)))
        return self._known(run_id)

    def forget(self, run_id: str) -> None:
        state = self._call("forget", run_id)
        if state is None:
            raise NoSuchRun(f"no run {run_id}")
        if RunState(as_text(state)).active:
            raise GiveUp(f"run {run_id} is {as_text(state)}; cancel it first")
        with _reached():
            self._client.zrem(self._index, run_id)

    def run(self, run_id: str) -> RunRecord | None:
        return next(iter(self._records([run_id])), None)

    def runs(self) -> list[RunRecord]:
        return self._records(self._ids()[::-1])

    def counts(self, run_id: str) -> Counts:
        with _reached():
            return _counts(_texts(self._client.hgetall(self._key(run_id, "counts"))))

    def job(self, run_id: str, job_id: str) -> JobRecord | None:
        return next(self._job_page(run_id, [job_id]), None)

    def jobs(self, run_id: str) -> Iterator[JobRecord]:
        seen: set[str] = set()  # a scan may show a field twice while the hash grows
        with _reached():
            scan = self._client.hscan_iter(self._key(run_id, "jobs"), count=SCAN_COUNT)
            while page := [as_text(name) for name, _ in islice(scan, SCAN_COUNT)]:
                fresh = [name for name in dict.fromkeys(page) if name not in seen]
                seen.update(fresh)
                yield from self._job_page(run_id, fresh)

    def dead(self, run_id: str) -> Iterator[JobRecord]:
        return (job for job in self.jobs(run_id) if job.state in FAILED)

    def result(self, run_id: str, job_id: str) -> dict[str, Any] | None:
        with _reached():
            found = self._client.hget(self._key(run_id, "results"), job_id)
        return None if found is None else _mapping(as_text(found))

    def _key(self, run_id: str, name: str) -> str:
        return f"{self._prefix}:{{{names.check_name(run_id, 'run id')}}}:{name}"

    def _call(self, name: str, run_id: str, *arguments: str | int) -> Any:
        with _reached():
            return self._scripts[name](
                keys=[self._key(run_id, "")], args=[*self._settings, *arguments]
            )

    def _ids(self) -> list[str]:
        with _reached():
            return [as_text(run) for run in self._client.zrange(self._index, 0, -1)]

    def _active(self) -> list[str]:
        """Active runs, the highest priority first, then the oldest."""
        ids = self._ids()
        with _reached(), self._client.pipeline(transaction=False) as pipe:
            for run_id in ids:
                pipe.hmget(self._key(run_id, "run"), "state", "priority")
            heads = zip(ids, pipe.execute(), strict=True)
        active = [
            (-int(priority), run_id)
            for run_id, (state, priority) in heads
            if state is not None and RunState(as_text(state)).active
        ]
        return [run_id for _, run_id in sorted(active, key=lambda head: head[0])]

    def _known(self, run_id: str) -> RunRecord:
        record = self.run(run_id)
        if record is None:
            raise NoSuchRun(f"no run {run_id}")
        return record

    def _records(self, run_ids: list[str]) -> list[RunRecord]:
        with _reached(), self._client.pipeline(transaction=False) as pipe:
            for run_id in run_ids:
                pipe.hgetall(self._key(run_id, "run"))
                pipe.hgetall(self._key(run_id, "counts"))
                pipe.hgetall(self._key(run_id, "builds"))
            answers = [_texts(answer) for answer in pipe.execute()]
        found = zip(run_ids, answers[::3], answers[1::3], answers[2::3], strict=True)
        return [_run_record(run_id, run, n, builds) for run_id, run, n, builds in found if run]

    def _job_page(self, run_id: str, ids: list[str]) -> Iterator[JobRecord]:
        if not ids:
            return
        # No MULTI: a full Redis before 8 refuses all in it. So the job comes first, and its result,
        # which is there when the job is done, after it; a run may be forgotten in between.
        with _reached(), self._client.pipeline(transaction=False) as pipe:
            for name in ("jobs", "messages", "results"):
                pipe.hmget(self._key(run_id, name), ids)
            columns = pipe.execute()
        for job_id, job, message, result in zip(ids, *columns, strict=True):
            if job is not None and message is not None:
                text = None if result is None else as_text(result)
                yield _job_record(job_id, as_text(job), as_text(message), text)


def _row(job: JobSpec) -> dict[str, Any]:
    needs, after = names.dependencies(job)
    return {
        "id": job.id,
        "stage": job.stage,
        "queue": job.queue,
        "goal": job.goal,
        "message": names.to_json(job.message, f"message of {job.id}"),
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
    priority, *parts = (as_text(part) for part in answer)
    columns = zip(parts[::4], parts[1::4], parts[2::4], parts[3::4], strict=True)
    return [
        Hint(run_id, job, stage, queue, int(priority), _mapping(message))
        for job, stage, queue, message in columns
    ]


def _texts(mapping: Mapping[Any, Any]) -> dict[str, str]:
    return {as_text(name): as_text(value) for name, value in mapping.items()}


def _mapping(text: str) -> dict[str, Any]:
    """A JSON object that the ledger wrote."""
    return cast("dict[str, Any]", json.loads(text))


def _counts(fields: Mapping[str, str]) -> Counts:
    """From "stage|state" -> jobs, without the zeros."""
    table: Counts = {}
    for name, value in fields.items():
        stage, state = name.rsplit("|", 1)
        if int(value):
            table.setdefault(stage, {})[state] = int(value)
    return table


def _run_record(
    run_id: str, run: Mapping[str, str], count_fields: Mapping[str, str], builds: Mapping[str, str]
) -> RunRecord:
    """From the `run`, `counts` and `builds` hashes of states.lua."""
    return RunRecord(
        id=run_id,
        kind=run["kind"],
        spec=_mapping(run["spec"]),
        state=RunState(run["state"]),
        priority=int(run["priority"]),
        created_ms=_whole(run["created_ms"]),
        finished_ms=_whole(run["finished_ms"]) if "finished_ms" in run else None,
        counts=_counts(count_fields),
        builds={build: int(jobs) for build, jobs in builds.items() if int(jobs) > 0},
        raises=read_raises(run.get("raises")),
        unfunded=read_unfunded(run),
    )


def _job_record(job_id: str, job: str, message: str, result: str | None) -> JobRecord:
    """From a job's entries in the `jobs`, `messages` and `results` hashes of states.lua."""
    fields = _mapping(job)
    return JobRecord(
        id=job_id,
        stage=fields["stage"],
        queue=fields["queue"],
        message=_mapping(message),
        state=JobState(fields["state"]),
        attempts=_whole(fields.get("attempts", 0)),
        error=fields.get("error", ""),
        result=None if result is None else _mapping(result),
        worker=fields.get("worker", ""),
        build=fields.get("build", ""),
        goal=bool(fields.get("goal", False)),
        started_ms=_time(fields, "started_ms"),
        finished_ms=_time(fields, "finished_ms"),
    )


def _time(fields: Mapping[str, Any], name: str) -> int | None:
    return _whole(fields[name]) if name in fields else None


def _whole(value: str | float) -> int:
    return int(float(value))  # a Lua number may be written 1.7e+12
