"""The turn, the money and the intent of a call in one step: all of them or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import redis

from alphamill.errors import GiveUp, RetryLater
from alphamill.limits import Concurrent, Pool, RedisLimiter, Slot, SteadyRate, TierGate
from alphamill.llm.charges import Charge
from alphamill.llm.journal.budget import BudgetExhausted, Caps
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import ChatReply, ChatRequest, Message, TokenUsage
from alphamill.redis_pipelining import PipelinedRedis
from alphamill.redis_store import ScriptCall

DAY = "2026-01-31"
PROMPT = (Message("user", "data"),)
REQUEST = ChatRequest("gpt-4.1-mini", PROMPT, max_tokens=50)
REPLY = ChatReply("hello", "stop", "gpt-4.1-mini", TokenUsage(12, 0, 5), 7, "gpt-4.1-mini")
POOL = Pool(
    "llm:tier",
    (
        SteadyRate("requests", 60, 60_000, 5),
        SteadyRate("tokens", 60_000, 60_000, 5_000),
        Concurrent("calls", 4, 60_000),
    ),
)


class Turn:
    """The gateway's, and what was asked of it."""

    def __init__(self, gate: TierGate, tokens: int = 10) -> None:
        self.gate, self.tokens = gate, tokens
        self.slots: list[Any] = []
        self.waits = 0

    def at_once(self) -> ScriptCall[Slot | None] | None:
        return self.gate.at_once(self.tokens)

    def take(self, slot: Any) -> None:
        self.slots.append(slot)

    def wait(self) -> None:
        self.waits += 1
        self.take(self.gate.reserve(self.tokens))


class Place:
    def __init__(self, client: redis.Redis) -> None:
        self.client = client
        self.limiter = RedisLimiter(client)
        self.gate = TierGate(self.limiter, POOL, 0.0)
        self.journal = RedisJournal(client)

    def admit(
        self, record: CallRecord, turn: Turn, cap: int = 1000, day_cap: int = 10_000
    ) -> CallRecord | None:
        return self.journal.admit(record, PROMPT, Caps(cap, day_cap), turn)

    def settle(self, record: CallRecord) -> None:
        self.journal.settle(record.settled(REPLY, Charge(60, 60), 5))

    @property
    def booked(self) -> tuple[int, int, int]:
        """Micros reserved, attempts, slots held."""
        reserved = self.journal.state("run", DAY).run.reserved_usd_micros
        held = self.limiter.state(POOL).dimensions[2].issued
        return reserved, len(list(self.journal.calls("run"))), int(held)


@pytest.fixture(params=["bytes", "text"])
def place(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Place]:
    with PipelinedRedis.from_url(redis_url, decode_responses=request.param == "text") as client:
        client.flushall()
        yield Place(client)


def held(call: str = "a", micros: int = 100) -> CallRecord:
    record = CallRecord.begin(
        "run", call, "tier", REQUEST, prompt_version="1", started_ms=1, reserved_usd_micros=micros
    )
    return replace(record, day=DAY)


def test_a_free_way_is_one_command(place: Place) -> None:
    place.admit(held("warm"), Turn(place.gate))
    before = place.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    turn = Turn(place.gate)
    assert place.admit(held(), turn) is None
    assert place.client.info("commandstats")["cmdstat_evalsha"]["calls"] == before + 1
    assert (turn.waits, len(turn.slots)) == (0, 1)
    assert place.booked == (200, 2, 2)
    place.gate.settle(turn.slots[0], 3)
    assert place.booked == (200, 2, 1)


def test_an_answered_call_takes_no_turn_even_one_that_could_never_fit(place: Place) -> None:
    first, turn = held(), Turn(place.gate)
    place.admit(first, turn)
    place.settle(first)
    place.gate.settle(turn.slots[0], 3)
    for tokens in (10, 10**9):
        again = Turn(place.gate, tokens)
        known = place.admit(held(), again)
        assert known is not None
        assert known.reply == REPLY
        assert (again.slots, again.waits) == ([], 0)
    assert place.booked == (0, 1, 0)
    with pytest.raises(GiveUp, match="can never fit"):
        place.admit(held("b"), Turn(place.gate, 10**9))
    assert place.booked == (0, 1, 0)


def test_a_call_over_budget_takes_no_turn(place: Place) -> None:
    turn = Turn(place.gate)
    with pytest.raises(BudgetExhausted):
        place.admit(held(), turn, cap=99)
    with pytest.raises(BudgetExhausted):
        place.admit(held(), turn, day_cap=99)
    place.admit(held("b"), Turn(place.gate), cap=100)
    with pytest.raises(RetryLater):
        place.admit(held(), turn, cap=100)
    assert (turn.slots, turn.waits) == ([], 0)
    assert place.booked == (100, 1, 1)


def test_without_a_turn_no_money_is_held(place: Place) -> None:
    for call in "abcd":
        place.admit(held(call), Turn(place.gate))
    refused = Turn(place.gate)
    with pytest.raises(RetryLater, match="the limit is reached"):
        place.admit(held("e"), refused)
    assert (refused.slots, refused.waits) == ([], 1)
    assert place.booked == (400, 4, 4)


def test_a_trip_made_twice_reserves_once(place: Place) -> None:
    one = held()
    for _ in range(2):
        assert place.admit(one, Turn(place.gate)) is None
    assert place.booked[:2] == (100, 1)
    assert place.journal.state("run", DAY).run.unknown_calls == 0


def test_a_dead_callers_money_stays_counted(place: Place) -> None:
    place.admit(held(), Turn(place.gate))
    place.admit(held(), Turn(place.gate))
    account = place.journal.state("run", DAY).run
    assert (account.reserved_usd_micros, account.unknown_usd_micros) == (100, 100)
    assert account.unknown_calls == 1


def test_a_lost_script_is_loaded_again(place: Place) -> None:
    place.admit(held(), Turn(place.gate))
    place.client.script_flush()
    assert place.admit(held("b"), Turn(place.gate)) is None
    assert place.booked == (200, 2, 2)


def test_many_at_once_never_pass_the_cap(place: Place) -> None:
    wide = Pool(POOL.name, (replace(POOL.dimensions[2], limit=1000),))
    gate = TierGate(place.limiter, wide, 0.0)
    gate.at_once = lambda tokens: place.limiter.at_once(wide, {})  # type: ignore[method-assign]

    def work(number: int) -> bool:
        try:
            return place.admit(held(str(number)), Turn(gate), cap=1050) is None
        except RetryLater:
            return False

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(work, range(40))) == 10
    assert place.booked == (1000, 10, 10)
