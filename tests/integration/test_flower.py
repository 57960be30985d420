"""What Flower tells of a mill at work: what jobs are about, failures as such, all queues."""

from __future__ import annotations

import sys

import pytest
import requests

from alphamill.jobs import Queue
from alphamill.ledger import JobSpec
from alphamill.stack.embedded_redis import free_port
from tests.deadlines import stack_s, wait_for
from tests.integration.conftest import market_of
from workers.send import publish

AUTH = ("watcher", "s3cret")


@pytest.fixture(scope="module")
def mill(make_shared_mill):
    return make_shared_mill(market_of(2, 2))


@pytest.fixture(scope="module")
def ask(mill):
    """`ask("/api/tasks")`: JSON of a Flower that watches this mill's workers and beat."""
    port = free_port()
    mill.env["FLOWER_BASIC_AUTH"] = ":".join(AUTH)
    command = [sys.executable, "-m", "producers.cli", "flower", "--port", str(port)]
    flower = mill.start("flower", command)

    def get(path: str):
        answer = requests.get(f"http://127.0.0.1:{port}{path}", auth=AUTH, timeout=30)
        answer.raise_for_status()
        return answer.json()

    def up() -> bool:
        assert flower.popen.poll() is None, flower.last_words()
        try:
            get("/api/tasks")
        except requests.ConnectionError:
            return False
        return True

    wait_for(up, "Flower", flower.last_words, within_s=stack_s())
    workers = (mill.worker("fetch", 2), mill.control())
    mill.wait_until_here(*workers)
    names = {worker.name for worker in workers}

    def seen() -> set[str]:
        return {name.partition("@")[0] for name in get("/api/workers?refresh=1")}

    wait_for(lambda: names <= seen(), "workers in Flower", seen, within_s=stack_s())
    return get


def states(ask, wanted: int) -> dict[str, str]:
    """What the tasks are about -> their state, once so many have ended."""

    def found() -> dict[str, str]:
        return {task["args"]: task["state"] for task in ask("/api/tasks").values()}

    def ended() -> bool:
        return sum(state in ("SUCCESS", "FAILURE") for state in found().values()) >= wanted

    wait_for(ended, f"{wanted} tasks in Flower", found)
    return found()


def test_jobs_are_named_by_what_they_are_about_failures_fail_and_sweeps_are_not_told(mill, ask):
    run = mill.submit(mill.spec(salt="flower"))
    mill.wait_for_end(run.id)
    odd = mill.spec(salt="odd").run_id
    mill.ledger.open_run(odd, "fetch", mill.spec(salt="odd").to_message())
    job = {"symbol": "ODDUSDT", "interval": "7h", "start_ms": 0, "end_ms": 1}
    mill.ledger.add_jobs(odd, [JobSpec("odd", "fetch", "fetch", job, goal=True)])
    mill.ledger.seal(odd)
    publish(mill.ledger.feed(odd))
    assert mill.wait_for_end(odd).state == "failed"
    swept_ms = mill.presence.swept_ms()
    wait_for(lambda: mill.presence.swept_ms() != swept_ms, "a sweep", mill.presence.swept_ms)
    assert states(ask, 5) == {
        "fetch AAAUSDT 1d 2023-01": "SUCCESS",
        "fetch AAAUSDT 1d 2023-02": "SUCCESS",
        "fetch AABUSDT 1d 2023-01": "SUCCESS",
        "fetch AABUSDT 1d 2023-02": "SUCCESS",
        "fetch ODDUSDT 7h 1970-01": "FAILURE",
    }
    tasks = ask("/api/tasks").values()
    assert {task["name"] for task in tasks} == {"alphamill.fetch"}
    assert {task["kwargs"] for task in tasks} == {run.id, odd}
    [failed] = [task for task in tasks if task["state"] == "FAILURE"]
    assert "interval" in failed["exception"]
    assert mill.messages_left("fetch") == 0, "a failure is no message that comes again"


def test_every_queue_is_there_with_its_length_also_one_that_nobody_reads(mill, ask):
    mill.ledger.open_run("features-x", "features", {})
    jobs = [JobSpec(f"f{i}", "features", "features", {}) for i in range(3)]
    mill.ledger.add_jobs("features-x", jobs)
    publish(mill.ledger.feed("features-x"))
    lengths = {q["name"]: q["messages"] for q in ask("/api/queues/length")["active_queues"]}
    assert set(lengths) == {queue.value for queue in Queue}
    assert lengths["features"] == 3
    assert lengths["evaluate"] == 0
