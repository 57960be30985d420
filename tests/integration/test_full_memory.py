"""A Redis whose memory is full: workers stay, commands say why, and runs go on when it has room."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import redis

from tests.conftest import server_of_my_own
from tests.deadlines import start_s, wait_for
from tests.integration.conftest import REPOSITORY
from tests.redis_seven import as_redis_seven

FETCH = ("fetch", "AAAUSDT", "--interval", "1d", "--start", "2023-01-01", "--end", "2023-03-01")


@pytest.fixture
def server(tmp_path):
    """The URL of a server of this test alone."""
    with server_of_my_own(tmp_path) as url:
        yield url


@pytest.fixture(params=["as it is", "as Redis 7"])
def url(request, server):
    """Where the mill finds the server."""
    if request.param == "as it is":
        yield server
        return
    with as_redis_seven(server) as url:
        yield url


def call(mill, *arguments):
    """`alphamill ...` in a process of its own, as a person calls it."""
    return subprocess.run(
        [sys.executable, "-m", "producers.cli", *arguments],
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, **mill.env},
        capture_output=True,
        text=True,
        timeout=start_s(),
    )


def refusals(client):
    """How often the server has said that it is full."""
    return client.info("errorstats").get("errorstat_OOM", {"count": 0})["count"]


def test_workers_outlive_it_commands_name_it_and_the_run_goes_on(make_mill, market, url, server):
    mill = make_mill(market(symbols=6, months=12), latency_ms=(100.0, 200.0), url=url)
    fetch, control = mill.worker("fetch", 4), mill.control()
    mill.wait_until_here(fetch, control)
    spec = mill.spec()
    run = mill.submit(spec)
    mill.wait_for_done(run.id, jobs=5)
    with redis.Redis.from_url(server) as client:
        client.config_set("maxmemory", 1)
        wait_for(
            lambda: refusals(client) > 30, "refusals", lambda: refusals(client), within_s=start_s()
        )
        status = call(mill, "status", run.id)
        assert status.returncode == 0, status.stderr
        assert "fetch" in status.stdout
        submitted = call(mill, *FETCH)
        assert submitted.returncode == 1
        assert "Redis is full: raise its maxmemory" in submitted.stderr
        doctor = call(mill, "doctor", "--json")
        checks = {check["name"]: check for check in json.loads(doctor.stdout)["checks"]}
        assert checks["memory"]["state"] == "fail"
        assert "Redis is full" in checks["memory"]["detail"]
        assert checks["workers"]["state"] == "warn", "nobody is sent to start workers"
        for told in (status, submitted, doctor):
            assert "Traceback" not in told.stdout + told.stderr
        assert mill.state(run.id) == "running"
        client.config_set("maxmemory", 0)
    assert mill.wait_for_end(run.id).counts == {"fetch": {"done": 72}}
    assert mill.check_lake(spec) == 72
    for worker in (fetch, control):
        assert worker.popen.poll() is None, worker.last_words()
        assert "Unrecoverable" not in worker.log.read_text()


def test_beat_says_so_once_and_goes_on(make_mill, market, server):
    mill = make_mill(market(symbols=2, months=2), url=server)
    schedule = str(mill.home / "schedule")
    command = ["-m", "celery", "-A", "workers.app", "beat", "-l", "INFO", "-s", schedule]
    with redis.Redis.from_url(server) as client:
        client.config_set("maxmemory", 1)
        beat = mill.start("beat", [sys.executable, *command, "--pidfile="])

        def lines(words):
            assert beat.popen.poll() is None, beat.last_words()
            return [line for line in beat.log.read_text().splitlines() if words in line]

        wait_for(
            lambda: refusals(client) >= 4, "refusals", lambda: refusals(client), within_s=start_s()
        )
        # Redis counts a refusal before whoever was refused can have said so.
        wait_for(
            lambda: lines("cannot be sent"), "a line of it", beat.last_words, within_s=start_s()
        )
        [told] = lines("cannot be sent")
        assert "Redis is full: raise its maxmemory" in told
        assert not lines("Traceback")
        assert not lines("Message Error")
        client.config_set("maxmemory", 0)
        wait_for(lambda: lines("is sent again"), "a sweep", beat.last_words, within_s=start_s())


def test_a_worker_that_starts_in_it_waits_for_room(make_mill, market, url, server):
    mill = make_mill(market(symbols=2, months=2), url=url)
    with redis.Redis.from_url(server) as client:
        client.config_set("maxmemory", 1)
        fetch, control = mill.worker("fetch", 2), mill.control()
        wait_for(
            lambda: refusals(client) > 5, "refusals", lambda: refusals(client), within_s=start_s()
        )
        for worker in (fetch, control):
            assert worker.popen.poll() is None, worker.last_words()
        client.config_set("maxmemory", 0)
    mill.wait_until_here(fetch, control)
    run = mill.submit(mill.spec())
    assert mill.wait_for_end(run.id).state == "done"


def test_workers_stay_known_while_it_is_full(make_mill, market, url, server):
    mill = make_mill(market(symbols=2, months=2), url=url)
    fetch = mill.worker("fetch", 2)
    mill.wait_until_here(fetch)
    [worker] = mill.presence.here()
    with redis.Redis.from_url(server) as client:
        client.config_set("maxmemory", 1)
        client.expire(f"alphamill:worker:{worker.name}", 3)
        mill.presence.announce(worker)
        assert client.ttl(f"alphamill:worker:{worker.name}") > 3
        client.config_set("maxmemory", 0)
