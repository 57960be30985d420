"""Random histories: the in-memory ledger and the Redis one must agree, and both keep the rules.

Both live through the same calls, stale claims, lost messages and dead workers included. A worker is
killed by never using its claim again and letting its lease lapse.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import fakeredis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from alphamill.clock import ManualClock
from alphamill.ledger import (
    Claim,
    Hint,
    JobRecord,
    JobSpec,
    JobState,
    Ledger,
    MemoryLedger,
    RedisLedger,
    RunState,
)
from alphamill.settings import LedgerSettings

RUN = "run"
WINDOW = 2
QUEUES = ("fetch", "evaluate")
# Leases, graces and delays are multiples of ten seconds, as are the steps of time, so that the few
# milliseconds by which Redis's own clock runs on never decide anything.
SETTINGS = LedgerSettings(lease_s=60, window=WINDOW, max_attempts=2, republish_after_s=20)
OUTSTANDING = {JobState.QUEUED, JobState.RUNNING}

index = st.integers(0, 10_000)
links = st.lists(st.tuples(index, st.booleans()), max_size=3)


class LedgerMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.client = fakeredis.FakeRedis()
        self.ledgers: tuple[Ledger, Ledger] = (
            MemoryLedger(SETTINGS, self.clock),
            RedisLedger(self.client, SETTINGS),
        )
        for ledger in self.ledgers:
            ledger.open_run(RUN, "mine", {}, 4)
        self.specs: list[JobSpec] = []
        self.claims: list[tuple[Claim, Claim]] = []
        self.finished: Counter[str] = Counter()
        self.finished_tokens: set[str] = set()

    def teardown(self) -> None:
        self.drive_to_the_end()
        self.client.close()

    def both(self, operation: str, *arguments: Any) -> list[Any]:
        answers = [getattr(ledger, operation)(*arguments) for ledger in self.ledgers]
        self.pass_time(0.01)  # so that things done in turn fall due in turn
        return answers

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        for member, _ in self.client.zrange(f"alphamill:{{{RUN}}}:due", 0, -1, withscores=True):
            self.client.zincrby(f"alphamill:{{{RUN}}}:due", -seconds * 1000, member)

    def agree(self, answers: list[list[Hint] | None]) -> None:
        first, second = (answer and Counter(answer) for answer in answers)
        assert first == second

    def records(self) -> dict[str, JobRecord]:
        return {record.id: record for record in self.ledgers[1].jobs(RUN)}

    @precondition(lambda self: len(self.specs) < 14)
    @rule(queue=st.sampled_from(QUEUES), linked=links, goal=st.booleans())
    def add(self, queue: str, linked: list[tuple[int, bool]], goal: bool) -> None:
        state = self.ledgers[0].run(RUN).state  # type: ignore[union-attr]
        if state in {RunState.DONE, RunState.FAILED}:
            return
        needs, after = [], []
        for n, needed in linked if self.specs else ():
            (needs if needed else after).append(self.specs[n % len(self.specs)].id)
        spec = JobSpec(f"j{len(self.specs):02}", queue, queue, {}, tuple(needs), tuple(after), goal)
        self.specs.append(spec)
        self.both("add_jobs", RUN, [*self.specs[-2:], spec])

    @rule()
    def seal(self) -> None:
        self.both("seal", RUN)

    @rule()
    def feed(self) -> None:
        self.agree(self.both("feed", RUN))

    @precondition(lambda self: self.specs)
    @rule(n=index)
    def claim(self, n: int) -> None:
        self.claim_one(self.specs[n % len(self.specs)])

    @rule()
    def claim_what_is_queued(self) -> None:
        for spec in self.specs:
            if self.records()[spec.id].state is JobState.QUEUED:
                self.claim_one(spec)

    def claim_one(self, spec: JobSpec) -> tuple[Claim, Claim] | None:
        before = self.records()
        mine, theirs = self.both("claim", RUN, spec.id, "w")
        assert (mine is None) == (theirs is None)
        if mine is None:
            return None
        assert mine.attempt == theirs.attempt
        assert all(before[other].state is JobState.DONE for other in spec.needs)
        assert all(before[other].state.settled for other in spec.after)
        self.claims.append((mine, theirs))
        return mine, theirs

    def with_claim(self, operation: str, n: int, *arguments: Any) -> list[Any]:
        pair = self.claims[-1 - n % len(self.claims)]
        answers = [
            getattr(ledger, operation)(claim, *arguments)
            for ledger, claim in zip(self.ledgers, pair, strict=True)
        ]
        self.pass_time(0.01)
        return answers

    @precondition(lambda self: self.claims)
    @rule(n=st.integers(0, 3), short_of=st.sampled_from(["", "run", "day"]))
    def finish(self, n: int, short_of: str) -> None:
        self.finish_one(n, short_of)

    def finish_one(self, n: int, short_of: str = "") -> None:
        result = {"n": n, "unfunded": short_of}
        answers = self.with_claim("finish", n, result, ("", "0.1.0+aa", "0.1.0+bb")[n % 3])
        self.agree(answers)
        claim = self.claims[-1 - n % len(self.claims)][1]
        if answers[1] is not None and claim.token not in self.finished_tokens:
            self.finished[claim.job] += 1
            self.finished_tokens.add(claim.token)

    @precondition(lambda self: self.claims)
    @rule(n=st.integers(0, 3))
    def fail(self, n: int) -> None:
        self.agree(self.with_claim("fail", n, "boom"))

    @precondition(lambda self: self.claims)
    @rule(n=st.integers(0, 3), after_s=st.sampled_from([0, 30]), counts=st.booleans())
    def put_back(self, n: int, after_s: float, counts: bool) -> None:
        self.agree(self.with_claim("put_back", n, "later", after_s, counts))

    @precondition(lambda self: self.claims)
    @rule(n=st.integers(0, 3))
    def renew(self, n: int) -> None:
        mine, theirs = self.with_claim("renew", n)
        assert mine == theirs

    @rule(tens=st.sampled_from([1, 3, 6]))
    def wait(self, tens: int) -> None:
        self.pass_time(10.0 * tens)

    @rule(limit=st.sampled_from([1, 500]))
    def sweep(self, limit: int) -> None:
        self.agree(self.both("sweep", limit))

    @rule()
    def cancel(self) -> None:
        self.both("cancel", RUN)

    @rule()
    def resume(self) -> None:
        self.agree(self.both("resume", RUN))

    @rule()
    def resume_what_no_budget_paid_for(self) -> None:
        before = {job_id for job_id, r in self.records().items() if r.state is JobState.DONE}
        mine, theirs = (ledger.resume(RUN, unfunded=True) for ledger in self.ledgers)
        self.agree([mine, theirs])
        self.pass_time(0.01)
        for job_id in before:
            if self.records()[job_id].state is not JobState.DONE:
                del self.finished[job_id]

    @invariant()
    def both_remember_the_same(self) -> None:
        mine, theirs = (
            {r.id: replace(r, started_ms=None, finished_ms=None) for r in ledger.jobs(RUN)}
            for ledger in self.ledgers
        )
        assert mine == theirs
        runs = [ledger.run(RUN) for ledger in self.ledgers]
        assert runs[0] is not None
        assert runs[1] is not None
        assert (runs[0].state, runs[0].counts) == (runs[1].state, runs[1].counts)
        assert runs[0].builds == runs[1].builds
        assert runs[0].unfunded == runs[1].unfunded
        assert (runs[0].finished_ms is None) == (runs[1].finished_ms is None)

    @invariant()
    def counters_equal_a_recount(self) -> None:
        recount: dict[str, Counter[str]] = {}
        for record in self.records().values():
            recount.setdefault(record.stage, Counter())[record.state.value] += 1
        for ledger in self.ledgers:
            assert ledger.counts(RUN) == recount

    @invariant()
    def the_window_holds(self) -> None:
        taken = Counter(r.queue for r in self.records().values() if r.state in OUTSTANDING)
        assert all(n <= WINDOW for n in taken.values())

    @invariant()
    def nothing_is_done_twice(self) -> None:
        done = {job_id for job_id, r in self.records().items() if r.state is JobState.DONE}
        assert self.finished == Counter(done)

    @invariant()
    def what_is_unfunded_is_done(self) -> None:
        found = Counter(
            r.result["unfunded"]
            for r in self.records().values()
            if r.state is JobState.DONE and r.result and r.result["unfunded"]
        )
        run = self.ledgers[1].run(RUN)
        assert run is not None
        assert run.unfunded == found

    @invariant()
    def states_follow_from_the_dependencies(self) -> None:
        records = self.records()
        cancelled = self.ledgers[0].run(RUN).state is RunState.CANCELLED  # type: ignore[union-attr]
        for spec in self.specs:
            state = records[spec.id].state
            needs = [records[other].state for other in spec.needs]
            settled = all(records[other].state.settled for other in (*spec.needs, *spec.after))
            lost = any(other.settled and other is not JobState.DONE for other in needs)
            if state in {JobState.READY, JobState.QUEUED}:
                assert settled
                assert not lost
            elif state is JobState.WAITING:
                assert not settled
                assert not lost
            elif state is JobState.SKIPPED:
                assert lost
            elif state is JobState.CANCELLED:
                assert cancelled

    def drive_to_the_end(self) -> None:
        """With workers that live, every run completes, whatever happened before."""
        self.both("resume", RUN)
        self.both("seal", RUN)
        for _ in range(4 * len(self.specs) + 4):
            run = self.ledgers[1].run(RUN)
            if run is not None and not run.state.active:
                break
            self.pass_time(700)
            self.agree(self.both("sweep", 500))
            for spec in self.specs:
                if self.claim_one(spec):
                    self.finish_one(0)
        self.both_remember_the_same()
        self.counters_equal_a_recount()
        assert self.ledgers[1].run(RUN).state in {RunState.DONE, RunState.FAILED}  # type: ignore[union-attr]
        assert all(record.state.settled for record in self.records().values())


LedgerMachine.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLedgerMachine = LedgerMachine.TestCase
