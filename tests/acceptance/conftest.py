"""Real processes of the `alphamill` command, and a search for whatever they left behind."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
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
from alphamill.sim.market import COINS, DEFAULT_START_MS, SyntheticMarket, generate
from tests.deadlines import end_s, slowness, wait_for
from tests.loopback import listens

REPOSITORY = Path(__file__).resolve().parents[2]
HOUR_MS = 3_600_000
SMALL_BARS = 2500


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without any setting of ours."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ALPHAMILL_")}
    return {**kept, "COLUMNS": "200", "NO_COLOR": "1", "PYTHONPATH": str(REPOSITORY), **more}


def living(home: Path) -> dict[int, str]:
    """Process id and command line of all that know this home by that, folder or environment."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() == psutil.STATUS_ZOMBIE or process.pid == os.getpid():
                continue
            words = process.cmdline()
            known = [*words, process.cwd(), *process.environ().values()]
            if any(str(home) in text for text in known):
                found[process.pid] = " ".join(words)
    return found


class Command:
    """One `alphamill ...` process, what it said, and everything that it started."""

    def __init__(self, home: Path, arguments: Sequence[str], **environment: str) -> None:
        self.home, self.name = home, " ".join(("alphamill", *arguments))[:60]
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

    def until(self, condition: Callable[[], object], what: str, within_s: float) -> None:
        """Wait while the process lives; fail with its words when it ends or is late."""

        def came() -> object:
            ended = self.process.poll() is not None
            if not (found := condition()) and ended:
                pytest.fail(f"{self.name} ended without {what}; there was: {self.state()}")
            return found

        wait_for(came, what, self.state, within_s=within_s)

    def wait(self, within_s: float | None = None) -> int:
        """The exit code; meanwhile looks around every second.

        within_s: `work_s()` unless given.
        """

        def ended() -> bool:
            self.look()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1.0)
            return self.process.returncode is not None

        wait_for(ended, f"the end of {self.name}", self.state, within_s=within_s)
        return self.process.returncode

    def send(self, which: signal.Signals) -> int:
        """Signal it and wait for its end."""
        self.look()
        self.process.send_signal(which)
        return self.wait(end_s())

    def expect_nothing_left(self) -> None:
        """It has cleaned up: no process, port or address file of it is there."""
        moment_s = 5 * slowness()  # the kernel may need one to bury the last process
        self.until_gone(moment_s)
        assert not (self.home / "redis.url").exists()

    def until_gone(self, within_s: float) -> None:
        """Wait for the last process and port of a command that could not clean up."""

        def left() -> list[str]:
            processes = [f"{pid} {words[:120]}" for pid, words in living(self.home).items()]
            return processes + [f"port {port}" for port in sorted(self.ports) if listens(port)]

        what = f"the last of {self.name} to go"
        wait_for(lambda: not left(), what, left, within_s=within_s, poll_s=0.2)

    def state(self) -> str:
        """What it has said, and what its newest run has done."""
        with suppress(FileNotFoundError, RetryLater):
            runs = [f"{run.id} {run.state}: {run.counts}" for run in self.ledger().runs()[:1]]
            return "\n".join([*runs, self.out[-2000:], self.err[-2000:]])
        return f"exit code {self.process.poll()}\n{self.out[-2000:]}\n{self.err[-2000:]}"

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
                self.process.wait(end_s())
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in living(self.home):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


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
