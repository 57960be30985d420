"""What an endpoint accepts for a model, learned from its refusals and shared by all workers.

A refused call costs a round trip and a request of the rate, so one worker's lesson is everybody's.
A lesson is kept for a day: endpoints change, and one that is too careful would never be refused.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import msgspec
import redis

from alphamill.clock import Clock, SystemClock
from alphamill.llm.breaker.protocol import host_of
from alphamill.llm.endpoint.provider_errors import ProviderError

KEPT_S = 86_400
KNOWN_S = 60.0  # for so long a process takes what it read as known

Format = Literal["json_schema", "json_object", "text"]
_WEAKER: dict[str, Format] = {"json_schema": "json_object", "json_object": "text"}

_MAY_BE_LEFT_OUT = ("temperature", "seed", "reasoning_effort")
_SENTENCE = re.compile(r"[.;!?]\s|\n")
_SIZE = re.compile(r"too (large|small|long|high|low)|at most|greater|less than", re.IGNORECASE)
_REFUSED = re.compile(
    r"unsupported|n[o']t (?:\w+ )?support|n[o']t (?:available|allowed|permitted|accepted)"
    r"|unavailable|unknown|unrecogni[sz]ed|unexpected|extra (?:inputs|fields)|invalid|deprecated"
    r"|should be|must be|only .{0,60}(?:supported|allowed)",
    re.IGNORECASE,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Dialect:
    """The form of a request."""

    response_format: Format = "json_schema"
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: bool = True
    seed: bool = True
    reasoning_effort: bool = True

    def after(self, error: ProviderError) -> Dialect | None:
        """The dialect to try next, or None if the refusal is about something else."""
        if error.about_length or not _is_refusal(error):
            return None
        if _refuses(error, "max_tokens") and _names(error.message, "max_completion_tokens"):
            tried = self.limit_field == "max_completion_tokens"
            return None if tried else replace(self, limit_field="max_completion_tokens")
        if _refuses(error, "response_format", "json_schema", "json_object"):
            weaker = _WEAKER.get(self.response_format)
            return replace(self, response_format=weaker) if weaker else None
        for name in _MAY_BE_LEFT_OUT:
            if getattr(self, name) and _refuses(error, name):
                left_out: dict[str, Any] = {name: False}
                return replace(self, **left_out)
        return None

    def doubted(self, error: ProviderError) -> bool:
        """Whether what was learned may be what is refused now."""
        if error.about_length or not _is_refusal(error):
            return False
        other_limit = self.limit_field != "max_tokens" and _refuses(
            error, "max_tokens", "max_completion_tokens"
        )
        weaker = self.response_format != "json_schema" and _refuses(error, "response_format")
        return other_limit or weaker or (not self.temperature and _refuses(error, "temperature"))


def _is_refusal(error: ProviderError) -> bool:
    """Of a request as it is written. Some servers say 500 where their own check fails."""
    return error.status in (400, 422) or (error.status >= 500 and error.structured)


def _refuses(error: ProviderError, *fields: str) -> bool:
    """Whether a field is refused: the error is about it, or one sentence says so of it."""
    if error.status < 500 and error.param.split(".")[0] in fields:
        return _SIZE.search(error.message) is None
    sentences = _SENTENCE.split(error.message)
    return any(
        _REFUSED.search(sentence) and any(_names(sentence, field) for field in fields)
        for sentence in sentences
    )


def _names(text: str, field: str) -> bool:
    """Whether a field is named as such, and not as a part of another name."""
    return re.search(rf"(?<![\w-]){field}(?![\w-])", text, re.IGNORECASE) is not None


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
