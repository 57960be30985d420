"""Real processes of the `alphamill` command, and a search for whatever they left behind."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import redis

from alphamill.errors import RetryLater
from alphamill.ledger import RedisLedger
from alphamill.settings import LedgerSettings
from alphamill.sim.market.synthetic import COINS, DEFAULT_START_MS, SyntheticMarket, generate

REPOSITORY = Path(__file__).resolve().parents[2]
HOUR_MS = 3_600_000
SMALL_BARS = 2500


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without any setting of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ALPHAMILL_")}
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": str(REPOSITORY), **more}


def living(home: Path) -> list[psutil.Process]:
    """Processes that know this home by their command line, folder or environment."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            known = [*process.cmdline(), process.cwd(), *process.environ().values()]
            if any(str(home) in text for text in known):
                found.append(process)
    return found


def answering(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Command:
    """One `alphamill ...` process, what it said, and everything that it started."""

    def __init__(self, home: Path, arguments: Sequence[str], **environment: str) -> None:
        self.home = home
        self._out = home.with_name(f"{home.name}.{time.monotonic_ns()}.out")
        self._err = self._out.with_suffix(".err")
        self.ports: set[int] = set()
        self.pids: set[int] = set()
        self.started_s = time.monotonic()
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "producers.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                cwd=home.parent,
                env=clean_environment(**environment),
            )

    @property
    def out(self) -> str:
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self._err.read_text(encoding="utf-8")

    def look(self) -> None:
        """Note the processes below this one and the ports that they listen on."""
        with suppress(psutil.Error):
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self.pids.add(child.pid)
                with suppress(psutil.Error):
                    self.ports |= {
                        connection.laddr.port
                        for connection in child.net_connections(kind="inet")
                        if connection.status == psutil.CONN_LISTEN
                    }

    def until(self, condition: Callable[[], object], timeout_s: float, what: str) -> None:
        """Wait while the process lives; fail with its words when it ends or is late."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{what} did not come\n{self.out[-2000:]}\n{self.err[-2000:]}")
            time.sleep(0.1)

    def wait(self, timeout_s: float) -> int:
        """The exit code; meanwhile looks around every second."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.look()
            with suppress(subprocess.TimeoutExpired):
                return self.process.wait(1.0)
        pytest.fail(f"still running after {timeout_s:g} s\n{self.err[-2000:]}")

    def send(self, which: signal.Signals, timeout_s: float = 30.0) -> int:
        """Signal it and wait for its end."""
        self.look()
        self.process.send_signal(which)
        return self.wait(timeout_s)

    def until_gone(self, timeout_s: float) -> None:
        """Wait for the last process and port of a command that could not clean up."""
        deadline = time.monotonic() + timeout_s
        while living(self.home) or any(answering(port) for port in self.ports):
            if time.monotonic() > deadline:
                pytest.fail(f"still there after {timeout_s:g} s: {self.leftovers()}")
            time.sleep(0.1)

    def leftovers(self) -> str:
        """What is still there of it, in words; "" when nothing is."""
        deadline = time.monotonic() + 5  # the kernel may need a moment to bury the last one
        while True:
            processes = living(self.home)
            ports = sorted(port for port in self.ports if answering(port))
            files = [name for name in ("redis.url",) if (self.home / name).exists()]
            if not (processes or ports or files) or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        told = [f"{process.pid} {' '.join(process.cmdline())[:120]}" for process in processes]
        return "; ".join([*told, *(f"port {port}" for port in ports), *files])

    def ledger(self) -> RedisLedger:
        """The ledger of the stack that runs in this home."""
        url = (self.home / "redis.url").read_text(encoding="ascii")
        return RedisLedger(redis.Redis.from_url(url), LedgerSettings())

    def reached(self, stage: str, state: str = "running") -> bool:
        """Whether a job of the stage of the newest run is in that state."""
        try:
            runs = self.ledger().runs()
        except (FileNotFoundError, RetryLater):  # not up yet, or down: `until` says which
            return False
        return bool(runs) and runs[0].counts.get(stage, {}).get(state, 0) > 0

    def end(self) -> None:
        """Stop it, whatever it takes: a failed test must not leave a stack behind."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(30)
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for process in living(self.home):
            with suppress(psutil.Error):
                process.kill()


Launch = Callable[..., Command]


def _launcher(stack: ExitStack) -> Launch:
    def launch(home: Path, *arguments: str, **environment: str) -> Command:
        command = Command(home, arguments, **environment)
        stack.callback(command.end)
        return command

    return launch


@pytest.fixture(scope="module")
def launch() -> Iterator[Launch]:
    """`launch(home, *arguments, **environment)` starts `alphamill ...`; ended with the module."""
    with ExitStack() as stack:
        yield _launcher(stack)


@pytest.fixture(scope="session")
def small_market(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of recordings of four symbols over 2,500 hours, without a pattern in them."""
    folder = tmp_path_factory.mktemp("recordings")
    end_ms = DEFAULT_START_MS + SMALL_BARS * HOUR_MS
    market = SyntheticMarket(coins=COINS[:4], end_ms=end_ms, planted=())
    for symbol, bars in generate(market).items():
        columns = {name: getattr(bars, name) for name in bars.__slots__ if name != "open_ms"}
        table = pa.table({"open_time": bars.open_ms, **columns})
        pq.write_table(table, folder / f"{symbol}-1h.parquet")
    return folder


@pytest.fixture(scope="session")
def wait_for_long() -> Callable[[Callable[[], object], float, str], None]:
    """`wait_for_long(condition, timeout_s, what)`: poll ten times a second, fail when late."""

    def wait(condition: Callable[[], object], timeout_s: float, what: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"waited {timeout_s:g} s for {what}")
            time.sleep(0.1)

    return wait


@pytest.fixture(scope="session")
def list_price() -> Callable[[Mapping[str, Any], Mapping[str, float]], int]:
    """`list_price(call, prices)`: micro-dollars of a settled call, added up apart from the code.

    prices: USD per million tokens, as prices.toml and the settings have them.
    """

    def micros(call: Mapping[str, Any], prices: Mapping[str, float]) -> int:
        def rate(name: str) -> Fraction:
            return Fraction(str(prices.get(name, prices["input"])))

        cached, written = call["cached_tokens"], call["cache_write_tokens"]
        fresh = call["prompt_tokens"] - cached - written
        return math.ceil(
            fresh * rate("input")
            + cached * rate("cached_input")
            + written * rate("cache_write")
            + call["completion_tokens"] * rate("output")
        )

    return micros
