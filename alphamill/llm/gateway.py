"""The one way to a model: journal, price, pace, budget, call, settle, count.

A call whose reply is in the journal is answered from there at no cost. Otherwise its worst case is
reserved, it is sent once, and the reply is settled and stored in one step. A model that has no
quota, is not served or does not answer is passed over for its fallbacks. Failures are raised for
the ledger to retry: there is one retry loop in the system and it is not here.
"""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Mapping
from typing import Any

from alphamill.clock import Clock, SystemClock
from alphamill.errors import AlphamillError, RetryLater
from alphamill.llm.breaker import Breaker, MemoryBreaker, Trouble
from alphamill.llm.budget import BudgetExhausted, Reservation, utc_day
from alphamill.llm.call import Answer, Call, TierGate, UsageEntry, UsageSink
from alphamill.llm.client import Chat
from alphamill.llm.failures import (
    CALL_FAILURES,
    CallFailure,
    CircuitOpen,
    ConnectionLost,
    InvalidReply,
    ModelNotFound,
    NotConnected,
    Overloaded,
    ProviderDown,
    QuotaExhausted,
    ServerFailed,
    TimedOut,
)
from alphamill.llm.journal import Journal, refuse
from alphamill.llm.messages import ChatReply
from alphamill.llm.prices import PriceTable
from alphamill.llm.records import CallRecord
from alphamill.llm.tokens import bound_tokens, debited_tokens, estimate_tokens

__all__ = ["Answer", "Call", "Gateway", "TierGate", "UsageEntry", "UsageSink"]

BACKOFF_BASE_S = 2.0
BACKOFF_CAP_S = 60.0
SETTLE_WAITS_S = (0.1, 0.5, 2.0, 5.0, 0.0)  # a paid reply is in hand: worth some patience

PATIENCE_S = 900.0

log = logging.getLogger(__name__)

# Another model may answer; for anything else the same one is asked again, or nobody.
_PASSED_OVER = (QuotaExhausted, ModelNotFound, CircuitOpen, ProviderDown)
_TROUBLES: tuple[tuple[tuple[type[AlphamillError], ...], Trouble], ...] = (
    ((NotConnected,), Trouble.UNREACHABLE),
    ((TimedOut,), Trouble.SILENT),
    ((ServerFailed, Overloaded, ConnectionLost, InvalidReply), Trouble.BROKEN),
)


class Gateway:
    """Asks models on behalf of the stages; safe to share between threads.

    patience_s: how long a model may be without a sign of life before its calls give up.
    """

    def __init__(
        self,
        client: Chat,
        prices: PriceTable,
        journal: Journal,
        gates: Mapping[str, TierGate],
        usage: UsageSink,
        clock: Clock | None = None,
        breaker: Breaker | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._client = client
        self._prices = prices
        self._journal = journal
        self._gates = gates
        self._usage = usage
        self._clock = clock or SystemClock()
        self._breaker = breaker or MemoryBreaker(self._clock)
        self._patience_s = patience_s

    def ask(self, call: Call) -> Answer:
        """The model's reply, paid for at most once.

        Raises BudgetExhausted, Misconfigured (no price, no key, no such model), GiveUp (quota,
        prompt too long, provider down) or RetryLater, whose `after_s` spreads the retries.
        """
        if known := self._journal.lookup(call.run, call.call_id):
            return self._answer(known, replayed=True)
        refused: list[AlphamillError] = []
        for model in call.models:
            try:
                return self._ask_model(call, model)
            except _PASSED_OVER as reason:
                log.info("%s: %s is passed over: %s", call.tier, model, reason)
                refused.append(reason)
        # One that may answer later is worth waiting for, whatever is wrong with the others.
        raise next((one for one in refused if isinstance(one, RetryLater)), refused[0])

    def _ask_model(self, call: Call, model: str) -> Answer:
        held = self._worst_case(call, model)
        gate, slot = self._take_turn(call, held)
        record = CallRecord.begin(
            held, call.tier, call.request(model), call.prompt_version, self._clock.now_ms()
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
        self._enter_circuit(model, held, gate, slot)
        reply = self._send(call, held, record, gate, slot)
        now_ms = self._clock.now_ms()
        ours = self._prices.cost_micros(model, reply.usage, (record.started_ms, now_ms))
        paid = record.settled(reply, self._charge(reply, held, ours), now_ms, ours)
        answer = self._settle(held, paid)
        self._count(paid, duplicate=answer.attempt != held.attempt)
        gate.settle(slot, _debit(call, reply))
        return self._answer(answer, replayed=answer.attempt != held.attempt)

    def _worst_case(self, call: Call, model: str) -> Reservation:
        now_ms = self._clock.now_ms()
        micros = self._prices.worst_case_micros(
            model, bound_tokens(call.messages), call.tier_settings.max_tokens, now_ms
        )
        return Reservation(call.run, utc_day(now_ms), call.call_id, secrets.token_hex(8), micros)

    def _enter_circuit(self, model: str, held: Reservation, gate: TierGate, slot: Any) -> None:
        """Raises CircuitOpen, or ProviderDown once patience has ended, with nothing booked."""
        try:
            entry = self._breaker.enter(model)
        except RetryLater:
            self._journal.cancel(held)
            raise
        if not entry.wait_s:
            return
        self._journal.cancel(held)
        gate.settle(slot, 0)
        said = f"{model} has not answered for {entry.down_s:.0f} s"
        if entry.down_s > self._patience_s:
            raise ProviderDown(f"{said}; resume the run when it does")
        wait_s = entry.wait_s * random.uniform(1.0, 1.5)  # noqa: S311 - spreads retries
        raise CircuitOpen(f"{said}; others may try again soon", wait_s, counts=False)

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
        started_s = self._clock.monotonic_s()
        try:
            reply = self._client.complete(call.request(record.model))
        except CALL_FAILURES as failure:
            self._judge(record.model, failure, self._clock.monotonic_s() - started_s)
            self._fail(call, held, record, failure)
            if isinstance(failure, NotConnected):
                gate.settle(slot, 0)
            advised = self._advised(call, gate, failure)
            if advised is failure:
                raise
            raise advised from failure
        self._breaker.alive(record.model)
        if not reply.served_as_asked:
            log.warning(
                "%s asked for %s and was served %s", call.tier, reply.asked_model, reply.model
            )
        return reply

    def _judge(self, model: str, failure: CallFailure, took_s: float) -> None:
        for classes, trouble in _TROUBLES:
            if isinstance(failure, classes):
                self._breaker.failed(model, trouble, took_s)
                return
        self._breaker.alive(model)

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

    def _charge(self, reply: ChatReply, held: Reservation, ours: int) -> int:
        """What to charge: the dearest of our price, the served model's and the provider's figure.

        Without stated usage the whole reservation is charged.
        """
        if reply.usage.estimated:
            return held.micros
        known = [ours, reply.provider_cost_usd_micros or 0]
        if not reply.served_as_asked and reply.model in self._prices:
            known.append(self._prices.cost_micros(reply.model, reply.usage))
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
                provider_cost_usd_micros=record.provider_cost_usd_micros or 0,
                compared_cost_usd_micros=_compared(record),
            )
        )

    def _answer(self, record: CallRecord, replayed: bool) -> Answer:
        if replayed:  # its first caller may have died before counting
            self._count(record)
        return Answer(record.reply, replayed, record.cost_usd_micros or 0)


def _compared(record: CallRecord) -> int:
    """Our price of a call that the provider priced too."""
    stated = record.provider_cost_usd_micros is not None
    return record.table_cost_usd_micros or 0 if stated else 0


def _debit(call: Call, reply: ChatReply) -> int:
    tier = call.tier_settings
    allowed = tier.max_tokens if tier.debit == "allowed" else None
    return debited_tokens(call.messages, call.schema, reply.usage, allowed)
