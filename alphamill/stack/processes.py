"""Starts processes in order, restarts what dies, stops all of them and leaves nothing behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alphamill.errors import GiveUp

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)  # opened here: between fork and exec nothing may wait for a lock


def die_with_parent() -> None:
    """In a child before exec: get SIGTERM when the parent's thread ends, even by kill -9."""
    if sys.platform == "linux":
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Signals take effect when the block ends, for blocks that start a process.

    Python ignores an exception in a callback that it runs around a fork, and a handler may run in
    one: a Ctrl-C just then would be lost.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread gets signals
        return
    came: list[int] = []
    before: dict[signal.Signals, Any] = {}
    try:
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            before[one] = signal.getsignal(one)
            signal.signal(one, lambda number, _: came.append(number))
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        for number in dict.fromkeys(came):
            signal.raise_signal(number)


@dataclass(frozen=True, slots=True)
class Service:
    """A process of the stack.

    ready: whether it serves; polled after its start. None: at once.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] | None = None


@dataclass(slots=True)
class _Running:
    service: Service
    process: subprocess.Popen[bytes]
    restarts: int = 0
    next_start_s: float = 0.0


class Supervisor:
    """Owns the services. Each writes to `logs`/NAME.log and leads a process group of its own."""

    def __init__(self, logs: Path, say: Callable[[str], None] = lambda _: None) -> None:
        self._logs = logs
        self._say = say
        self._running: dict[str, _Running] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(
        self,
        services: Sequence[Service],
        timeout_s: float = 120.0,
        is_up: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Start all, then wait until each is ready, in order; `is_up` is told the name of each.

        Raises GiveUp, naming the log, if one ends or is not ready in time.
        """
        for service in services:
            with signals_deferred():
                self._running[service.name] = _Running(service, self._spawn(service))
        deadline = time.monotonic() + timeout_s
        for service in services:
            while service.ready is not None and not service.ready():
                code = self._running[service.name].process.poll()
                if code is not None or time.monotonic() > deadline:
                    state = f"ended with {code}" if code is not None else "is not ready"
                    raise GiveUp(f"{service.name} {state}; {self._last_words(service.name)}")
                time.sleep(0.05)
            is_up(service.name)

    def watch(self) -> list[str]:
        """Restart what has died, with a growing pause; returns the names. Call now and then."""
        revived = []
        for name, running in self._running.items():
            now = time.monotonic()
            if running.process.poll() is None or now < running.next_start_s:
                continue
            self._end_group(running.process, signal.SIGKILL)
            self._say(f"{name} ended with {running.process.returncode}; starting it again")
            with signals_deferred():
                running.process = self._spawn(running.service)
            running.restarts += 1
            running.next_start_s = now + min(30.0, 2.0**running.restarts)
            revived.append(name)
        return revived

    def pids(self) -> dict[str, int]:
        """Process ids by service name."""
        return {name: running.process.pid for name, running in self._running.items()}

    def stop(self, grace_s: float = 12.0) -> None:
        """SIGTERM to the leaders, last started first; after `grace_s` SIGKILL to the groups."""
        processes = [running.process for running in reversed(self._running.values())]
        for process in processes:
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + grace_s
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._end_group(process, signal.SIGKILL)
                process.wait()
            # A leader that ended well may have left a child of its own.
            self._end_group(process, signal.SIGKILL)
        self._running.clear()

    def _spawn(self, service: Service) -> subprocess.Popen[bytes]:
        with (self._logs / f"{service.name}.log").open("ab") as log:
            return subprocess.Popen(  # noqa: S603  commands of our own making
                list(service.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **service.env},
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  only ctypes runs there
            )

    @staticmethod
    def _end_group(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
        try:
            os.killpg(process.pid, how)
        except (ProcessLookupError, PermissionError):
            return

    def _last_words(self, name: str) -> str:
        path = self._logs / f"{name}.log"
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return f"its last words: {lines[-1][:300]} (see {path})" if lines else f"see {path}"
