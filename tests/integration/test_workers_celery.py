"""Workers as Celery's users start them, and messages as anybody who reaches the broker may send."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from celery import Celery
from celery.exceptions import QueueNotFound
from kombu import Producer

from alphamill.flow import plan
from alphamill.ledger import JobState
from tests.deadlines import ANSWER_S, stack_s, wait_for
from workers.app import app
from workers.send import publish

CELERY = Path(sys.executable).with_name("celery")
HOST = socket.gethostname()
BY_HAND = [CELERY, "-A", "workers.app", "worker", "-Q", "fetch", "-P", "threads", "-c", "8"]


@pytest.fixture(scope="module")
def mill(make_shared_mill, market):
    return make_shared_mill(market(symbols=6, months=2))


@pytest.fixture(scope="module")
def by_hand(mill):
    """The worker that most tests here send to; nothing sweeps."""
    worker = mill.start("celery", [*BY_HAND, "-n", "celery@%h"])
    mill.wait_until_here(worker)
    return worker


def a_run(mill, salt):
    """A run of one job that is ready and has no message yet; its id and the job's."""
    spec = mill.spec(mill.spec().symbols[:1], months=1, salt=salt)
    [job] = plan(spec)
    mill.ledger.open_run(spec.run_id, spec.kind.value, spec.to_message())
    mill.ledger.add_jobs(spec.run_id, [job])
    mill.ledger.seal(spec.run_id)
    return spec.run_id, job.id


def assert_serves(mill, worker, salt):
    """It still works: a run is done by it."""
    run = mill.submit(mill.spec(salt=salt))
    assert mill.wait_for_end(run.id).state == "done"
    assert worker.popen.poll() is None


def test_a_worker_started_by_hand_does_a_run_and_answers_ping(mill, by_hand):
    spec = mill.spec()
    run = mill.submit(spec)
    assert mill.wait_for_end(run.id).counts == {"fetch": {"done": 12}}
    assert mill.check_lake(spec) == 12
    wait = str(ANSWER_S)
    answer = subprocess.run(
        [CELERY, *("-A", "workers.app", "inspect", "ping", "-t", wait), *("-d", f"celery@{HOST}")],
        env={**os.environ, **mill.env},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "1 node online" in answer.stdout
    assert "pong" in answer.stdout


def test_a_monitor_that_knows_the_address_alone_is_answered(mill, by_hand):
    """A client with kombu's defaults, as exporters are and `celery -b URL inspect`."""
    mill.redis.sadd("_kombu.binding.alphamill", "fetch::fetch")  # as bound before 0.1.0
    url = mill.env["ALPHAMILL_REDIS_URL"]
    with Celery(broker=url, set_as_current=False) as stranger:
        [answer] = stranger.control.ping([f"celery@{HOST}"], timeout=ANSWER_S, limit=1)
        assert answer == {f"celery@{HOST}": {"ok": "pong"}}
        found = stranger.control.inspect([f"celery@{HOST}"], timeout=ANSWER_S, limit=1).stats()
        assert found[f"celery@{HOST}"]["pool"]["max-concurrency"] == 8
    assert "Control command error" not in by_hand.log.read_text()
    second = mill.worker("fetch", 1)
    mill.wait_until_here(second)
    assert not mill.redis.sismember("_kombu.binding.alphamill", "fetch::fetch")
    assert_serves(mill, by_hand, "after a monitor")
    assert second.terminate() == 0


def test_alphamill_worker_becomes_the_same_program(mill, by_hand):
    started = mill.start("alphamill", [sys.executable, "-m", "producers.cli", "worker", "fetch"])
    wait_for(
        lambda: {w.pid for w in mill.presence.here()} == {started.pid, by_hand.pid},
        "the second worker",
        started.last_words,
        within_s=stack_s(),
    )
    theirs, ours = (psutil.Process(p.pid).cmdline() for p in (by_hand, started))
    assert ours[1:3] == ["-m", "celery"]
    asked = theirs[theirs.index("-A") : theirs.index("-n")]
    assert ours[3 : 3 + len(asked)] == asked
    assert {w.pool for w in mill.presence.here()} == {"fetch"}
    assert started.terminate() == 0
    assert [w.pid for w in mill.presence.here()] == [by_hand.pid]


@pytest.mark.parametrize("times", [2, 10])
def test_a_message_that_comes_again_finds_the_job_done(mill, by_hand, times):
    run_id, job_id = a_run(mill, f"again {times}")
    [hint] = mill.ledger.feed(run_id)
    assert publish([hint] * times) == times
    assert mill.wait_for_end(run_id).state == "done"
    mill.wait_until_read("fetch")
    job = mill.ledger.job(run_id, job_id)
    assert (job.state, job.attempts) == (JobState.DONE, 1)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("alphamill.fetch", ["fetch-0000000000000000", "fetch-0000000000000000"]),
        ("alphamill.fetch", ["{no} such run", "a job"]),
        ("alphamill.fetch", []),
        ("alphamill.fetch", [{"run": 1}, None]),
        ("alphamill.no_such_task", ["fetch-0000000000000000", "fetch-0000000000000000"]),
    ],
)
def test_a_message_that_asks_for_nothing_real_is_taken_and_forgotten(
    mill, by_hand, name, arguments
):
    runs = mill.ledger.runs()
    app.send_task(name, args=arguments, queue="fetch")
    mill.wait_until_read("fetch")
    assert mill.ledger.runs() == runs
    assert_serves(mill, by_hand, f"after {name} {arguments}")


def test_a_message_for_a_job_of_another_stage_does_no_harm(mill, by_hand):
    run_id, job_id = a_run(mill, "wrong doorway")
    app.send_task("alphamill.fetch", args=[run_id, "no-such-job"], queue="fetch")
    assert mill.wait_for_end(run_id).state == "done", "the job that was ready has been fed"
    assert mill.ledger.job(run_id, "no-such-job") is None
    assert mill.ledger.job(run_id, job_id).attempts == 1


def test_a_queue_that_is_not_declared_is_refused(mill):
    with pytest.raises(QueueNotFound):
        app.send_task("alphamill.fetch", args=["a", "b"], queue="fetsh")
    assert not mill.redis.keys("fetsh*")


class Harm:
    """Unpickled, it would leave a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickled_message_is_not_unpickled(mill, by_hand, tmp_path):
    harm = tmp_path / "harm"
    queue = next(queue for queue in app.conf.task_queues if queue.name == "fetch")
    with app.connection_for_write() as connection:
        Producer(connection, queue.exchange, queue.routing_key).publish(
            [[Harm(harm), "job"], {}, {}],
            serializer="pickle",
            headers={"task": "alphamill.fetch", "id": "1", "lang": "py"},
            declare=[queue],
        )
    mill.wait_until_read("fetch")
    assert_serves(mill, by_hand, "after pickle")
    assert not harm.exists()
    assert "pickle" in by_hand.log.read_text(), "the refusal is in the worker's log"
