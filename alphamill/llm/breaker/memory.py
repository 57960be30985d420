"""A circuit breaker for one process: tests and notebooks."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from alphamill.clock import Clock, SystemClock
from alphamill.llm.breaker.protocol import PROBE_S, Entry, Trouble, to_ms


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
            lifeless = trouble.in_a_row <= 1 and circuit.alive_ms < now - to_ms(took_s)
            if circuit.trips or lifeless or circuit.failures >= max(2, trouble.in_a_row):
                circuit.trips += 1
                circuit.failures = circuit.probe_until_ms = 0
                first_s, most_s = trouble.open_s
                open_s = min(first_s * 2 ** min(circuit.trips - 1, 20), most_s)
                circuit.open_until_ms = now + to_ms(open_s)
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
                circuit.probe_until_ms = now + to_ms(PROBE_S)
            return Entry(0.0, 0.0)

    def _both(self, model: str) -> list[_Circuit]:
        return [self._circuits.setdefault(name, _Circuit()) for name in ("", model)]
