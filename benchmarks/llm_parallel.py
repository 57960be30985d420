"""Fifty model calls at once against one after another, and what we add to a call.

The whole way of the workers: journal, budget, limiter, breaker, settlement and usage in a real
Redis, in one process of 50 threads and in two of 25. The server, in a process of its own, answers
every POST with the same completion after 35 ms; since the claim is about our side it does no more,
and what it takes with the least client that can be written (one thread, 50 open sockets) is
measured beside it. The overhead is what a call takes beyond the client's own wait for the server.
Everything shares the machine's cores, so the processor time of a call is told by who takes it, with
what a wave would take if nothing were computed while others wait: the latency, and that time of all
calls over all cores.
Run: python benchmarks/llm_parallel.py [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import selectors
import socket
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Any

import redis
from llm_caps import servers

from alphamill.clock import SystemClock
from alphamill.limits import RedisLimiter, TierGate, tier_pool
from alphamill.llm.breaker.redis import RedisBreaker
from alphamill.llm.call import Call
from alphamill.llm.endpoint.client import OpenAIChat
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.budget import Caps
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import ChatReply, ChatRequest, Message
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import OneEndpoint
from alphamill.redis_pipelining import PipelinedRedis
from alphamill.settings import TierSettings
from alphamill.usage import RedisUsage

LATENCY_S = 0.035
JOBS = 50
ROUNDS = 9
WAVES = 20  # and one before them, told apart
ALONE_ROUNDS = 3  # they take long, and vary little
PROCESSES = (1, 2)
CORES = len(os.sched_getaffinity(0))
TIER = TierSettings(
    model="gpt-4o-mini",
    max_tokens=50,
    requests_per_minute=10_000_000,
    tokens_per_minute=10_000_000_000,
    concurrency=1000,
)
PROMPT = (Message("system", "manual " * 2000), Message("user", "data " * 100))
_CHOICE = {"message": {"role": "assistant", "content": "{}"}, "finish_reason": "stop"}
_USAGE = {"prompt_tokens": 1300, "completion_tokens": 40, "total_tokens": 1340}
_REPLY = json.dumps({"model": "gpt-4o-mini", "choices": [_CHOICE], "usage": _USAGE}).encode()
_CANNED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(_REPLY)
) + _REPLY


class _Slow(asyncio.Protocol):
    """Keep-alive POSTs, one at a time a connection, each answered after LATENCY_S."""

    def __init__(self, cpu_s: Any) -> None:
        self._cpu_s = cpu_s

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._head, self._missing = b"", 0

    def data_received(self, data: bytes) -> None:
        if self._missing:
            self._missing -= len(data)
        else:
            self._head += data
            head, found, body = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            at = head.lower().index(b"content-length:") + 15
            self._missing = int(head[at:].split(b"\r\n", 1)[0]) - len(body)
        if self._missing <= 0:
            self._head, self._missing = b"", 0
            asyncio.get_running_loop().call_later(LATENCY_S, self._answer)

    def _answer(self) -> None:
        self._transport.write(_CANNED)
        self._cpu_s.value = time.process_time()


def _serve(port: Any, cpu_s: Any) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Slow(cpu_s), "127.0.0.1", 0, backlog=256)
        port.value = server.sockets[0].getsockname()[1]
        await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def slow_server() -> Iterator[tuple[int, Any]]:
    """The server in a process of its own, so that it does not share our interpreter.

    Its port, and where it tells the processor time that it has taken, in seconds.
    """
    port, cpu_s = multiprocessing.Value("i", 0), multiprocessing.Value("d", 0.0, lock=False)
    process = multiprocessing.Process(target=_serve, args=(port, cpu_s), daemon=True)
    process.start()
    while not port.value:
        time.sleep(0.02)
    try:
        yield port.value, cpu_s
    finally:
        process.kill()
        process.join()


def server_alone_s(port: int) -> float:
    """What fifty requests at once take without a client to speak of; median of a few rounds."""
    body = json.dumps({"messages": [asdict(message) for message in PROMPT]}).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n"
    request = head % len(body) + body
    selector = selectors.DefaultSelector()
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(JOBS)]
    for each in sockets:
        selector.register(each, selectors.EVENT_READ)
    took = []
    for _ in range(ROUNDS):
        started_s, left = time.perf_counter(), JOBS
        for each in sockets:
            each.sendall(request)
        while left:
            for key, _ in selector.select():
                key.fileobj.recv(65_536)  # type: ignore[union-attr]  # an answer fits
                left -= 1
        took.append(time.perf_counter() - started_s)
    for each in sockets:
        each.close()
    return statistics.median(took)


class _Timed:
    """The client, with what it waited for, by thread."""

    def __init__(self, client: OpenAIChat) -> None:
        self._client = client
        self.here = threading.local()

    def complete(self, request: ChatRequest) -> ChatReply:
        started_s = time.perf_counter()
        try:
            return self._client.complete(request)
        finally:
            self.here.waited_s = time.perf_counter() - started_s

    def models(self) -> list[str]:
        return []


class _NoErrors(RedisUsage):
    def record_error(self, *where: object) -> None:
        raise AssertionError(where)


class Worker:
    """One process's gateway, and its threads."""

    def __init__(self, url: str, redis_url: str, threads: int) -> None:
        client = PipelinedRedis.from_url(redis_url)
        self._timed = _Timed(OpenAIChat(url, None, 30.0))
        gate = TierGate(RedisLimiter(client), tier_pool("quick_scan", url, TIER), 5.0)
        prices, breaker = PriceTable.shipped(), RedisBreaker(client, url)
        routes = OneEndpoint(self._timed, prices, {"quick_scan": gate}, breaker)
        usage = _NoErrors(client)
        self._gateway = Gateway(routes, prices, RedisJournal(client), usage, SystemClock())
        self._pool = ThreadPoolExecutor(threads)
        self.overheads_s: list[float] = []

    def ask(self, name: str) -> None:
        call = Call("run", name, "quick_scan", TIER, PROMPT, Caps(10**12, 10**12))
        started_s = time.perf_counter()
        if self._gateway.ask(call).replayed:
            raise AssertionError(f"{name} was asked before")
        waited_s = self._timed.here.waited_s
        self.overheads_s.append(time.perf_counter() - started_s - waited_s)

    def at_once(self, names: list[str]) -> None:
        list(self._pool.map(self.ask, names))


def _work(url: str, redis_url: str, threads: int, orders: Connection) -> None:
    worker = Worker(url, redis_url, threads)
    while names := orders.recv():
        worker.at_once(names)
        orders.send((len(names), time.process_time()))


@contextmanager
def workers(count: int, url: str, redis_url: str) -> Iterator[list[Connection]]:
    """Processes that do the jobs they are sent, each with its share of the threads."""
    ends = [multiprocessing.Pipe() for _ in range(count)]
    processes = [
        multiprocessing.Process(
            target=_work, args=(url, redis_url, JOBS // count, theirs), daemon=True
        )
        for _, theirs in ends
    ]
    for process in processes:
        process.start()
    try:
        yield [ours for ours, _ in ends]
    finally:
        for process in processes:
            process.kill()
            process.join()


@dataclass(frozen=True, slots=True)
class Waves:
    """Fifty calls at once, in ms: the first wave, the median and the best of those after it.

    cpu_ms: processor time of one call after the first wave, by who takes it.
    """

    first_ms: float
    median_ms: float
    best_ms: float
    cpu_ms: dict[str, float]

    @property
    def apart_ms(self) -> float:
        """What a wave would take if all cores computed first and then all calls waited."""
        return LATENCY_S * 1000 + JOBS * sum(self.cpu_ms.values()) / CORES


def at_once(orders: list[Connection], label: str, server_cpu_s: Any, redis_url: str) -> Waves:
    """All jobs at once, dealt to the processes, wave after wave."""
    took, spent = [], []
    with redis.Redis.from_url(redis_url) as client:
        for number in range(WAVES + 1):
            started_s = time.perf_counter()
            for share, order in enumerate(orders):
                order.send([f"{label}-{number}-{job}" for job in range(share, JOBS, len(orders))])
            said = [order.recv() for order in orders]
            took.append((time.perf_counter() - started_s) * 1000)
            if sum(done for done, _ in said) != JOBS:
                raise AssertionError(f"{said} of {JOBS} done")
            if number in (0, WAVES):
                used: Any = client.info("cpu")
                in_redis_s = used["used_cpu_user"] + used["used_cpu_sys"]
                spent.append((sum(cpu_s for _, cpu_s in said), in_redis_s, server_cpu_s.value))
    calls = WAVES * JOBS
    per_call_ms = [(after - before) * 1000 / calls for before, after in zip(*spent, strict=True)]
    cpu_ms = dict(zip(("client", "redis", "server"), per_call_ms, strict=True))
    return Waves(took[0], statistics.median(took[1:]), min(took[1:]), cpu_ms)


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds for all jobs, medians over the rounds; the overhead of one call alone, in ms."""

    one_by_one_s: float
    at_once: dict[int, Waves]  # by processes
    server_alone_s: float
    overhead_ms: float

    def times_faster(self, wave_ms: float) -> float:
        return self.one_by_one_s * 1000 / wave_ms


def measure() -> Measured:
    """One by one in this process; at once in processes of their own."""
    with slow_server() as (port, server_cpu_s), servers(TIER) as (_, redis_url):
        url = f"http://127.0.0.1:{port}/v1"
        bare_s = server_alone_s(port)
        waves = {}
        for count in PROCESSES:
            with workers(count, url, redis_url) as orders:
                waves[count] = at_once(orders, f"once-{count}", server_cpu_s, redis_url)
        worker, alone = Worker(url, redis_url, 1), []
        worker.at_once(["warm"])
        worker.overheads_s.clear()
        for number in range(ALONE_ROUNDS):
            started_s = time.perf_counter()
            worker.at_once([f"alone-{number}-{job}" for job in range(JOBS)])
            alone.append(time.perf_counter() - started_s)
        overhead_ms = statistics.median(worker.overheads_s) * 1000
        return Measured(statistics.median(alone), waves, bare_s, overhead_ms)


def tell(measured: Measured) -> None:
    """For people."""
    print(
        f"{JOBS} calls at {LATENCY_S * 1000:.0f} ms: one by one {measured.one_by_one_s:.2f} s; the "
        f"server alone takes {measured.server_alone_s * 1000:.0f} ms for them; our overhead "
        f"{measured.overhead_ms:.2f} ms a call, median (wanted: below 5)"
    )
    faster = measured.times_faster
    for count, waves in measured.at_once.items():
        told = ", ".join(f"{who} {ms:.2f}" for who, ms in waves.cpu_ms.items())
        print(
            f"in {count} process{'es' if count > 1 else ''}, {WAVES} waves: median "
            f"{waves.median_ms:.0f} ms ({faster(waves.median_ms):.1f} times faster), best "
            f"{waves.best_ms:.0f} ({faster(waves.best_ms):.1f}), the first before them "
            f"{waves.first_ms:.0f}; processor time a call, ms: {told}; {CORES} cores would take "
            f"{waves.apart_ms:.0f} ms ({faster(waves.apart_ms):.1f}) if nothing were computed "
            "while others wait"
        )
    print("(goal: 30 times by the median; the article this began with: 3.3)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    measured = measure()
    if arguments.json:
        print(json.dumps(asdict(measured)))
    else:
        tell(measured)
    best = max(measured.times_faster(waves.median_ms) for waves in measured.at_once.values())
    sys.exit(best < 30 or measured.overhead_ms >= 5)


if __name__ == "__main__":
    main()
