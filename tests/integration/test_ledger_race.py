"""Many threads at one real server: each thing happens once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TypeVar

import pytest
import redis

from alphamill.errors import RetryLater
from alphamill.ledger import JobSpec, RedisLedger
from alphamill.settings import LedgerSettings
from tests.deadlines import ANSWER_S, wait_for

RUN = "race"
THREADS = 8
T = TypeVar("T")


@pytest.fixture
def ledger(redis_url: str) -> Iterator[RedisLedger]:
    with redis.Redis.from_url(redis_url) as client:
        yield RedisLedger(client, LedgerSettings(window=1_000, republish_after_s=0.05))


def at_once(work: Callable[[int], T]) -> list[T]:
    """The answers of THREADS calls that begin together."""
    barrier = Barrier(THREADS)

    def call(n: int) -> T:
        barrier.wait(ANSWER_S)
        return work(n)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(call, range(THREADS)))


def fill(ledger: RedisLedger, n_jobs: int) -> list[str]:
    ids = [f"j{n}" for n in range(n_jobs)]
    ledger.open_run(RUN, "mine", {})
    ledger.add_jobs(RUN, [JobSpec(name, "fetch", "fetch", {}) for name in ids])
    ledger.seal(RUN)
    return ids


def test_one_thread_wins_each_claim(ledger: RedisLedger) -> None:
    ids = fill(ledger, 200)
    ledger.feed(RUN)
    claims = at_once(lambda n: [ledger.claim(RUN, name, f"w{n}") for name in ids])
    winners = Counter(claim.job for mine in claims for claim in mine if claim is not None)
    assert winners == Counter(ids)


def test_racing_finishers_count_once(ledger: RedisLedger) -> None:
    ids = fill(ledger, 100)
    ledger.feed(RUN)
    stale = [ledger.claim(RUN, name, "w") for name in ids]
    assert None not in stale
    ledger.cancel(RUN)
    ledger.resume(RUN)

    def work(n: int) -> int:
        done = 0
        for old, name in zip(stale, ids, strict=True):
            assert old is not None
            assert ledger.finish(old, {}) is None
            claim = ledger.claim(RUN, name, f"w{n}")
            if claim is not None:
                assert ledger.finish(claim, {"by": n}) is not None
                done += 1
        return done

    assert sum(at_once(work)) == len(ids)
    assert ledger.counts(RUN) == {"fetch": {"done": len(ids)}}


def test_sweepers_share_what_is_due(ledger: RedisLedger, redis_url: str) -> None:
    ids = fill(ledger, 300)
    with redis.Redis.from_url(redis_url) as client:
        patient = RedisLedger(client, LedgerSettings(window=1_000, republish_after_s=60))
        assert len(ledger.feed(RUN)) == len(ids)
        time_ms = "return redis.call('TIME')[1] * 1000"

        def overdue() -> bool:
            last = client.zrange(f"alphamill:{{{RUN}}}:due", -1, -1, withscores=True)[0][1]
            return bool(client.eval(time_ms, 0) > last)

        wait_for(overdue, "all due times to pass", client.time)
        hints = at_once(lambda _: patient.sweep())
    assert Counter(hint.job_id for mine in hints for hint in mine) == Counter(ids)


def test_producers_of_the_same_run_make_one(ledger: RedisLedger) -> None:
    jobs = [JobSpec("a", "fetch", "fetch", {})]
    jobs += [JobSpec(f"b{n}", "fetch", "fetch", {}, needs=("a",)) for n in range(600)]

    def submit(n: int) -> int:
        created_ms = ledger.open_run(RUN, "mine", {"n": n}).created_ms
        ledger.add_jobs(RUN, jobs)
        return created_ms

    assert len(set(at_once(submit))) == 1
    assert ledger.counts(RUN) == {"fetch": {"ready": 1, "waiting": 600}}
    ledger.seal(RUN)
    ledger.feed(RUN)
    claim = ledger.claim(RUN, "a", "w")
    assert claim is not None
    released = ledger.finish(claim, {})
    assert released is not None
    assert len(released) == 600


def one_step(ledger: RedisLedger, script: str, *flags: int) -> str:
    """What a process killed after one step of cancel or resume leaves behind: the cursor."""
    cursor: bytes = ledger._call(script, RUN, "0", *flags)
    assert cursor != b"0", "the run is too small to need a second step"
    return cursor.decode()


def test_a_cancel_cut_short_has_taken_every_job_away(ledger: RedisLedger) -> None:
    ids = fill(ledger, 1_000)
    ledger.feed(RUN)
    claims = [ledger.claim(RUN, name, "w") for name in ids]
    one_step(ledger, "cancel", 1)
    assert 0 < ledger.counts(RUN)["fetch"]["running"] < len(ids)
    for claim in claims:
        assert claim is not None
        assert not ledger.renew(claim)
        assert ledger.finish(claim, {}) is None
        assert ledger.claim(RUN, claim.job, "w") is None
    ledger.cancel(RUN)
    assert ledger.counts(RUN) == {"fetch": {"cancelled": len(ids)}}


def test_a_resume_cut_short_puts_no_job_before_its_needs(ledger: RedisLedger) -> None:
    roots = [JobSpec(f"a{n}", "fetch", "fetch", {}) for n in range(500)]
    leaves = [JobSpec(f"b{n}", "score", "score", {}, needs=(f"a{n}",)) for n in range(500)]
    ledger.open_run(RUN, "mine", {})
    ledger.add_jobs(RUN, [*roots, *leaves, JobSpec("open", "fetch", "fetch", {})])
    ledger.seal(RUN)
    ledger.feed(RUN)
    for root in roots:
        claim = ledger.claim(RUN, root.id, "w")
        assert claim is not None
        ledger.fail(claim, "boom")
    one_step(ledger, "resume")
    states = {job.id: job.state.value for job in ledger.jobs(RUN)}
    assert set(states.values()) == {"ready", "waiting", "dead", "skipped"} | {states["open"]}
    for n in range(500):
        pair = states[f"a{n}"], states[f"b{n}"]
        assert pair in {("dead", "skipped"), ("ready", "waiting")}
    ledger.resume(RUN)
    counts = ledger.counts(RUN)
    assert counts == {"fetch": {"queued": 501}, "score": {"waiting": 500}}


def test_an_unreachable_server_asks_to_retry_and_costs_no_attempt() -> None:
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    with redis.Redis(host="127.0.0.1", port=1, retry=retry) as client:
        ledger = RedisLedger(client, LedgerSettings())
        calls = (
            ledger.runs,
            ledger.sweep,
            lambda: ledger.feed("r"),
            lambda: list(ledger.jobs("r")),
            lambda: ledger.job("r", "j"),
            lambda: ledger.result("r", "j"),
            lambda: ledger.counts("r"),
        )
        for call in calls:
            with pytest.raises(RetryLater, match="ledger unreachable") as caught:
                call()
            assert not caught.value.counts


def test_a_restarted_server_without_its_scripts_is_no_obstacle(
    ledger: RedisLedger, redis_url: str
) -> None:
    fill(ledger, 1)
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
    assert len(ledger.feed(RUN)) == 1


def test_memory_per_job_stays_small(ledger: RedisLedger, redis_url: str) -> None:
    """10,000 fetch-like jobs as submitted: below 700 bytes of the server's memory each."""
    n_jobs = 10_000
    message = {
        "market": "spot",
        "symbol": "BTCUSDT",
        "interval": "1h",
        "start_ms": 1_617_235_200_000,
        "end_ms": 1_619_827_200_000,
    }
    with redis.Redis.from_url(redis_url) as client:
        before = client.info("memory")["used_memory_dataset"]
        jobs = [JobSpec(f"fetch-{n:016x}", "fetch", "fetch", message) for n in range(n_jobs)]
        ledger.open_run(RUN, "fetch", {})
        ledger.add_jobs(RUN, jobs)
        per_job = (client.info("memory")["used_memory_dataset"] - before) / n_jobs
    assert 100 < per_job < 700
