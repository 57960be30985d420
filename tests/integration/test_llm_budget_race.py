"""Many threads, one real server, one dollar: never a micro-dollar over."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import redis

from alphamill.errors import RetryLater
from alphamill.llm.charges import Charge
from alphamill.llm.journal.budget import BudgetExhausted, Caps
from alphamill.llm.journal.records import CallRecord, CallStatus
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import ChatReply, ChatRequest, Message, TokenUsage

DAY = "1970-01-01"
ONE_DOLLAR = 1_000_000
PROMPT = (Message("user", "data"),)
REQUEST = ChatRequest("gpt-4.1", PROMPT, max_tokens=100)
REPLY = ChatReply("hello", "stop", "gpt-4.1", TokenUsage(10, 0, 3), 7, "gpt-4.1")


class Spent(NamedTuple):
    """What one caller saw; amounts in micro-dollars."""

    settled: int
    lost: int
    committed: list[int]  # the run's account, read after each reservation that was granted
    exhausted: bool


def spend(url: str, seed: int) -> Spent:
    """One caller that goes on until the dollar is gone."""
    rng, settled, lost = random.Random(seed), 0, 0
    committed: list[int] = []
    with redis.Redis.from_url(url) as client:
        journal = RedisJournal(client)
        for number in range(2_000):
            micros = rng.randint(100, 20_000)
            record = CallRecord.begin(
                "run",
                f"{seed}-{number}",
                "quick_scan",
                REQUEST,
                prompt_version="1",
                started_ms=number,
                reserved_usd_micros=micros,
            )
            try:
                journal.reserve(record, PROMPT, Caps(ONE_DOLLAR, 10 * ONE_DOLLAR))
            except BudgetExhausted:
                return Spent(settled, lost, committed, True)
            except RetryLater:
                continue
            committed.append(journal.state("run", DAY).run.committed_usd_micros)
            outcome = rng.random()
            if outcome < 0.8:
                actual = rng.randint(0, micros)
                journal.settle(record.settled(REPLY, Charge(actual, actual), number))
                settled += actual
            elif outcome < 0.9:
                journal.release(record)
            else:
                journal.lose(record)
                lost += micros
    return Spent(settled, lost, committed, False)


def test_sixteen_threads_never_pass_one_dollar(redis_url: str) -> None:
    with ThreadPoolExecutor(16) as pool:
        callers = list(pool.map(lambda seed: spend(redis_url, seed), range(16)))

    with redis.Redis.from_url(redis_url) as client:
        journal = RedisJournal(client)
        account = journal.state("run", DAY).run
        records = list(journal.calls("run"))
    assert account.spent_usd_micros == sum(caller.settled for caller in callers)
    assert account.unknown_usd_micros == sum(caller.lost for caller in callers)
    assert account.reserved_usd_micros == 0
    assert account.committed_usd_micros <= ONE_DOLLAR
    watched = [micros for caller in callers for micros in caller.committed]
    assert 0 < max(watched) <= ONE_DOLLAR
    assert account.committed_usd_micros > 0.97 * ONE_DOLLAR  # and the dollar was there to use
    assert any(caller.exhausted for caller in callers)
    paid = [r.cost_usd_micros or 0 for r in records if r.status is CallStatus.SETTLED]
    assert sum(paid) == account.spent_usd_micros
