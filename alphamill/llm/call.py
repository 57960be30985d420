"""What is asked of the gateway, what it answers, and what it needs from other rooms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from alphamill.llm.breaker.protocol import Breaker
from alphamill.llm.endpoint.client import Chat
from alphamill.llm.journal.protocol import TurnScript
from alphamill.llm.messages import ChatReply, ChatRequest, Message
from alphamill.llm.prices import ListedPrice
from alphamill.settings import ModelSettings, TierSettings


class TierGate(Protocol):
    """The pace of one tier over all workers."""

    def at_once(self, tokens: int) -> TurnScript | None:
        """What `reserve` does where it need not wait, as a script; None if there is none."""

    def reserve(self, tokens: int) -> Any:
        """Wait for the turn of a call of about `tokens`; a slot. Raises RetryLater if it is far."""

    def settle(self, slot: Any, tokens: int | None) -> None:
        """End the slot, and correct its tokens to what the call took; None: as reserved."""

    def pause(self, for_s: float, reason: str) -> None:
        """Hold every worker's calls of this tier back."""


@dataclass(frozen=True, slots=True)
class Route:
    """A model, what it costs, where it is asked, and what guards the way there."""

    model: str
    price: ListedPrice
    chat: Chat
    gate: TierGate
    breaker: Breaker
    host: str = ""


class Routes(Protocol):
    """The ways to the models of the settings."""

    def route(self, tier: str, chosen: ModelSettings) -> Route:
        """That of a tier's model or fallback. Raises Misconfigured: no key, no price."""


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """One paid call, for the counters; equal `call_id`, count once."""

    call_id: str
    run: str
    day: str
    tier: str
    model: str
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd_micros: int
    latency_ms: int
    provider_cost_usd_micros: int = 0  # the provider's own figure, where it states one
    compared_cost_usd_micros: int = 0  # ours by the price table for the same calls


class UsageSink(Protocol):
    """Where paid calls and failures are counted."""

    def record(self, entry: UsageEntry, /) -> Any:
        """Count a paid call; safe to repeat with the same `call_id`."""

    def record_error(self, run: str, day: str, tier: str, model: str, error_class: str, /) -> Any:
        """Count a failure under its class."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked. `call_id` names the answer: asked again, it is answered from the journal.

    retries: attempts that failed before, for the length of the next wait.
    """

    run: str
    call_id: str
    tier: str
    tier_settings: TierSettings
    messages: tuple[Message, ...]
    run_budget_usd_micros: int
    day_budget_usd_micros: int
    schema: Mapping[str, Any] | None = None
    seed: int | None = None
    prompt_version: str = ""
    retries: int = 0

    def request(self, model: str) -> ChatRequest:
        """What is sent to the endpoint."""
        return ChatRequest(
            model=model,
            messages=self.messages,
            max_tokens=self.tier_settings.max_tokens,
            temperature=self.tier_settings.temperature,
            schema=self.schema,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply. `cost_usd_micros` is what the call cost when it was made; a replay adds nothing."""

    reply: ChatReply
    replayed: bool
    cost_usd_micros: int
