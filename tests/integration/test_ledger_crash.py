"""Four processes work a run of 2,000 jobs and are killed with SIGKILL at random, 15 times.

A list in Redis stands in for the broker, at its worst: a popped hint dies with its worker. Run as a
program (`python -m tests.integration.test_ledger_crash URL NAME`), this file is one worker.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from alphamill.ledger import Hint, JobSpec, JobState, RedisLedger
from alphamill.settings import LedgerSettings
from tests.deadlines import wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
RUN = "crash"
HINTS, STARTED, FINISHED, WORKERS = "hints", "started", "finished", "workers"
N_WORKERS, N_KILLS = 4, 15
SETTINGS = LedgerSettings(lease_s=1.0, window=64, max_attempts=N_KILLS + 1, republish_after_s=1.0)


def publish(client: redis.Redis, hints: list[Hint] | None) -> None:
    if hints:
        client.rpush(HINTS, *(hint.job_id for hint in hints))


def work(url: str, name: str) -> None:
    """One worker: hint, claim, finish, hints; until the run is settled or the signal comes."""
    with redis.Redis.from_url(url, decode_responses=True) as client:
        ledger = RedisLedger(client, SETTINGS)
        client.sadd(WORKERS, name)
        chance = random.Random(name)
        while (popped := client.blpop([HINTS], timeout=0.2)) or is_active(ledger):
            if popped is None or (claim := ledger.claim(RUN, popped[1], name)) is None:
                continue
            client.hincrby(STARTED, claim.job)
            time.sleep(chance.uniform(0, 0.012))  # the work
            hints = ledger.finish(claim, {"by": name})
            if hints is not None:
                client.hincrby(FINISHED, claim.job)
                publish(client, hints)


def is_active(ledger: RedisLedger) -> bool:
    run = ledger.run(RUN)
    return run is not None and run.state.active


def dag() -> dict[str, JobSpec]:
    """1,000 fetches, 600 that need three of them, 399 after two of those, one goal at the end."""
    chance = random.Random(7)
    fetches = [JobSpec(f"f{n}", "fetch", "fetch", {}) for n in range(1_000)]
    features = [
        JobSpec(f"g{n}", "features", "features", {}, needs=ids(chance.sample(fetches, 3)))
        for n in range(600)
    ]
    scores = [
        JobSpec(f"s{n}", "evaluate", "evaluate", {}, after=ids(chance.sample(features, 2)))
        for n in range(399)
    ]
    middle = ids([*features, *scores])
    goal = JobSpec("goal", "publish", "control", {}, needs=middle, goal=True)
    return {job.id: job for job in (*fetches, *features, *scores, goal)}


def ids(jobs: list[JobSpec]) -> tuple[str, ...]:
    return tuple(job.id for job in jobs)


class Crew:
    """Worker processes, and the killing of them."""

    def __init__(self, url: str, client: redis.Redis) -> None:
        self.url, self.client = url, client
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.hired = 0

    def hire(self) -> None:
        name = f"w{self.hired}"
        self.hired += 1
        command = [sys.executable, "-m", "tests.integration.test_ledger_crash", self.url, name]
        self.processes[name] = subprocess.Popen(command, cwd=REPOSITORY)

    def kill(self, chance: random.Random) -> bool:
        """Kill one that has begun to work, and hire another; False if none has."""
        working = sorted(self.client.smembers(WORKERS) & self.processes.keys())
        if not working:
            return False
        process = self.processes.pop(chance.choice(working))
        process.kill()
        process.wait()
        self.hire()
        return True

    def dismiss(self) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as connection:
        yield connection


def test_fifteen_kills_lose_nothing_and_double_nothing(redis_url: str, client: redis.Redis) -> None:
    jobs = dag()
    ledger = RedisLedger(client, SETTINGS)
    ledger.open_run(RUN, "mine", {})
    ledger.add_jobs(RUN, list(jobs.values()))
    publish(client, ledger.feed(RUN))
    ledger.seal(RUN)
    chance, kills, next_kill_s = random.Random(11), 0, 0.0
    crew = Crew(redis_url, client)

    def is_over() -> bool:
        nonlocal kills, next_kill_s
        publish(client, ledger.sweep())
        if kills < N_KILLS and time.monotonic() > next_kill_s and crew.kill(chance):
            kills += 1
            next_kill_s = time.monotonic() + chance.uniform(0.02, 0.3)
        return not is_active(ledger)

    try:
        for _ in range(N_WORKERS):
            crew.hire()
        wait_for(is_over, "the run to complete", lambda: ledger.counts(RUN))
    finally:
        crew.dismiss()

    assert kills == N_KILLS, "the run was over before all kills"
    run = ledger.run(RUN)
    assert run is not None
    assert run.state == "done"
    done = {record.id: record for record in ledger.jobs(RUN)}
    assert done.keys() == jobs.keys()
    assert {record.state for record in done.values()} == {JobState.DONE}
    assert sum(row["done"] for row in ledger.counts(RUN).values()) == len(jobs)
    finished = client.hgetall(FINISHED)
    assert set(finished.values()) == {"1"}, "a job was finished twice"
    # A worker killed between FINISH and its note leaves a job done without the note: at most one
    # a kill.
    assert len(jobs) - N_KILLS <= len(finished) <= len(jobs)
    assert client.hlen(STARTED) == len(jobs)
    assert any(record.attempts > 1 for record in done.values()), "no kill hit a job at work"
    for spec in jobs.values():
        for other in (*spec.needs, *spec.after):
            assert done[spec.id].started_ms >= done[other].finished_ms


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2])
