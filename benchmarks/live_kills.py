"""A live through kill -9 of its followers, its workers and Redis: is every row there, once?

Real processes: the simulated exchange at 300 times its speed, Redis as `alphamill up` starts it
(append-only, fsync a second), two `alphamill worker stream`, a Celery worker that checks parity,
`alphamill live signals --follow` and a receiver of webhooks. One after another is killed with
SIGKILL at a random moment. A follower or worker is replaced at once. Redis stays away for a random
while and comes back with all it had, without its last writes (its file cut short, as a power cut
does it) or with nothing.

At the end every factor's every bar must have been published once: in the lake's files, in the
Redis stream, as lines of the reader that ran all the time, and at least once as a POST; the chain
must hold, and no value may differ from batch for an unknown reason.
Run: python benchmarks/live_kills.py [--rows 100000] [--kills 24] [--seed 1] [--short] [--json]
"""

# ruff: noqa: S311 - chance makes moments here, no secrets

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import redis

from alphamill.clock import SystemClock
from alphamill.frames import Interval, Market
from alphamill.lake import Lake
from alphamill.live import Journal, Link, LiveSpec, Register, State, follow_chain
from alphamill.live.choose import followed_by_hand
from alphamill.live.follow_up import newest_check
from alphamill.live.parity import Why
from alphamill.live.stream import SignalStream
from alphamill.redis_address import open_client
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer, Limits
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named
from alphamill.stack.embedded_redis import EmbeddedRedis
from alphamill.stack.pools import POOLS, worker_arguments
from alphamill.stack.processes import die_with_parent
from alphamill.stages.registry import task_name

CHECK_LIVES = task_name("check_lives")
REPOSITORY = Path(__file__).resolve().parents[1]
SPEED = 300.0  # a bar of a minute in 200 ms
SYMBOLS = tuple(f"{name}USDT" for name in ("BTC", "ETH", "BNB", "SOL", "XRP"))
DAY_MS = 86_400_000
AMPLE = Limits(weight=10_000_000, requests=None)
CONFIG = f"[binance]\nclock_speed = {SPEED}\nrequests_per_minute = 60000\n"
COLUMNS = ("close", "high", "low", "volume", "quote_volume", "trades", "returns", "vwap")
TEXTS = [
    f"rank(ts_{function}({column}, {window}))"
    for function in ("mean", "std", "max", "min", "rank")
    for column in COLUMNS
    for window in (12, 30)
]
PAUSE_S = (4.0, 12.0)  # between two kills
REDIS_AWAY_S = (0.0, 4.0)
CHECK_EVERY_S = 20.0
WORK_S = 1800.0
DONE_S = 300.0  # for what is left at the end
LEADER, STANDBY, WORKER = "following process", "process that stands by", "Celery worker"
RETURNS = WITH_DATA, CUT_SHORT, EMPTY = (
    "Redis, back with its data",
    "Redis, back without its last writes",
    "Redis, back empty",
)


@dataclass(slots=True)
class Measured:
    """kills: by what was killed. takeover_s: from a leader's kill to its successor's first row.

    doubles, holes: rows that stand twice or nowhere. trimmed: rows that the Redis stream keeps no
    more. delivered_again: POSTed rows beyond one a row.
    """

    rows: int = 0
    bars: int = 0
    seconds: float = 0.0
    kills: dict[str, int] = field(default_factory=dict)
    takeover_s: list[float] = field(default_factory=list)
    missed_bars: int = 0
    revisions: int = 0
    no_signal: int = 0
    chain: str = ""
    lake_doubles: int = 0
    lake_holes: int = 0
    stream_doubles: int = 0
    stream_holes: int = 0
    trimmed: int = 0
    reader_doubles: int = 0
    reader_holes: int = 0
    undelivered: int = 0
    delivered_again: int = 0
    values: dict[str, int] = field(default_factory=dict)
    unchecked: int = 0
    load: list[float] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """What is claimed of any live."""
        faults = (
            *(self.missed_bars, self.lake_doubles, self.lake_holes),
            *(self.stream_doubles, self.stream_holes, self.reader_doubles, self.reader_holes),
            *(self.undelivered, self.values.get(Why.UNEXPLAINED, 0), self.unchecked),
        )
        return self.chain == "holds" and not any(faults)


class Receiver:
    """The other end of the webhook: how often each row was POSTed, and with which hash."""

    def __init__(self) -> None:
        self.got: Counter[tuple[int, str]] = Counter()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                seqs = [json.loads(row["payload"])["seq"] for row in body["rows"]]
                outer.got.update(zip(seqs, (row["hash"] for row in body["rows"]), strict=True))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/rows"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class Processes:
    """Programs, each the leader of a group of its own, with the settings that they share."""

    def __init__(self, home: Path, redis_url: str, exchange_url: str) -> None:
        config = home / "alphamill.toml"
        config.write_text(CONFIG, encoding="utf-8")
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("ALPHAMILL", "CELERY"))}
        self.environment = {
            **clean,
            "PYTHONPATH": str(REPOSITORY),
            "ALPHAMILL_HOME": str(home),
            "ALPHAMILL_CONFIG": str(config),
            "ALPHAMILL_REDIS_URL": redis_url,
            "ALPHAMILL_BINANCE_URL": exchange_url,
            "ALPHAMILL_BINANCE_UM_URL": f"{exchange_url}/um",
            "ALPHAMILL_BINANCE_CM_URL": f"{exchange_url}/cm",
            "ALPHAMILL_ARCHIVE_URL": "",
        }
        self._home = home
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        number = len(self._started)
        with (
            (self._home / f"{name}-{number}.out").open("wb") as out,
            (self._home / f"{name}-{number}.log").open("wb") as log,
        ):
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                cwd=self._home,
                env=self.environment,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - only ctypes runs there
            )
        self._started.append(process)
        return process

    def follower(self) -> subprocess.Popen[bytes]:
        return self.start("follower", "workers.stream")

    def worker(self) -> subprocess.Popen[bytes]:
        """Of the pool control: its queue is that of the parity task."""
        return self.start("worker", "celery", *worker_arguments(POOLS["control"], 2))

    def close(self) -> None:
        for process in self._started:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to the group, and the end awaited."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Redis:
    """The server of a home, that dies and comes back."""

    def __init__(self, home: Path, chance: random.Random) -> None:
        self._chance = chance
        self._embedded = EmbeddedRedis(home)
        self.url = self._embedded.start()
        self._folder = home / "redis"

    def kill(self) -> None:
        os.kill(self._pid(), signal.SIGKILL)
        while self._embedded.alive():
            time.sleep(0.01)

    def _pid(self) -> int:
        with open_client(self.url) as client:
            return int(client.info("server")["process_id"])

    def come_back(self, how: str) -> None:
        files = self._folder / "appendonlydir"
        if how == EMPTY:
            shutil.rmtree(files)
        elif how == CUT_SHORT:
            newest = max(files.glob("*.incr.aof"), key=lambda file: file.stat().st_mtime)
            with newest.open("r+b") as file:
                size = newest.stat().st_size
                file.truncate(size - min(size, self._chance.randrange(1, 300_000)))
        self._embedded.revive()

    def close(self) -> None:
        self._embedded.stop()


class Live:
    """The mill with one live in it; all of it ends with `stack`."""

    def __init__(self, stack: ExitStack, seed: int) -> None:
        self.chance = random.Random(seed)
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="alphamill-kills-")))
        start_ms = SyntheticMarket().start_ms
        market = SyntheticMarket(
            coins=coins_named(SYMBOLS),
            interval=Interval.M1,
            start_ms=start_ms,
            end_ms=start_ms + 30 * DAY_MS,
            planted=(),
        )
        config = ExchangeConfig(
            spot_limits=AMPLE,
            futures_limits=AMPLE,
            clock_offset_ms=start_ms + DAY_MS - SystemClock().now_ms(),
            speed=SPEED,
        )
        self.redis = Redis(home, self.chance)
        stack.callback(self.redis.close)
        exchange = stack.enter_context(ExchangeServer(config, SyntheticSource(market)))
        self.receiver = Receiver()
        stack.callback(self.receiver.close)
        self.processes = Processes(home, self.redis.url, exchange.url)
        stack.callback(self.processes.close)
        spec = LiveSpec(
            Market.SPOT,
            Interval.M1,
            SYMBOLS,
            followed_by_hand(TEXTS, 1),
            release_ms=1_200_000,  # 4 s here: after REST was asked
            correct_within_ms=4 * 3_600_000,  # 48 seconds
        )
        self.home, self.lake = home, Lake(str(home / "lake"))
        self.entry = Register(self.lake).start(spec, 0, self.receiver.url)
        self.journal = Journal(self.lake, self.entry.id, 0)
        self.client = stack.enter_context(open_client(self.redis.url))
        self.stream = SignalStream(self.client, self.entry.id)
        self.followers = [self.processes.follower(), self.processes.follower()]
        self.worker = self.processes.worker()
        self.reader = self.processes.start(
            *("reader", "producers.cli", "live", "signals", self.entry.id, "--follow")
        )
        self._asked_s = 0.0

    def leader(self) -> int | None:
        """The process that holds the lease."""
        with suppress(redis.RedisError):
            who = self.client.hget("alphamill:follower:spot:default", "who")
            return None if who is None else int(who.decode().rpartition(":")[2])
        return None

    def published(self) -> int:
        """Rows in the stream, 0 without a Redis."""
        with suppress(Exception):
            return self.stream.rows()
        return 0

    def lines(self) -> list[str]:
        """What the reader has printed."""
        [file] = self.home.glob("reader-*.out")
        return file.read_text(encoding="utf-8").splitlines()

    def ask_for_parity(self) -> None:
        """As beat does once an hour, which is twelve seconds here."""
        if time.monotonic() - self._asked_s < CHECK_EVERY_S:
            return
        self._asked_s = time.monotonic()
        self.processes.start("beat", "celery", "-A", "workers.app", "call", CHECK_LIVES)


def go_through(
    live: Live, measured: Measured, rows: int, victims: Sequence[str], pause_s: tuple[float, float]
) -> None:
    """Kill and replace these, one after another, and wait for so many rows."""
    for victim in victims:
        _wait(live.chance.uniform(*pause_s), live.ask_for_parity)
        measured.kills[victim] = measured.kills.get(victim, 0) + 1
        if victim == WORKER:
            kill(live.worker)
            live.worker = live.processes.worker()
        elif victim in RETURNS:
            live.redis.kill()
            time.sleep(live.chance.uniform(*REDIS_AWAY_S))
            live.redis.come_back(victim)
        else:
            _kill_follower(live, measured, leads=victim == LEADER)

    def enough() -> bool:
        live.ask_for_parity()
        return live.published() >= rows

    _until(enough, f"{rows} rows", WORK_S)


def _kill_follower(live: Live, measured: Measured, *, leads: bool) -> None:
    at = next((n for n, one in enumerate(live.followers) if one.pid == live.leader()), 0)
    at = at if leads else 1 - at
    kill(live.followers[at])
    killed_s, before = time.monotonic(), live.published()
    live.followers[at] = live.processes.follower()
    if leads:  # nobody else adds to the stream
        _until(lambda: live.published() > before, "a row of a successor")
        measured.takeover_s.append(time.monotonic() - killed_s)


def _wait(seconds: float, meanwhile: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        meanwhile()
        time.sleep(0.1)


def _until(condition: Callable[[], object], what: str, within_s: float = DONE_S) -> bool:
    """Wait for it, and say so where it does not come: what is missing is counted afterwards."""
    deadline_s = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline_s:
            print(f"waited {within_s:.0f} s in vain for {what}", file=sys.stderr)
            return False
        time.sleep(0.1)
    return True


def settle(live: Live) -> list[str]:
    """Stop the live, let what was published reach everybody, and have all of it checked.

    Returns the lines of the reader.
    """
    Register(live.lake).stop(live.entry.id, 1)
    last: list[int] = []

    def at_rest() -> bool:
        last.append(live.journal.reload().rows)
        return last[-20:] == [last[-1]] * 20

    _until(at_rest, "an end of the rows")
    rows = last[-1]
    _until(lambda: live.published() == rows, "the stream to be whole")
    _until(lambda: len(live.receiver.got) >= rows, "all rows to be POSTed")
    _until(lambda: len(live.lines()) >= rows, "the reader to have every row")

    def checked() -> bool:
        live.ask_for_parity()
        found = newest_check(live.lake, live.entry.id)
        return found is not None and found.next_seq >= rows

    _until(checked, "every row to be checked")
    return live.lines()


def count(live: Live, lines: Sequence[str], measured: Measured) -> None:
    """Hold everything that was published to the lake's chain."""
    links = list(live.journal.read())
    rows, _, broken = follow_chain(links)
    verified = live.processes.start("verify", "producers.cli", "live", "verify", live.entry.id)
    measured.chain = "holds" if broken is None and verified.wait() == 0 else f"{broken}"
    measured.rows = rows
    _count_lake(live, links, measured)
    by_seq = {link.row.seq: link for link in links}
    entries = [
        (int(name.partition(b"-")[0]) - 1, fields[b"payload"].decode(), fields[b"hash"].decode())
        for name, fields in live.client.xrange(live.stream.key)
    ]
    measured.trimmed = entries[0][0] if entries else 0
    measured.stream_doubles, measured.stream_holes = _against(
        {seq: link for seq, link in by_seq.items() if seq >= measured.trimmed},
        [(payload, stated) for _, payload, stated in entries],
    )
    measured.reader_doubles, measured.reader_holes = _against(
        by_seq, [(line, sha256(line.encode()).hexdigest()) for line in lines]
    )
    got = live.receiver.got
    measured.undelivered = sum(got[seq, link.hash] == 0 for seq, link in by_seq.items())
    measured.delivered_again = got.total() - len(got)
    found = newest_check(live.lake, live.entry.id)
    if found is not None:
        measured.values = {why.value: found.counts[why] for why in Why}
    measured.unchecked = rows - (found.next_seq if found else 0)
    measured.no_signal = sum(link.row.state is State.NO_SIGNAL for link in links)


def _count_lake(live: Live, links: Sequence[Link], measured: Measured) -> None:
    """Rows by what they are of, from the files themselves, whatever `Journal` makes of them."""
    found: set[tuple[int, str]] = set()
    rows: Counter[tuple[str, int, int]] = Counter()
    for key in live.lake.list(f"signals/live={live.entry.id}"):
        table = live.lake.read(key, ["seq", "hash", "factor", "bar_time", "revision"])
        times = table["bar_time"].cast("int64").to_pylist()
        for row, bar_ms in zip(table.to_pylist(), times, strict=True):
            if (row["seq"], row["hash"]) not in found:  # a day that was packed may stand twice
                found.add((row["seq"], row["hash"]))
                rows[row["factor"], bar_ms, row["revision"]] += 1
    measured.lake_doubles = rows.total() - len(rows) + len(found) - len(links)
    bars = sorted({bar_ms for _, bar_ms, _ in rows})
    length_ms = Interval.M1.ms
    measured.bars = len(bars)
    measured.revisions = sum(revision > 0 for _, _, revision in rows)
    measured.missed_bars = sum(
        (link.row.close_time - link.row.bar_time) // length_ms
        for link in links
        if link.row.state is State.MISSED
    )
    measured.lake_holes = sum(
        (one.factor, bar_ms, 0) not in rows
        for one in live.entry.spec.factors
        for bar_ms in range(bars[0], bars[-1] + 1, length_ms)
    )
    for factor, bar_ms, revision in rows:  # each revision follows one before
        measured.lake_holes += revision > 0 and (factor, bar_ms, revision - 1) not in rows


def _against(by_seq: dict[int, Link], said: Sequence[tuple[str, str]]) -> tuple[int, int]:
    """(what was said twice or is no row of the chain, rows that were not said)."""
    times = Counter(said)
    wanted = {(link.payload, link.hash) for link in by_seq.values()}
    holes = sum(one not in times for one in wanted)
    return times.total() - (len(wanted) - holes), holes


def measure(
    rows: int, victims: Sequence[str], seed: int = 1, pause_s: tuple[float, float] = PAUSE_S
) -> Measured:
    """Publish so many rows through these kills, and count."""
    measured = Measured(load=[round(one, 1) for one in os.getloadavg()])
    with ExitStack() as stack:
        live = Live(stack, seed)
        began_s = time.monotonic()
        go_through(live, measured, rows, victims, pause_s)
        lines = settle(live)
        measured.seconds = time.monotonic() - began_s
        count(live, lines, measured)
    return measured


def table(measured: Measured) -> str:
    """For people."""
    killed = sum(measured.kills.values())
    named = ", ".join(f"{count} {what}" for what, count in sorted(measured.kills.items()))
    took = sorted(measured.takeover_s) or [float("nan")]
    pace = f"{measured.rows / measured.seconds:.0f} rows a second"
    load = " ".join(map(str, measured.load))
    lines = [
        ("rows", f"{measured.rows:,}: {measured.bars:,} bars x {len(TEXTS)} factors"),
        ("", f"of them {measured.revisions:,} revisions, {measured.no_signal:,} without a signal"),
        ("time", f"{measured.seconds:.0f} s, {pace}; load of the machine before: {load}"),
        ("killed with -9", f"{killed}: {named}"),
        ("a successor's first row", f"median {took[len(took) // 2]:.1f} s, most {took[-1]:.1f} s"),
        ("chain", measured.chain),
        ("bars that were missed", f"{measured.missed_bars}"),
        ("lake", f"{measured.lake_doubles} doubles, {measured.lake_holes} holes"),
        ("Redis stream", f"{measured.stream_doubles} doubles, {measured.stream_holes} holes"),
        ("", f"{measured.trimmed:,} rows trimmed"),
        ("signals --follow", f"{measured.reader_doubles} doubles, {measured.reader_holes} holes"),
        ("webhook", f"{measured.undelivered} lost, {measured.delivered_again} POSTed again"),
        ("values against batch", ", ".join(f"{n:,} {why}" for why, n in measured.values.items())),
        ("rows not compared", f"{measured.unchecked}"),
    ]
    return "\n".join(f"{name:<24} {said}" for name, said in lines)


def chosen(kills: int, seed: int) -> list[str]:
    """So many victims: of each kind as often as of any other, the order at random."""
    kinds = [LEADER, LEADER, STANDBY, WORKER, WORKER, *RETURNS]
    victims = [kinds[n % len(kinds)] for n in range(kills)]
    random.Random(seed).shuffle(victims)
    return victims


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--short", action="store_true", help="2,000 rows and 3 kills")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # what was started ends too
    if asked.short:
        measured = measure(2_000, (LEADER, EMPTY, WORKER), asked.seed, (0.5, 2.0))
    else:
        measured = measure(asked.rows, chosen(asked.kills, asked.seed), asked.seed)
    print(json.dumps(asdict(measured)) if asked.json else table(measured))
    sys.exit(not measured.held)


if __name__ == "__main__":
    main()
