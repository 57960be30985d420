"""What is asked of a model and what it answers, free of any provider's spelling."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

Role = Literal["system", "user", "assistant"]

# A lone digit after a dash is no date: "claude-sonnet-4-5" is another model than "claude-sonnet-4".
_DATED = r"(?:[-@:](?:latest|preview|\d{2}[\d.-]*|v\d[\d.]*)|[@:]\d[\d.-]*)*"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    @property
    def digest(self) -> str:
        """Hash of role and content, 16 hex digits."""
        return _digest(self.role, self.content)


@lru_cache(maxsize=256)  # the system prompt is the same for every call of a tier
def _digest(role: str, content: str) -> str:
    whole = f"{role}\n{content}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(whole).hexdigest()[:16]


def prompt_digest(digests: Sequence[str]) -> str:
    """Hash of a whole prompt by its messages' digests, 16 hex digits."""
    joined = json.dumps(digests)
    return hashlib.sha256(joined.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """One completion, one choice. `schema` is a JSON schema that the reply shall follow."""

    model: str
    messages: tuple[Message, ...]
    max_tokens: int
    temperature: float = 0.7
    schema: Mapping[str, Any] | None = None
    seed: int | None = None
    reasoning_effort: str = ""  # "": not sent
    extra_body: Mapping[str, Any] = field(default_factory=dict)  # sent as it is


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens as billed. `cached` (read from the provider's cache) and `cache_write` (written to it,
    where that has a price) are parts of `prompt`; reasoning is part of `completion`.

    `estimated` when the provider stated no usable usage: then these are upper bounds.
    doubt: why these are not the figures that were stated; "" where they are.
    """

    prompt: int
    cached: int
    completion: int
    estimated: bool = False
    cache_write: int = 0
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class ChatReply:
    """A paid reply. `finish_reason` "length" means that `text` was cut.

    model: what the provider says it served; asked_model: what was asked for.
    provider_cost_usd_micros: the provider's own figure, where it states one.
    upstream_calls: how many calls a gateway says it made of this one.
    """

    text: str
    finish_reason: str
    model: str
    usage: TokenUsage
    latency_ms: int
    asked_model: str
    provider_cost_usd_micros: int | None = None
    upstream_calls: int = 1

    @property
    def served_as_asked(self) -> bool:
        """Whether the served model is the one asked for, or a dated version of it."""
        return same_model(self.asked_model, self.model)


@lru_cache(maxsize=256)
def same_model(asked: str, served: str) -> bool:
    """Whether `served` names `asked`, give or take a vendor prefix and a date or version suffix.

    "gpt-4.1" is served by "gpt-4.1-2025-04-14", not by "gpt-4.1-mini".
    """
    wanted = asked.rsplit("/", 1)[-1].removesuffix("-latest").lower()
    return re.fullmatch(re.escape(wanted) + _DATED, served.rsplit("/", 1)[-1].lower()) is not None
