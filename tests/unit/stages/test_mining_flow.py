"""A whole mining run in one process: the real plan, ledger, lake and stages; a scripted model.

What is proven here: the flow gives verdicts, nothing behind discovery reaches a prompt, and the
same run done again asks no model and writes the same bytes.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from random import Random

import pyarrow as pa
import pytest
from click.testing import CliRunner

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp
from alphamill.flow import plan
from alphamill.frames import KLINES, Interval, Market, months_between
from alphamill.jobs import (
    EvaluateJob,
    FeaturesJob,
    FetchJob,
    PanelJob,
    ProposeJob,
    PublishJob,
    RankJob,
    RunKind,
    RunSpec,
    ValidateJob,
    VerifyJob,
    VetoJob,
)
from alphamill.lake import Lake, run_key
from alphamill.ledger import MemoryLedger
from alphamill.limits import OpenGate
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.memory import MemoryJournal
from alphamill.llm.journal.protocol import Journal
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import OneEndpoint
from alphamill.llm.scripted import ScriptedChat
from alphamill.market import FakeExchange
from alphamill.replay import run as replay
from alphamill.runs.funnel import tier_funnels
from alphamill.runs.schemas import RunDeps
from alphamill.settings import LedgerSettings, Price, Tier, TierSettings
from alphamill.sim.llm.prompt_reader import answer
from alphamill.sim.market.coins import coins_named
from alphamill.sim.market.synthetic import SyntheticMarket, generate
from alphamill.stages import (
    evaluate,
    features,
    fetch,
    panel,
    propose,
    publish,
    validate,
    verify,
    veto,
)
from alphamill.usage import MemoryUsageCounters
from producers.cli import main

SYMBOLS = ("BTCUSDT", "ETHUSDT", "BNBUSDT", "SOLUSDT")
START_MS = 1_672_531_200_000  # 2023-01-01
END_MS = START_MS + 90 * 86_400_000
TIER = TierSettings(model="scripted", max_tokens=800)


def klines(bars, interval):
    columns = {
        "open_time": bars.open_ms,
        "close_time": bars.open_ms + interval.ms - 1,
        **{name: getattr(bars, name) for name in KLINES.names if hasattr(bars, name)},
    }
    arrays = [
        pa.array(columns[entry.name]).cast(pa.int64()).cast(entry.type)
        if pa.types.is_timestamp(entry.type)
        else pa.array(columns[entry.name], entry.type)
        for entry in KLINES
    ]
    return pa.table(arrays, schema=KLINES)


@pytest.fixture(scope="module")
def market():
    generated = generate(
        SyntheticMarket(coins=coins_named(SYMBOLS), start_ms=START_MS, end_ms=END_MS)
    )
    return {symbol: klines(bars, Interval.H1) for symbol, bars in generated.items()}


@dataclass
class Mill:
    """What workers share, in memory."""

    lake: Lake
    exchange: FakeExchange
    journal: Journal = field(default_factory=MemoryJournal)
    usage: MemoryUsageCounters = field(default_factory=MemoryUsageCounters)
    chat: ScriptedChat = field(
        default_factory=lambda: ScriptedChat([offline_answer] * 100, latency_ms=5)
    )

    @property
    def gateway(self):
        prices = PriceTable.shipped({"scripted": Price(input=0.1, output=0.5)})
        gates = {tier.value: OpenGate() for tier in Tier}
        routes = OneEndpoint(self.chat, prices, gates)
        return Gateway(routes, prices, self.journal, self.usage, ManualClock())

    def work(self, spec):
        """Run every job of the plan as the workers would; the ledger at the end."""
        ledger = MemoryLedger(LedgerSettings(window=1000), ManualClock())
        ledger.open_run(spec.run_id, spec.kind.value, spec.to_message())
        ledger.add_jobs(spec.run_id, plan(spec))
        ledger.seal(spec.run_id)
        hints = ledger.feed(spec.run_id)
        while hints:
            hint = hints.pop(0)
            claim = ledger.claim(hint.run, hint.job_id, "test")
            try:
                facts = self.run(spec, ledger, claim.record)
                hints += ledger.finish(claim, json.loads(json.dumps(facts)))
            except GiveUp as error:
                hints += ledger.fail(claim, str(error))
        return ledger

    def run(self, spec, ledger, record):
        deps = RunDeps(self.lake, spec.run_id, spec)
        asks = propose.ProposeDeps(
            self.lake, spec.run_id, spec, self.gateway, 10_000_000, call_id=record.id
        )
        message = record.message
        missing = [{"stage": job.stage, "id": job.id, "reason": job.error}
                   for job in ledger.dead(spec.run_id)]  # fmt: skip
        publication = publish.PublishDeps(
            self.lake, spec.run_id, spec, self.journal.calls(spec.run_id), missing
        )
        fetching = fetch.FetchDeps(self.exchange, self.lake)
        stage, job_type, tools = {
            "fetch": (fetch.run, FetchJob, fetching),
            "features": (features.run, FeaturesJob, features.FeaturesDeps(self.lake)),
            "panel": (panel.run, PanelJob, panel.PanelDeps(self.lake, spec)),
            "propose.quick_scan": (propose.run, ProposeJob, asks),
            "propose.detailed_analysis": (propose.run, ProposeJob, asks),
            "evaluate": (evaluate.run, EvaluateJob, deps),
            "validate": (validate.run_validate, ValidateJob, deps),
            "rank": (validate.run_rank, RankJob, deps),
            "veto": (veto.run, VetoJob, asks),
            "verify": (verify.run, VerifyJob, deps),
            "publish": (publish.run, PublishJob, publication),
        }[record.stage]
        facts = stage(job_type.from_message(message), tools)
        return facts if isinstance(facts, dict) else facts.to_message()

    def table(self, spec, name):
        return self.lake.read(run_key(spec.run_id, f"{name}.parquet")).to_pylist()


def offline_answer(request):
    messages = [{"role": m.role, "content": m.content} for m in request.messages]
    seed = hashlib.sha256(messages[-1]["content"].encode()).digest()
    return json.dumps(answer(Random(seed), {"messages": messages}))


def mill(folder, tables):
    exchange = FakeExchange(ManualClock(END_MS + 86_400_000))
    for symbol, table in tables.items():
        exchange.add(symbol, Interval.H1, table)
    return Mill(Lake(str(folder)), exchange)


def spec_of(symbols=SYMBOLS, **changes):
    spec = RunSpec(
        kind=RunKind.MINE,
        lake="test",
        market=Market.SPOT,
        symbols=symbols,
        intervals=(Interval.H1,),
        start_ms=START_MS,
        end_ms=END_MS,
        rounds=2,
        candidates=4,
        budget_usd_micros=1_000_000,
        tiers=dict.fromkeys(Tier, TIER),
    )
    return replace(spec, **changes)


@pytest.fixture(scope="module")
def worked(market, tmp_path_factory):
    run = mill(tmp_path_factory.mktemp("lake"), market)
    return run, run.work(spec_of())


def test_every_job_is_done_and_the_run_with_it(worked):
    _, ledger = worked
    spec = spec_of()
    assert ledger.run(spec.run_id).state == "done"
    states = {state for counts in ledger.counts(spec.run_id).values() for state in counts}
    assert states == {"done"}


def test_every_candidate_is_a_row_with_its_fate(worked):
    run, _ = worked
    trials = run.table(spec_of(), "trials")
    asked = 2 * (len(SYMBOLS) + 1) * 4
    assert len(trials) == asked
    known = {"evaluated", "duplicate", "fault", "invalid", "unclean", "unreadable"}
    assert {row["status"] for row in trials} <= known
    for row in trials:
        assert (row["rank_ic_mean"] is not None) == (row["status"] == "evaluated")
        assert (row["validation_rank_ic_mean"] is not None) == (row["status"] == "evaluated")


def test_every_finalist_has_a_verdict_with_gates_and_counts_every_trial(worked):
    run, _ = worked
    trials, factors = run.table(spec_of(), "trials"), run.table(spec_of(), "factors")
    finalists = {row["hash"] for row in trials if row["finalist"]}
    assert finalists
    assert {row["hash"] for row in factors} == finalists
    counted = sum(row["status"] in ("evaluated", "duplicate", "fault") for row in trials)
    for row in factors:
        assert row["n_trials"] == counted
        assert row["look_ahead_ok"]
        gates = {gate["name"]: gate for gate in json.loads(row["gates"])}
        assert {"validation_t", "deflated_sharpe", "false_discovery", "holdout_t"} <= set(gates)
        assert row["discovery_end_ms"] < row["validation_start_ms"]
        assert row["validation_end_ms"] < row["holdout_start_ms"]


def test_the_accounts_add_up(worked):
    run, _ = worked
    calls = run.table(spec_of(), "calls")
    totals = run.usage.report(spec_of().run_id)["totals"]
    assert len(calls) == totals["requests"] == len(run.chat.requests)
    assert sum(call["cost_usd_micros"] for call in calls) == totals["cost_usd_micros"]
    assert sum(call["prompt_tokens"] for call in calls) == totals["prompt_tokens"]


def test_prompts_hold_what_was_learned_on_discovery_and_nothing_later(worked):
    run, _ = worked
    later = [request.messages[-1].content for request in run.chat.requests[len(SYMBOLS) :]]
    assert any("What worked so far" in text for text in later)
    numbers = {
        f"{row['validation_rank_ic_t']:+.2f}" for row in run.table(spec_of(), "trials")
        if row["validation_rank_ic_t"] is not None and abs(row["validation_rank_ic_t"]) > 1
    }  # fmt: skip
    told = {f"{row['rank_ic_t']:+.2f}" for row in run.table(spec_of(), "trials")
            if row["rank_ic_t"] is not None}  # fmt: skip
    for text in later:
        assert not [number for number in numbers - told if f"t {number}" in text]


def poisoned(table, from_ms):
    """The same bars with nonsense from `from_ms` on."""
    rows = table.to_pylist()
    for row in rows:
        if row["open_time"].timestamp() * 1000 >= from_ms:
            for name in ("open", "high", "low", "close"):
                row[name] *= 1000.0
    return pa.Table.from_pylist(rows, schema=KLINES)


def test_poison_behind_discovery_reaches_no_prompt(worked, market, tmp_path):
    run, _ = worked
    behind_ms = START_MS + int(90 * 24 * 0.6) * Interval.H1.ms
    bad = {symbol: poisoned(table, behind_ms) for symbol, table in market.items()}
    other = mill(tmp_path, bad)
    other.work(spec_of())
    calls = 2 * (len(SYMBOLS) + 1)  # the veto's list of finalists may differ, not its numbers
    asked = [request.messages for request in run.chat.requests[:calls]]
    assert [request.messages for request in other.chat.requests[:calls]] == asked
    assert other.table(spec_of(), "trials") != run.table(spec_of(), "trials")


def test_done_again_it_asks_nobody_and_writes_the_same_bytes(worked):
    run, _ = worked
    keys = [key for key in run.lake.list("") if key.endswith(".parquet")]
    before = {key: run.lake.read_bytes(key) for key in keys}
    asked_market, asked_model = len(run.exchange.asked), len(run.chat.requests)
    run.work(spec_of())
    assert len(run.exchange.asked) == asked_market
    assert len(run.chat.requests) == asked_model
    assert {key: run.lake.read_bytes(key) for key in keys} == before


def test_a_failed_symbol_costs_its_own_jobs_only(market, tmp_path):
    run = mill(tmp_path, market)
    spec = spec_of(symbols=(*SYMBOLS, "NOPEUSDT"), rounds=1)
    ledger = run.work(spec)
    assert ledger.run(spec.run_id).state == "done"
    dead = {job.stage for job in ledger.dead(spec.run_id)}
    assert dead == {"fetch", "features"}
    months = len(months_between(START_MS, END_MS))
    assert sum(1 for _ in ledger.dead(spec.run_id)) == months + 1
    summary = json.loads(run.lake.read_bytes(run_key(spec.run_id, "run.json")))
    assert "NOPEUSDT" in summary["missing"][0]["reason"]


def test_an_exhausted_budget_ends_the_asking_not_the_run(market, tmp_path):
    run = mill(tmp_path, market)
    spec = spec_of(budget_usd_micros=4000)
    ledger = run.work(spec)
    assert ledger.run(spec.run_id).state == "done"
    spent = run.usage.report(spec.run_id)["totals"]["cost_usd_micros"]
    assert 0 < spent <= 4000
    stopped = [job for job in ledger.jobs(spec.run_id) if "stopped" in (job.result or {})]
    assert stopped
    assert "budget" in stopped[0].result["stopped"]


def test_replies_that_are_not_json_leave_rows_and_the_run_ends_with_a_reason(market, tmp_path):
    run = mill(tmp_path, market)
    run.chat = ScriptedChat(["I would rather <script>alert(1)</script> not."] * 50)
    spec = spec_of(rounds=1)
    ledger = run.work(spec)
    assert ledger.run(spec.run_id).state == "done"
    statuses = {row["status"] for row in run.table(spec, "trials")}
    assert statuses == {"unreadable"}
    assert run.table(spec, "factors") == []


def test_a_run_is_replayed_from_what_it_paid_for_and_comes_out_equal(worked, tmp_path):
    run, _ = worked
    spec = spec_of()
    jobs = [(job.stage, job.message) for job in plan(spec)]
    done = replay.replay(spec.run_id, jobs, run.lake, Lake(str(tmp_path / "scratch")))
    assert (done.differences, done.failed) == ((), ())
    assert done.trials == len(run.table(spec, "trials"))
    assert done.verdicts == len(run.table(spec, "factors")) > 0


def test_a_replay_says_what_came_out_otherwise(worked, tmp_path):
    run, _ = worked
    spec = spec_of()
    source = Lake(str(tmp_path / "source"))
    for key in run.lake.list(f"runs/run={spec.run_id}"):
        source.write_bytes(key, run.lake.read_bytes(key))
    calls = source.read(run_key(spec.run_id, "calls.parquet")).to_pylist()
    forged = {"candidates": [{"expression": "rank(ts_std(returns, 77))"}]}
    calls[0]["reply_text"] = json.dumps(forged)
    calls[1]["status"] = "unknown"
    source.write(run_key(spec.run_id, "calls.parquet"), pa.Table.from_pylist(calls), {})
    jobs = [(job.stage, job.message) for job in plan(spec)]
    done = replay.replay(spec.run_id, jobs, source, Lake(str(tmp_path / "scratch")))
    assert not done.equal
    assert {one.table for one in done.differences} >= {"trials"}
    assert any("no reply in the journal" in text for text in done.failed)


def test_the_funnel_adds_up_to_the_tables(worked):
    run, _ = worked
    trials, factors, calls = (run.table(spec_of(), name) for name in ("trials", "factors", "calls"))
    *tiers, total = tier_funnels(trials, factors, calls, validation_t=3.0)
    assert [row["tier"] for row in tiers] == [tier.value for tier in Tier]
    assert total["asked"] == len(calls) == len(run.chat.requests)
    assert total["cost_usd_micros"] == sum(call["cost_usd_micros"] for call in calls)
    assert total["proposed"] == len(trials)
    for row in tiers[:2]:
        fates = ("unreadable", "unclean", "duplicate", "fault", "evaluated")
        assert row["proposed"] == sum(row[name] for name in fates)
        assert row["evaluated"] >= row["passed_validation"] >= 0
    admitted = sum(row["verdict"] in ("predictive", "tradable") for row in factors)
    assert total["admitted"] == admitted
    cost = total["cost_per_admitted_usd_micros"]
    assert (cost is None) == (admitted == 0)
    assert total["latency_ms"] == {"p50": 5, "p99": 5}


def test_the_commands_read_a_published_run_from_its_lake_alone(worked, monkeypatch):
    run, _ = worked
    monkeypatch.setenv("ALPHAMILL_LAKE", run.lake.uri)
    monkeypatch.setenv("ALPHAMILL_REDIS_URL", "redis://127.0.0.1:1/0")  # nobody is there
    replayed = CliRunner().invoke(main, ["replay", spec_of().run_id, "--json"])
    assert replayed.exit_code == 0, replayed.output
    assert json.loads(replayed.output)["equal"] is True
    shown = CliRunner().invoke(main, ["funnel", "--run", spec_of().run_id])
    assert shown.exit_code == 0, shown.output
    assert "cost of an admitted factor" in shown.output
    report = CliRunner().invoke(main, ["funnel", "--run", spec_of().run_id, "--json"])
    assert json.loads(report.output)["tiers"][-1]["asked"] == len(run.chat.requests)
