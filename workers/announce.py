"""A worker says in Redis that it is here, so that `doctor`, `status` and `up` can see it."""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import redis

import alphamill
from alphamill.fleet.identity import Identity, identity
from alphamill.ledger.presence import SILENCE_S, Presence, Worker
from alphamill.stack.pools import POOLS
from workers.connections import Connections

_log = logging.getLogger(__name__)


def memory_bytes() -> int:
    """Of this process and its children, shared pages once; 0 where the system does not say."""
    children: list[str] = []
    with suppress(OSError):
        for thread in Path("/proc/self/task").iterdir():
            children += (thread / "children").read_text(encoding="ascii").split()
    return sum(_proportional_bytes(process) for process in ("self", *children))


def _proportional_bytes(process: str) -> int:
    try:
        text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
    except OSError:  # no such system, or it has just ended
        return 0
    found = [line.split() for line in text.splitlines() if line.startswith("Pss:")]
    return 1024 * int(found[0][1]) if found else 0


class Announcer:
    """Repeats the announcement from a daemon thread of the worker's main process.

    connections: that process's own, asked for when it starts.
    """

    def __init__(self, connections: Callable[[], Connections]) -> None:
        self._connections = connections
        self._stopping = threading.Event()
        self._presence: Presence | None = None
        self._name = ""
        self._identity: Identity | None = None
        self._salt = ""

    def start(self, name: str, queues: tuple[str, ...], concurrency: int, pool: str = "") -> None:
        """Announce now and every few seconds until `stop`. pool: "" for whose queues these are."""
        pool = pool or next((p.name for p in POOLS.values() if set(p.queues) == set(queues)), "")
        host = socket.gethostname()
        worker = Worker(name, pool, queues, concurrency, os.getpid(), host, alphamill.__version__)
        self._name, self._presence = name, Presence(self._connections().redis)
        threading.Thread(
            target=self._repeat, args=(self._presence, worker), name="announce", daemon=True
        ).start()

    def _repeat(self, presence: Presence, worker: Worker) -> None:
        while not self._stopping.is_set():
            try:
                own = self._own(presence)
                who = replace(
                    worker, memory_bytes=memory_bytes(), build=own.build.label, identity=own.id
                )
                presence.announce(who, own.to_message())
            except redis.RedisError as error:
                _log.info("not announced: %s", type(error).__name__)
            self._stopping.wait(SILENCE_S / 4)

    def _own(self, presence: Presence) -> Identity:
        """What this worker works with; made anew only where Redis has lost its salt."""
        salt = presence.salt()
        if self._identity is None or salt != self._salt:
            self._identity, self._salt = identity(self._connections().settings, salt), salt
        return self._identity

    def stop(self) -> None:
        """Take the worker off the list."""
        self._stopping.set()
        if self._presence is not None:
            with suppress(redis.RedisError):  # it will be forgotten in SILENCE_S
                self._presence.leave(self._name)
