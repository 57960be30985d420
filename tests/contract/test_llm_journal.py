"""One suite over every journal: in memory, on fakeredis, on a real server."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace

import fakeredis
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alphamill.errors import RetryLater
from alphamill.llm.charges import Charge
from alphamill.llm.journal.budget import BudgetExhausted, Caps
from alphamill.llm.journal.memory import MemoryJournal
from alphamill.llm.journal.protocol import Journal
from alphamill.llm.journal.records import CallRecord, CallStatus
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import ChatReply, ChatRequest, Message, TokenUsage

DAY = "2026-11-22"
CAP = 1_000
PROMPT = (Message("system", "manual"), Message("user", "data ünï \ud800"))
REQUEST = ChatRequest("gpt-4.1-mini", PROMPT, max_tokens=100)
REPLY = ChatReply("hello", "stop", "gpt-4.1-mini", TokenUsage(10, 2, 3), 7, "gpt-4.1-mini")


@pytest.fixture(params=["memory", "fakeredis", "fakeredis-decoding", "server"])
def journal(request: pytest.FixtureRequest) -> Iterator[Journal]:
    if request.param == "memory":
        yield MemoryJournal()
    elif request.param.startswith("fakeredis"):
        decode = request.param.endswith("decoding")
        yield RedisJournal(fakeredis.FakeRedis(decode_responses=decode))
    else:
        with redis.Redis.from_url(request.getfixturevalue("redis_url")) as client:
            yield RedisJournal(client)


def begun(
    call: str, micros: int = 100, run: str = "run", day: str = DAY, started_ms: int = 1
) -> CallRecord:
    record = CallRecord.begin(
        run,
        call,
        "quick_scan",
        REQUEST,
        prompt_version="1",
        started_ms=started_ms,
        reserved_usd_micros=micros,
    )
    return replace(record, day=day)


def reserve(
    journal: Journal, record: CallRecord, cap: int = CAP, day_cap: int = 10 * CAP
) -> CallRecord | None:
    return journal.reserve(record, PROMPT, Caps(cap, day_cap))


def settle(journal: Journal, record: CallRecord, actual: int, text: str = "hello") -> CallRecord:
    return journal.settle(record.settled(replace(REPLY, text=text), Charge(actual, actual), 5))


def amounts(journal: Journal, run: str = "run", day: str = DAY) -> tuple[int, int, int, int]:
    """(spent, reserved, unknown, unknown calls) of the run; the day's must add up to the same."""
    state = journal.state(run, day)
    both = [
        (a.spent_usd_micros, a.reserved_usd_micros, a.unknown_usd_micros, a.unknown_calls)
        for a in (state.run, state.day)
    ]
    assert both[0] == both[1]
    return both[0]


def test_a_settled_call_frees_what_it_did_not_use_and_is_found_again(journal: Journal) -> None:
    held = begun("a")
    assert journal.lookup("run", "a") is None
    assert reserve(journal, held) is None
    assert amounts(journal) == (0, 100, 0, 0)
    settle(journal, held, 30)
    assert amounts(journal) == (30, 0, 0, 0)
    found = journal.lookup("run", "a")
    assert found is not None
    assert found.status is CallStatus.SETTLED
    assert found.reply == REPLY
    assert found.cost_usd_micros == 30
    assert journal.lookup("other run", "a") is None


def test_repeating_a_step_changes_nothing(journal: Journal) -> None:
    held = begun("a")
    for _ in range(3):
        reserve(journal, held)
    assert amounts(journal) == (0, 100, 0, 0)
    for _ in range(3):
        settle(journal, held, 30)
    journal.release(held)
    journal.lose(held)
    journal.cancel(held)
    assert amounts(journal) == (30, 0, 0, 0)


@pytest.mark.parametrize("cap_of", ["run", "day"])
def test_what_does_not_fit_is_refused_and_leaves_no_trace(journal: Journal, cap_of: str) -> None:
    caps = (150, 10_000) if cap_of == "run" else (10_000, 150)
    first, second = begun("a"), begun("b", 51)
    reserve(journal, first, *caps)
    settle(journal, first, 100)
    with pytest.raises(BudgetExhausted, match=rf"the {cap_of}'s budget of \$0.00015 has \$0.00005"):
        reserve(journal, second, *caps)
    assert amounts(journal) == (100, 0, 0, 0)
    assert [record.call_id for record in journal.calls("run")] == ["a"]
    assert reserve(journal, begun("c", 50), *caps) is None  # exactly what is left


def test_a_budget_held_by_calls_under_way_is_worth_waiting_for(journal: Journal) -> None:
    first = begun("a")
    reserve(journal, first, cap=150)
    with pytest.raises(RetryLater) as refused:
        reserve(journal, begun("b"), cap=150)
    assert not refused.value.counts
    settle(journal, first, 10)
    assert reserve(journal, begun("b"), cap=150) is None


@pytest.mark.parametrize("kind", ["memory", "redis"])
def test_a_budget_held_by_calls_long_dead_is_gone(kind: str) -> None:
    journal: Journal = MemoryJournal(hold_s=0)
    if kind == "redis":
        journal = RedisJournal(fakeredis.FakeRedis(), hold_s=0)
    reserve(journal, begun("a"), cap=150)
    with pytest.raises(BudgetExhausted):
        reserve(journal, begun("b"), cap=150)


def test_without_redis_there_are_no_calls() -> None:
    server = fakeredis.FakeServer()
    journal = RedisJournal(fakeredis.FakeRedis(server=server))
    server.connected = False
    held = begun("a")
    for attempt in (
        lambda: journal.lookup("run", "a"),
        lambda: reserve(journal, held),
        lambda: settle(journal, held, 1),
        lambda: journal.state("run", DAY),
    ):
        with pytest.raises(RetryLater, match="does not answer") as raised:
            attempt()
        assert not raised.value.counts


def test_a_dead_callers_money_stays_spent_and_its_retry_reserves_anew(journal: Journal) -> None:
    reserve(journal, begun("a"))
    again = begun("a")
    reserve(journal, again)
    assert amounts(journal) == (0, 100, 100, 1)
    settle(journal, again, 40)
    assert amounts(journal) == (40, 0, 100, 1)
    statuses = sorted(record.status for record in journal.calls("run"))
    assert statuses == [CallStatus.SETTLED, CallStatus.UNKNOWN]


def test_yesterdays_dead_call_stays_on_yesterdays_account(journal: Journal) -> None:
    reserve(journal, begun("a", day="2026-11-21"))
    reserve(journal, begun("a", day=DAY))
    assert journal.state("run", "2026-11-21").day.unknown_usd_micros == 100
    assert journal.state("run", "2026-11-21").day.reserved_usd_micros == 0
    assert journal.state("run", DAY).day.unknown_usd_micros == 0
    assert journal.state("run", DAY).run.committed_usd_micros == 200


def test_two_live_callers_both_pay_and_the_first_reply_counts(journal: Journal) -> None:
    first, second = begun("a"), begun("a")
    reserve(journal, first)
    reserve(journal, second)
    assert settle(journal, second, 50, "from the second").reply_text == "from the second"
    assert settle(journal, first, 60, "from the first").reply_text == "from the second"
    assert amounts(journal) == (110, 0, 0, 0)
    statuses = {record.attempt: record.status for record in journal.calls("run")}
    assert statuses == {first.attempt: CallStatus.DUPLICATE, second.attempt: CallStatus.SETTLED}


def test_a_call_settled_meanwhile_is_not_reserved_again(journal: Journal) -> None:
    first = begun("a")
    reserve(journal, first)
    settle(journal, first, 50)
    answer = reserve(journal, begun("a"))
    assert answer is not None
    assert answer.attempt == first.attempt
    assert amounts(journal) == (50, 0, 0, 0)


def test_failed_lost_and_cancelled_attempts(journal: Journal) -> None:
    failed, lost, cancelled = (begun(call, started_ms=n) for n, call in enumerate("abc"))
    for held in (failed, lost, cancelled):
        reserve(journal, held)
    journal.release(failed.failed("rate_limited", "slow down", 9))
    journal.lose(lost.failed("timeout", "no reply", 9))
    journal.cancel(cancelled)
    assert amounts(journal) == (0, 0, 100, 1)
    records = [(r.call_id, r.status, r.error_class) for r in journal.calls("run")]
    assert records == [
        ("a", CallStatus.FAILED, "rate_limited"),
        ("b", CallStatus.UNKNOWN, "timeout"),
    ]
    assert reserve(journal, begun("b")) is None  # a lost call is not lost twice
    assert amounts(journal) == (0, 100, 100, 1)


def test_a_reply_dearer_than_its_reservation_is_written_down(journal: Journal) -> None:
    held = begun("a")
    reserve(journal, held, cap=100)
    settle(journal, held, 130)
    state = journal.state("run", DAY)
    assert (state.run.spent_usd_micros, state.run.overruns) == (130, 1)
    with pytest.raises(BudgetExhausted):
        reserve(journal, begun("b", 1), cap=100)


def test_the_prompt_is_kept_as_sent(journal: Journal) -> None:
    held = begun("a")
    reserve(journal, held)
    (record,) = journal.calls("run")
    assert record.status is CallStatus.OPEN
    system, user = journal.prompt(record)
    assert system == PROMPT[0]
    assert user.content.startswith("data ünï")


class Caller:
    """Replays a random history of calls against a journal, with the sums worked out by hand."""

    def __init__(self, journal: Journal, cap: int, day_cap: int) -> None:
        self.journal, self.cap, self.day_cap = journal, cap, day_cap
        self.run = f"run-{secrets.token_hex(4)}"
        self.held: dict[int, CallRecord] = {}  # still with a live caller
        self.spent = self.lost = 0

    def step(self, op: str, call: int, micros: int) -> None:
        if op == "reserve":
            held = begun(str(call), micros, self.run)
            try:
                answer = reserve(self.journal, held, self.cap, self.day_cap)
            except (BudgetExhausted, RetryLater):
                answer = None
                self.lost += self.dies(call)
                return
            self.lost += 0 if answer else self.dies(call)
            if not answer:
                self.held[call] = held
        elif call in self.held:
            held = self.held.pop(call)
            if op == "settle":
                paid = min(micros, held.reserved_usd_micros)
                self.spent += paid
                self.journal.settle(held.settled(REPLY, Charge(paid, paid), 5))
            elif op == "release":
                self.journal.release(held)
            elif op == "cancel":
                self.journal.cancel(held)
            else:
                self.lost += held.reserved_usd_micros
                self.journal.lose(held)

    def dies(self, call: int) -> int:
        before = self.held.pop(call, None)
        return before.reserved_usd_micros if before else 0


steps = st.tuples(
    st.sampled_from(["reserve", "reserve", "settle", "release", "lose", "cancel"]),
    st.integers(0, 4),
    st.integers(0, 400),
)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(history=st.lists(steps, max_size=40), cap=st.integers(0, 1_500))
def test_no_history_of_calls_passes_the_cap(
    journal: Journal, history: list[tuple[str, int, int]], cap: int
) -> None:
    caller = Caller(journal, cap, day_cap=10**12)
    for op, call, micros in history:
        caller.step(op, call, micros)
        account = journal.state(caller.run, DAY).run
        assert account.spent_usd_micros == caller.spent
        assert account.unknown_usd_micros == caller.lost
        assert account.reserved_usd_micros == sum(
            h.reserved_usd_micros for h in caller.held.values()
        )
        assert account.committed_usd_micros <= cap
