"""The fleet as `alphamill top` and a scraper see it, over a real Redis."""

from __future__ import annotations

import json
import re
import socket
from dataclasses import replace

import pytest
import redis
from click.testing import CliRunner

import alphamill
from alphamill.errors import RetryLater
from alphamill.fleet.identity import build, identity
from alphamill.fleet.snapshot import FleetReader
from alphamill.frames import Market
from alphamill.ledger import JobSpec, RedisLedger
from alphamill.ledger.overview import LedgerOverview
from alphamill.ledger.presence import Presence, Worker
from alphamill.limits import RedisLimiter, binance_pool, data_pool, tier_pool
from alphamill.llm.breaker.protocol import FailureKind
from alphamill.llm.breaker.redis import RedisBreaker, open_circuits
from alphamill.llm.charges import Charge
from alphamill.llm.journal.budget import Caps, utc_day
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import ChatReply, ChatRequest, Message, TokenUsage
from alphamill.redis_address import open_client
from alphamill.settings import LedgerSettings, Tier, load_settings
from alphamill.usage import RedisUsage
from producers.cli import main
from tests.integration.conftest import market_of

SPEC = {"market": "spot", "budget_usd_micros": 1_000_000}
HOSTILE = "\x1b[2J[bold red]<script>alert(1)</script>\u202egpj.exe\r\n"
LLM_URL = "http://llm.test/v1"


@pytest.fixture
def fleet(redis_url, tmp_path):
    with open_client(redis_url) as client:
        yield Bench(client, redis_url, tmp_path)


class Bench:
    """A ledger with its neighbours, and no worker."""

    def __init__(self, client, url, home) -> None:
        self.env = {
            "ALPHAMILL_REDIS_URL": url,
            "ALPHAMILL_HOME": str(home),
            "ALPHAMILL_LLM_URL": LLM_URL,
            "ALPHAMILL_CONFIG": "",
        }
        self.client, self.settings = client, load_settings(self.env)
        self.ledger = RedisLedger(client, LedgerSettings(window=4))
        self.reader = FleetReader(client, self.settings)

    def submit(self, run: str, jobs: int, kind: str = "fetch", queue: str = "fetch") -> None:
        self.ledger.open_run(run, kind, SPEC)
        stage = "fetch" if queue == "fetch" else "propose.quick_scan"
        specs = [JobSpec(f"{run}-{i}", stage, queue, {}) for i in range(jobs)]
        self.ledger.add_jobs(run, specs)
        self.ledger.seal(run)
        self.ledger.feed(run)

    def fail(self, run: str, number: int, reason: str) -> None:
        claim = self.ledger.claim(run, f"{run}-{number}", "me")
        assert claim is not None
        self.ledger.fail(claim, reason)

    def queue(self, name: str = "fetch"):
        return {view.name: view for view in self.reader.read().queues}[name]

    def call(self, run: str, number: int, micros: int, tier: str = "quick_scan") -> None:
        journal, messages = RedisJournal(self.client), (Message("user", str(number)),)
        now_ms = LedgerOverview(self.client).now_ms()
        record = CallRecord.begin(
            run,
            f"{tier}-{number}",
            tier,
            ChatRequest("m", messages, max_tokens=100),
            prompt_version="1",
            started_ms=now_ms,
            reserved_usd_micros=micros + 1,
        )
        journal.reserve(record, messages, Caps(1_000_000, 10_000_000))
        reply = ChatReply("a reply", "stop", "m", TokenUsage(30, 10, 5), 40, "m")
        settled = journal.settle(record.settled(reply, Charge(micros, micros), now_ms))
        RedisUsage(self.client).record(settled.usage)

    def top(self, *arguments: str, columns: int = 120):
        env = self.env | {"COLUMNS": str(columns)}
        return CliRunner(env=env).invoke(main, ["top", *arguments], prog_name="alphamill")


def test_queues_tell_what_waits_runs_and_for_how_long(fleet):
    assert fleet.queue().oldest_s is None
    fleet.submit("fetch-a", 10)
    claim = fleet.ledger.claim("fetch-a", "fetch-a-0", "me")
    seen = fleet.queue()
    assert (seen.ready, seen.queued, seen.running, seen.backlog) == (6, 3, 1, 10)
    assert seen.oldest_s is not None
    fleet.ledger.put_back(claim, "the limit is reached", 60.0, counts=False)
    seen = fleet.queue()
    assert (seen.ready, seen.queued, seen.running, seen.backlog) == (5, 4, 0, 9), "delayed is out"


def test_a_raised_budget_binds_at_once_and_of_an_ended_run_too(fleet):
    fleet.submit("mine-a", 1, "mine", "llm.quick_scan")
    claim = fleet.ledger.claim("mine-a", "mine-a-0", "me")
    fleet.ledger.finish(claim, {"unfunded": "run"})
    assert fleet.reader.read().runs[0].cap_usd_micros == 1_000_000
    fleet.ledger.raise_budget("mine-a", 2_500_000)
    assert fleet.reader.read().runs[0].cap_usd_micros == 2_500_000
    [seen] = LedgerOverview(fleet.client).runs()
    assert (seen.budget_usd_micros, seen.unfunded) == (2_500_000, {"run": 1})


@pytest.mark.parametrize("end", ["finish", "fail", "cancel"])
def test_nothing_waits_once_everything_is_settled(fleet, end):
    fleet.submit("fetch-a", 1)
    if end == "cancel":
        fleet.ledger.cancel("fetch-a")
    else:
        claim = fleet.ledger.claim("fetch-a", "fetch-a-0", "me")
        fleet.ledger.finish(claim, {}) if end == "finish" else fleet.ledger.fail(claim, "no")
    assert fleet.client.keys("*since:*") == []
    seen = fleet.queue()
    assert (seen.ready, seen.queued, seen.running, seen.oldest_s) == (0, 0, 0, None)


def test_a_forgotten_run_leaves_nothing_behind(fleet):
    fleet.submit("fetch-a", 3)
    fleet.fail("fetch-a", 0, "no such symbol")
    fleet.ledger.cancel("fetch-a")
    assert [run.id for run in fleet.reader.read().runs] == ["fetch-a"]
    fleet.ledger.forget("fetch-a")
    assert fleet.client.keys("*{fetch-a}*") == []
    assert fleet.reader.read().runs == []


def test_like_failures_are_one_kind_and_a_resume_takes_them_back(fleet):
    fleet.submit("fetch-a", 4)
    for number, symbol in enumerate(("BTCUSDT", "1000PEPEUSDT", "ETHUSDT")):
        fleet.fail("fetch-a", number, f"{symbol} at 1672531200000: HTTP 451")
    fleet.fail("fetch-a", 3, "the disk is full")
    assert fleet.reader.read().failures == {
        ("fetch", "* at #: HTTP 451"): 2,
        ("fetch", "#* at #: HTTP 451"): 1,
        ("fetch", "the disk is full"): 1,
    }
    fleet.ledger.resume("fetch-a")
    assert fleet.reader.read().failures == {}


def test_kinds_of_failures_are_bounded_and_never_cut_within_a_character(fleet):
    fleet.submit("fetch-a", 64)
    words = [f"{'abcdefgh'[i // 8]}{'abcdefgh'[i % 8]} {'é' * 200}" for i in range(64)]
    for number, word in enumerate(words):
        fleet.fail("fetch-a", number, word)
        assert fleet.ledger.job("fetch-a", f"fetch-a-{number}").error == word
    failures = fleet.reader.read().failures
    assert len(failures) == 51
    assert sum(failures.values()) == 64
    assert failures["fetch", "others"] == 14


def test_a_fetch_pool_at_the_exchanges_cap_or_in_a_pause_asks_for_nobody(fleet):
    fleet.submit("fetch-a", 20)
    assert fleet.queue().backlog == 20
    limiter = RedisLimiter(fleet.client)
    pool = binance_pool(fleet.settings.binance, Market.SPOT, 1200)
    limiter.reserve(pool, {"weight": 1150.0, "requests": 1.0}, 120.0)
    assert fleet.queue().backlog == 0
    fleet.client.delete(f"alphamill:limits:{{{pool.name}}}")
    assert fleet.queue().backlog == 20
    limiter.pause(pool, 60.0, "HTTP 429")
    assert fleet.queue().backlog == 0
    pauses = {view.pool: view for view in fleet.reader.read().limits if view.paused_s > 0}
    assert pauses[pool.name].pause_reason == "HTTP 429"


def test_the_limit_of_the_data_endpoints_is_shown_while_futures_are_fetched(fleet):
    pool = data_pool(fleet.settings.binance, Market.USD_M, 2400)
    RedisLimiter(fleet.client).reserve(pool, {"weight": 0.0, "requests": 5.0, "data": 5.0}, 0.0)
    fleet.ledger.open_run("fetch-um", "fetch", SPEC | {"market": "um"})
    fleet.ledger.add_jobs("fetch-um", [JobSpec("fetch-um-0", "fetch", "fetch", {})])
    used = {v.name: v.used for v in fleet.reader.read().limits if v.pool == pool.name}
    assert used["funding"] == 0
    assert 4 < used["data"] <= 5  # it drains
    fleet.client.delete(f"alphamill:limits:{{{pool.name}}}")


def test_a_tier_at_its_cap_with_an_open_circuit_or_without_money_asks_for_nobody(fleet):
    name = "llm.quick_scan"
    fleet.submit("mine-a", 20, "mine", name)
    assert fleet.queue(name).backlog == 20
    tier = fleet.settings.llm.tiers[Tier.QUICK_SCAN]
    pool = tier_pool("quick_scan", LLM_URL, tier)
    limiter = RedisLimiter(fleet.client)
    slot = limiter.reserve(pool, {"requests": 1.0, "tokens": 3000.0}, 0.0)
    assert fleet.queue(name).backlog == 0
    used = {v.name: v.used for v in fleet.reader.read().limits if v.pool == pool.name}
    assert used == {"requests": 1.0, "tokens": 3000.0, "calls": 1.0}
    limiter.settle(slot, {"tokens": 1000.0})
    used = {v.name: v.used for v in fleet.reader.read().limits if v.pool == pool.name}
    assert used == {"requests": 1.0, "tokens": 1000.0, "calls": 0.0}
    fleet.client.delete(f"alphamill:limits:{{{pool.name}}}")
    assert fleet.queue(name).backlog == 20

    breaker = RedisBreaker(fleet.client, LLM_URL)
    breaker.failed(tier.model, FailureKind.NO_QUOTA, 0.0, "quota")
    assert fleet.queue(name).backlog == 0
    breaker.alive(tier.model)
    assert fleet.queue(name).backlog == 20

    for number in range(4):
        fleet.call("mine-a", number, 249_000)
    assert fleet.queue(name).backlog == 0


def test_open_circuits_are_listed_whatever_the_key_and_closed_ones_are_not(fleet):
    assert open_circuits(fleet.client) == []
    breaker = RedisBreaker(fleet.client, "http://user@llm.test:99/v1")
    breaker.failed("m-1", FailureKind.NO_QUOTA, 0.0, HOSTILE)
    breaker.failed("m-1", FailureKind.UNREACHABLE, 0.0, "refused")
    found = {(c.host, c.model): (c.kind, c.cause) for c in open_circuits(fleet.client)}
    assert found == {
        ("llm.test:99", ""): (FailureKind.UNREACHABLE, "refused"),
        ("llm.test:99", "m-1"): (FailureKind.NO_QUOTA, HOSTILE),
    }
    breaker.alive("m-1")
    assert open_circuits(fleet.client) == []


def test_workers_say_who_and_where_they_are(fleet):
    one = Worker("fetch-1@a", "fetch", ("fetch",), 8, 11, "a", "0.1.0", 300 << 20)
    Presence(fleet.client).announce(one)
    [seen] = fleet.reader.read().workers
    assert seen.worker == one
    assert 0 <= seen.heard_s < 30
    assert fleet.queue().slots == 8


def test_a_real_worker_announces_its_host_code_and_memory(make_mill):
    mill = make_mill(market_of(1, 1))
    mill.wait_until_here(mill.control())
    [seen] = FleetReader(mill.redis, mill.settings).read().workers
    assert seen.worker.host == socket.gethostname()
    assert seen.worker.version == alphamill.__version__
    assert seen.worker.memory_bytes > 10 << 20
    assert seen.worker.build == build().label
    assert seen.differs == ()
    broker = {"ALPHAMILL_BROKER_URL": "amqp://me:s3cret@mq.test:5672/"}
    elsewhere = mill.env | broker | {"ALPHAMILL_LAKE": "/no/matter/on/one/machine"}
    differs = "broker_url: worker the same Redis, here mq.test:5672"
    [seen] = FleetReader(mill.redis, load_settings(elsewhere)).read().workers
    assert seen.differs == [differs]
    shown = CliRunner(env=elsewhere | {"COLUMNS": "300"}).invoke(main, ["top", "--once"]).output
    who = f"the control worker on {socket.gethostname()} (pid {seen.worker.pid})"
    assert f"{who}: {differs}: give all machines the same settings, and restart it" in shown
    assert seen.worker.queues == ("control",)


def test_a_worker_of_newer_code_is_read_for_what_is_known_here(fleet):
    fleet.client.sadd("alphamill:workers", "fetch-1@a")
    said = {"name": "fetch-1@a", "pool": "fetch", "queues": ["fetch"], "concurrency": 8, "pid": 1}
    fleet.client.set("alphamill:worker:fetch-1@a", json.dumps(said | {"mood": "fine"}), ex=20)
    assert [view.worker.pid for view in fleet.reader.read().workers] == [1]


def test_a_look_takes_as_long_to_ask_with_many_jobs_as_with_few(fleet):
    """Commands, not time: Redis is asked the same however many jobs there are."""
    asked = []
    for jobs in (10, 2000):
        fleet.submit(f"fetch-{jobs}", jobs)
        fleet.reader.read()
        fleet.client.config_resetstat()
        fleet.reader.read()
        stats = fleet.client.info("commandstats")
        assert not {"cmdstat_scan", "cmdstat_hscan", "cmdstat_keys"} & set(stats)
        asked.append(sum(row["calls"] for name, row in stats.items() if "config" not in name))
        fleet.ledger.cancel(f"fetch-{jobs}")
        fleet.ledger.forget(f"fetch-{jobs}")
    assert asked[0] == asked[1]


def test_an_ended_run_is_read_anew_only_when_it_changes(fleet):
    fleet.submit("fetch-a", 1)
    fleet.fail("fetch-a", 0, "no")
    overview = LedgerOverview(fleet.client)
    assert [run.counts for run in overview.runs()] == [{"fetch": {"dead": 1}}]
    fleet.client.config_resetstat()
    overview.runs()
    assert "cmdstat_hgetall" not in fleet.client.info("commandstats")
    fleet.ledger.resume("fetch-a")
    assert [run.counts for run in overview.runs()] == [{"fetch": {"queued": 1}}]


def test_rates_and_the_time_left_come_from_what_happened_between_looks(fleet):
    seconds = [100.0]
    reader = FleetReader(fleet.client, fleet.settings, lambda: seconds[0])
    fleet.submit("fetch-a", 4)
    reader.read()
    seconds[0] += 10.0
    for number in range(2):
        claim = fleet.ledger.claim("fetch-a", f"fetch-a-{number}", "me")
        fleet.ledger.finish(claim, {})
    [run] = reader.read().runs
    assert (run.jobs_per_s, run.left_s) == (0.2, 10.0)


def _busy(fleet: Bench) -> None:
    fleet.submit("mine-0123456789abcdef", 12_345, "mine", "llm.quick_scan")
    fleet.submit("fetch-fedcba9876543210", 3)
    fleet.fail("fetch-fedcba9876543210", 0, HOSTILE)
    for number in range(3):
        fleet.call("mine-0123456789abcdef", number, 123_457)
    pool = binance_pool(fleet.settings.binance, Market.SPOT, 1200)
    RedisLimiter(fleet.client).pause(pool, 60.0, HOSTILE)
    RedisBreaker(fleet.client, LLM_URL).failed("m", FailureKind.NO_QUOTA, 0.0, HOSTILE)
    own = identity(fleet.settings, Presence(fleet.client).salt())
    for number in range(20):
        name = f"llm-{number}@a-host-with-a-long-name"
        worker = Worker(name, "llm", ("llm.quick_scan",), 16, 4711, "a-host", "0.1.0", 1 << 30)
        worker = replace(worker, build=own.build.label, identity=own.id)
        Presence(fleet.client).announce(worker, own.to_message())


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
def test_a_narrow_terminal_loses_columns_and_never_a_digit(fleet, columns):
    _busy(fleet)
    shown = fleet.top("--once", columns=columns)
    assert shown.exit_code == 0, shown.output
    lines = shown.output.splitlines()
    assert max(map(len, lines)) <= columns
    assert "\x1b" not in shown.output
    assert "\u202e" not in shown.output
    assert not re.search(r"\d…", shown.output), "no figure is cut"
    words = " ".join(shown.output.split())
    for figure in ("12,345", "$0.370371", "$1.000000", "320 slots"):
        assert figure in words, figure
    assert ("4711" in words) is (columns > 60)
    assert "llm-19@" in shown.output
    assert "HTTP" not in shown.output
    assert "[bold red]" in shown.output, "markup is text"


def test_json_has_every_figure_and_is_one_object(fleet):
    _busy(fleet)
    shown = fleet.top("--once", "--json")
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.output)
    assert told["day"]["spent_usd_micros"] == 370_371
    assert told["day_cap_usd_micros"] == 10_000_000
    assert told["spent_usd_micros"] == 370_371
    assert len(told["workers"]) == 20
    assert {queue["name"] for queue in told["queues"]} >= {"fetch", "llm.quick_scan", "control"}
    assert told["circuits"][0]["kind"] == "NO_QUOTA"
    assert sum(row["jobs"] for row in told["failures"]) == 1


def test_an_empty_ledger_is_a_page_too(fleet):
    shown = fleet.top()
    assert shown.exit_code == 0
    assert "no run yet" in shown.output
    assert "no worker is here" in shown.output


def test_without_redis_the_reason_is_a_line(fleet):
    shown = CliRunner(env=fleet.env | {"ALPHAMILL_REDIS_URL": "redis://127.0.0.1:1/0"}).invoke(
        main, ["top", "--once"]
    )
    assert shown.exit_code == 3
    assert "Traceback" not in shown.output
    gone = redis.Redis(host="127.0.0.1", port=1)
    with pytest.raises(RetryLater):
        FleetReader(gone, fleet.settings).read()


def test_yesterdays_dollars_are_not_todays(fleet):
    fleet.call("mine-a", 1, 1000)
    today = utc_day(LedgerOverview(fleet.client).now_ms())
    key = f"alphamill:llm:day:{today}"
    fleet.client.rename(key, "alphamill:llm:day:2020-01-01")
    assert fleet.reader.read().day == replace(fleet.reader.read().day, spent_usd_micros=0)


def test_a_page_a_second_costs_redis_under_a_hundredth_of_its_time(redis_url, load_benchmark):
    """The server's own count of microseconds; see benchmarks/top_cost.py for 50,000 jobs."""
    found = load_benchmark("top_cost").measure(redis_url, 2000, 20)
    assert 0 < found["share_at_one_a_second"] < 0.01
