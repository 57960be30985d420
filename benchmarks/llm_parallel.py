"""Fifty model calls at once against one after another, and what we add to a call.

A server that answers after 35 ms; the whole way of the workers: journal, budget, limiter, breaker
and settlement in a real Redis. The overhead is what a call takes beyond the client's own wait for
the server. The goal of 30 times needs half a millisecond of processor time a call; what Python's
client stack takes (see the overhead) bounds one process at about a third of that.
Run: python benchmarks/llm_parallel.py [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass

import redis
import tornado.httpserver
import tornado.netutil
import tornado.web
from llm_caps import _Uncounted, servers

from alphamill.clock import SystemClock
from alphamill.limits import RedisLimiter, TierGate, tier_pool
from alphamill.llm.breaker import RedisBreaker
from alphamill.llm.call import Call
from alphamill.llm.client import OpenAIChat
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal import RedisJournal
from alphamill.llm.messages import Message
from alphamill.llm.prices import PriceTable
from alphamill.settings import TierSettings

LATENCY_S = 0.035
JOBS = 50
ROUNDS = 7
TIER = TierSettings(
    model="gpt-4o-mini", max_tokens=50, requests_per_minute=10_000_000,
    tokens_per_minute=10_000_000_000,
)  # fmt: skip
PROMPT = (Message("system", "manual " * 2000), Message("user", "data " * 100))


class _Slow(tornado.web.RequestHandler):
    async def post(self) -> None:
        await asyncio.sleep(LATENCY_S)
        usage = {"prompt_tokens": 900, "completion_tokens": 40, "total_tokens": 940}
        choice = {"message": {"role": "assistant", "content": "{}"}, "finish_reason": "stop"}
        self.finish({"model": "gpt-4o-mini", "choices": [choice], "usage": usage})


def _serve(port: multiprocessing.Value) -> None:
    async def run() -> None:
        sockets = tornado.netutil.bind_sockets(0, "127.0.0.1", backlog=256)
        routes = [(r"/v1/chat/completions", _Slow)]
        app = tornado.web.Application(routes, log_function=lambda _: None)
        tornado.httpserver.HTTPServer(app).add_sockets(sockets)
        port.value = sockets[0].getsockname()[1]
        await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def slow_server() -> Iterator[str]:
    """The server in a process of its own, so that it does not share our interpreter."""
    port = multiprocessing.Value("i", 0)
    process = multiprocessing.Process(target=_serve, args=(port,), daemon=True)
    process.start()
    while not port.value:
        time.sleep(0.02)
    try:
        yield f"http://127.0.0.1:{port.value}/v1"
    finally:
        process.kill()
        process.join()


class _Timed:
    """The client, with what it waited for, by thread."""

    def __init__(self, client: OpenAIChat) -> None:
        self._client = client
        self.here = threading.local()

    def complete(self, request: object) -> object:
        started_s = time.perf_counter()
        try:
            return self._client.complete(request)
        finally:
            self.here.waited_s = time.perf_counter() - started_s


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds for all jobs, medians over the rounds; the overhead of one call alone, in ms."""

    one_by_one_s: float
    at_once_s: float
    overhead_ms: float

    @property
    def times_faster(self) -> float:
        return self.one_by_one_s / self.at_once_s


def measure() -> Measured:
    """Alternate both ways, so that a busy moment of the machine meets both."""
    with slow_server() as url, servers(TIER) as (_, redis_url), ThreadPoolExecutor(JOBS) as pool:
        client = redis.Redis.from_url(redis_url)
        timed = _Timed(OpenAIChat(url, None, 30.0))
        gate = TierGate(RedisLimiter(client), tier_pool("quick_scan", url, TIER), 5.0)
        gateway = Gateway(
            timed, PriceTable.shipped(), RedisJournal(client), {"quick_scan": gate},  # type: ignore[arg-type]
            _Uncounted(), SystemClock(), RedisBreaker(client, url),
        )  # fmt: skip
        overheads_s: list[float] = []

        def ask(name: str) -> None:
            call = Call("run", name, "quick_scan", TIER, PROMPT, 10**12, 10**12)
            started_s = time.perf_counter()
            gateway.ask(call)
            overheads_s.append(time.perf_counter() - started_s - timed.here.waited_s)

        list(pool.map(ask, [f"warm-{n}" for n in range(JOBS)]))
        alone: list[float] = []
        at_once: list[float] = []
        overheads_s.clear()
        for number in range(ROUNDS):
            if number < 3:  # it takes long, and varies little
                started_s = time.perf_counter()
                for job in range(JOBS):
                    ask(f"alone-{number}-{job}")
                alone.append(time.perf_counter() - started_s)
                single = list(overheads_s)
            started_s = time.perf_counter()
            list(pool.map(ask, [f"once-{number}-{job}" for job in range(JOBS)]))
            at_once.append(time.perf_counter() - started_s)
            overheads_s[:] = single
        return Measured(
            statistics.median(alone),
            statistics.median(at_once),
            statistics.median(overheads_s) * 1000,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    measured = measure()
    if arguments.json:
        print(json.dumps(asdict(measured)))
    else:
        print(
            f"{JOBS} calls at {LATENCY_S * 1000:.0f} ms: one by one {measured.one_by_one_s:.2f} s, "
            f"at once {measured.at_once_s * 1000:.0f} ms, {measured.times_faster:.1f} times faster "
            f"(goal: 30; the article this began with: 3.3); our overhead "
            f"{measured.overhead_ms:.2f} ms a call, median (wanted: "
            "below 5)"
        )
    sys.exit(measured.times_faster < 3.3 or measured.overhead_ms >= 5)


if __name__ == "__main__":
    main()
