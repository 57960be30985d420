"""A circuit breaker: a dead provider costs one timeout, not one a job.

Two circuits guard a call: the endpoint's, which opens when no connection can be made, and the
model's, which opens when it does not answer (at once) or breaks (after several in a row), since
one model behind a gateway may be down while others work. An open circuit lets nobody through; after
a while it lets one call try, and that one's outcome closes it or opens it for longer.

The state is shared by all workers: in each process alone, a fleet of fifty would pay for fifty
timeouts. It lives beside the budget, without which no call is made anyway.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from typing import Protocol
from urllib.parse import urlsplit

import redis

from alphamill.clock import Clock, SystemClock
from alphamill.errors import RetryLater

FIRST_OPEN_S = 5.0
MOST_OPEN_S = 60.0
KNOWN_S = 0.25  # for so long a process takes a closed circuit, or a sign of life, as known
PROBE_S = 120.0  # a probe that nobody reports is given up after this: past a call's deadline


class Trouble(Enum):
    """How a call failed, as far as a breaker cares: which circuit, and after how many in a row."""

    UNREACHABLE = ("endpoint", 1)
    SILENT = ("model", 1)
    BROKEN = ("model", 5)


@dataclass(frozen=True, slots=True)
class Entry:
    """The answer to a call that asks to go. wait_s 0: go; else how long the circuit stays open.

    down_s: since when there was no sign of life.
    """

    wait_s: float
    down_s: float


class Breaker(Protocol):
    """Circuits of one endpoint. May raise RetryLater: no store, no calls."""

    def enter(self, model: str) -> Entry:
        """Whether to call now. Who may go must report `alive` or `failed`."""

    def alive(self, model: str) -> None:
        """It answered, be it with a refusal."""

    def failed(self, model: str, trouble: Trouble, took_s: float) -> None:
        """It did not, after `took_s`."""


class RedisBreaker:
    """Circuits in Redis, shared by all workers. Keys: `alphamill:llm:circuit:HOST[|MODEL]`.

    A process that calls often asks and tells Redis a few times a second, not twice a call.
    """

    def __init__(self, client: redis.Redis, base_url: str, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._closed_until_s: dict[str, float] = {}
        self._alive_until_s: dict[str, float] = {}
        source = files("alphamill.llm").joinpath("breaker.lua").read_text(encoding="utf-8")
        self._script = client.register_script(source)
        self._endpoint = f"alphamill:llm:circuit:{host_of(base_url)}"

    def enter(self, model: str) -> Entry:
        now_s = self._clock.monotonic_s()
        if now_s < self._closed_until_s.get(model, 0.0):
            return Entry(0.0, 0.0)
        wait_ms, down_ms = self._run(self._both(model), "enter", _ms(PROBE_S))
        if wait_ms == 0 and now_s < self._alive_until_s.get(model, 0.0):
            self._closed_until_s[model] = now_s + KNOWN_S
        return Entry(wait_ms / 1000, down_ms / 1000)

    def alive(self, model: str) -> None:
        now_s = self._clock.monotonic_s()
        if now_s >= self._alive_until_s.get(model, 0.0):
            self._run(self._both(model), "alive")
            self._alive_until_s[model] = now_s + KNOWN_S

    def failed(self, model: str, trouble: Trouble, took_s: float) -> None:
        which, in_a_row = trouble.value
        self._closed_until_s.clear()
        self._alive_until_s.clear()  # the next sign of life must reach Redis
        key = self._endpoint if which == "endpoint" else f"{self._endpoint}|{model}"
        self._run([key], "failed", _ms(took_s), in_a_row, _ms(FIRST_OPEN_S), _ms(MOST_OPEN_S))

    def _both(self, model: str) -> list[str]:
        return [self._endpoint, f"{self._endpoint}|{model}"]

    def _run(self, keys: Sequence[str], *args: str | int) -> tuple[int, int]:
        try:
            first, second = self._script(keys=keys, args=args)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
            reason = f"Redis, which keeps the circuits, does not answer ({type(error).__name__})"
            raise RetryLater(reason, after_s=2.0, counts=False) from error
        return int(first), int(second)


@dataclass
class _Circuit:
    failures: int = 0
    trips: int = 0
    open_until_ms: int = 0
    probe_until_ms: int = 0
    down_since_ms: int = 0
    alive_ms: int = 0


class MemoryBreaker:
    """Circuits of one process: tests and notebooks."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._circuits: dict[str, _Circuit] = {}

    def enter(self, model: str) -> Entry:
        with self._lock:
            now = self._clock.now_ms()
            tripped = [c for c in self._both(model) if c.trips]
            tills = [(max(c.open_until_ms, c.probe_until_ms), c) for c in tripped]
            shut = [(till, c) for till, c in tills if till > now]
            if shut:
                wait = max(till - now for till, _ in shut)
                return Entry(wait / 1000, max(now - c.down_since_ms for _, c in shut) / 1000)
            for circuit in tripped:
                circuit.probe_until_ms = now + _ms(PROBE_S)
            return Entry(0.0, 0.0)

    def alive(self, model: str) -> None:
        with self._lock:
            for name in ("", model):
                self._circuits[name] = _Circuit(alive_ms=self._clock.now_ms())

    def failed(self, model: str, trouble: Trouble, took_s: float) -> None:
        which, in_a_row = trouble.value
        with self._lock:
            now = self._clock.now_ms()
            at_endpoint, of_model = self._both(model)
            circuit = at_endpoint if which == "endpoint" else of_model
            if circuit.open_until_ms > now:
                return
            circuit.failures += 1
            lifeless = in_a_row <= 1 and circuit.alive_ms < now - _ms(took_s)
            if circuit.trips or lifeless or circuit.failures >= max(2, in_a_row):
                circuit.trips += 1
                circuit.failures = circuit.probe_until_ms = 0
                open_s = min(FIRST_OPEN_S * 2 ** min(circuit.trips - 1, 20), MOST_OPEN_S)
                circuit.open_until_ms = now + _ms(open_s)
                circuit.down_since_ms = circuit.down_since_ms or now

    def _both(self, model: str) -> list[_Circuit]:
        return [self._circuits.setdefault(name, _Circuit()) for name in ("", model)]


def host_of(base_url: str) -> str:
    """Host and port of an address, without what else it may hold."""
    return urlsplit(base_url).netloc.rpartition("@")[2]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
