"""One suite over every Ledger: in memory, over fakeredis, over a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import fakeredis
import pytest
import redis

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp
from alphamill.ledger import (
    RESULT_LIMIT_BYTES,
    Claim,
    Hint,
    JobSpec,
    JobState,
    Ledger,
    MemoryLedger,
    NoSuchRun,
    RedisLedger,
    RunState,
)
from alphamill.ledger import redis as ledger_on_redis
from alphamill.settings import LedgerSettings
from tests.deadlines import wait_for

RUN = "mine-1f2e3d4c5b6a7988"
LEASE_S, GRACE_S = 60.0, 20.0
WINDOW, ATTEMPTS = 3, 2


@dataclass
class Bench:
    """A ledger and a way to let time pass on its clock."""

    ledger: Ledger
    advance: Callable[[float], None]
    now_ms: Callable[[], int]

    def past(self, moment_ms: int) -> None:
        """Let its clock reach a later millisecond."""
        if isinstance(self.ledger, MemoryLedger):
            self.advance(0.001)
        wait_for(lambda: self.now_ms() > moment_ms, f"{moment_ms} to pass", self.now_ms, poll_s=0)

    def start(self, *jobs: JobSpec, seal: bool = True) -> list[Hint]:
        self.ledger.open_run(RUN, "mine", {"symbols": ["BTCUSDT"]}, 7)
        self.ledger.add_jobs(RUN, jobs)
        if seal:
            self.ledger.seal(RUN)
        return self.ledger.feed(RUN)

    def claim(self, job_id: str, worker: str = "w1") -> Claim:
        claim = self.ledger.claim(RUN, job_id, worker)
        assert claim is not None, f"{job_id}: {self.ledger.job(RUN, job_id)}"
        return claim

    def work(self, job_id: str) -> list[str]:
        """Claim and finish; the ids released."""
        hints = self.ledger.finish(self.claim(job_id), {"by": job_id})
        assert hints is not None
        return ids(hints)

    def state(self, job_id: str) -> JobState:
        record = self.ledger.job(RUN, job_id)
        assert record is not None
        return record.state

    def states(self) -> dict[str, str]:
        return {job.id: job.state.value for job in self.ledger.jobs(RUN)}

    def run_state(self) -> RunState:
        record = self.ledger.run(RUN)
        assert record is not None
        return record.state

    def recounted(self) -> bool:
        """Whether the counters equal a recount."""
        table: dict[str, dict[str, int]] = {}
        for job in self.ledger.jobs(RUN):
            row = table.setdefault(job.stage, {})
            row[job.state.value] = row.get(job.state.value, 0) + 1
        return table == self.ledger.counts(RUN)


def ids(hints: list[Hint]) -> list[str]:
    return [hint.job_id for hint in hints]


def job(job_id: str, *needs: str, after: tuple[str, ...] = (), **options: Any) -> JobSpec:
    options.setdefault("queue", "fetch")
    return JobSpec(
        job_id, options["queue"], message={"job": job_id}, needs=needs, after=after, **options
    )


def rewind(client: redis.Redis, seconds: float) -> None:
    """Let time pass in Redis, whose clock cannot be moved: bring every due time nearer."""
    for key in client.scan_iter("*:due"):
        for member, _ in client.zscan_iter(key):
            client.zincrby(key, -seconds * 1000, member)


def on_redis(client: redis.Redis, settings: LedgerSettings) -> Bench:
    def now_ms() -> int:
        seconds, micros = client.time()
        return seconds * 1000 + micros // 1000

    return Bench(RedisLedger(client, settings), lambda seconds: rewind(client, seconds), now_ms)


@pytest.fixture(params=["memory", "fakeredis", "redis"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    settings = LedgerSettings(
        lease_s=LEASE_S, window=WINDOW, max_attempts=ATTEMPTS, republish_after_s=GRACE_S
    )
    if request.param == "memory":
        clock = ManualClock()
        yield Bench(MemoryLedger(settings, clock), clock.advance, clock.now_ms)
        return
    client: redis.Redis
    if request.param == "redis":
        client = redis.Redis.from_url(request.getfixturevalue("redis_url"), decode_responses=True)
    else:
        client = fakeredis.FakeRedis()
    yield on_redis(client, settings)
    client.close()


def test_opening_twice_joins_the_first_run(bench: Bench) -> None:
    first = bench.ledger.open_run(RUN, "mine", {"symbols": ["BTCUSDT"]}, 7)
    second = bench.ledger.open_run(RUN, "mine", {"symbols": []}, 0)
    assert first == second
    assert (first.state, first.priority, first.spec) == ("submitting", 7, {"symbols": ["BTCUSDT"]})
    assert bench.ledger.runs() == [first]


def test_a_job_goes_from_ready_to_done_with_its_result(bench: Bench) -> None:
    hints = bench.start(job("a", goal=True))
    assert hints == [Hint(RUN, "a", "fetch", "fetch", 7)]
    claim = bench.claim("a", "host-12")
    assert (claim.run, claim.job, claim.attempt) == (RUN, "a", 1)
    assert claim.record.message == {"job": "a"}
    assert bench.ledger.result(RUN, "a") is None
    assert bench.ledger.finish(claim, {"rows": 7}) == []
    record = bench.ledger.job(RUN, "a")
    assert record is not None
    assert (record.state, record.result, record.worker) == ("done", {"rows": 7}, "host-12")
    assert record.goal
    assert record.started_ms is not None
    assert record.finished_ms is not None
    assert record.finished_ms >= record.started_ms
    assert bench.ledger.result(RUN, "a") == {"rows": 7}
    run = bench.ledger.run(RUN)
    assert run is not None
    assert run.finished_ms is not None
    assert (run.state, run.counts) == ("done", {"fetch": {"done": 1}})


def test_needs_wait_for_done_and_after_for_settled(bench: Bench) -> None:
    jobs = (job("a"), job("b"), job("c", "a", "b"), job("d", after=("a", "c")))
    assert ids(bench.start(*jobs)) == ["a", "b"]
    assert bench.ledger.claim(RUN, "c", "w1") is None
    assert bench.work("a") == []
    assert bench.work("b") == ["c"]
    assert bench.work("c") == ["d"]
    assert bench.work("d") == []
    assert bench.run_state() == "done"


def test_a_failed_need_skips_its_dependents_and_theirs(bench: Bench) -> None:
    bench.start(job("a"), job("b", "a"), job("c", "b"), job("d", after=("c",)))
    released = bench.ledger.fail(bench.claim("a"), "no such symbol")
    assert ids(released) == ["d"]
    assert bench.states() == {"a": "dead", "b": "skipped", "c": "skipped", "d": "queued"}
    reasons = {record.id: record.error for record in bench.ledger.dead(RUN)}
    needs_a = "needs a, which is dead: no such symbol"
    assert reasons == {"a": "no such symbol", "b": needs_a, "c": needs_a}
    assert bench.recounted()
    assert bench.work("d") == []
    assert bench.run_state() == "done"


def test_a_diamond_of_failures_is_counted_once(bench: Bench) -> None:
    bench.start(job("a"), job("b", "a"), job("c", "a"), job("d", "b", "c"), job("e", after=("d",)))
    assert ids(bench.ledger.fail(bench.claim("a"), "boom")) == ["e"]
    bench.work("e")
    assert bench.ledger.counts(RUN) == {"fetch": {"dead": 1, "skipped": 3, "done": 1}}
    assert bench.run_state() == "done"


def test_a_run_without_any_goal_done_has_failed(bench: Bench) -> None:
    bench.start(job("a"), job("goal", "a", goal=True), job("other"))
    bench.ledger.fail(bench.claim("a"), "boom")
    bench.work("other")
    assert bench.run_state() == "failed"


def test_one_goal_of_two_is_enough(bench: Bench) -> None:
    bench.start(job("a", goal=True), job("b", goal=True))
    bench.ledger.fail(bench.claim("a"), "boom")
    bench.work("b")
    assert bench.run_state() == "done"


def test_nothing_completes_before_the_seal(bench: Bench) -> None:
    bench.start(job("a"), seal=False)
    bench.work("a")
    assert bench.run_state() == "submitting"
    assert bench.ledger.seal(RUN).state == "done"


def test_an_empty_run_is_done_when_sealed(bench: Bench) -> None:
    bench.start()
    assert bench.run_state() == "done"


def test_adding_again_changes_nothing(bench: Bench) -> None:
    jobs = [job("a"), job("b", "a")]
    bench.start(*jobs, seal=False)
    bench.work("a")
    bench.ledger.add_jobs(RUN, [*jobs, job("c", "a", "b"), job("c", "a", "b")])
    assert bench.states() == {"a": "done", "b": "queued", "c": "waiting"}
    assert bench.recounted()
    bench.ledger.seal(RUN)
    assert bench.work("b") == ["c"]
    bench.work("c")
    bench.ledger.add_jobs(RUN, jobs)
    assert bench.run_state() == "done"
    with pytest.raises(GiveUp, match="takes no new jobs"):
        bench.ledger.add_jobs(RUN, [job("z")])


def test_a_batch_with_an_unknown_dependency_adds_nothing(bench: Bench) -> None:
    bench.start(job("a"), seal=False)
    for bad in (job("b", "ghost"), job("b", after=("ghost",)), job("b", "b")):
        with pytest.raises(ValueError, match="b depends on"):
            bench.ledger.add_jobs(RUN, [job("c", "a"), bad])
        assert bench.states() == {"a": "queued"}


def test_dependencies_settled_before_the_addition_count(bench: Bench) -> None:
    bench.start(job("good"), job("bad"), seal=False)
    bench.work("good")
    bench.ledger.fail(bench.claim("bad"), "boom")
    bench.ledger.add_jobs(
        RUN, [job("x", "good"), job("y", "bad"), job("z", after=("bad",)), job("yy", "y")]
    )
    assert bench.states() == {
        "good": "done",
        "bad": "dead",
        "x": "ready",
        "y": "skipped",
        "z": "ready",
        "yy": "skipped",
    }
    reasons = {record.id: record.error for record in bench.ledger.dead(RUN)}
    assert reasons["yy"] == "needs bad, which is dead: boom"
    assert bench.recounted()


def test_a_dependency_named_twice_counts_once(bench: Bench) -> None:
    bench.start(job("a"), job("b", "a", "a", after=("a",)))
    assert bench.work("a") == ["b"]


def test_a_long_run_is_added_in_batches(bench: Bench) -> None:
    jobs = [job(f"j{n}", *([f"j{n - 1}"] if n % 300 else [])) for n in range(450)]
    assert ids(bench.start(*jobs)) == ["j0", "j300"]
    assert bench.ledger.counts(RUN) == {"fetch": {"queued": 2, "waiting": 448}}
    assert len({record.id for record in bench.ledger.jobs(RUN)}) == 450


def test_the_window_holds_per_queue_and_order_is_first_come(bench: Bench) -> None:
    jobs = [job(f"f{n}") for n in range(5)] + [job(f"e{n}", queue="evaluate") for n in range(4)]
    assert sorted(ids(bench.start(*jobs))) == ["e0", "e1", "e2", "f0", "f1", "f2"]
    assert bench.ledger.feed(RUN) == []
    assert bench.ledger.claim(RUN, "f4", "w1") is None, "beyond the window"
    assert bench.work("f1") == ["f3"]
    assert bench.work("e0") == ["e3"]
    assert bench.work("f0") == ["f4"]


def test_two_runs_have_a_window_each(bench: Bench) -> None:
    bench.start(*(job(f"f{n}") for n in range(5)))
    bench.ledger.open_run("fetch-2", "fetch", {})
    bench.ledger.add_jobs("fetch-2", [job("f0")])
    assert bench.ledger.feed("fetch-2") == [Hint("fetch-2", "f0", "fetch", "fetch", 0)]


def test_a_live_lease_keeps_others_out(bench: Bench) -> None:
    bench.start(job("a"))
    claim = bench.claim("a")
    assert bench.ledger.claim(RUN, "a", "w2") is None
    bench.advance(LEASE_S - 5)
    assert bench.ledger.renew(claim)
    bench.advance(LEASE_S - 5)
    assert bench.ledger.sweep() == []
    assert bench.ledger.claim(RUN, "a", "w2") is None
    assert bench.ledger.finish(claim, {}) == []


def test_a_lapsed_lease_may_be_taken_over_and_the_old_token_is_stale(bench: Bench) -> None:
    bench.start(job("a"), job("b", "a"))
    old = bench.claim("a", "w1")
    bench.advance(LEASE_S + 1)
    new = bench.claim("a", "w2")
    assert new.attempt == 2
    assert not bench.ledger.renew(old)
    assert bench.ledger.finish(old, {"by": "old"}) is None
    assert bench.ledger.fail(old, "boom") == []
    assert bench.ledger.put_back(old, "later", 5) == []
    assert bench.ledger.result(RUN, "a") is None
    assert ids(bench.ledger.finish(new, {"by": "new"}) or []) == ["b"]
    assert bench.ledger.result(RUN, "a") == {"by": "new"}
    assert bench.ledger.finish(old, {"by": "old"}) is None


def test_a_late_worker_may_still_finish_if_nobody_noticed(bench: Bench) -> None:
    bench.start(job("a"))
    claim = bench.claim("a")
    bench.advance(LEASE_S + 1)
    assert bench.ledger.renew(claim)
    bench.advance(LEASE_S + 1)
    assert bench.ledger.finish(claim, {}) == []


def test_the_sweep_requeues_a_dead_workers_job_so_that_it_can_be_claimed(bench: Bench) -> None:
    bench.start(job("a"))
    old = bench.claim("a")
    bench.advance(LEASE_S + 1)
    assert ids(bench.ledger.sweep()) == ["a"]
    assert bench.ledger.sweep() == [], "a second sweeper finds nothing"
    assert not bench.ledger.renew(old)
    assert bench.ledger.finish(old, {}) is None
    assert bench.claim("a").attempt == 2  # at once: no lease stands in the way


@pytest.mark.parametrize("noticed_by", ["sweep", "claim"])
def test_a_job_that_keeps_killing_its_worker_is_dead(bench: Bench, noticed_by: str) -> None:
    bench.start(job("a"), job("b", "a"), job("c", after=("a",)))
    for _ in range(ATTEMPTS):
        bench.claim("a")
        bench.advance(LEASE_S + 1)
        if noticed_by == "sweep":
            hints = bench.ledger.sweep()
    assert bench.ledger.claim(RUN, "a", "w3") is None
    if noticed_by == "claim":
        hints = bench.ledger.feed(RUN)
    assert ids(hints) == ["c"]
    assert bench.states() == {"a": "dead", "b": "skipped", "c": "queued"}
    record = bench.ledger.job(RUN, "a")
    assert record is not None
    assert record.error == f"its worker died {ATTEMPTS} times"


def test_a_run_completes_when_a_claim_finds_its_last_job_worn_out(bench: Bench) -> None:
    bench.start(job("a", goal=True))
    for _ in range(ATTEMPTS):
        bench.claim("a")
        bench.advance(LEASE_S + 1)
    assert bench.ledger.claim(RUN, "a", "w3") is None
    assert bench.run_state() == "failed"


def test_settled_jobs_take_no_share_of_a_sweep(bench: Bench) -> None:
    bench.start(job("a"), job("b"), job("c"))
    bench.work("a")
    bench.ledger.fail(bench.claim("b"), "boom")
    bench.ledger.put_back(bench.claim("c"), "busy", 3 * LEASE_S)
    bench.advance(3 * LEASE_S + 1)
    assert ids(bench.ledger.sweep(limit=1)) == ["c"]


def test_a_run_completes_when_its_last_job_dies(bench: Bench) -> None:
    bench.start(job("a", goal=True))
    bench.ledger.fail(bench.claim("a"), "boom")
    assert bench.run_state() == "failed"


def test_a_run_completes_when_its_last_job_is_put_back_once_too_often(bench: Bench) -> None:
    bench.start(job("a", goal=True))
    for _ in range(ATTEMPTS):
        bench.ledger.put_back(bench.claim("a"), "timed out", 0)
    assert bench.run_state() == "failed"


def test_a_death_after_an_error_tells_both(bench: Bench) -> None:
    bench.start(job("a"))
    bench.ledger.put_back(bench.claim("a"), "timed out", 0)
    bench.claim("a")
    bench.advance(LEASE_S + 1)
    bench.ledger.sweep()
    assert bench.run_state() == "done"
    (record,) = bench.ledger.dead(RUN)
    assert record.error == "its worker died 1 time; last error: timed out"


def test_what_is_put_back_waits_until_it_is_due(bench: Bench) -> None:
    bench.start(job("a"), job("b"), job("c"), job("d"))
    assert ids(bench.ledger.put_back(bench.claim("a"), "busy", 30)) == ["d"]
    assert bench.state("a") == "delayed"
    assert bench.ledger.claim(RUN, "a", "w1") is None
    assert "a" not in ids(bench.ledger.sweep())
    bench.work("b")
    bench.advance(31)
    assert bench.claim("a").attempt == 2
    assert bench.recounted()


def test_the_sweep_feeds_what_is_due(bench: Bench) -> None:
    bench.start(job("a"))
    bench.ledger.put_back(bench.claim("a"), "busy", 30)
    bench.advance(31)
    assert ids(bench.ledger.sweep()) == ["a"]


def test_putting_back_at_once_feeds_again(bench: Bench) -> None:
    bench.start(job("a"))
    assert ids(bench.ledger.put_back(bench.claim("a"), "again", 0)) == ["a"]


def test_put_back_ends_when_the_attempts_are_used_up(bench: Bench) -> None:
    bench.start(job("a"), job("b", after=("a",)))
    for _ in range(ATTEMPTS - 1):
        assert ids(bench.ledger.put_back(bench.claim("a"), "timed out", 0)) == ["a"]
    assert ids(bench.ledger.put_back(bench.claim("a"), "timed out again", 0)) == ["b"]
    (record,) = bench.ledger.dead(RUN)
    assert (record.error, record.attempts) == ("timed out again", ATTEMPTS)


def test_a_wait_that_is_nobodys_fault_gives_the_attempt_back(bench: Bench) -> None:
    bench.start(job("a"))
    for _ in range(3 * ATTEMPTS):
        claim = bench.claim("a")
        assert claim.attempt == 1
        assert ids(bench.ledger.put_back(claim, "limit", 0, counts=False)) == ["a"]
    bench.work("a")
    assert bench.run_state() == "done"


def test_an_unclaimed_message_is_published_again_with_growing_grace(bench: Bench) -> None:
    bench.start(job("a"))
    for grace_s in (GRACE_S, 2 * GRACE_S, 4 * GRACE_S, 8 * GRACE_S, 16 * GRACE_S, 600, 600):
        bench.advance(grace_s - 2)
        assert bench.ledger.sweep() == []
        bench.advance(3)
        assert ids(bench.ledger.sweep()) == ["a"]
    bench.ledger.put_back(bench.claim("a"), "again", 0)
    bench.advance(GRACE_S + 1)
    assert ids(bench.ledger.sweep()) == ["a"], "a claim resets the grace"


def test_a_sweep_stops_at_its_limit(bench: Bench) -> None:
    bench.start(job("a"), job("b"), job("c"))
    bench.advance(GRACE_S + 1)
    assert len(bench.ledger.sweep(limit=2)) == 2
    assert len(bench.ledger.sweep(limit=2)) == 1


def test_a_sweep_feeds_a_run_whose_feeder_died(bench: Bench) -> None:
    bench.ledger.open_run(RUN, "mine", {})
    bench.ledger.add_jobs(RUN, [job("a")])
    assert ids(bench.ledger.sweep()) == ["a"]


def test_a_repeated_finish_answers_that_it_counted(bench: Bench) -> None:
    bench.start(job("a"), job("b", "a"))
    claim = bench.claim("a")
    assert ids(bench.ledger.finish(claim, {"n": 1}) or []) == ["b"]
    assert bench.ledger.finish(claim, {"n": 2}) == []
    assert bench.ledger.result(RUN, "a") == {"n": 1}
    assert bench.recounted()


def test_cancel_takes_the_running_jobs_away(bench: Bench) -> None:
    bench.start(*(job(f"j{n}") for n in range(450)), job("last", *(f"j{n}" for n in range(450))))
    bench.work("j0")
    claim = bench.claim("j1")
    bench.ledger.put_back(bench.claim("j3"), "busy", 30)
    assert bench.ledger.cancel(RUN).state == "cancelled"
    assert not bench.ledger.renew(claim)
    assert bench.ledger.finish(claim, {}) is None
    assert bench.ledger.claim(RUN, "j2", "w1") is None
    assert bench.ledger.feed(RUN) == []
    assert bench.ledger.sweep() == []
    assert bench.ledger.counts(RUN) == {"fetch": {"done": 1, "cancelled": 450}}
    assert bench.recounted()
    assert bench.ledger.cancel(RUN).state == "cancelled"


def test_cancelling_a_settled_run_changes_nothing(bench: Bench) -> None:
    bench.start(job("a"))
    bench.work("a")
    assert bench.ledger.cancel(RUN).state == "done"


def test_resume_after_cancel_goes_on_where_it_stood(bench: Bench) -> None:
    bench.start(job("a"), job("b"), job("c", "a", "b"), job("d", after=("c",), goal=True))
    bench.work("a")
    stale = bench.claim("b")
    bench.ledger.cancel(RUN)
    assert ids(bench.ledger.resume(RUN)) == ["b"]
    assert bench.run_state() == "running"
    assert bench.states() == {"a": "done", "b": "queued", "c": "waiting", "d": "waiting"}
    assert bench.ledger.finish(stale, {}) is None
    assert bench.claim("b").attempt == 1
    bench.advance(LEASE_S + 1)
    assert bench.work("b") == ["c"]
    assert bench.work("c") == ["d"]
    assert bench.work("d") == []
    assert bench.run_state() == "done"


def test_resume_revives_the_dead_and_the_skipped(bench: Bench) -> None:
    bench.start(
        job("a"), job("b"), job("c", "a", "b"), job("d", "c", goal=True), job("e", after=("c",))
    )
    for name in ("a", "b"):
        bench.ledger.fail(bench.claim(name), "boom")
    bench.work("e")
    assert bench.run_state() == "failed"
    assert sorted(ids(bench.ledger.resume(RUN))) == ["a", "b"]
    assert bench.states() == {
        "a": "queued",
        "b": "queued",
        "c": "waiting",
        "d": "waiting",
        "e": "done",
    }
    assert bench.recounted()
    assert list(bench.ledger.dead(RUN)) == []
    assert bench.work("a") == []
    assert bench.work("b") == ["c"]
    assert bench.work("c") == ["d"]
    bench.work("d")
    assert bench.run_state() == "done"


def test_resume_makes_a_queued_job_wait_again_for_what_it_comes_after(bench: Bench) -> None:
    bench.start(job("a"), job("b", after=("a",)))
    bench.ledger.fail(bench.claim("a"), "boom")
    assert bench.state("b") == "queued"
    assert ids(bench.ledger.resume(RUN)) == ["a"]
    assert bench.state("b") == "waiting"
    assert bench.ledger.claim(RUN, "b", "w1") is None
    assert bench.work("a") == ["b"]
    bench.work("b")
    assert bench.run_state() == "done"


@pytest.mark.parametrize("noticed_by", ["sweep", "claim"])
def test_a_running_job_waits_again_only_once_its_worker_died(bench: Bench, noticed_by: str) -> None:
    bench.start(job("a"), job("b", after=("a",)))
    bench.ledger.fail(bench.claim("a"), "boom")
    bench.claim("b")
    bench.ledger.resume(RUN)
    assert bench.state("b") == "running"
    bench.claim("a")
    bench.advance(LEASE_S + 1)
    if noticed_by == "sweep":
        assert ids(bench.ledger.sweep()) == ["a"]
    assert bench.ledger.claim(RUN, "b", "w2") is None
    assert bench.state("b") == "waiting"
    assert bench.work("a") == ["b"]


def test_resume_of_a_finished_run_changes_nothing(bench: Bench) -> None:
    bench.start(job("a"))
    bench.work("a")
    before = bench.ledger.run(RUN)
    assert bench.ledger.resume(RUN) == []
    assert bench.ledger.run(RUN) == before


def stopped_by_its_budget(bench: Bench, budget: str = "run") -> None:
    """Two calls a step, of which the second was not made; what followed made do without it."""
    bench.start(
        job("bars"),
        job("ask1", "bars"),
        job("ask2", "bars"),
        job("score", "bars", after=("ask1", "ask2")),
        job("refine", "bars", after=("score",)),
        job("publish", after=("refine",), goal=True),
    )
    for name in ("bars", "ask1"):
        bench.work(name)
    bench.ledger.finish(bench.claim("ask2"), {"unfunded": budget, "stopped": "no money"})
    for name in ("score", "refine", "publish"):
        bench.work(name)


def test_what_a_budget_left_out_is_counted_and_the_run_is_not_whole(bench: Bench) -> None:
    stopped_by_its_budget(bench, "day")
    run = bench.ledger.run(RUN)
    assert run is not None
    assert (run.state, run.unfunded, run.whole) == ("done", {"day": 1}, False)


def test_resume_puts_back_what_a_budget_left_out_and_all_that_came_after(bench: Bench) -> None:
    stopped_by_its_budget(bench)
    assert bench.ledger.resume(RUN) == [], "only who asks for it"
    assert bench.run_state() == "done"
    assert ids(bench.ledger.resume(RUN, unfunded=True)) == ["ask2"]
    assert bench.states() == {
        "bars": "done",
        "ask1": "done",
        "ask2": "queued",
        **dict.fromkeys(("score", "refine", "publish"), "waiting"),
    }
    assert bench.recounted()
    run = bench.ledger.run(RUN)
    assert run is not None
    assert (run.state, run.unfunded, run.finished_ms) == ("running", {}, None)
    assert [bench.ledger.result(RUN, name) for name in ("ask1", "ask2", "score")] == [
        {"by": "ask1"},
        None,
        None,
    ]
    assert bench.ledger.resume(RUN, unfunded=True) == [], "the same message twice"
    assert bench.work("ask2") == ["score"]
    assert bench.work("score") == ["refine"]
    assert bench.work("refine") == ["publish"]
    bench.work("publish")
    again = bench.ledger.run(RUN)
    assert again is not None
    assert again.whole
    assert bench.ledger.resume(RUN, unfunded=True) == []
    assert bench.run_state() == "done"


def test_a_run_that_its_budget_left_empty_fails_and_goes_on(bench: Bench) -> None:
    bench.start(
        job("ask"), job("score", after=("ask",)), job("publish", after=("score",), goal=True)
    )
    bench.ledger.finish(bench.claim("ask"), {"unfunded": "run"})
    bench.work("score")
    bench.ledger.fail(bench.claim("publish"), "nothing to show")
    assert bench.run_state() == "failed"
    assert ids(bench.ledger.resume(RUN, unfunded=True)) == ["ask"]
    assert bench.states() == {"ask": "queued", "score": "waiting", "publish": "waiting"}
    assert bench.recounted()
    for name in ("ask", "score", "publish"):
        bench.work(name)
    assert bench.run_state() == "done"


def test_of_an_active_run_nothing_that_is_done_is_put_back(bench: Bench) -> None:
    bench.start(job("ask"), job("score", after=("ask",)))
    bench.ledger.finish(bench.claim("ask"), {"unfunded": "run"})
    claim = bench.claim("score")
    assert bench.ledger.resume(RUN, unfunded=True) == []
    assert bench.states() == {"ask": "done", "score": "running"}
    bench.ledger.cancel(RUN)
    assert ids(bench.ledger.resume(RUN, unfunded=True)) == ["ask"]
    assert bench.states() == {"ask": "queued", "score": "waiting"}
    assert bench.ledger.finish(claim, {}) is None


def test_a_resume_that_dies_half_way_is_ended_by_the_next(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ledger_on_redis._source
    monkeypatch.setattr(
        ledger_on_redis,
        "_source",
        lambda name: source(name).replace("UNDONE_A_STEP = 500", "UNDONE_A_STEP = 1"),
    )
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    bench = on_redis(client, LedgerSettings(window=WINDOW))
    ledger = bench.ledger
    assert isinstance(ledger, RedisLedger)
    stopped_by_its_budget(bench)
    ended = ledger.run(RUN)
    assert ended is not None
    assert ledger._call("resume", RUN, "0", ended.finished_ms or 0) == "again"
    assert bench.run_state() == "done", "nobody may claim what is half put back"
    assert ledger.claim(RUN, "ask2", "w1") is None
    assert ids(ledger.resume(RUN)) == ["ask2"], "also by one who knows of no budget"
    assert {name: bench.state(name) for name in ("score", "refine", "publish")} == dict.fromkeys(
        ("score", "refine", "publish"), "waiting"
    )
    ledger.finish(bench.claim("ask2"), {"unfunded": "run"})
    for name in ("score", "refine", "publish"):
        bench.work(name)
    # Another, that saw the run's first end, comes late.
    assert ledger._call("resume", RUN, "0", ended.finished_ms or 0) == "0"
    assert bench.run_state() == "done"
    assert bench.recounted()
    client.close()


def test_a_budget_is_raised_once_and_never_lowered(bench: Bench) -> None:
    bench.ledger.open_run(RUN, "mine", {"budget_usd_micros": 4_000})
    for refused in (4_000, 3_999):
        with pytest.raises(GiveUp, match=rf"may spend \$0.004000 already; \$0.00{refused} is not"):
            bench.ledger.raise_budget(RUN, refused)
    run = bench.ledger.raise_budget(RUN, 50_000)
    assert (run.budget_usd_micros, run.spec["budget_usd_micros"]) == (50_000, 4_000)
    assert bench.ledger.raise_budget(RUN, 50_000) == run, "the same message twice"
    with pytest.raises(GiveUp, match=r"\$0.050000 already; \$0.049999 is not more"):
        bench.ledger.raise_budget(RUN, 49_999)
    last = bench.ledger.raise_budget(RUN, 10**15)
    assert [one.usd_micros for one in last.raises] == [50_000, 10**15]
    assert last.raises[0] == run.raises[0]
    assert last.raises[1].at_ms >= last.raises[0].at_ms >= run.created_ms
    assert bench.ledger.open_run(RUN, "", {}) == last


def test_a_run_cancelled_before_its_seal_resumes_unsealed(bench: Bench) -> None:
    bench.start(job("a"), seal=False)
    bench.ledger.cancel(RUN)
    bench.ledger.add_jobs(RUN, [job("b", "a")])
    assert bench.states() == {"a": "cancelled", "b": "cancelled"}
    assert ids(bench.ledger.resume(RUN)) == ["a"]
    assert bench.run_state() == "submitting"
    assert bench.work("a") == ["b"]
    bench.work("b")
    assert bench.ledger.seal(RUN).state == "done"


def test_forget_leaves_nothing(bench: Bench) -> None:
    bench.start(job("done"), job("a"), job("b", "a"))
    bench.work("done")
    with pytest.raises(GiveUp, match="cancel it first"):
        bench.ledger.forget(RUN)
    claim = bench.claim("a")
    bench.ledger.cancel(RUN)
    bench.ledger.forget(RUN)
    assert bench.ledger.run(RUN) is None
    assert bench.ledger.runs() == []
    assert bench.ledger.counts(RUN) == {}
    assert list(bench.ledger.jobs(RUN)) == []
    assert bench.ledger.job(RUN, "a") is None
    assert not bench.ledger.renew(claim)
    assert bench.ledger.finish(claim, {}) is None
    assert bench.ledger.claim(RUN, "a", "w1") is None
    assert bench.ledger.feed(RUN) == []
    if isinstance(bench.ledger, RedisLedger):
        assert bench.ledger._client.keys("*") == []


def test_an_unknown_run_is_named(bench: Bench) -> None:
    for call in (bench.ledger.seal, bench.ledger.cancel, bench.ledger.resume, bench.ledger.forget):
        with pytest.raises(NoSuchRun, match="ghost"):
            call("ghost")
    with pytest.raises(NoSuchRun, match="ghost"):
        bench.ledger.resume("ghost", unfunded=True)
    with pytest.raises(NoSuchRun, match="ghost"):
        bench.ledger.raise_budget("ghost", 1)
    with pytest.raises(NoSuchRun, match="ghost"):
        bench.ledger.add_jobs("ghost", [job("a")])


def test_a_result_past_the_limit_is_refused_and_the_job_stays_held(bench: Bench) -> None:
    bench.start(job("a"))
    claim = bench.claim("a")
    with pytest.raises(ValueError, match=str(RESULT_LIMIT_BYTES)):
        bench.ledger.finish(claim, {"frame": "x" * RESULT_LIMIT_BYTES})
    assert bench.ledger.renew(claim)
    with pytest.raises(ValueError, match=str(RESULT_LIMIT_BYTES)):
        bench.ledger.add_jobs(RUN, [JobSpec("b", "s", "q", {"x": "é" * RESULT_LIMIT_BYTES})])


@pytest.mark.parametrize("name", ["", "a b", "a|b", "a{b}", "a\nb", "x" * 201])
def test_names_that_would_break_a_key_are_refused(bench: Bench, name: str) -> None:
    with pytest.raises(ValueError, match="is not 1 to 200"):
        bench.ledger.open_run(name, "mine", {})
    bench.ledger.open_run(RUN, "mine", {})
    for spec in (
        JobSpec(name, "s", "q", {}),
        JobSpec("a", name, "q", {}),
        JobSpec("a", "s", name, {}),
    ):
        with pytest.raises(ValueError, match="is not 1 to 200"):
            bench.ledger.add_jobs(RUN, [spec])


def test_a_priority_outside_0_to_9_is_refused(bench: Bench) -> None:
    for priority in (-1, 10):
        with pytest.raises(ValueError, match="priority"):
            bench.ledger.open_run(RUN, "mine", {}, priority)


def test_text_of_any_script_survives(bench: Bench) -> None:
    message = {"note": 'é 日本 "quotes" \\ \n', "list": [], "none": None, "big": 2**53, "f": 0.1}
    bench.ledger.open_run(RUN, "mine", message)
    bench.ledger.add_jobs(RUN, [JobSpec("a", "s", "q", message)])
    claim = bench.claim("a")
    assert claim.record.message == message
    bench.ledger.put_back(claim, 'é "why" \\', 0)
    record = bench.ledger.job(RUN, "a")
    assert record is not None
    assert record.error == 'é "why" \\'
    bench.ledger.finish(bench.claim("a"), message)
    assert bench.ledger.result(RUN, "a") == message
    run = bench.ledger.run(RUN)
    assert run is not None
    assert run.spec == message


def test_reasons_are_cut_and_made_writable(bench: Bench) -> None:
    bench.start(job("a"))
    bench.ledger.fail(bench.claim("a"), "\udcff" + "x" * 5_000)
    (record,) = bench.ledger.dead(RUN)
    assert record.error == "?" + "x" * 1_999


def test_runs_are_listed_newest_first_and_swept_by_priority(bench: Bench) -> None:
    for name, priority in (("low", 0), ("high", 9), ("middle", 5)):
        run = bench.ledger.open_run(name, "mine", {}, priority)
        bench.ledger.add_jobs(name, [job("a")])
        bench.past(run.created_ms)  # runs are told apart by the millisecond of their creation
    assert [run.id for run in bench.ledger.runs()] == ["middle", "high", "low"]
    assert [hint.run for hint in bench.ledger.sweep()] == ["high", "middle", "low"]


def test_the_build_that_did_a_job_is_remembered_and_counted(bench: Bench) -> None:
    bench.start(job("a"), job("b"), job("c"))
    ledger = bench.ledger
    for name, build in (("a", "0.1.0+aa"), ("b", "0.1.0+bb")):
        claim = bench.claim(name)
        assert ledger.finish(claim, {}, build) is not None
        ledger.finish(claim, {}, build)  # repeated: it counts once
    stale = bench.claim("c")
    bench.advance(LEASE_S + 1)
    ledger.sweep()
    assert ledger.finish(stale, {}, "0.1.0+stale") is None
    bench.work("c")
    assert [ledger.job(RUN, name).build for name in "abc"] == ["0.1.0+aa", "0.1.0+bb", ""]
    assert ledger.run(RUN).builds == {"0.1.0+aa": 1, "0.1.0+bb": 1}
    assert ledger.runs()[0].builds == {"0.1.0+aa": 1, "0.1.0+bb": 1}
    ledger.forget(RUN)
    bench.start()
    assert ledger.run(RUN).builds == {}
