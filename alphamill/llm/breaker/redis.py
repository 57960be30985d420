"""The circuits in Redis: `breaker.lua` holds the rules."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import redis
from pydantic import SecretStr

from alphamill.clock import Clock, SystemClock
from alphamill.llm.breaker.protocol import KNOWN_S, PROBE_S, Entry, Trouble, host_of, to_ms
from alphamill.redis_store import as_text, reached, script


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
        self._script = client.register_script(script(__package__, "breaker"))
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
            *("failed", to_ms(took_s), trouble.in_a_row, to_ms(first_s), to_ms(most_s)),
            *(trouble.name, said),
        )

    def _entry(self, op: str, model: str) -> Entry:
        now_s = self._clock.monotonic_s()
        if now_s < self._closed_until_s.get(model, 0.0):
            return Entry(0.0, 0.0)
        wait_ms, down_ms, trouble, said = self._run(self._both(model), op, to_ms(PROBE_S))
        if wait_ms == 0 and now_s < self._alive_until_s.get(model, 0.0):
            self._closed_until_s[model] = now_s + KNOWN_S
        name = as_text(trouble)
        known = Trouble[name] if name in Trouble.__members__ else None
        return Entry(int(wait_ms) / 1000, int(down_ms) / 1000, known, as_text(said))

    def _both(self, model: str) -> list[str]:
        return [self._endpoint, f"{self._endpoint}|{model}"]

    def _run(self, keys: Sequence[str], *args: str | int) -> Any:
        with reached("Redis, which keeps the circuits, does not answer"):
            return self._script(keys=keys, args=args)


def _tag(base_url: str, key: SecretStr | None) -> str:
    """Changes with the path and the key, so that a corrected one is tried at once."""
    secret = key.get_secret_value() if key is not None else ""
    return hashlib.sha256(f"{base_url.rstrip('/')}\n{secret}".encode()).hexdigest()[:8]
