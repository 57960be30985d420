"""A circuit breaker: a dead provider costs one timeout, not one a job, and a bad key one refusal.

Two circuits guard a call: the endpoint's, which opens when no connection can be made or the key is
refused, and the model's, which opens when it does not answer (at once) or breaks (after several in
a row), is not served or has no quota, since one model behind a gateway may be down while others
work. An open circuit lets nobody through and says why; after a while it lets one call try, and that
one's outcome closes it or opens it for longer.

The state is shared by all workers: in each process alone, a fleet of fifty would pay for fifty
timeouts. It lives beside the budget, without which no call is made anyway.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from typing import Any, Protocol
from urllib.parse import urlsplit

import redis
from pydantic import SecretStr

from alphamill.clock import Clock, SystemClock
from alphamill.errors import RetryLater

FIRST_OPEN_S = 5.0
MOST_OPEN_S = 60.0
REFUSED_S = 6.0  # times the spans above where a person must do something first
KNOWN_S = 0.25  # for so long a process takes a closed circuit, or a sign of life, as known
PROBE_S = 120.0  # a probe that nobody reports is given up after this: past a call's deadline


class Trouble(Enum):
    """How a call failed, as far as a breaker cares: which circuit, and after how many in a row."""

    UNREACHABLE = ("cannot be reached", "endpoint", 1, False)
    SILENT = ("does not answer", "model", 1, False)
    BROKEN = ("breaks", "model", 5, False)
    KEY_REFUSED = ("refuses the key", "endpoint", 1, True)
    NO_ACCESS = ("refuses access", "endpoint", 3, True)  # may be about one prompt
    NO_API = ("has no such API", "endpoint", 1, True)
    NO_MODEL = ("is not served", "model", 1, True)
    NO_QUOTA = ("has no quota", "model", 1, True)

    def __init__(self, _said: str, circuit: str, in_a_row: int, refused: bool) -> None:
        self.circuit = circuit
        self.in_a_row = in_a_row
        self.refused = refused  # it answers, and would answer the same again

    @property
    def open_s(self) -> tuple[float, float]:
        """For how long the first opening lasts, and the longest."""
        times = REFUSED_S if self.refused else 1.0
        return FIRST_OPEN_S * times, MOST_OPEN_S * times


@dataclass(frozen=True, slots=True)
class Entry:
    """The answer to a call that asks to go. wait_s 0: go; else how long the circuit stays open.

    down_s: since when there was no sign of life.
    trouble, said: why it is open, and what `failed` was told; None while another call tries it.
    """

    wait_s: float
    down_s: float
    trouble: Trouble | None = None
    said: str = ""


class Breaker(Protocol):
    """Circuits of one endpoint. May raise RetryLater: no store, no calls."""

    def look(self, model: str) -> Entry:
        """What `enter` would answer; nobody is let through."""

    def enter(self, model: str) -> Entry:
        """Whether to call now. Who may go must report `alive`, `limited` or `failed`."""

    def alive(self, model: str) -> None:
        """It answered, be it with a refusal."""

    def limited(self, model: str) -> float:
        """It refused by rate; for how many seconds it has, without an answer in between."""

    def failed(self, model: str, trouble: Trouble, took_s: float, said: str = "") -> None:
        """It did not, after `took_s`."""


class RedisBreaker:
    """Circuits in Redis, shared by all workers that ask the same address with the same key.

    Keys: `alphamill:llm:circuit:HOST#TAG[|MODEL]`. A process that calls often asks and tells Redis
    a few times a second, not twice a call.
    """

    def __init__(
        self,
        client: redis.Redis,
        base_url: str,
        clock: Clock | None = None,
        key: SecretStr | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._closed_until_s: dict[str, float] = {}
        self._alive_until_s: dict[str, float] = {}
        source = files("alphamill.llm").joinpath("breaker.lua").read_text(encoding="utf-8")
        self._script = client.register_script(source)
        self._endpoint = f"alphamill:llm:circuit:{host_of(base_url)}#{_tag(base_url, key)}"

    def look(self, model: str) -> Entry:
        return self._entry("look", model)

    def enter(self, model: str) -> Entry:
        return self._entry("enter", model)

    def alive(self, model: str) -> None:
        now_s = self._clock.monotonic_s()
        if now_s >= self._alive_until_s.get(model, 0.0):
            self._run(self._both(model), "alive")
            self._alive_until_s[model] = now_s + KNOWN_S

    def limited(self, model: str) -> float:
        self._alive_until_s.clear()  # the next sign of life must reach Redis
        return int(self._run(self._both(model), "limited")[0]) / 1000

    def failed(self, model: str, trouble: Trouble, took_s: float, said: str = "") -> None:
        self._closed_until_s.clear()
        self._alive_until_s.clear()
        endpoint, of_model = self._both(model)
        first_s, most_s = trouble.open_s
        self._run(
            [endpoint, of_model] if trouble.circuit == "endpoint" else [of_model, endpoint],
            *("failed", _ms(took_s), trouble.in_a_row, _ms(first_s), _ms(most_s)),
            *(trouble.name, said),
        )

    def _entry(self, op: str, model: str) -> Entry:
        now_s = self._clock.monotonic_s()
        if now_s < self._closed_until_s.get(model, 0.0):
            return Entry(0.0, 0.0)
        wait_ms, down_ms, trouble, said = self._run(self._both(model), op, _ms(PROBE_S))
        if wait_ms == 0 and now_s < self._alive_until_s.get(model, 0.0):
            self._closed_until_s[model] = now_s + KNOWN_S
        name = _text(trouble)
        known = Trouble[name] if name in Trouble.__members__ else None
        return Entry(int(wait_ms) / 1000, int(down_ms) / 1000, known, _text(said))

    def _both(self, model: str) -> list[str]:
        return [self._endpoint, f"{self._endpoint}|{model}"]

    def _run(self, keys: Sequence[str], *args: str | int) -> Any:
        try:
            return self._script(keys=keys, args=args)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
            reason = f"Redis, which keeps the circuits, does not answer ({type(error).__name__})"
            raise RetryLater(reason, after_s=2.0, counts=False) from error


@dataclass
class _Circuit:
    failures: int = 0
    trips: int = 0
    open_until_ms: int = 0
    probe_until_ms: int = 0
    down_since_ms: int = 0
    alive_ms: int = 0
    limited_ms: int = 0
    trouble: Trouble | None = None
    said: str = ""


class MemoryBreaker:
    """Circuits of one process: tests and notebooks."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._circuits: dict[str, _Circuit] = {}

    def look(self, model: str) -> Entry:
        return self._entry(model, probe=False)

    def enter(self, model: str) -> Entry:
        return self._entry(model, probe=True)

    def alive(self, model: str) -> None:
        with self._lock:
            for name in ("", model):
                self._circuits[name] = _Circuit(alive_ms=self._clock.now_ms())

    def limited(self, model: str) -> float:
        with self._lock:
            now = self._clock.now_ms()
            since = self._both(model)[1].limited_ms or now
            for name in ("", model):
                self._circuits[name] = _Circuit(alive_ms=now)
            self._circuits[model].limited_ms = since
            return (now - since) / 1000

    def failed(self, model: str, trouble: Trouble, took_s: float, said: str = "") -> None:
        with self._lock:
            now = self._clock.now_ms()
            at_endpoint, of_model = self._both(model)
            circuit, other = at_endpoint, of_model
            if trouble.circuit != "endpoint":
                circuit, other = other, circuit
            other.probe_until_ms = 0
            if circuit.open_until_ms > now:
                return
            circuit.failures += 1
            lifeless = trouble.in_a_row <= 1 and circuit.alive_ms < now - _ms(took_s)
            if circuit.trips or lifeless or circuit.failures >= max(2, trouble.in_a_row):
                circuit.trips += 1
                circuit.failures = circuit.probe_until_ms = 0
                first_s, most_s = trouble.open_s
                open_s = min(first_s * 2 ** min(circuit.trips - 1, 20), most_s)
                circuit.open_until_ms = now + _ms(open_s)
                circuit.down_since_ms = circuit.down_since_ms or now
                circuit.trouble, circuit.said = trouble, said

    def _entry(self, model: str, probe: bool) -> Entry:
        with self._lock:
            now = self._clock.now_ms()
            tripped = [c for c in self._both(model) if c.trips]
            tills = [(max(c.open_until_ms, c.probe_until_ms), c) for c in tripped]
            shut = [(till - now, c) for till, c in tills if till > now]
            if shut:
                wait_ms, last = max(shut, key=lambda one: one[0])
                trouble, said = None, ""
                if last.open_until_ms > now:
                    trouble, said = last.trouble, last.said
                down_ms = max(now - c.down_since_ms for _, c in shut)
                return Entry(wait_ms / 1000, down_ms / 1000, trouble, said)
            for circuit in tripped if probe else ():
                circuit.probe_until_ms = now + _ms(PROBE_S)
            return Entry(0.0, 0.0)

    def _both(self, model: str) -> list[_Circuit]:
        return [self._circuits.setdefault(name, _Circuit()) for name in ("", model)]


def host_of(base_url: str) -> str:
    """Host and port of an address, without what else it may hold."""
    return urlsplit(base_url).netloc.rpartition("@")[2]


def _tag(base_url: str, key: SecretStr | None) -> str:
    """Changes with the path and the key, so that a corrected one is tried at once."""
    secret = key.get_secret_value() if key is not None else ""
    return hashlib.sha256(f"{base_url.rstrip('/')}\n{secret}".encode()).hexdigest()[:8]


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
