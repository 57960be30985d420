"""A mining run whose LLM workers are killed at random moments, and what that cost.

Real Celery workers, a real Redis, the simulated exchange; the models are llmock's, each reply held
back, so that calls are under way when a worker dies. Two LLM workers work; one after another is
killed with SIGKILL and replaced. Right after each kill its unsettled calls are read: the bound on
what may be paid twice. llmock's own record of requests says what was asked, not our accounts. Then
the run is asked for again and replayed, which must ask nobody.
Run: python benchmarks/llm_kills.py [--kills N] [--json]
"""

# ruff: noqa: S311 - chance makes moments here, no secrets

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import redis
from llmock.scenarios import Delay, Reply
from llmock.testing import LLMockServer

from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.ledger import JobState, RedisLedger, RunState
from alphamill.ledger.presence import Presence
from alphamill.llm.journal.records import CallRecord, CallStatus
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import Message, prompt_digest
from alphamill.settings import Settings, load_settings
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named
from alphamill.stack.embedded_redis import EmbeddedRedis

REPOSITORY = Path(__file__).resolve().parents[1]
THREADS = 6  # of an LLM worker
REPLY_S = 0.8
WORK_S = 900.0
DAY_MS = 86_400_000
CAP_MICROS = 2_000_000
# A job may meet every kill; leases are short, so that it is taken up again soon.
CONFIG = """\
[ledger]
lease_s = 2
republish_after_s = 2
max_attempts = 100
[llm.tiers.quick_scan]
model = "gpt-4o-mini"
max_tokens = 200
requests_per_minute = 100000
tokens_per_minute = 1000000000
[llm.tiers.detailed_analysis]
model = "gpt-4o-mini"
max_tokens = 200
[llm.tiers.final_verification]
model = "gpt-4o-mini"
max_tokens = 200
"""
REST = "fetch,features,evaluate,control"


@dataclass(slots=True)
class Measured:
    """paid_again: requests for a call beyond its settled attempt and those counted as unknown.

    in_flight: calls that each kill left unsettled. Money in micro-dollars.
    """

    kills: int = 0
    in_flight: list[int] = field(default_factory=list)
    unknown_calls: int = 0
    settled_calls: int = 0
    requests: int = 0  # that llmock saw
    paid_again: int = 0
    asked_on_resuming: int = 0
    spent: int = 0
    unknown: int = 0
    accounts_add_up: bool = False
    state: str = ""

    @property
    def held(self) -> bool:
        """What is claimed of any run."""
        return (
            self.state == RunState.DONE
            and self.accounts_add_up
            and not self.paid_again
            and not self.asked_on_resuming
            and self.unknown_calls == sum(self.in_flight)
            and max(self.in_flight, default=0) <= THREADS
        )


class Workers:
    """Processes of Celery, each a group of its own, and the settings that they read."""

    def __init__(self, home: Path, redis_url: str, exchange_url: str, llm_url: str) -> None:
        config = home / "alphamill.toml"
        config.write_text(CONFIG, encoding="utf-8")
        self._home = home
        self._environment = {
            "ALPHAMILL_HOME": str(home),
            "ALPHAMILL_CONFIG": str(config),
            "ALPHAMILL_REDIS_URL": redis_url,
            "ALPHAMILL_BINANCE_URL": exchange_url,
            "ALPHAMILL_LLM_URL": llm_url,
        }
        os.environ.update(self._environment)  # for the producer's part, in this process
        self.settings: Settings = load_settings(self._environment)
        self._started = 0
        self._processes: list[subprocess.Popen[bytes]] = []

    def start(self, queues: str, *options: str) -> tuple[subprocess.Popen[bytes], str]:
        """The process and the name under which it announces itself."""
        name = f"kills-{self._started}"
        self._started += 1
        arguments = [
            *("-A", "workers.app", "worker", "-Q", queues, "-n", f"{name}@%h", "-l", "INFO"),
            *("--without-gossip", "--without-mingle"),
            *options,
        ]
        with (self._home / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "celery", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                start_new_session=True,
            )
        self._processes.append(process)
        return process, name

    def llm(self) -> tuple[subprocess.Popen[bytes], str]:
        queues = ",".join(f"llm.{tier.value}" for tier in self.settings.llm.tiers)
        return self.start(queues, "-P", "threads", "-c", str(THREADS))

    def rest(self) -> None:
        self.start(REST, "-P", "prefork", "-c", "2", "-B", "-s", str(self._home / "schedule"))

    def close(self) -> None:
        for process in self._processes:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def spec_of(settings: Settings, market: SyntheticMarket, rounds: int) -> RunSpec:
    return RunSpec(
        kind=RunKind.MINE,
        lake=settings.lake_uri,
        market=Market.SPOT,
        symbols=tuple(coin.symbol for coin in market.coins),
        intervals=(Interval.D1,),
        start_ms=market.start_ms,
        end_ms=market.end_ms,
        rounds=rounds,
        candidates=2,
        shards=1,
        budget_usd_micros=CAP_MICROS,
        llm_url=settings.llm.url,
        tiers=dict(settings.llm.tiers),
        search=settings.search,
    )


@contextmanager
def mill(symbols: int) -> Iterator[tuple[Workers, SyntheticMarket, LLMockServer, str]]:
    """Everything but the LLM workers; ended with the block."""
    names = tuple(f"A{chr(65 + n // 26)}{chr(65 + n % 26)}USDT" for n in range(symbols))
    start_ms = SyntheticMarket().start_ms
    market = SyntheticMarket(
        coins=coins_named(names),
        interval=Interval.D1,
        start_ms=start_ms,
        end_ms=start_ms + 400 * DAY_MS,
        planted=(),
    )
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="alphamill-kills-")))
        server = EmbeddedRedis(home)
        url = server.start()
        stack.callback(server.stop)
        provider = stack.enter_context(LLMockServer())
        exchange = stack.enter_context(ExchangeServer(ExchangeConfig(), SyntheticSource(market)))
        workers = Workers(home, url, exchange.url, provider.base_url("openai"))
        stack.callback(workers.close)
        yield workers, market, provider, url


def scripted(provider: LLMockServer) -> None:
    """Replies that differ, each held back; the last for whatever else is asked."""
    texts = [
        json.dumps(
            {
                "candidates": [
                    {
                        "expression": f"-ts_zscore(close, {n})",
                        "hypothesis": "",
                        "horizon_bars": None,
                        "direction": None,
                    }
                ]
            }
        )
        for n in range(5, 45)
    ]
    provider.state.scenarios.add(
        Delay(REPLY_S, times=None),
        *(Reply(text=text) for text in texts[1:]),
        Reply(text=texts[0], times=None),
    )


def measure(kills: int, symbols: int = 24, rounds: int = 14) -> Measured:
    """Work a run through so many kills, resume it, and count."""
    from workers import flows

    measured = Measured()
    with mill(symbols) as (workers, market, provider, url), redis.Redis.from_url(url) as client:
        scripted(provider)
        ledger = RedisLedger(client, workers.settings.ledger)
        journal = RedisJournal(client)
        spec = spec_of(workers.settings, market, rounds)
        workers.rest()
        pair = [workers.llm(), workers.llm()]
        run_id = flows.submit(spec, ledger).id
        _kill(measured, kills, pair, workers, ledger, client, run_id)
        measured.state = _ended(ledger, run_id)
        before = len(_requests(provider))
        flows.submit(spec, ledger)
        flows.resume(run_id, ledger)
        _ended(ledger, run_id)
        measured.asked_on_resuming = len(_requests(provider)) - before
        _account(measured, list(journal.calls(run_id)), _requests(provider))
        account = journal.state(run_id, next(journal.calls(run_id)).day).run
    measured.accounts_add_up = (
        account.spent_usd_micros == measured.spent
        and account.unknown_usd_micros == measured.unknown
        and account.unknown_calls == measured.unknown_calls
        and account.reserved_usd_micros == 0
        and account.committed_usd_micros <= CAP_MICROS
    )
    return measured


def _kill(
    measured: Measured,
    kills: int,
    pair: list[tuple[subprocess.Popen[bytes], str]],
    workers: Workers,
    ledger: RedisLedger,
    client: redis.Redis,
    run_id: str,
) -> None:
    """Kill and replace, at random moments at which calls are under way."""
    deadline, presence = time.monotonic() + WORK_S, Presence(client)
    left: set[bytes] = set()
    while measured.kills < kills and time.monotonic() < deadline:
        if not ledger.run(run_id).state.active:
            return
        here = {worker.name.partition("@")[0] for worker in presence.here()}
        ready = [at for at, (_, name) in enumerate(pair) if name in here]
        if not ready or not client.hlen(f"alphamill:{run_id}:llm:open"):
            time.sleep(0.05)
            continue
        time.sleep(random.uniform(0.0, 1.5))
        at = random.choice(ready)
        process, _ = pair[at]
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        now_left = _left_open(ledger, client, run_id, process.pid)
        measured.in_flight.append(len(now_left - left))  # it may have taken up what others left
        left |= now_left
        measured.kills += 1
        pair[at] = workers.llm()


def _left_open(ledger: RedisLedger, client: redis.Redis, run_id: str, pid: int) -> set[bytes]:
    """Attempts open at the jobs that a dead worker held; its leases have not lapsed yet."""
    held = {
        job.id
        for job in ledger.jobs(run_id)
        if job.state is JobState.RUNNING and job.worker.endswith(f":{pid}")
    }
    attempts = client.hgetall(f"alphamill:{run_id}:llm:open")
    return {
        attempt
        for call, attempt in attempts.items()
        if call.decode().removesuffix(".repair") in held
    }


def _ended(ledger: RedisLedger, run_id: str) -> str:
    deadline = time.monotonic() + WORK_S
    while (run := ledger.run(run_id)) and run.state.active and time.monotonic() < deadline:
        time.sleep(0.1)
    return str(run.state.value) if run else "unknown"


def _requests(provider: LLMockServer) -> list[str]:
    """Digests of the prompts that llmock was asked, those of killed workers too."""
    return [
        prompt_digest([Message(m["role"], m["content"]).digest for m in record.body["messages"]])
        for record in provider.state.journal.records(wait=2 * REPLY_S + 5)
        if record.path.endswith("/chat/completions")
    ]


def _account(measured: Measured, calls: list[CallRecord], requests: list[str]) -> None:
    """Add the journal up again, and hold it against what the provider saw."""
    settled = [call for call in calls if call.status is CallStatus.SETTLED]
    unknown = [call for call in calls if call.status in (CallStatus.UNKNOWN, CallStatus.OPEN)]
    measured.settled_calls, measured.unknown_calls = len(settled), len(unknown)
    measured.requests = len(requests)
    measured.spent = sum(call.cost_usd_micros or 0 for call in settled)
    measured.unknown = sum(call.reserved_usd_micros for call in unknown)
    allowed = Counter(call.prompt_hash for call in [*settled, *unknown])
    measured.paid_again = sum((Counter(requests) - allowed).values())
    measured.paid_again += sum(call.status is CallStatus.DUPLICATE for call in calls)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    started_s = time.monotonic()
    measured = measure(arguments.kills)
    if arguments.json:
        print(json.dumps(asdict(measured)))
    else:
        print(
            f"{measured.kills} LLM workers killed in {time.monotonic() - started_s:.0f} s, run "
            f"{measured.state}: {measured.settled_calls} calls settled for "
            f"${measured.spent / 1e6:.6f}, {measured.unknown_calls} unknown counted as "
            f"${measured.unknown / 1e6:.6f} (calls under way at the kills: {measured.in_flight}); "
            f"llmock saw {measured.requests} requests; paid again {measured.paid_again} (wanted: "
            f"0), asked on resuming {measured.asked_on_resuming} (wanted: 0), accounts "
            f"{'add up' if measured.accounts_add_up else 'DO NOT ADD UP'}"
        )
    sys.exit(not (measured.held and measured.kills == arguments.kills))


if __name__ == "__main__":
    main()
