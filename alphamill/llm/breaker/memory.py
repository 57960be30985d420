"""A circuit breaker for one process: tests and notebooks."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from alphamill.clock import Clock, SystemClock
from alphamill.llm.breaker.protocol import BreakerTimes, CircuitState, FailureKind


@dataclass
class _Circuit:
    failures: int = 0
    trips: int = 0
    open_until_ms: int = 0
    probe_until_ms: int = 0
    down_since_ms: int = 0
    alive_ms: int = 0
    limited_ms: int = 0
    kind: FailureKind | None = None
    cause: str = ""


class MemoryBreaker:
    """A `Breaker` whose circuits nobody else sees."""

    def __init__(self, clock: Clock | None = None, times: BreakerTimes | None = None) -> None:
        self._times = times or BreakerTimes()
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._circuits: dict[str, _Circuit] = {}

    def look(self, model: str) -> CircuitState:
        return self._state(model, probe=False)

    def enter(self, model: str) -> CircuitState:
        return self._state(model, probe=True)

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

    def failed(self, model: str, kind: FailureKind, took_s: float, cause: str = "") -> None:
        with self._lock:
            now = self._clock.now_ms()
            at_endpoint, of_model = self._both(model)
            circuit, other = at_endpoint, of_model
            if kind.circuit != "endpoint":
                circuit, other = other, circuit
            other.probe_until_ms = 0
            if circuit.open_until_ms > now:
                return
            circuit.failures += 1
            lifeless = kind.in_a_row <= 1 and circuit.alive_ms < now - round(took_s * 1000)
            if circuit.trips or lifeless or circuit.failures >= max(2, kind.in_a_row):
                circuit.trips += 1
                circuit.failures = circuit.probe_until_ms = 0
                first_ms, most_ms = self._times.open_ms(kind)
                open_ms = min(first_ms * 2 ** min(circuit.trips - 1, 20), most_ms)
                circuit.open_until_ms = now + open_ms
                circuit.down_since_ms = circuit.down_since_ms or now
                circuit.kind, circuit.cause = kind, cause

    def _state(self, model: str, probe: bool) -> CircuitState:
        with self._lock:
            now = self._clock.now_ms()
            tripped = [c for c in self._both(model) if c.trips]
            tills = [(max(c.open_until_ms, c.probe_until_ms), c) for c in tripped]
            shut = [(till - now, c) for till, c in tills if till > now]
            if shut:
                wait_ms, last = max(shut, key=lambda one: one[0])
                kind, cause = None, ""
                if last.open_until_ms > now:
                    kind, cause = last.kind, last.cause
                down_ms = max(now - c.down_since_ms for _, c in shut)
                return CircuitState(wait_ms / 1000, down_ms / 1000, kind, cause)
            for circuit in tripped if probe else ():
                circuit.probe_until_ms = now + self._times.probe_ms
            return CircuitState(0.0, 0.0)

    def _both(self, model: str) -> list[_Circuit]:
        return [self._circuits.setdefault(name, _Circuit()) for name in ("", model)]
