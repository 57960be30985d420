"""The one way to a model: journal, price, pace, budget, call, settle, count.

A call whose reply is in the journal is answered from there at no cost. Otherwise its worst case is
reserved, it is sent once, and the reply is settled and stored in one step. A model that has no
quota, is not served or does not answer is passed over for its fallbacks. Failures are raised for
the ledger to retry: there is one retry loop in the system and it is not here.
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Never

from alphamill.clock import Clock, SystemClock
from alphamill.errors import AlphamillError, RetryLater
from alphamill.llm.breaker.protocol import CircuitState
from alphamill.llm.call import Call, CallGate, PaidReply, Route, Routes
from alphamill.llm.charges import charge
from alphamill.llm.endpoint.failures import (
    AccessRefused,
    CallFailure,
    CircuitOpen,
    EndpointNotFound,
    KeyRefused,
    ModelNotFound,
    NotConnected,
    ProviderDown,
    QuotaExhausted,
    RateLimited,
    RegionBarred,
    RequestTooLarge,
)
from alphamill.llm.journal.protocol import Journal
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.messages import ChatReply
from alphamill.llm.prices import PriceTable
from alphamill.llm.tokens import bound_tokens, debited_tokens, estimate_tokens
from alphamill.redis_store import ScriptCall
from alphamill.settings import ModelSettings
from alphamill.usage.protocol import Usage

BACKOFF_BASE_S = 2.0
BACKOFF_CAP_S = 60.0
SETTLE_WAITS_S = (0.1, 0.5, 2.0, 5.0, 0.0)  # a paid reply is in hand: worth some patience

PATIENCE_S = 900.0
TRIED_S = 5.0  # for so long a call stays away from a circuit that another is trying

log = logging.getLogger(__name__)

# Another model may answer; for anything else the same one is asked again, or nobody.
_PASSED_OVER = (
    QuotaExhausted,
    ModelNotFound,
    KeyRefused,
    RegionBarred,
    EndpointNotFound,
    CircuitOpen,
    ProviderDown,
    RequestTooLarge,
)
_TO_MEND = (
    AccessRefused,
    KeyRefused,
    RegionBarred,
    EndpointNotFound,
    ModelNotFound,
    QuotaExhausted,
)
_REFUSALS = {cls.opens: cls for cls in _TO_MEND}


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One model asked once."""

    call: Call
    route: Route
    record: CallRecord


class _Turn:
    """A slot of the tier's gate. `taken`: of its tokens; None: as reserved. May end repeatedly."""

    def __init__(self, gate: CallGate, tokens: int) -> None:
        self._gate = gate
        self._tokens = tokens
        self._slot: Any = None
        self.taken: int | None = 0
        self.over = True

    def at_once(self) -> ScriptCall[Any] | None:
        return self._gate.at_once(self._tokens)

    def take(self, slot: Any) -> None:
        self._slot, self.over = slot, False

    def wait(self) -> None:
        self.take(self._gate.reserve(self._tokens))

    def end(self) -> None:
        self._gate.settle(self._slot, self.taken)


class Gateway:
    """Asks models on behalf of the stages; safe to share between threads.

    patience_s: how long a model may be without a sign of life, or refuse every call by rate, before
    its calls give up.
    """

    def __init__(
        self,
        routes: Routes,
        prices: PriceTable,
        journal: Journal,
        usage: Usage,
        clock: Clock | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._routes = routes
        self._prices = prices
        self._journal = journal
        self._usage = usage
        self._clock = clock or SystemClock()
        self._patience_s = patience_s

    def ask(self, call: Call) -> PaidReply:
        """The model's reply, paid for at most once.

        Raises BudgetExhausted, Misconfigured (no price, no key, no such model), GiveUp (quota,
        prompt too long, provider down) or RetryLater, whose `after_s` spreads the retries.
        """
        refused: list[AlphamillError] = []
        for chosen in call.tier_settings.models:
            try:
                return self._ask_one(call, chosen)
            except _PASSED_OVER as reason:
                log.info("%s: %s is passed over: %s", call.tier, chosen.model, reason)
                refused.append(reason)
        # One that may answer later is worth waiting for, whatever is wrong with the others.
        raise next((one for one in refused if isinstance(one, RetryLater)), refused[0])

    def answered(self, run: str, call_id: str) -> CallRecord | None:
        """The record of a call whose reply is in the journal already."""
        return self._journal.lookup(run, call_id)

    def _ask_one(self, call: Call, chosen: ModelSettings) -> PaidReply:
        """Where the model may not be asked, what is paid for already still answers."""
        try:
            route = self._routes.route(call.tier, chosen)
            self._pass(route, route.breaker.look(route.model))
        except AlphamillError:
            known = self._journal.lookup(call.run, call.call_id)
            if known:
                return self._answer(known, replayed=True)
            raise
        return self._ask_model(call, route)

    def _ask_model(self, call: Call, route: Route) -> PaidReply:
        attempt = self._begin(call, route)
        tokens = estimate_tokens(call.messages) + call.tier_settings.max_tokens
        turn = _Turn(route.gate, tokens)
        try:
            known = self._journal.admit(attempt.record, call.messages, call.caps, turn)
            if known:
                return self._answer(known, replayed=True)
            self._enter_circuit(attempt)
            turn.taken = None
            reply = self._send(attempt)
            turn.taken = _debit(call, reply)
            paid = self._settle(attempt, reply, turn)
        except NotConnected:
            turn.taken = 0
            raise
        finally:
            if not turn.over:
                turn.end()
        return self._answer(paid, replayed=paid.attempt != attempt.record.attempt)

    def _begin(self, call: Call, route: Route) -> _Attempt:
        now_ms = self._clock.now_ms()
        micros = route.price.worst_case_micros(
            bound_tokens(call.messages), call.tier_settings.max_tokens, now_ms
        )
        record = CallRecord.begin(
            call.run,
            call.call_id,
            call.tier,
            call.request(route),
            prompt_version=call.prompt_version,
            started_ms=now_ms,
            reserved_usd_micros=micros,
            endpoint=route.host,
        )
        return _Attempt(call, route, record)

    def _enter_circuit(self, attempt: _Attempt) -> None:
        """Raises what `_pass` does, with nothing booked."""
        try:
            self._pass(attempt.route, attempt.route.breaker.enter(attempt.route.model))
        except AlphamillError:
            self._journal.cancel(attempt.record)
            raise

    def _pass(self, route: Route, state: CircuitState) -> None:
        """Raises why the circuit is open: the refusal it remembers, ProviderDown, CircuitOpen."""
        if not state.wait_s:
            return
        if state.kind in _REFUSALS:
            raise _REFUSALS[state.kind](*json.loads(state.cause))
        problem = f"{route.model} has not answered for {state.down_s:.0f} s"
        if state.down_s > self._patience_s:
            raise ProviderDown(f"{problem}; resume the run when it does")
        # Another's attempt may hang till its deadline, and is mostly over at once.
        open_s = state.wait_s if state.kind else min(state.wait_s, TRIED_S)
        wait_s = open_s * random.uniform(1.0, 1.5)  # noqa: S311 - spreads retries
        raise CircuitOpen(f"{problem}; others may try again soon", wait_s, counts=False)

    def _send(self, attempt: _Attempt) -> ChatReply:
        call, route = attempt.call, attempt.route
        started_s = self._clock.monotonic_s()
        try:
            reply = route.chat.complete(call.request(route))
        except CallFailure as failure:
            took_s = self._clock.monotonic_s() - started_s
            self._fail(attempt, failure)
            self._raise(attempt, failure, took_s)
        if not reply.served_as_asked:
            log.warning(
                "%s asked for %s and was served %s", call.tier, reply.asked_model, reply.model
            )
        if reply.upstream_calls > 1:
            log.warning("%s: its gateway made %d calls of one", call.tier, reply.upstream_calls)
        return reply

    def _fail(self, attempt: _Attempt, failure: CallFailure) -> None:
        call = attempt.call
        failed = attempt.record.failed(failure.error_class, str(failure), self._clock.now_ms())
        if failure.unbilled:
            self._journal.release(failed)
        else:
            self._journal.lose(failed)
            log.warning("call %s may have been billed: %s", call.call_id, failure)
        self._usage.record_error(
            call.run, failed.day, call.tier, attempt.route.model, failure.error_class
        )

    def _raise(self, attempt: _Attempt, failure: CallFailure, took_s: float) -> Never:
        """Tell the others, and raise the failure with what this call knows of it."""
        call, route = attempt.call, attempt.route
        if isinstance(failure, RateLimited):
            self._hold_back(route, failure)
        elif isinstance(failure, ModelNotFound):
            ended = route.price.ended(self._clock.now_ms())
            problem = f"{ended}; {failure.problem}" if ended else failure.problem
            cure = route.price.cure if ended else failure.cure
            failure = ModelNotFound(f"llm.tiers.{call.tier}.model", problem, cure)
        if failure.opens is not None:
            route.breaker.failed(route.model, failure.opens, took_s, json.dumps(failure.args))
        elif not isinstance(failure, RateLimited):
            route.breaker.alive(route.model)
        if not isinstance(failure, RetryLater):
            raise failure
        ceiling_s = min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** min(call.retries, 10))
        jitter_s = random.uniform(0.0, ceiling_s)  # noqa: S311 - spreads retries, guards nothing
        later = type(failure)(failure.reason, failure.after_s + jitter_s, failure.counts)
        raise later from failure

    def _hold_back(self, route: Route, failure: RateLimited) -> None:
        """Every worker's calls of this tier wait; not for ever for one that only refuses."""
        route.gate.pause(failure.after_s, failure.reason)
        for_s = route.breaker.limited(route.model)
        if for_s > self._patience_s:
            problem = f"{route.model} has refused every call for {for_s:.0f} s"
            raise ProviderDown(f"{problem} ({failure.reason})") from failure

    def _settle(self, attempt: _Attempt, reply: ChatReply, turn: _Turn) -> CallRecord:
        """Pay, store the reply, count, end the turn; the record that answers the call."""
        now_ms, record = self._clock.now_ms(), attempt.record
        price, during_ms = attempt.route.price, (record.started_ms, now_ms)
        due = charge(reply, price, self._prices, record.reserved_usd_micros, during_ms)
        paid = record.settled(reply, due, now_ms)
        for doubt in filter(None, (paid.usage_doubt, paid.cost_doubt)):
            log.warning("%s: $%f, because %s", paid.call_id, due.micros / 1e6, doubt)

        def also() -> None:
            attempt.route.breaker.alive(attempt.route.model)
            self._usage.record(paid.usage)
            turn.end()

        answer = self._store(paid, also)
        turn.over = True
        return answer

    def _store(self, paid: CallRecord, also: Callable[[], None]) -> CallRecord:
        for wait_s in SETTLE_WAITS_S:
            try:
                return self._journal.settle(paid, also)
            except RetryLater:
                if not wait_s:
                    raise
                self._clock.sleep(wait_s)
        raise AssertionError("the last wait is zero")

    def _answer(self, record: CallRecord, replayed: bool) -> PaidReply:
        if replayed:  # its first caller may have died before counting
            self._usage.record(record.usage)
        return PaidReply(record.reply, replayed, record.cost_usd_micros or 0)


def _debit(call: Call, reply: ChatReply) -> int:
    tier = call.tier_settings
    allowed = tier.max_tokens if tier.debit == "allowed" else None
    return debited_tokens(call.messages, call.schema, reply.usage, allowed)
