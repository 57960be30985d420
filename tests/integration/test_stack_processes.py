"""The embedded server and the supervisor: what they start works, and nothing stays behind."""

import os
import signal
import stat
import subprocess
import sys

import psutil
import pytest
import redis

from alphamill.errors import GiveUp, Misconfigured
from alphamill.stack.embedded_redis import EmbeddedRedis, answers
from alphamill.stack.processes import Service, Supervisor
from tests.deadlines import end_s, start_s, wait_for

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]
PARENT_OF_TWO = [
    sys.executable,
    "-c",
    "import subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "time.sleep(600)",
]


@pytest.fixture
def server(tmp_path):
    embedded = EmbeddedRedis(tmp_path)
    yield embedded
    embedded.stop()


def test_the_server_wants_its_password_and_keeps_what_it_is_told(server, tmp_path):
    url = server.start()
    with redis.Redis.from_url(url) as client:
        client.set("key", "value")
        assert client.config_get("appendonly")["appendonly"] == "yes"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert client.config_get("bind")["bind"] == "127.0.0.1"
    assert not answers("redis://" + url.rpartition("@")[2])
    endpoint = tmp_path / "redis.url"
    assert endpoint.read_text() == url
    assert stat.S_IMODE(endpoint.stat().st_mode) == 0o600

    os.kill(server._process.pid, signal.SIGKILL)
    server._process.wait()
    server.stop()
    assert not endpoint.exists()
    with redis.Redis.from_url(server.start()) as client:
        assert client.get("key") == b"value"


def test_the_password_is_not_on_the_command_line(server):
    url = server.start()
    password = url.split(":")[2].split("@")[0]
    assert password not in " ".join(psutil.Process(server._process.pid).cmdline())


def test_a_second_server_of_one_home_is_refused(server, tmp_path):
    server.start()
    with pytest.raises(Misconfigured, match="already runs"):
        EmbeddedRedis(tmp_path).start()


def is_over(process):
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_stop_ends_children_of_children(tmp_path):
    supervisor = Supervisor(tmp_path / "logs")
    supervisor.start([Service("family", PARENT_OF_TWO)])
    parent = psutil.Process(supervisor.pids()["family"])
    wait_for(parent.children, "the child", parent.status)
    family = [parent, *parent.children()]
    supervisor.stop(grace_s=2)
    wait_for(lambda: all(map(is_over, family)), "their end", lambda: family, within_s=end_s())


def test_what_dies_is_started_again(tmp_path):
    said = []
    supervisor = Supervisor(tmp_path / "logs", say=said.append)
    supervisor.start([Service("sleeper", SLEEPER)])
    first = supervisor.pids()["sleeper"]
    os.kill(first, signal.SIGKILL)
    what = "the restart"
    wait_for(lambda: supervisor.watch() == ["sleeper"], what, supervisor.pids, within_s=start_s())
    assert supervisor.pids()["sleeper"] != first
    assert "sleeper ended with -9" in said[0]
    supervisor.stop()


def test_a_service_that_ends_at_once_is_told_with_its_last_words(tmp_path):
    supervisor = Supervisor(tmp_path / "logs")
    command = [sys.executable, "-c", "raise SystemExit('no such thing')"]
    broken = Service("broken", command, {}, ready=lambda: False)
    with pytest.raises(GiveUp, match="broken ended with 1; its last words: no such thing"):
        supervisor.start([broken])
    supervisor.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_a_killed_supervisor_takes_its_children_along(tmp_path):
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from alphamill.stack.processes import Service, Supervisor\n"
        f"supervisor = Supervisor(Path({str(tmp_path)!r}))\n"
        f"supervisor.start([Service('s', {SLEEPER!r})])\n"
        "print(supervisor.pids()['s'], flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: is_over(child), "the child's end", child.status, within_s=end_s())
