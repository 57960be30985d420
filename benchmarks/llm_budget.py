"""A $1.00 budget, 64 workers, 10,000 calls of random cost, and processes that are killed.

The provider is a stand-in that counts every request, under a key of its own, before it answers:
what it was asked is not taken from the accounts that are examined. Four processes of sixteen
threads work; one after another is killed with SIGKILL and started again, from its first call on.
The run's account is sampled throughout. Then every answered call is asked again.
Run: python benchmarks/llm_budget.py [--calls N] [--kills N] [--json]
"""

# ruff: noqa: S311 - chance makes costs and victims here, no secrets

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import redis
from llm_caps import _Uncounted, servers

from alphamill.errors import AlphamillError, RetryLater
from alphamill.limits import OpenGate
from alphamill.llm.call import Call
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.budget import BudgetExhausted, Caps, utc_day
from alphamill.llm.journal.records import CallStatus
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import ChatReply, ChatRequest, Message, TokenUsage
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import OneEndpoint
from alphamill.settings import TierSettings

CAP = 1_000_000
PROCESSES, THREADS = 4, 16
WORK_S = 900.0
TIER = TierSettings(model="gpt-4o", max_tokens=60)
RUN = "budget"
SENT = "provider:sent"


class CountingProvider:
    """Counts a request, then answers with random usage; some requests fail, some unseen."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client

    def complete(self, request: ChatRequest) -> ChatReply:
        name = request.messages[0].content
        self._client.hincrby(SENT, name, 1)
        time.sleep(random.uniform(0.001, 0.01))
        usage = TokenUsage(random.randint(5, 20), 0, random.randint(1, request.max_tokens))
        return ChatReply("{}", "stop", request.model, usage, 5, request.model)


def gateway(client: redis.Redis) -> Gateway:
    """The real journal and budget before the stand-in."""
    prices = PriceTable.shipped()
    routes = OneEndpoint(CountingProvider(client), prices, {"quick_scan": OpenGate()})  # type: ignore[arg-type,dict-item]
    return Gateway(routes, prices, RedisJournal(client), _Uncounted())


def call_named(name: str) -> Call:
    """One of the run's calls."""
    message = Message("user", name)
    return Call(RUN, name, "quick_scan", TIER, (message,), Caps(CAP, 10**12))


def work(share: int, calls: int, redis_url: str) -> Counter[str]:
    """Ask every PROCESSES-th call, each until it is answered or the budget is gone."""
    client = redis.Redis.from_url(redis_url)
    model, outcomes = gateway(client), Counter[str]()

    def ask(number: int) -> None:
        call = call_named(f"call-{number}")
        for _ in range(20):
            try:
                answer = model.ask(call)
                outcomes["replayed" if answer.replayed else "paid"] += 1
                return
            except BudgetExhausted:
                outcomes["refused"] += 1
                return
            except RetryLater:
                time.sleep(random.uniform(0.005, 0.05))
            except AlphamillError as error:
                outcomes[type(error).__name__] += 1
                return
        outcomes["held"] += 1

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(ask, range(share, calls, PROCESSES)))
    return outcomes


@dataclass(frozen=True, slots=True)
class Measured:
    """Micro-dollars and counts; paid_again: settled calls that the provider saw once too often."""

    highest: int
    samples: int
    spent: int
    unknown: int
    unknown_calls: int
    settled: int
    kills: int
    paid_again: int

    @property
    def held(self) -> bool:
        return self.highest <= CAP and self.paid_again == 0


class _Watcher(threading.Thread):
    """Samples the run's account until told to stop."""

    def __init__(self, redis_url: str) -> None:
        super().__init__(daemon=True)
        self._journal = RedisJournal(redis.Redis.from_url(redis_url))
        self.done = threading.Event()
        self.highest = self.samples = 0

    def run(self) -> None:
        while not self.done.is_set():
            account = self._journal.state(RUN, utc_day(int(time.time() * 1000))).run
            self.highest = max(self.highest, account.committed_usd_micros)
            self.samples += 1
            time.sleep(0.002)


def measure(calls: int, kills: int) -> Measured:
    """Work with kills, then everything once more without, then the accounts."""
    with servers(TIER) as (_, redis_url):
        watcher = _Watcher(redis_url)
        watcher.start()
        killed = _work_and_kill(calls, kills, redis_url)
        client = redis.Redis.from_url(redis_url)
        journal = RedisJournal(client)
        before = {k: int(v) for k, v in client.hgetall(SENT).items()}
        answered = {r.call_id for r in journal.calls(RUN) if r.status is CallStatus.SETTLED}
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(lambda name: gateway(client).ask(call_named(name)), answered))
        watcher.done.set()
        watcher.join()
        after = {k: int(v) for k, v in client.hgetall(SENT).items()}
        again = sum(after[n.encode()] > before[n.encode()] for n in answered)
        records = list(journal.calls(RUN))
        account = journal.state(RUN, utc_day(int(time.time() * 1000))).run
        paid = sum(r.cost_usd_micros or 0 for r in records if r.cost_usd_micros is not None)
        if paid != account.spent_usd_micros:
            raise AssertionError(f"the journal adds up to {paid}, not {account.spent_usd_micros}")
        return Measured(
            watcher.highest,
            watcher.samples,
            account.spent_usd_micros,
            account.unknown_usd_micros,
            account.unknown_calls,
            account.settled_calls,
            killed,
            again,
        )


def _work_and_kill(calls: int, kills: int, redis_url: str) -> int:
    def start(share: int) -> subprocess.Popen[bytes]:
        arguments = ["--work", str(share), str(calls), redis_url]
        return subprocess.Popen([sys.executable, __file__, *arguments])

    workers = [start(share) for share in range(PROCESSES)]
    killed, deadline = 0, time.monotonic() + WORK_S
    client = redis.Redis.from_url(redis_url)
    while any(worker.poll() is None for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.25)
        alive = [share for share, worker in enumerate(workers) if worker.poll() is None]
        if killed < kills and alive and client.hlen(SENT) > 50 * (killed + 1):
            share = random.choice(alive)
            workers[share].kill()
            workers[share].wait()
            workers[share] = start(share)
            killed += 1
    for worker in workers:
        worker.kill()
        worker.wait()
    return killed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        share, calls, redis_url = arguments.work
        work(int(share), int(calls), redis_url)
        return
    measured = measure(arguments.calls, arguments.kills)
    if arguments.json:
        print(json.dumps(asdict(measured)))
    else:
        print(
            f"{arguments.calls:,} calls, {PROCESSES * THREADS} workers, {measured.kills} kills: "
            f"spent ${measured.spent / 1e6:.6f}, possibly billed ${measured.unknown / 1e6:.6f} in "
            f"{measured.unknown_calls} calls, highest of {measured.samples:,} samples "
            f"${measured.highest / 1e6:.6f} (cap $1); {measured.settled:,} settled calls, "
            f"{measured.paid_again} of them paid again on resuming (wanted: 0)"
        )
    sys.exit(not measured.held)


if __name__ == "__main__":
    main()
