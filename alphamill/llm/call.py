"""What is asked of the gateway, what it answers, and what it needs from other rooms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from alphamill.llm.breaker.protocol import Breaker
from alphamill.llm.endpoint.client import Chat
from alphamill.llm.journal.budget import Caps
from alphamill.llm.messages import ChatReply, ChatRequest, Message
from alphamill.llm.prices import ListedPrice
from alphamill.redis_store import ScriptCall
from alphamill.settings import ModelSettings, TierSettings


class CallGate(Protocol):
    """The pace of one tier over all workers."""

    def at_once(self, tokens: int) -> ScriptCall[Any] | None:
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
    gate: CallGate
    breaker: Breaker
    host: str = ""
    reasoning_effort: str = ""
    extra_body: Mapping[str, Any] = field(default_factory=dict)


class Routes(Protocol):
    """The ways to the models of the settings."""

    def route(self, tier: str, chosen: ModelSettings) -> Route:
        """That of a tier's model or fallback. Raises Misconfigured: no key, no price."""


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
    caps: Caps
    schema: Mapping[str, Any] | None = None
    seed: int | None = None
    prompt_version: str = ""
    retries: int = 0

    def request(self, route: Route) -> ChatRequest:
        """What is sent to the endpoint."""
        return ChatRequest(
            model=route.model,
            messages=self.messages,
            max_tokens=self.tier_settings.max_tokens,
            temperature=self.tier_settings.temperature,
            schema=self.schema,
            seed=self.seed,
            reasoning_effort=route.reasoning_effort,
            extra_body=route.extra_body,
        )


@dataclass(frozen=True, slots=True)
class PaidReply:
    """A reply. `cost_usd_micros` is what the call cost when it was made; a replay adds nothing."""

    reply: ChatReply
    replayed: bool
    cost_usd_micros: int
