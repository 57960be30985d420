"""The one way to a model: journal, price, pace, budget, call, settle, count.

A call whose reply is in the journal is answered from there at no cost. Otherwise its worst case is
reserved, it is sent once, and the reply is settled and stored in one step. Failures are raised for
the ledger to retry: there is one retry loop in the system and it is not here.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from alphamill.clock import Clock, SystemClock
from alphamill.errors import RetryLater
from alphamill.llm.budget import BudgetExhausted, Reservation, utc_day
from alphamill.llm.client import Chat
from alphamill.llm.failures import CALL_FAILURES, CallFailure, ModelNotFound, NotConnected
from alphamill.llm.journal import Journal, refuse
from alphamill.llm.messages import ChatReply, ChatRequest, Message
from alphamill.llm.prices import PriceTable
from alphamill.llm.records import CallRecord
from alphamill.llm.tokens import bound_tokens, estimate_tokens
from alphamill.settings import TierSettings

BACKOFF_BASE_S = 2.0
BACKOFF_CAP_S = 60.0
SETTLE_WAITS_S = (0.1, 0.5, 2.0, 5.0, 0.0)  # a paid reply is in hand: worth some patience

log = logging.getLogger(__name__)


class TierGate(Protocol):
    """The pace of one tier over all workers."""

    def reserve(self, tokens: int) -> Any:
        """Wait for the turn of a call of about `tokens`; a slot. Raises RetryLater if it is far."""

    def settle(self, slot: Any, tokens: int) -> None:
        """Correct the slot's tokens to what the call took."""

    def pause(self, for_s: float, reason: str) -> None:
        """Hold every worker's calls of this tier back."""


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

    @property
    def request(self) -> ChatRequest:
        """What is sent to the endpoint."""
        return ChatRequest(
            model=self.tier_settings.model,
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


class Gateway:
    """Asks models on behalf of the stages; safe to share between threads."""

    def __init__(
        self,
        client: Chat,
        prices: PriceTable,
        journal: Journal,
        gates: Mapping[str, TierGate],
        usage: UsageSink,
        clock: Clock | None = None,
    ) -> None:
        self._client = client
        self._prices = prices
        self._journal = journal
        self._gates = gates
        self._usage = usage
        self._clock = clock or SystemClock()

    def ask(self, call: Call) -> Answer:
        """The model's reply, paid for at most once.

        Raises BudgetExhausted, Misconfigured (no price, no key, no such model), GiveUp (quota,
        prompt too long) or RetryLater, whose `after_s` spreads the retries.
        """
        if known := self._journal.lookup(call.run, call.call_id):
            return self._answer(known, replayed=True)
        held = self._worst_case(call)
        gate, slot = self._take_turn(call, held)
        record = CallRecord.begin(
            held, call.tier, call.request, call.prompt_version, self._clock.now_ms()
        )
        try:
            known = self._journal.reserve(
                held, record, call.messages, call.run_budget_usd_micros, call.day_budget_usd_micros
            )
        except (RetryLater, BudgetExhausted):
            gate.settle(slot, 0)
            raise
        if known:
            gate.settle(slot, 0)
            return self._answer(known, replayed=True)
        reply = self._send(call, held, record, gate, slot)
        paid = record.settled(reply, self._cost(reply, held), self._clock.now_ms())
        answer = self._settle(held, paid)
        self._count(paid, duplicate=answer.attempt != held.attempt)
        gate.settle(slot, reply.usage.prompt + reply.usage.completion)
        return self._answer(answer, replayed=answer.attempt != held.attempt)

    def _worst_case(self, call: Call) -> Reservation:
        tier = call.tier_settings
        micros = self._prices.worst_case_micros(
            tier.model, bound_tokens(call.messages), tier.max_tokens
        )
        day = utc_day(self._clock.now_ms())
        return Reservation(call.run, day, call.call_id, secrets.token_hex(8), micros)

    def _take_turn(self, call: Call, held: Reservation) -> tuple[TierGate, Any]:
        """A slot of the tier, unless the budget would refuse the call anyway."""
        state, now_ms = self._journal.state(held.run, held.day), self._clock.now_ms()
        for name, account, cap in (
            ("run", state.run, call.run_budget_usd_micros),
            ("day", state.day, call.day_budget_usd_micros),
        ):
            left = cap - account.committed_usd_micros
            refuse(account.fit(held.micros, cap, now_ms), name, held.micros, cap, left)
        gate = self._gates[call.tier]
        return gate, gate.reserve(estimate_tokens(call.messages) + call.tier_settings.max_tokens)

    def _send(
        self, call: Call, held: Reservation, record: CallRecord, gate: TierGate, slot: Any
    ) -> ChatReply:
        try:
            reply = self._client.complete(call.request)
        except CALL_FAILURES as failure:
            self._fail(call, held, record, failure)
            if isinstance(failure, NotConnected):
                gate.settle(slot, 0)
            advised = self._advised(call, gate, failure)
            if advised is failure:
                raise
            raise advised from failure
        if not reply.served_as_asked:
            log.warning(
                "%s asked for %s and was served %s", call.tier, reply.asked_model, reply.model
            )
        return reply

    def _fail(
        self, call: Call, held: Reservation, record: CallRecord, failure: CallFailure
    ) -> None:
        failed = record.failed(failure.error_class, str(failure), self._clock.now_ms())
        if failure.unbilled:
            self._journal.release(held, failed)
        else:
            self._journal.lose(held, failed)
            log.warning("call %s may have been billed: %s", call.call_id, failure)
        self._usage.record_error(call.run, held.day, call.tier, record.model, failure.error_class)

    def _advised(self, call: Call, gate: TierGate, failure: CallFailure) -> CallFailure:
        """The failure with what this call knows: the tier's name, a wait that spreads retries."""
        if isinstance(failure, ModelNotFound):
            return ModelNotFound(f"llm.tiers.{call.tier}.model", failure.problem, failure.cure)
        if not isinstance(failure, RetryLater):
            return failure
        if failure.error_class == "rate_limited":
            gate.pause(failure.after_s, failure.reason)
        ceiling_s = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** min(call.retries, 10))
        jitter_s = random.uniform(0.0, ceiling_s)  # noqa: S311 - spreads retries, guards nothing
        return type(failure)(failure.reason, failure.after_s + jitter_s, failure.counts)

    def _cost(self, reply: ChatReply, held: Reservation) -> int:
        """What to charge: the dearest of our price, the served model's and the provider's figure.

        Without stated usage the whole reservation is charged.
        """
        if reply.usage.estimated:
            return held.micros
        known = [self._prices.cost_micros(reply.asked_model, reply.usage)]
        if not reply.served_as_asked and reply.model in self._prices:
            known.append(self._prices.cost_micros(reply.model, reply.usage))
        if reply.provider_cost_usd_micros is not None:
            known.append(reply.provider_cost_usd_micros)
        return max(known)

    def _settle(self, held: Reservation, paid: CallRecord) -> CallRecord:
        for wait_s in SETTLE_WAITS_S:
            try:
                return self._journal.settle(held, paid)
            except RetryLater:
                if not wait_s:
                    raise
                self._clock.sleep(wait_s)
        raise AssertionError("the last wait is zero")

    def _count(self, record: CallRecord, duplicate: bool = False) -> None:
        suffix = f"#{record.attempt}" if duplicate else ""
        self._usage.record(
            UsageEntry(
                call_id=record.call_id + suffix,
                run=record.run,
                day=record.day,
                tier=record.tier,
                model=record.model,
                prompt_tokens=record.prompt_tokens,
                cached_tokens=record.cached_tokens,
                completion_tokens=record.completion_tokens,
                cost_usd_micros=record.cost_usd_micros or 0,
                latency_ms=record.latency_ms,
            )
        )

    def _answer(self, record: CallRecord, replayed: bool) -> Answer:
        if replayed:  # its first caller may have died before counting
            self._count(record)
        return Answer(record.reply, replayed, record.cost_usd_micros or 0)
