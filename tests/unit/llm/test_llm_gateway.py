from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

import pytest

from alphamill.clock import ManualClock
from alphamill.errors import Misconfigured, RetryLater
from alphamill.llm.breaker.memory import MemoryBreaker
from alphamill.llm.call import Call
from alphamill.llm.endpoint import failures
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.budget import BudgetExhausted, Caps
from alphamill.llm.journal.memory import MemoryJournal
from alphamill.llm.journal.records import CallStatus
from alphamill.llm.messages import ChatReply, Message, TokenUsage
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import OneEndpoint
from alphamill.llm.scripted import Line, ScriptedChat
from alphamill.settings import TierSettings
from alphamill.usage import UsageEntry

TIER = "quick_scan"
CALL = Call(
    run="run",
    call_id="call-1",
    tier=TIER,
    tier_settings=TierSettings(model="gpt-4.1-mini", max_tokens=100),
    messages=(Message("system", "manual"), Message("user", "data")),
    caps=Caps(1_000_000, 10_000_000),
)
REPLY = ChatReply(
    "text", "stop", "gpt-4.1-mini-2025-04-14", TokenUsage(1000, 500, 50), 12, "gpt-4.1-mini"
)
COST = 330  # 500 * 0.40 + 500 * 0.10 + 50 * 1.60


class Crashed(BaseException):
    """Stands for kill -9: nothing after it runs."""


class Gate:
    def __init__(self) -> None:
        self.reserved: list[int] = []
        self.settled: list[int | None] = []
        self.paused: list[float] = []

    def at_once(self, tokens: int) -> None: ...

    def reserve(self, tokens: int) -> int:
        self.reserved.append(tokens)
        return len(self.reserved)

    def settle(self, slot: int, tokens: int | None) -> None:
        self.settled.append(tokens)

    def pause(self, for_s: float, reason: str) -> None:
        self.paused.append(for_s)


class Usage:
    def __init__(self) -> None:
        self.entries: dict[str, UsageEntry] = {}
        self.errors: list[str] = []

    def record(self, entry: UsageEntry) -> None:
        self.entries[entry.call_id] = entry

    def record_error(self, run: str, day: str, tier: str, model: str, error_class: str) -> None:
        self.errors.append(error_class)


class World:
    """A gateway with everything around it in reach."""

    def __init__(self, *lines: Line) -> None:
        self.clock = ManualClock()
        self.chat = ScriptedChat(lines)
        self.journal = MemoryJournal(self.clock)
        self.gate, self.usage = Gate(), Usage()
        prices = PriceTable.shipped()
        self.breaker = MemoryBreaker(self.clock)
        routes = OneEndpoint(self.chat, prices, {TIER: self.gate}, self.breaker)
        self.gateway = Gateway(routes, prices, self.journal, self.usage, self.clock)

    @property
    def account(self) -> tuple[int, int, int, int]:
        state = self.journal.state("run", "2023-11-14").run
        return (
            state.spent_usd_micros,
            state.reserved_usd_micros,
            state.unknown_usd_micros,
            state.unknown_calls,
        )


def test_a_call_is_paid_once_and_replayed_for_nothing() -> None:
    world = World(REPLY)
    first = world.gateway.ask(CALL)
    assert (first.reply, first.replayed, first.cost_usd_micros) == (REPLY, False, COST)
    world.usage.entries.clear()  # as if the first caller had died before counting
    second = world.gateway.ask(CALL)
    assert (second.reply, second.replayed, second.cost_usd_micros) == (REPLY, True, COST)
    assert len(world.chat.requests) == 1
    assert world.account == (COST, 0, 0, 0)
    (entry,) = world.usage.entries.values()
    assert (entry.prompt_tokens, entry.cached_tokens, entry.completion_tokens) == (1000, 500, 50)
    assert (entry.cost_usd_micros, entry.model, entry.day) == (COST, "gpt-4.1-mini", "2023-11-14")
    assert world.gate.settled == [1100]  # the prompt, and all of max_tokens


def test_a_call_is_refused_by_a_cent_and_nothing_is_sent() -> None:
    world = World(REPLY)
    with pytest.raises(BudgetExhausted):
        world.gateway.ask(replace(CALL, caps=Caps(150, 10_000_000)))
    with pytest.raises(BudgetExhausted):
        world.gateway.ask(replace(CALL, caps=Caps(1_000_000, 150)))
    assert (world.chat.requests, world.gate.reserved, world.account) == ([], [], (0, 0, 0, 0))


def test_a_model_without_a_price_is_not_called() -> None:
    world = World(REPLY)
    tier = TierSettings(model="gpt-9", max_tokens=10)
    with pytest.raises(Misconfigured, match=r"no price for model 'gpt-9'.*llm\.prices"):
        world.gateway.ask(replace(CALL, tier_settings=tier))
    assert world.chat.requests == []


@pytest.mark.parametrize(
    ("failure", "counted", "lost"),
    [
        (failures.RateLimited("slow down", 7.0, False), "rate_limited", 0),
        (failures.Overloaded("busy"), "server", 0),
        (failures.NotConnected("refused"), "network", 0),
        (failures.QuotaExhausted("no money"), "quota", 0),
        (failures.KeyRefused("ALPHAMILL_LLM_API_KEY", "no", "set it"), "auth", 0),
        (failures.RequestRefused("odd"), "bad_request", 0),
        (failures.ServerFailed("500"), "server", 1),
        (failures.TimedOut("late"), "timeout", 1),
        (failures.ConnectionLost("reset"), "network", 1),
        (failures.InvalidReply("html"), "invalid_reply", 1),
    ],
)
def test_a_failure_is_counted_and_charged_by_its_class(
    failure: failures.CallFailure, counted: str, lost: int
) -> None:
    world = World(failure, REPLY)
    with pytest.raises(type(failure)) as raised:
        world.gateway.ask(CALL)
    assert type(raised.value)(*raised.value.args).args == raised.value.args
    assert world.usage.errors == [counted]
    reserved = world.journal.calls("run").__next__().reserved_usd_micros
    assert world.account == (0, 0, lost * reserved, lost)
    world.clock.advance(31)  # a timeout, a dead connection or a refused key shuts the circuit
    assert world.gateway.ask(CALL).cost_usd_micros == COST
    assert world.account == (COST, 0, lost * reserved, lost)
    status = CallStatus.UNKNOWN if lost else CallStatus.FAILED
    assert {r.status for r in world.journal.calls("run")} == {status, CallStatus.SETTLED}


def test_a_rate_limit_pauses_the_tier_and_spreads_the_retries() -> None:
    waits = []
    for _ in range(20):
        world = World(failures.RateLimited("slow down", 7.0, False))
        with pytest.raises(failures.RateLimited) as raised:
            world.gateway.ask(replace(CALL, retries=3))
        assert world.gate.paused == [7.0]
        waits.append(raised.value.after_s)
    assert all(7.0 <= wait <= 7.0 + 16.0 for wait in waits)
    assert len(set(waits)) == 20


def test_an_unknown_model_names_the_tier() -> None:
    world = World(failures.ModelNotFound("llm.tiers.*.model", "not there", "name another"))
    with pytest.raises(Misconfigured) as raised:
        world.gateway.ask(CALL)
    assert raised.value.setting == "llm.tiers.quick_scan.model"


@pytest.mark.parametrize(
    ("day", "said"),
    [
        ("2027-01-13", "not there"),
        ("2027-01-14", "gpt-4.1-mini retired on 2027-01-14 (OpenAI's deprecations page"),
    ],
)
def test_a_call_of_a_model_that_retired_says_so_and_names_its_successor(
    day: str, said: str
) -> None:
    world = World(failures.ModelNotFound("llm.tiers.*.model", "not there", "name another"))
    world.clock.advance(
        datetime.fromisoformat(f"{day}T00:00:00+00:00").timestamp() - world.clock.monotonic_s()
    )
    with pytest.raises(failures.ModelNotFound) as raised:
        world.gateway.ask(CALL)
    assert raised.value.problem.startswith(said)
    assert raised.value.problem.endswith("not there")
    assert ("gpt-6-luna" in raised.value.cure) == (said != "not there")
    with pytest.raises(failures.ModelNotFound) as again:  # of the circuit, which remembers it
        world.gateway.ask(CALL)
    assert again.value.problem == raised.value.problem


def test_missing_usage_charges_the_reservation() -> None:
    estimated = replace(REPLY, usage=TokenUsage(1, 0, 1, estimated=True))
    world = World(estimated)
    answer = world.gateway.ask(CALL)
    (record,) = world.journal.calls("run")
    assert answer.cost_usd_micros == record.reserved_usd_micros > 100
    assert record.usage_estimated


def test_the_dearest_known_cost_is_charged() -> None:
    assert (
        World(replace(REPLY, provider_cost_usd_micros=400)).gateway.ask(CALL).cost_usd_micros == 400
    )
    assert (
        World(replace(REPLY, provider_cost_usd_micros=1)).gateway.ask(CALL).cost_usd_micros == COST
    )
    dearer = World(replace(REPLY, model="gpt-4.1")).gateway.ask(CALL)
    assert dearer.cost_usd_micros == 1650  # 500 * 2.00 + 500 * 0.50 + 50 * 8.00


def test_a_model_other_than_asked_is_recorded(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        world = World(replace(REPLY, model="some-alias"))
        assert not world.gateway.ask(CALL).reply.served_as_asked
    assert "asked for gpt-4.1-mini and was served some-alias" in caplog.text
    (record,) = world.journal.calls("run")
    assert (record.model, record.served_model) == ("gpt-4.1-mini", "some-alias")


def crashing(function: Callable[..., object], before: bool) -> Callable[..., object]:
    """`function` that is killed before or after it did its work, once."""
    crashed: list[bool] = []

    def wrapper(*args: object) -> object:
        if not crashed and before:
            crashed.append(True)
            raise Crashed
        result = function(*args)
        if not crashed:
            crashed.append(True)
            raise Crashed
        return result

    return wrapper


CRASHES = [
    # owner, method, before its work or after, calls sent in all, unknown calls
    ("journal", "lookup", True, 1, 0),
    ("gate", "reserve", False, 1, 0),
    ("journal", "reserve", True, 1, 0),
    ("journal", "reserve", False, 1, 1),
    ("chat", "complete", True, 1, 1),
    ("chat", "complete", False, 2, 1),
    ("journal", "settle", True, 2, 1),
    ("journal", "settle", False, 1, 0),
    ("usage", "record", True, 1, 0),
    ("usage", "record", False, 1, 0),
    ("gate", "settle", True, 1, 0),
]


@pytest.mark.parametrize(("owner", "method", "before", "sent", "unknown"), CRASHES)
def test_killed_anywhere_then_retried(
    monkeypatch: pytest.MonkeyPatch, owner: str, method: str, before: bool, sent: int, unknown: int
) -> None:
    world = World(REPLY, REPLY)
    victim = getattr(world, owner)
    monkeypatch.setattr(victim, method, crashing(getattr(victim, method), before))
    with pytest.raises(Crashed):
        world.gateway.ask(CALL)
    answer = world.gateway.ask(CALL)
    assert answer.cost_usd_micros == COST
    assert len(world.chat.requests) == sent
    spent, reserved, lost, unknown_calls = world.account
    assert (spent, reserved, unknown_calls) == (COST, 0, unknown)  # settled once, never twice
    assert (lost > 0) == bool(unknown)
    assert [key.split("#")[0] for key in world.usage.entries] == ["call-1"]
    paid = [r for r in world.journal.calls("run") if r.status is CallStatus.SETTLED]
    assert len(paid) == 1


def test_a_paid_reply_waits_for_the_journal_to_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(REPLY)
    settle, gone = world.journal.settle, [True, True]

    def flaky(*args: object) -> object:
        if gone:
            gone.pop()
            raise RetryLater("Redis is gone", counts=False)
        return settle(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(world.journal, "settle", flaky)
    assert world.gateway.ask(CALL).cost_usd_micros == COST
    assert world.account == (COST, 0, 0, 0)


def test_the_worst_case_covers_the_prompts_every_byte_and_every_allowed_token() -> None:
    world = World(REPLY)
    world.gateway.ask(CALL)
    (record,) = world.journal.calls("run")
    tokens = len(b"manual") + len(b"data") + 2 * 8 + 8
    assert record.reserved_usd_micros == -(-(tokens * 40 + 100 * 160) // 100)


TWO_MODELS = replace(
    CALL,
    tier_settings=TierSettings(
        model="gpt-4.1-mini", fallbacks=("gpt-4.1", "gpt-4o-mini"), max_tokens=100
    ),
)
OTHER = replace(REPLY, model="gpt-4.1", asked_model="gpt-4.1")
OTHER_COST = 1650  # 500 * 2.00 + 500 * 0.50 + 50 * 8.00


@pytest.mark.parametrize(
    "failure",
    [
        failures.QuotaExhausted("no money"),
        failures.ModelNotFound("llm.tiers.*.model", "retired", "name another"),
        failures.RequestTooLarge("one request takes 14500 tokens"),
    ],
)
def test_a_fallback_is_asked_and_paid_at_its_own_price(failure: failures.CallFailure) -> None:
    world = World(failure, OTHER)
    answer = world.gateway.ask(TWO_MODELS)
    assert answer.cost_usd_micros == OTHER_COST
    assert [request.model for request in world.chat.requests] == ["gpt-4.1-mini", "gpt-4.1"]
    failed, paid = sorted(
        world.journal.calls("run"), key=lambda record: len(record.model), reverse=True
    )
    assert (failed.model, failed.status) == ("gpt-4.1-mini", CallStatus.FAILED)
    assert (paid.model, paid.status) == ("gpt-4.1", CallStatus.SETTLED)
    assert paid.reserved_usd_micros > 4 * failed.reserved_usd_micros
    assert world.account == (OTHER_COST, 0, 0, 0)
    assert world.gateway.ask(TWO_MODELS).replayed


def test_without_any_model_left_the_first_reason_is_told() -> None:
    world = World(*[failures.QuotaExhausted(name) for name in ("first", "second", "third")])
    with pytest.raises(failures.QuotaExhausted, match="first"):
        world.gateway.ask(TWO_MODELS)


def test_a_failure_that_another_model_cannot_mend_is_not_passed_on() -> None:
    for failure in (failures.TimedOut("late"), failures.ContextTooLong("long")):
        world = World(failure, OTHER)
        with pytest.raises(type(failure)):
            world.gateway.ask(TWO_MODELS)
        assert len(world.chat.requests) == 1


def test_a_dead_provider_costs_one_timeout_and_not_one_a_job() -> None:
    world = World(failures.TimedOut("late"))
    with pytest.raises(failures.TimedOut):
        world.gateway.ask(CALL)
    before = world.account
    for number in range(1000):
        with pytest.raises(failures.CircuitOpen) as raised:
            world.gateway.ask(replace(CALL, call_id=f"call-{number + 2}"))
        assert not raised.value.counts
        assert 0 < raised.value.after_s <= 7.5
    assert len(world.chat.requests) == 1
    assert world.account == before  # nothing was reserved for what was not sent
    assert len(list(world.journal.calls("run"))) == 1
    assert world.gate.reserved == [world.gate.reserved[0]]  # nobody waited for a turn in vain
    assert world.gate.settled == [None]


def test_a_call_that_meets_anothers_attempt_comes_back_soon() -> None:
    world = World(failures.TimedOut("late"), REPLY)
    with pytest.raises(failures.TimedOut):
        world.gateway.ask(CALL)
    world.clock.advance(6)
    assert world.breaker.enter("gpt-4.1-mini").wait_s == 0  # another process tries the circuit
    with pytest.raises(failures.CircuitOpen) as raised:
        world.gateway.ask(CALL)
    assert not raised.value.counts
    assert 0 < raised.value.after_s <= 7.5
    world.breaker.alive("gpt-4.1-mini")
    assert world.gateway.ask(CALL).cost_usd_micros == COST


def test_a_model_that_does_not_answer_is_passed_over_until_it_does() -> None:
    world = World(failures.TimedOut("late"), OTHER, REPLY)
    with pytest.raises(failures.TimedOut):
        world.gateway.ask(TWO_MODELS)
    assert world.gateway.ask(replace(TWO_MODELS, call_id="b")).cost_usd_micros == OTHER_COST
    world.clock.advance(6)
    assert world.gateway.ask(replace(TWO_MODELS, call_id="c")).cost_usd_micros == COST
    models = [request.model for request in world.chat.requests]
    assert models == ["gpt-4.1-mini", "gpt-4.1", "gpt-4.1-mini"]


KINDS_OF_DOWN = (failures.NotConnected, failures.CircuitOpen, failures.ProviderDown)


@pytest.mark.parametrize(
    "failure",
    [
        failures.KeyRefused("ALPHAMILL_LLM_API_KEY", "no (HTTP 401: wrong)", "set it"),
        failures.RegionBarred("ALPHAMILL_LLM_URL", "not served here", "another endpoint"),
        failures.EndpointNotFound("ALPHAMILL_LLM_URL", "nothing there", "correct it"),
        failures.ModelNotFound("llm.tiers.quick_scan.model", "not there", "name another"),
        failures.QuotaExhausted("no money"),
    ],
)
def test_what_a_person_must_mend_fails_every_waiting_call_at_once(
    failure: failures.CallFailure,
) -> None:
    world = World(failure, REPLY)
    said = []
    for number in range(100):
        with pytest.raises(type(failure)) as raised:
            world.gateway.ask(replace(CALL, call_id=f"call-{number}"))
        said.append(raised.value.args)
    assert set(said) == {failure.args}
    assert len(world.chat.requests) == len(world.gate.reserved) == 1
    world.clock.advance(31)  # somebody topped the account up, or corrected the key
    assert world.gateway.ask(CALL).cost_usd_micros == COST


def test_access_that_is_refused_once_shuts_nothing() -> None:
    refused = failures.AccessRefused("KEY", "no (HTTP 403: flagged)", "set it")
    world = World(refused, REPLY)
    with pytest.raises(failures.AccessRefused):
        world.gateway.ask(CALL)
    assert world.gateway.ask(replace(CALL, call_id="b")).cost_usd_micros == COST


def test_a_model_without_quota_is_not_asked_once_a_call() -> None:
    world = World(failures.QuotaExhausted("no money"), *[OTHER] * 50)
    for number in range(50):
        answer = world.gateway.ask(replace(TWO_MODELS, call_id=f"call-{number}"))
        assert answer.cost_usd_micros == OTHER_COST
    models = [request.model for request in world.chat.requests]
    assert models == ["gpt-4.1-mini"] + ["gpt-4.1"] * 50


def test_a_rate_limit_is_nobodys_failed_try_but_has_an_end() -> None:
    world = World(*[failures.RateLimited("slow down", 60.0, False)] * 20)
    for _ in range(16):
        with pytest.raises(failures.RateLimited) as raised:
            world.gateway.ask(CALL)
        assert not raised.value.counts
        world.clock.advance(60)
    with pytest.raises(failures.ProviderDown, match="refused every call for 960 s"):
        world.gateway.ask(CALL)
    assert world.gate.paused == [60.0] * 17


def test_an_answer_between_refusals_begins_patience_anew() -> None:
    limited = failures.RateLimited("slow down", 60.0, False)
    world = World(limited, REPLY, limited)
    for number in range(3):
        if number == 1:
            assert world.gateway.ask(replace(CALL, call_id="b")).cost_usd_micros == COST
        else:
            with pytest.raises(failures.RateLimited):
                world.gateway.ask(CALL)
        world.clock.advance(800)


def test_a_slot_ends_however_the_call_does() -> None:
    world = World(failures.TimedOut("late"), failures.NotConnected("refused"), REPLY)
    for kind in (failures.TimedOut, failures.NotConnected):
        with pytest.raises(kind):
            world.gateway.ask(CALL)
        world.clock.advance(12)
    world.gateway.ask(CALL)
    assert world.gate.settled == [None, 0, 1100]


def test_patience_with_a_dead_provider_ends() -> None:
    world = World(*[failures.NotConnected("refused")] * 100)
    ends = []
    for second in range(0, 1200, 5):
        with pytest.raises(KINDS_OF_DOWN) as e:
            world.gateway.ask(CALL)
        ends.append((second, e.type))
        world.clock.advance(5)
    given_up = [second for second, kind in ends if kind is failures.ProviderDown]
    assert given_up
    assert given_up[0] > 900
    assert len(world.chat.requests) < 30


def test_the_providers_own_figure_stands_beside_ours() -> None:
    world = World(replace(REPLY, provider_cost_usd_micros=400))
    world.gateway.ask(CALL)
    (record,) = world.journal.calls("run")
    assert (record.table_cost_usd_micros, record.cost_difference_usd_micros) == (COST, 400 - COST)
    assert record.to_row()["cost_difference_usd_micros"] == 400 - COST
    (entry,) = world.usage.entries.values()
    assert (entry.provider_cost_usd_micros, entry.compared_cost_usd_micros) == (400, COST)
    silent = World(REPLY)
    silent.gateway.ask(CALL)
    (entry,) = silent.usage.entries.values()
    assert (entry.provider_cost_usd_micros, entry.compared_cost_usd_micros) == (0, 0)


def test_what_a_provider_debits_is_what_the_tier_is_told() -> None:
    used = TierSettings(model="gpt-4.1-mini", max_tokens=100, debit="used")
    world = World(REPLY)
    world.gateway.ask(replace(CALL, tier_settings=used))
    assert world.gate.settled == [1050]
