"""Many threads, one real server, one dollar: never a micro-dollar over."""

from __future__ import annotations

import random
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor

import redis

from alphamill.errors import RetryLater
from alphamill.llm.budget import BudgetExhausted, Reservation
from alphamill.llm.journal import RedisJournal
from alphamill.llm.messages import ChatReply, ChatRequest, Message, TokenUsage
from alphamill.llm.records import CallRecord, CallStatus

DAY = "2026-11-22"
ONE_DOLLAR = 1_000_000
PROMPT = (Message("user", "data"),)
REQUEST = ChatRequest("gpt-4.1", PROMPT, max_tokens=100)
REPLY = ChatReply("hello", "stop", "gpt-4.1", TokenUsage(10, 0, 3), 7, "gpt-4.1")


def spend(url: str, seed: int) -> tuple[int, int, bool]:
    """(settled, lost) micros of one caller that goes on until the dollar is gone."""
    rng, settled, lost = random.Random(seed), 0, 0
    with redis.Redis.from_url(url) as client:
        journal = RedisJournal(client)
        for number in range(2_000):
            micros = rng.randint(100, 20_000)
            held = Reservation("run", DAY, f"{seed}-{number}", secrets.token_hex(8), micros)
            record = CallRecord.begin(held, "quick_scan", REQUEST, "1", number)
            try:
                journal.reserve(held, record, PROMPT, ONE_DOLLAR, 10 * ONE_DOLLAR)
            except BudgetExhausted:
                return settled, lost, True
            except RetryLater:
                continue
            outcome = rng.random()
            if outcome < 0.8:
                actual = rng.randint(0, micros)
                journal.settle(held, record.settled(REPLY, actual, number))
                settled += actual
            elif outcome < 0.9:
                journal.release(held, record)
            else:
                journal.lose(held, record)
                lost += micros
    return settled, lost, False


def test_sixteen_threads_never_pass_one_dollar(redis_url: str) -> None:
    highest, done = [0, 0], threading.Event()

    def watch() -> None:
        with redis.Redis.from_url(redis_url) as client:
            journal = RedisJournal(client)
            while not done.is_set():
                highest[0] = max(highest[0], journal.state("run", DAY).run.committed_usd_micros)
                highest[1] += 1

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(16) as pool:
        sums = list(pool.map(lambda seed: spend(redis_url, seed), range(16)))
    done.set()
    watcher.join()

    with redis.Redis.from_url(redis_url) as client:
        journal = RedisJournal(client)
        account = journal.state("run", DAY).run
        records = list(journal.calls("run"))
    assert account.spent_usd_micros == sum(settled for settled, _, _ in sums)
    assert account.unknown_usd_micros == sum(lost for _, lost, _ in sums)
    assert account.reserved_usd_micros == 0
    assert account.committed_usd_micros <= ONE_DOLLAR
    assert 0 < highest[0] <= ONE_DOLLAR
    assert highest[1] > 20  # it was watched while it happened
    assert account.committed_usd_micros > 0.97 * ONE_DOLLAR  # and the dollar was there to use
    assert any(exhausted for _, _, exhausted in sums)
    paid = [r.cost_usd_micros or 0 for r in records if r.status is CallStatus.SETTLED]
    assert sum(paid) == account.spent_usd_micros
