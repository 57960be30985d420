"""What the task wrapper makes of a job's outcome: the retry policy, by the class of the error."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from celery.exceptions import SoftTimeLimitExceeded

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp, Misconfigured, RetryLater, Unwanted
from alphamill.frames import Interval, Market
from alphamill.jobs import Facts, FetchJob, Queue, RunKind, RunSpec
from alphamill.ledger import JobSpec, JobState, MemoryLedger
from alphamill.runs.schemas import RunDeps
from alphamill.settings import LedgerSettings
from alphamill.stages.registry import JobContext, Stage
from tests.deadlines import wait_for
from workers import tasks
from workers.leases import LeaseKeeper

RUN = "run-1"
MESSAGE = FetchJob(Market.SPOT, "AUSDT", Interval.H1, 0, 3_600_000).to_message()
SPEC = RunSpec(
    RunKind.FETCH, "memory", Market.SPOT, ("AUSDT",), (Interval.H1,), start_ms=0, end_ms=3_600_000
)
LAKE = object()  # no job here looks at it
SETTINGS = LedgerSettings(lease_s=30, max_attempts=3, republish_after_s=20)


class Bench:
    """A worker without a broker: what is published is noted, and time moves by hand."""

    def __init__(self, jobs):
        self.clock = ManualClock()
        self.ledger = MemoryLedger(SETTINGS, self.clock)
        self.published, self.held = [], []
        self.ledger.open_run(RUN, "fetch", {})
        self.ledger.add_jobs(RUN, jobs)
        self.ledger.seal(RUN)
        self.ledger.feed(RUN)

    @property
    def leases(self):
        @contextmanager
        def hold(claim):
            self.held.append(claim.job)
            yield lambda: self.ledger.renew(claim)
            self.held.append("let go")

        return SimpleNamespace(hold=hold)

    def spec(self, run_id):
        return SPEC

    def lake(self, uri):
        return LAKE

    def attend(self, work, job_id="job", run_id=RUN):
        """What the task of a stage with this `work` says of the job."""
        return self.became(work, job_id, run_id).says

    def became(self, work, job_id="job", run_id=RUN):
        return tasks.attend(run_id, job_id, Stage("fetch", Queue.FETCH, FetchJob, work))

    def job(self, job_id="job"):
        return self.ledger.job(RUN, job_id)

    def publish(self, hints):
        sent = [hint.job_id for hint in hints]
        self.published += sent
        return len(sent)


@pytest.fixture
def bench(monkeypatch):
    job = JobSpec("job", "fetch", "fetch", MESSAGE, goal=True)
    follower = JobSpec("next", "features", "features", MESSAGE, needs=("job",))
    made = Bench([job, follower])
    monkeypatch.setattr(tasks, "resources", lambda: made)
    monkeypatch.setattr(tasks, "publish", made.publish)
    return made


@dataclass(frozen=True)
class Rows(Facts):
    rows: object


def raises(error):
    def work(job, context):
        raise error

    return work


def succeeds(job, context):
    return Rows(3)


def test_a_job_that_succeeds_is_done_and_what_waited_is_published(bench):
    seen = []

    def work(job, context):
        seen.append((job, context, bench.held[:]))
        return Rows(3)

    assert bench.attend(work) == "done"
    context = JobContext(RunDeps(LAKE, RUN, SPEC), "job", 1, bench)
    assert seen == [(FetchJob.from_message(MESSAGE), context, ["job"])]
    assert bench.held == ["job", "let go"]
    assert bench.job().state is JobState.DONE
    assert bench.job().result == {"rows": 3}
    assert bench.published == ["next"]


def test_a_job_is_worked_on_once_however_often_its_message_comes(bench):
    assert bench.attend(succeeds) == "done"
    for _ in range(10):
        assert bench.attend(raises(AssertionError("worked on twice"))) == "nothing to claim"
    assert bench.job().attempts == 1


def test_a_message_for_a_job_or_a_run_that_does_not_exist_does_nothing(bench):
    never = raises(AssertionError("worked on"))
    assert bench.attend(never, "no-such-job") == "nothing to claim"
    assert bench.attend(never, run_id="no-such-run") == "nothing to claim"


@pytest.mark.parametrize(("counts", "attempts"), [(True, 1), (False, 0)])
def test_retry_later_delays_the_job_and_counts_only_if_it_says_so(bench, counts, attempts):
    assert bench.attend(raises(RetryLater("the limit is reached", 5.0, counts))) == (
        "the limit is reached"
    )
    assert bench.job().state is JobState.DELAYED
    assert bench.job().attempts == attempts
    assert bench.job().error == "the limit is reached"
    assert bench.attend(succeeds) == "nothing to claim", "before its time"
    bench.clock.advance(5.1)
    assert bench.attend(succeeds) == "done"


def test_waits_that_are_nobodys_fault_never_use_up_a_job(bench):
    for _ in range(10 * SETTINGS.max_attempts):
        bench.attend(raises(RetryLater("banned", 1.0, counts=False)))
        bench.clock.advance(1.1)
    assert bench.attend(succeeds) == "done"


def test_attempts_are_used_up_and_the_last_reason_is_kept(bench):
    for attempt in range(SETTINGS.max_attempts):
        bench.attend(raises(RetryLater(f"reset {attempt}", 1.0)))
        bench.clock.advance(1.1)
    assert bench.job().state is JobState.DEAD
    assert bench.job().error == "reset 2"
    assert bench.job("next").state is JobState.SKIPPED
    assert bench.ledger.run(RUN).state == "failed"
    assert bench.attend(succeeds) == "nothing to claim"


@pytest.mark.parametrize(
    "error",
    [GiveUp("no such symbol"), Misconfigured("ALPHAMILL_LAKE", "cannot write", "free some space")],
)
def test_what_cannot_succeed_is_dead_at_once_with_its_reason(bench, error):
    assert bench.attend(raises(error)) == str(error)
    assert bench.job().state is JobState.DEAD
    assert bench.job().error == str(error)
    assert bench.job().attempts == 1


def test_a_message_that_does_not_fit_its_type_is_dead_and_names_the_field(bench):
    broken = {**MESSAGE, "interval": "7h"}
    bench.ledger.open_run("run-2", "fetch", {})
    bench.ledger.add_jobs("run-2", [JobSpec("odd", "fetch", "fetch", broken)])
    bench.ledger.feed("run-2")
    bench.attend(raises(AssertionError("worked on")), "odd", "run-2")
    dead = bench.ledger.job("run-2", "odd")
    assert dead.state is JobState.DEAD
    assert "interval" in dead.error


def test_a_defect_is_tried_again_with_growing_pauses_and_then_dead(bench, caplog):
    broken = raises(ZeroDivisionError("division by zero"))
    pauses_s = []
    bench.attend(broken)
    while bench.job().state is JobState.DELAYED:
        attempts, pause_s = bench.job().attempts, 0.0
        while bench.job().attempts == attempts and bench.job().state is JobState.DELAYED:
            bench.clock.advance(0.1)
            pause_s += 0.1
            bench.attend(broken)
        pauses_s.append(pause_s)
    assert bench.job().state is JobState.DEAD
    assert bench.job().error == "ZeroDivisionError: division by zero"
    assert len(pauses_s) == SETTINGS.max_attempts - 1
    for attempt, pause_s in enumerate(pauses_s, start=1):
        assert 0.5 * 2**attempt <= pause_s <= 2**attempt + 0.2
    assert "Traceback" in caplog.text, "a defect is logged with where it happened"


def test_a_job_past_its_soft_time_limit_is_tried_again_and_counted(bench):
    assert "soft_time_limit" in bench.attend(raises(SoftTimeLimitExceeded()))
    assert bench.job().state is JobState.DELAYED
    assert bench.job().attempts == 1


def test_facts_that_are_not_json_cost_the_job_and_not_the_worker(bench):
    bench.attend(lambda job, context: Rows(object()))
    assert bench.job().state is JobState.DELAYED
    assert "TypeError" in bench.job().error


def test_what_others_finished_meanwhile_is_not_finished_again(bench):
    def too_slow(job, context):
        bench.clock.advance(SETTINGS.lease_s + 1)
        assert bench.attend(succeeds) == "done"
        return Rows(4)

    assert bench.attend(too_slow) == "finished elsewhere"
    assert bench.job().result == {"rows": 3}


def test_work_that_nobody_waits_for_can_stop_and_is_told_of_no_more(bench):
    """Not as a failure of the job: another attempt may have it by then."""
    seen = []

    def stops(job, context):
        seen.append(context.wanted())
        bench.ledger.cancel(RUN)
        seen.append(context.wanted())
        raise Unwanted("cancelled")

    assert bench.became(stops) == (tasks.Became.SETTLED, "cancelled")
    assert seen == [True, False]
    assert bench.job().state is JobState.CANCELLED
    bench.ledger.resume(RUN)
    assert bench.attend(succeeds) == "done"


def test_a_held_claim_tells_when_it_is_lost(bench):
    keeper = LeaseKeeper(bench.ledger, lease_s=0.3)  # renewed every tenth of a second
    claim = bench.ledger.claim(RUN, "job", worker="here")
    with keeper.hold(claim) as wanted:
        assert wanted()
        bench.ledger.cancel(RUN)
        wait_for(lambda: not wanted(), "the renewal that finds it gone", bench.job)


def test_an_error_of_one_who_lost_the_job_changes_nothing(bench):
    def too_slow(job, context):
        bench.clock.advance(SETTINGS.lease_s + 1)
        assert bench.attend(succeeds) == "done"
        raise GiveUp("no such symbol")

    bench.attend(too_slow)
    assert bench.job().state is JobState.DONE


@pytest.mark.parametrize("gone", ["claim", "finish", "put_back"])
def test_a_ledger_that_cannot_be_reached_leaves_the_job_to_the_sweep(bench, monkeypatch, gone):
    def unreachable(*args, **named):
        raise RetryLater("ledger unreachable", counts=False)

    with monkeypatch.context() as patch:
        patch.setattr(bench.ledger, gone, unreachable)
        patch.setattr(bench.ledger, "put_back", unreachable)
        function = raises(RetryLater("reset")) if gone == "put_back" else succeeds
        assert bench.attend(function) == "ledger unreachable"
    assert not bench.job().state.settled
    bench.clock.advance(SETTINGS.lease_s + 1)
    assert [hint.job_id for hint in bench.ledger.sweep()] == ["job"]
    assert bench.attend(succeeds) == "done"


@pytest.mark.parametrize(
    ("work", "became"),
    [
        (succeeds, tasks.Became.SETTLED),
        (raises(GiveUp("no such symbol")), tasks.Became.DEAD),
        (raises(RetryLater("reset")), tasks.Became.AGAIN),
        (raises(RetryLater("banned", counts=False)), tasks.Became.AGAIN),
        (raises(ZeroDivisionError("a defect")), tasks.Became.AGAIN),
    ],
)
def test_a_monitor_is_told_what_became_of_the_job(bench, work, became):
    assert bench.became(work).became is became


def test_the_last_attempt_is_a_failure_and_not_another_retry(bench):
    seen = []
    for _ in range(SETTINGS.max_attempts):
        seen.append(bench.became(raises(RetryLater("reset", 1.0))).became)
        bench.clock.advance(1.1)
    assert seen == [tasks.Became.AGAIN] * (SETTINGS.max_attempts - 1) + [tasks.Became.DEAD]
