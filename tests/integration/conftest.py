"""A mill of real processes for the tests of the queue: Celery workers, a simulated exchange, Redis.

The test process submits through `workers.flows`, as producers do; nothing here is in-process but
the exchange, whose counts a test reads directly.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import redis

from alphamill.frames import Interval, Market, months_between
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake, Series, load_partition
from alphamill.lake.months import content_hash
from alphamill.ledger import RedisLedger, RunRecord
from alphamill.ledger.presence import Presence
from alphamill.redis_address import for_celery, open_client
from alphamill.settings import Settings, load_settings
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer, Fault, Limits
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named
from alphamill.stack.pools import POOLS, worker_arguments
from tests.deadlines import end_s, slowness, stack_s, wait_for, wait_for_all
from workers import flows
from workers.app import app

REPOSITORY = Path(__file__).resolve().parents[2]
JAN_2023_MS = 1_672_531_200_000
AMPLE = Limits(weight=10_000_000, requests=None)


def symbols_numbered(count: int) -> tuple[str, ...]:
    """AAAUSDT, AABUSDT, ..."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    return tuple(f"A{letters[i // 26]}{letters[i % 26]}USDT" for i in range(count))


def market_of(symbols: int, months: int, interval: Interval = Interval.D1) -> SyntheticMarket:
    """So many symbols over so many whole months from January 2023."""
    days = np.datetime64("2023-01", "M") + months
    end_ms = int(days.astype("datetime64[ms]").astype(np.int64))
    coins = coins_named(symbols_numbered(symbols))
    return SyntheticMarket(
        coins=coins, interval=interval, start_ms=JAN_2023_MS, end_ms=end_ms, planted=()
    )


@dataclass(frozen=True, slots=True)
class Process:
    """A program that leads a process group of its own."""

    name: str  # as the worker announces itself, without the host
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def kill(self) -> None:
        """SIGKILL to the whole group: the worker and all its children at once."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        self.popen.wait()

    def terminate(self) -> int:
        """SIGTERM to the leader, as an operator sends it; its exit code."""
        self.popen.terminate()
        what = f"the end of {self.name}"
        wait_for(lambda: self.popen.poll() is not None, what, self.last_words, within_s=end_s())
        return self.popen.returncode

    def last_words(self) -> str:
        """The end of its log."""
        return f"{self.name}: ...{self.log.read_text(errors='replace')[-1500:]}"


@dataclass(slots=True)
class FinishLog:
    """Every FINISH that the Redis server accepted, as the server's MONITOR tells it.

    A result is written inside the script once the token has been accepted, so that each line is one
    accepted FINISH, whatever the ledger's own counters say.
    """

    finished: Counter[str] = field(default_factory=Counter)
    _line = re.compile(rb'"HSET" "alphamill:\{[^}]*\}:results" "([^"]+)"')

    def follow(self, connection: socket.socket) -> None:
        """Read until the connection is shut down."""
        with connection.makefile("rb") as lines:
            for line in lines:
                if found := self._line.search(line):
                    self.finished[found[1].decode()] += 1

    @contextmanager
    def of(self, redis_url: str) -> Iterator[FinishLog]:
        """Follow the server while the block runs."""
        where = urlsplit(redis_url)
        with socket.create_connection((where.hostname, where.port)) as connection:
            connection.sendall(b"MONITOR\r\n")
            reader = threading.Thread(target=self.follow, args=(connection,), daemon=True)
            reader.start()
            try:
                yield self
            finally:
                connection.sendall(b"QUIT\r\n")  # what was told before comes before its answer
                reader.join(end_s())


class Mill:
    """One exchange, one home, one configuration, and the worker processes of a test."""

    def __init__(
        self,
        home: Path,
        redis_url: str,
        exchange: ExchangeServer,
        source: SyntheticSource,
        toml: str,
        patch: pytest.MonkeyPatch,
    ) -> None:
        self.home, self.exchange, self.source = home, exchange, source
        config = home / "mill.toml"
        config.write_text(toml, encoding="utf-8")
        self.env = {
            "ALPHAMILL_HOME": str(home),
            "ALPHAMILL_CONFIG": str(config),
            "ALPHAMILL_REDIS_URL": redis_url,
            "ALPHAMILL_BINANCE_URL": exchange.url,
            "ALPHAMILL_BINANCE_UM_URL": exchange.url,
        }
        self.settings: Settings = load_settings(self.env)
        self.redis = open_client(redis_url)
        self.ledger = RedisLedger(self.redis, self.settings.ledger)
        self.presence = Presence(self.redis)
        self.lake = Lake(self.settings.lake_uri)
        self._processes: list[Process] = []
        self._patch = patch
        self.bind()

    def start(self, name: str, command: Sequence[str]) -> Process:
        """A program with this mill's environment and no other ALPHAMILL or CELERY variable."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ALPHAMILL", "CELERY"))}
        log = self.home / f"{len(self._processes):02d}-{name}.log"
        with log.open("wb") as file:
            popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self.home,
                env={**clean, "PYTHONPATH": str(REPOSITORY), **self.env},
                start_new_session=True,
            )
        self._processes.append(Process(name, popen, log))
        return self._processes[-1]

    def worker(self, pool: str, concurrency: int | None = None, *, beat: bool = False) -> Process:
        """A worker of the pool; with `beat` the clock of the sweep runs inside it."""
        name = f"{pool}-{len(self._processes)}"
        arguments = worker_arguments(POOLS[pool], concurrency)
        arguments[arguments.index("-n") + 1] = f"{name}@%h"
        if beat:
            arguments += ["-B", "-s", str(self.home / "schedule")]
        return self.start(name, [sys.executable, "-m", "celery", *arguments])

    def control(self) -> Process:
        """A control worker with beat."""
        return self.worker("control", 2, beat=True)

    def wait_until_here(self, *workers: Process) -> None:
        """Until each worker consumes."""

        def here() -> set[str]:
            for worker in workers:
                assert worker.popen.poll() is None, worker.last_words()
            return {worker.name.partition("@")[0] for worker in self.presence.here()}

        names = [worker.name for worker in workers]
        wait_for_all(names, here, "workers", within_s=stack_s())

    def spec(
        self,
        symbols: Sequence[str] | None = None,
        *,
        kind: RunKind = RunKind.FETCH,
        salt: str = "",
        months: int | None = None,
        venue: Market = Market.SPOT,
    ) -> RunSpec:
        """A run over the market's symbols, its own interval and its first months or all."""
        market = self.source.market
        end_ms = market.end_ms
        if months is not None:
            end_ms = months_between(market.start_ms, end_ms)[months - 1].end_ms
        return RunSpec(
            kind=kind,
            lake=self.settings.lake_uri,
            market=venue,
            symbols=tuple(symbols or self.source.symbols(Market.SPOT)),
            intervals=(market.interval,),
            start_ms=market.start_ms,
            end_ms=end_ms,
            salt=salt,
        )

    def submit(self, spec: RunSpec, priority: int = 0) -> RunRecord:
        """As a producer does."""
        self.bind()
        return flows.submit(spec, self.ledger, priority)

    def resume(self, run_id: str) -> RunRecord:
        """As `alphamill resume` does."""
        self.bind()
        return flows.resume(run_id, self.ledger)

    def bind(self) -> None:
        """Let this process publish to this mill's broker; Celery reads the variable each time."""
        url, options = for_celery(self.env["ALPHAMILL_REDIS_URL"])
        self._patch.setenv("CELERY_BROKER_URL", url)
        for name, value in options.items():
            self._patch.setitem(app.conf.broker_transport_options, name, value)
        app.close()
        app.__dict__.pop("amqp", None)

    def counts(self, run_id: str, stage: str = "fetch") -> Counter[str]:
        """Jobs of a stage by state, absent states as 0."""
        return Counter(self.ledger.counts(run_id).get(stage, {}))

    def state(self, run_id: str) -> str:
        run = self.ledger.run(run_id)
        return "unknown" if run is None else run.state.value

    def seen(self, run_id: str) -> str:
        """What has become of the run, and who works."""
        here = [worker.name for worker in self.presence.here()]
        return f"{self.ledger.counts(run_id)} with {here}; logs in {self.home}"

    def wait_for_done(self, run_id: str, jobs: int, stage: str = "fetch") -> None:
        """Until so many jobs of the stage are done."""
        wait_for(
            lambda: self.counts(run_id, stage)["done"] >= jobs,
            f"{jobs} {stage} jobs done",
            lambda: self.seen(run_id),
        )

    def wait_for_end(self, run_id: str) -> RunRecord:
        """The run, settled."""

        def ended() -> RunRecord | None:
            run = self.ledger.run(run_id)
            return None if run is None or run.state.active else run

        return wait_for(ended, f"the end of {run_id}", lambda: self.seen(run_id))

    def messages_left(self, queue: str) -> int:
        """Messages of the queue that wait, and messages of any queue that a worker holds."""
        lists = self.redis.scan_iter(f"{queue}*", _type="list")
        return sum(self.redis.llen(key) for key in lists) + self.redis.hlen("unacked")

    def wait_until_read(self, queue: str) -> None:
        """Until every message has been dealt with.

        A worker takes a message in two steps, between which it is in neither place: so look again.
        """
        left: deque[int] = deque(maxlen=5)

        def read() -> bool:
            left.append(self.messages_left(queue))
            return len(left) == left.maxlen and not any(left)

        wait_for(read, f"an empty queue {queue}", lambda: f"{left[-1]} messages")

    def requests_served(self) -> int:
        """All requests that the exchange answered with 200."""
        return int(self.exchange.stats()["totals"]["requests"])

    def check_lake(self, spec: RunSpec) -> int:
        """Every symbol-month of the run is there, whole and equal to the market; how many."""
        checked = 0
        for symbol in spec.symbols:
            series = Series(Market.SPOT, symbol, spec.intervals[0])
            for month in months_between(spec.start_ms, spec.end_ms):
                found = load_partition(self.lake, series, month)
                assert found is not None, f"{symbol} {month} is not in the lake"
                partition, table = found
                assert partition.complete
                assert partition.content_hash == content_hash(table)
                bars = self.source.bars(Market.SPOT, symbol, spec.intervals[0])
                expected = bars.rows(bars.start_at(month.start_ms), bars.start_at(month.end_ms))
                times = table["open_time"].cast("int64").to_numpy()
                np.testing.assert_array_equal(times, expected.open_ms)
                for name in ("open", "high", "low", "close", "volume", "quote_volume", "trades"):
                    np.testing.assert_array_equal(table[name].to_numpy(), getattr(expected, name))
                checked += 1
        return checked

    def close(self) -> None:
        """End every process that was started."""
        for process in self._processes:
            process.kill()
        self.redis.close()


MakeMill = Callable[..., Mill]

TOML = """\
[binance]
requests_per_minute = {requests}
window_s = {window_s}
[ledger]
lease_s = {lease_s}
republish_after_s = {republish_after_s}
window = {window}
max_attempts = {max_attempts}
"""


@contextmanager
def _mills(folder: Path, redis_url: str) -> Iterator[MakeMill]:
    """A maker of mills; what they started ends with the block."""
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        made: list[Mill] = []

        def make(
            market: SyntheticMarket,
            limits: Limits = AMPLE,
            latency_ms: tuple[float, float] = (0.0, 0.0),
            url: str = redis_url,
            *,
            lease_s: float = 3.0 * slowness(),
            republish_after_s: float = 3.0,
            window: int = 64,
            max_attempts: int = 4,
            faults: Sequence[str] = (),
        ) -> Mill:
            source = SyntheticSource(market)
            config = ExchangeConfig(
                spot_limits=limits,
                futures_limits=limits,
                latency_ms=latency_ms,
                faults=tuple(map(Fault.parse, faults)),
            )
            exchange = stack.enter_context(ExchangeServer(config, source))
            toml = TOML.format(
                requests=10 * limits.weight,
                window_s=limits.window_ms / 1000,
                lease_s=lease_s,
                republish_after_s=republish_after_s,
                window=window,
                max_attempts=max_attempts,
            )
            home = folder / f"mill-{len(made)}"
            home.mkdir()
            made.append(Mill(home, url, exchange, source, toml, patch))
            stack.callback(made[-1].close)
            return made[-1]

        yield make


@pytest.fixture
def make_mill(tmp_path: Path, redis_url: str) -> Iterator[MakeMill]:
    """`make_mill(market, limits, ...)`: a mill on the session's server, emptied."""
    with _mills(tmp_path, redis_url) as make:
        yield make


@pytest.fixture(scope="module")
def make_shared_mill(
    tmp_path_factory: pytest.TempPathFactory, redis_server: str
) -> Iterator[MakeMill]:
    """As `make_mill`, for workers that the tests of one module share."""
    with redis.Redis.from_url(redis_server) as client:
        client.flushall()
    with _mills(tmp_path_factory.mktemp("mills"), redis_server) as make:
        yield make


@pytest.fixture
def finish_log(redis_url: str) -> Iterator[FinishLog]:
    """Counts accepted FINISHes by job while the test runs."""
    with FinishLog().of(redis_url) as log:
        yield log


@pytest.fixture(scope="session")
def market() -> Callable[..., SyntheticMarket]:
    """`market(symbols, months, interval)`: a synthetic market; see `market_of`."""
    return market_of
