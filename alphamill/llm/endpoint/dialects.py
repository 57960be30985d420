"""What an endpoint accepts for a model, learned from its refusals and shared by all workers.

A refused call costs a round trip and a request of the rate, so one worker's lesson is everybody's.
A lesson is kept for a day: endpoints change, and one that is too careful would never be refused.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import msgspec
import redis

from alphamill.clock import Clock, SystemClock
from alphamill.llm.breaker.protocol import host_of
from alphamill.llm.endpoint.provider_errors import ProviderError

KEPT_S = 86_400
KNOWN_S = 60.0  # for so long a process takes what it read as known

Format = Literal["json_schema", "json_object", "text"]
_WEAKER: dict[str, Format] = {"json_schema": "json_object", "json_object": "text"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The form of a request."""

    response_format: Format = "json_schema"
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    seed: bool = True

    def after(self, error: ProviderError) -> Dialect | None:
        """The dialect to try next, or None if the refusal is about something else."""
        words = _words(error)
        if "max_tokens" in words and "max_completion_tokens" in words:
            tried = self.limit_field == "max_completion_tokens"
            return None if tried else replace(self, limit_field="max_completion_tokens")
        if "response_format" in words or "json_schema" in words or "json_object" in words:
            weaker = _WEAKER.get(self.response_format)
            return replace(self, response_format=weaker) if weaker else None
        if "temperature" in words and self.temperature:
            return replace(self, temperature=False)
        if "seed" in words and self.seed:
            return replace(self, seed=False)
        return None

    def doubted(self, error: ProviderError) -> bool:
        """Whether what was learned may be what is refused now."""
        words = _words(error)
        other_limit = self.limit_field != "max_tokens" and "max_" in words
        weaker = self.response_format != "json_schema" and "response_format" in words
        return other_limit or weaker or (not self.temperature and "temperature" in words)


def _words(error: ProviderError) -> str:
    return f"{error.param} {error.message}".lower()


class Dialects(Protocol):
    """What is known of one endpoint's models. Never raises: not to know costs one refusal."""

    def recall(self, model: str) -> Dialect:
        """How to ask; the usual form if nothing is known."""

    def learn(self, model: str, dialect: Dialect) -> None:
        """It wants this form."""


class MemoryDialects:
    """Known to one process: tests, notebooks, single questions."""

    def __init__(self) -> None:
        self._known: dict[str, Dialect] = {}

    def recall(self, model: str) -> Dialect:
        return self._known.get(model, Dialect())

    def learn(self, model: str, dialect: Dialect) -> None:
        self._known[model] = dialect


class RedisDialects:
    """Known to all workers that ask one address. Keys: `alphamill:llm:dialect:HOST|MODEL`."""

    def __init__(self, client: redis.Redis, base_url: str, clock: Clock | None = None) -> None:
        self._redis = client
        self._clock = clock or SystemClock()
        self._prefix = f"alphamill:llm:dialect:{host_of(base_url)}"
        self._known: dict[str, tuple[float, Dialect]] = {}

    def recall(self, model: str) -> Dialect:
        now_s = self._clock.monotonic_s()
        until_s, dialect = self._known.get(model, (now_s, Dialect()))
        if now_s >= until_s:
            dialect = self._read(model, dialect)
            self._known[model] = (now_s + KNOWN_S, dialect)
        return dialect

    def learn(self, model: str, dialect: Dialect) -> None:
        self._known[model] = (self._clock.monotonic_s() + KNOWN_S, dialect)
        try:
            self._redis.set(self._key(model), msgspec.json.encode(dialect), ex=KEPT_S)
        except redis.RedisError as error:
            log.info("other workers are not told of %s: %s", model, type(error).__name__)

    def _read(self, model: str, otherwise: Dialect) -> Dialect:
        try:
            stored = self._redis.get(self._key(model))
            return msgspec.json.decode(stored, type=Dialect) if stored else Dialect()
        except (redis.RedisError, msgspec.MsgspecError):
            return otherwise

    def _key(self, model: str) -> str:
        return f"{self._prefix}|{model}"
