"""The circuits in Redis: `breaker.lua` holds the rules."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import redis
from pydantic import SecretStr

from alphamill.clock import Clock, SystemClock
from alphamill.llm.breaker.protocol import BreakerTimes, CircuitState, FailureKind, host_of
from alphamill.redis_store import as_text, reached, script

_PREFIX = "alphamill:llm:circuit:"
_INDEX = "alphamill:llm:circuits"
KNOWN_S = 0.25  # for so long a process takes a closed circuit, or a sign of life, as known


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
        times: BreakerTimes | None = None,
    ) -> None:
        self._times = times or BreakerTimes()
        self._clock = clock or SystemClock()
        self._closed_until_s: dict[str, float] = {}
        self._alive_until_s: dict[str, float] = {}
        self._script = client.register_script(script(__package__, "breaker"))
        self._endpoint = _endpoint(base_url, key)

    def look(self, model: str) -> CircuitState:
        return self._state("look", model)

    def enter(self, model: str) -> CircuitState:
        return self._state("enter", model)

    def alive(self, model: str) -> None:
        now_s = self._clock.monotonic_s()
        if now_s >= self._alive_until_s.get(model, 0.0):
            self._run(self._both(model), "alive")
            self._alive_until_s[model] = now_s + KNOWN_S

    def limited(self, model: str) -> float:
        self._alive_until_s.clear()  # the next sign of life must reach Redis
        return int(self._run(self._both(model), "limited")[0]) / 1000

    def failed(self, model: str, kind: FailureKind, took_s: float, cause: str = "") -> None:
        self._closed_until_s.clear()
        self._alive_until_s.clear()
        endpoint, of_model = self._both(model)
        keys = [endpoint, of_model] if kind.circuit == "endpoint" else [of_model, endpoint]
        open_ms = self._times.open_ms(kind)
        took_ms = round(took_s * 1000)
        self._run([*keys, _INDEX], "failed", took_ms, kind.in_a_row, *open_ms, kind.name, cause)

    def _state(self, op: str, model: str) -> CircuitState:
        now_s = self._clock.monotonic_s()
        if now_s < self._closed_until_s.get(model, 0.0):
            return CircuitState(0.0, 0.0)
        wait_ms, down_ms, name, cause = self._run(self._both(model), op, self._times.probe_ms)
        if wait_ms == 0 and now_s < self._alive_until_s.get(model, 0.0):
            self._closed_until_s[model] = now_s + KNOWN_S
        kind = FailureKind.__members__.get(as_text(name))
        return CircuitState(int(wait_ms) / 1000, int(down_ms) / 1000, kind, as_text(cause))

    def _both(self, model: str) -> list[str]:
        return [self._endpoint, f"{self._endpoint}|{model}"]

    def _run(self, keys: Sequence[str], *args: str | int) -> Any:
        with reached("Redis, which keeps the circuits, does not answer"):
            return self._script(keys=keys, args=args)


@dataclass(frozen=True, slots=True)
class OpenCircuit:
    """A circuit that lets nobody through, or one call to try. model: "" for the whole endpoint.

    wait_s: for how long it stays open; 0 once a call may try. kind, cause: why, as it was told.
    key: as its workers have it; changes with their key and the address' path.
    """

    host: str
    model: str
    wait_s: float
    kind: FailureKind | None
    cause: str
    key: str


def open_circuits(client: redis.Redis) -> list[OpenCircuit]:
    """Those of all endpoints and keys that have opened and not closed since, by host and model.

    Raises RetryLater without Redis.
    """
    with reached("Redis, which keeps the circuits, does not answer"):
        keys = sorted(as_text(key) for key in client.smembers(_INDEX))
        if not keys:
            return []
        with client.pipeline(transaction=False) as pipe:
            pipe.time()
            for key in keys:
                pipe.hmget(key, ["trips", "open_until", "trouble", "said"])
            (seconds, micros), *circuits = pipe.execute()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    return [
        _open_circuit(key, now_ms, *("" if value is None else as_text(value) for value in found))
        for key, found in zip(keys, circuits, strict=True)
        if found[0] is not None and int(found[0]) > 0  # it has closed since, or is forgotten
    ]


def circuit_keys(base_url: str, key: SecretStr | None, model: str) -> tuple[str, str]:
    """The names of an endpoint's circuit and of a model's there, as `OpenCircuit.key` has them."""
    endpoint = _endpoint(base_url, key)
    return endpoint, f"{endpoint}|{model}"


def _open_circuit(
    key: str, now_ms: int, _trips: str, open_until: str, trouble: str, said: str
) -> OpenCircuit:
    host, _, rest = key.removeprefix(_PREFIX).partition("#")
    wait_s = max(0.0, float(open_until or 0) - now_ms) / 1000
    kind = FailureKind.__members__.get(trouble)
    return OpenCircuit(host, rest.partition("|")[2], wait_s, kind, said, key)


def _endpoint(base_url: str, key: SecretStr | None) -> str:
    return f"{_PREFIX}{host_of(base_url)}#{_tag(base_url, key)}"


def _tag(base_url: str, key: SecretStr | None) -> str:
    """Changes with the path and the key, so that a corrected one is tried at once."""
    secret = key.get_secret_value() if key is not None else ""
    return hashlib.sha256(f"{base_url.rstrip('/')}\n{secret}".encode()).hexdigest()[:8]
