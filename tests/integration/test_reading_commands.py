"""The reading commands over a real Redis and a real lake, as a person and as a script use them."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import redis
from click.testing import CliRunner

from alphamill.controls.recovered import search_planted
from alphamill.evaluation import Gate, Grade, Segment, signal_correlation
from alphamill.factors import compute, parse
from alphamill.flow import plan
from alphamill.frames import KLINES, BarSpan, Interval, Market, Month
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake, MonthFacts, write_klines
from alphamill.ledger import JobSpec, RedisLedger, RunState
from alphamill.ledger.presence import Presence, Worker
from alphamill.llm.charges import Charge
from alphamill.llm.journal.budget import Caps
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.journal.redis import RedisJournal
from alphamill.llm.messages import ChatReply, ChatRequest, Message, TokenUsage
from alphamill.report.page import page_of, render
from alphamill.runs.figures import Measures, dump_score
from alphamill.runs.panels import (
    PanelManifest,
    SegmentFacts,
    field_key,
    load_panel,
    write_field,
    write_manifest,
)
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import JudgedFactor, Trial
from alphamill.runs.schemas import VERDICTS
from alphamill.settings import FeeSettings, LedgerSettings, Settings, Tier, TierSettings
from alphamill.sim.llm.proposer import NAME as PROPOSER
from alphamill.usage import RedisUsage, UsageEntry
from producers.check import local
from producers.cli import main
from producers.read.result import show_result
from producers.run.demo_results import show_planted, show_results
from tests import rows
from tests.deadlines import slowness, wait_for

H1_MS = 3_600_000
JAN = Month(2024, 1)
SYMBOLS = ("AUSDT", "BUSDT", "CUSDT", "DUSDT", "EUSDT")
SECRET = "sk-secret-never-shown"
HOSTILE = "looks [i]ahead[/i] \x1b[31m"
HISTORY = 90  # bars before the segment's own
REVERSAL, VOLUME = "-ts_zscore(close, 24)", "ts_mean(volume, 6) / ts_mean(volume, 72)"


@dataclass
class Mill:
    """A small world: a lake, a Redis, four runs, and how to ask about them."""

    folder: Any
    url: str
    client: redis.Redis
    ledger: RedisLedger
    lake: Lake
    settings: Settings
    mined: str = ""
    scored: str = ""
    running: str = ""
    failed: str = ""

    def ask(self, *arguments: str, columns: int = 80, **env: str | None) -> Any:
        names = ("CONFIG", "BROKER_URL", "BINANCE_URL", "LLM_URL", "LLM_API_KEY")
        fixed = dict.fromkeys((f"ALPHAMILL_{name}" for name in names), None) | {
            "ALPHAMILL_HOME": str(self.folder / "home"),
            "ALPHAMILL_LAKE": self.lake.uri,
            "ALPHAMILL_REDIS_URL": self.url,
            "COLUMNS": str(columns),
        }
        return CliRunner(env=fixed | env).invoke(main, arguments, prog_name="alphamill")

    def told(self, *arguments: str, **env: str | None) -> Any:
        result = self.ask(*arguments, "--json", **env)
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout, parse_constant=pytest.fail)  # NaN is not JSON


@pytest.fixture(scope="module")
def mill(redis_server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reading")
    url = redis_server.removesuffix("/0") + "/9"  # other tests empty the other databases
    client = redis.Redis.from_url(url)
    client.flushdb()
    lake = Lake(str(folder / "lake"))
    settings = Settings(home=folder, lake=lake.uri, redis_url=url)
    made = Mill(folder, url, client, RedisLedger(client, LedgerSettings()), lake, settings)
    _write_klines(made)
    made.mined = _mined(made)
    made.scored = _scored(made)
    made.failed = _failed(made)
    made.running = _running(made)  # the newest
    Presence(client).announce(Worker("fetch-1@host", "fetch", ("fetch",), 8, 4711))
    yield made
    client.flushdb()
    client.close()


def _spec(kind: RunKind, lake: Lake, **more: Any) -> RunSpec:
    tiers = {tier: TierSettings(model=PROPOSER) for tier in Tier} if kind is RunKind.MINE else {}
    return RunSpec(
        kind=kind,
        lake=lake.uri,
        market=Market.SPOT,
        symbols=SYMBOLS,
        intervals=(Interval.H1,),
        start_ms=JAN.start_ms,
        end_ms=JAN.end_ms,
        budget_usd_micros=1_000_000,
        tiers=tiers,
        **more,
    )


def _open(mill: Mill, spec: RunSpec, *jobs: JobSpec) -> str:
    run = mill.ledger.open_run(spec.run_id, spec.kind.value, spec.to_message(), 3)
    mill.ledger.add_jobs(spec.run_id, jobs)
    mill.ledger.seal(spec.run_id)
    mill.ledger.feed(spec.run_id)

    def now_ms() -> int:
        seconds, micros = mill.client.time()
        return seconds * 1000 + micros // 1000

    # Runs are told apart by the millisecond of their creation.
    wait_for(lambda: now_ms() > run.created_ms, "the next millisecond", now_ms, poll_s=0)
    return spec.run_id


def _job(name: str, stage: str, **more: Any) -> JobSpec:
    message = {"symbol": name.upper(), "interval": "1h", "start_ms": JAN.start_ms}
    return JobSpec(f"{stage}-{name}", stage, "fetch", message, **more)


def _claim(mill: Mill, run: str, job: str) -> Any:
    claim = mill.ledger.claim(run, job, "host:1")
    assert claim is not None
    return claim


def _mined(mill: Mill) -> str:
    """A mining run that is done, though one fetch failed for good and its features were skipped."""
    lost = _job("busdt", "fetch")
    run = _open(
        mill,
        _spec(RunKind.MINE, mill.lake),
        _job("ausdt", "fetch"),
        lost,
        _job("busdt", "features", needs=(lost.id,)),
        _job("all", "publish", goal=True),
    )
    mill.ledger.finish(_claim(mill, run, "fetch-ausdt"), {})
    mill.ledger.fail(_claim(mill, run, lost.id), "HTTP 451: [red]not served here[/]")
    mill.ledger.finish(_claim(mill, run, "publish-all"), {})
    _write_panel(mill, run)
    _ask_models(mill, run)
    missing = [
        {
            "stage": job.stage,
            "id": job.id,
            "state": job.state.value,
            "message": job.message,
            "reason": job.error,
        }
        for job in mill.ledger.dead(run)
    ]
    calls = list(RedisJournal(mill.client).calls(run))
    spec = mill.ledger.run(run).spec
    rows.publish(mill.lake, run, spec, _trials(), _factors(), calls, missing)
    return run


def _gates(**failing: float) -> tuple[Gate, ...]:
    named = {"validation_t": 5.0, "deflated_sharpe": 0.99, "net_validation": 1.0} | failing
    thresholds = {"validation_t": 3.0, "deflated_sharpe": 0.95, "net_validation": 0.0}
    return tuple(
        rows.gate(
            name,
            value >= thresholds[name],
            value,
            thresholds[name],
            Grade.TRADABLE if name.startswith("net") else Grade.PREDICTIVE,
        )
        for name, value in named.items()
    )


def _factor(rank: int, verdict: Grade, expression: str, **more: Any) -> JudgedFactor:
    figures = {
        "rank_ic_mean": 0.05,
        "rank_ic_t": 6.25,
        "net_sharpe": 1.5,
        "gross_sharpe": 2.5,
        "turnover_per_bar": 0.08,
        "coverage": 0.99,
    }
    own = {
        "rank": rank,
        "verdict": verdict,
        "expression": expression,
        "hash": f"h{rank}",
        "direction": 1,
        "n_trials": 208,
        "bh_p": 0.0123,
        "deflated_sharpe": 0.97,
        "holdout_looks": 2,
        "library_correlation": math.nan,
        "call_cost_usd_micros": None,
    }
    return rows.figures_of(
        replace(rows.FACTOR, **own | more), discovery=figures, validation=figures, holdout=figures
    )


def _factors() -> list[JudgedFactor]:
    volume = "ts_mean(volume, 6) / ts_mean(volume, 71)"
    return [
        _factor(1, Grade.PREDICTIVE, "-ts_rank(close, 24)", gates=_gates(net_validation=-3.0)),
        _factor(2, Grade.REJECTED, volume, gates=_gates(deflated_sharpe=0.4126), bh_p=math.nan),
        _factor(3, Grade.REJECTED, "close / open", gates=_gates(), veto_reason=HOSTILE),
    ]


def _trials() -> list[Trial]:
    trial = rows.figures_of(rows.TRIAL, discovery={"rank_ic_mean": math.nan})
    return [
        rows.figures_of(replace(trial, finalist=True), validation={"rank_ic_mean": 0.02}),
        rows.figures_of(replace(trial, finalist=False), validation={"rank_ic_mean": -0.02}),
        replace(trial, status="duplicate"),
        replace(trial, status="invalid"),
    ]


def _write_panel(mill: Mill, run: str) -> None:
    """Discovery with random walks, long enough for a window of 72 bars."""
    rng, bars = np.random.default_rng(7), 400
    times = JAN.start_ms + H1_MS * np.arange(bars, dtype=np.int64)
    close = 100 * np.exp(rng.normal(0, 0.01, (bars, len(SYMBOLS))).cumsum(axis=0))
    fields = {"open": close, "close": close, "volume": rng.lognormal(0, 1, close.shape)}
    hashes = {
        name: write_field(
            mill.lake, field_key(run, Interval.H1, Segment.DISCOVERY, name), times, SYMBOLS, values
        )
        for name, values in fields.items()
    }
    facts = SegmentFacts(JAN.start_ms, bars, HISTORY, 5, hashes)
    write_manifest(
        mill.lake,
        run,
        PanelManifest(Interval.H1, SYMBOLS, (), "snapshot", {Segment.DISCOVERY: facts}, ended=()),
    )


def _ask_models(mill: Mill, run: str) -> None:
    journal, counters = RedisJournal(mill.client), RedisUsage(mill.client)
    for number, text in enumerate(("first", "second \x1b[31m[bold]raw[/]")):
        call = f"quick_scan-{number}aa"
        messages = (Message("system", "The manual."), Message("user", text))
        request = ChatRequest(PROPOSER, messages, max_tokens=100)
        begun = CallRecord.begin(
            run,
            call,
            "quick_scan",
            request,
            prompt_version="1",
            started_ms=1000 + number,
            reserved_usd_micros=500,
        )
        record = replace(begun, day="2026-01-31", attempt=f"attempt-{number}")
        journal.reserve(record, messages, Caps(1_000_000, 10_000_000))
        reply = ChatReply("a reply", "stop", PROPOSER, TokenUsage(30, 10, 5), 40, PROPOSER)
        journal.settle(record.settled(reply, Charge(321, 321), 2000))
        counters.record(
            UsageEntry(call, run, "2026-01-31", "quick_scan", PROPOSER, 30, 10, 5, 321, 40)
        )
    counters.record_error(run, "2026-01-31", "quick_scan", PROPOSER, "timeout")


def _scored(mill: Mill) -> str:
    spec = _spec(RunKind.EVALUATE, mill.lake, expressions=("close / open",))
    run = _open(mill, spec, _job("all", "publish", goal=True))
    mill.ledger.finish(_claim(mill, run, "publish-all"), {})
    trial = replace(
        rows.TRIAL,
        tier="given",
        expression="close / open",
        direction=-1,
        discovery=Measures(rank_ic_mean=-0.03, rank_ic_t=-4.5, net_sharpe=math.nan),
        score_text=dump_score(replace(rows.SCORE, n_bars=744)),
    )
    rows.publish(mill.lake, run, spec.to_message(), [trial])
    return run


def _failed(mill: Mill) -> str:
    run = _open(mill, _spec(RunKind.MINE, mill.lake, salt="2"), _job("all", "publish", goal=True))
    mill.ledger.fail(_claim(mill, run, "publish-all"), "the run has no trial to show")
    return run


def _running(mill: Mill) -> str:
    spec = _spec(RunKind.MINE, mill.lake, salt="3")
    run = _open(mill, spec, _job("ausdt", "fetch"), _job("busdt", "fetch"))
    mill.ledger.finish(_claim(mill, run, "fetch-ausdt"), {})
    mill.ledger.put_back(_claim(mill, run, "fetch-busdt"), "timeout after 15 s", 300)
    return run


def _write_klines(mill: Mill) -> None:
    gap, halt = (
        BarSpan(JAN.start_ms + 5 * H1_MS, JAN.start_ms + 8 * H1_MS, 3),
        BarSpan(0, H1_MS, 1),
    )
    opens = [JAN.start_ms + n * H1_MS for n in range(744) if not 5 <= n < 8]
    columns = {name: np.ones(len(opens)) for name in KLINES.names}
    columns |= {
        "open_time": np.array(opens),
        "close_time": np.array(opens) + H1_MS - 1,
        "trades": np.ones(len(opens), dtype=np.int64),
    }
    table = pa.table({name: pa.array(columns[name]) for name in KLINES.names}).cast(KLINES)
    facts = MonthFacts("rest", JAN.range, (gap,), (halt,))
    write_klines(mill.lake, Market.SPOT, "AUSDT", Interval.H1, JAN, table, facts)


# --- status -------------------------------------------------------------------------------------


def test_status_lists_the_runs_newest_first_and_who_is_here(mill):
    told = mill.told("status")
    assert [run["id"] for run in told["runs"]] == [
        mill.running,
        mill.failed,
        mill.scored,
        mill.mined,
    ]
    mined = told["runs"][-1]
    assert (mined["state"], mined["done"], mined["failed"], mined["total"]) == ("done", 2, 2, 4)
    assert mined["priority"] == 3
    assert told["workers"][0]["pool"] == "fetch"
    text = mill.ask("status").stdout
    assert mill.running in text
    assert "2/4" in text
    assert "no worker for: features, evaluate, llm, control" in text


def test_status_of_a_run_says_what_failed_and_what_it_spent(mill):
    result = mill.ask("status", mill.mined[:12])
    assert result.exit_code == 0
    assert "[red]not served here[/]" in result.stdout  # shown, not obeyed
    assert "BUSDT 1h 2024-01" in result.stdout
    assert "$0.000642 spent of $1.000000" in result.stdout
    told = mill.told("status", mill.mined)
    assert [(job["stage"], job["state"]) for job in told["jobs"]] == [
        ("features", "skipped"),
        ("fetch", "dead"),
    ]
    assert told["budget"]["spent_usd_micros"] == 642
    assert told["stages"]["fetch"] == {"done": 1, "dead": 1}


def test_status_shows_the_last_error_of_a_job_that_waits_for_another_try(mill):
    told = mill.told("status", mill.running)
    assert [(job["state"], job["error"]) for job in told["jobs"]] == [
        ("delayed", "timeout after 15 s")
    ]
    assert "timeout after 15 s" in mill.ask("status", mill.running).stdout


def test_the_exit_code_says_that_a_run_ended_without_a_job(mill):
    spec = _spec(RunKind.FETCH, mill.lake, salt="4")
    run = _open(mill, spec, _job("ausdt", "fetch"), _job("busdt", "fetch"))
    try:
        mill.ledger.finish(_claim(mill, run, "fetch-ausdt"), {})
        mill.ledger.fail(_claim(mill, run, "fetch-busdt"), "the exchange has no symbol 'BUSDT'")
        told = mill.ask("status", run, "--wait")
        assert mill.ledger.run(run).state is RunState.DONE
        assert told.exit_code == 1
        assert "the exchange has no symbol" in told.stdout
    finally:
        mill.ledger.forget(run)


def test_status_waits_and_its_exit_code_says_how_the_run_ended(mill):
    assert mill.ask("status", mill.scored, "--wait").exit_code == 0
    failed = mill.ask("status", mill.failed, "--wait")
    assert failed.exit_code == 1
    assert f"alphamill resume {mill.failed}" in failed.stdout
    assert mill.ask("status", mill.failed).exit_code == 0  # it was read well


def test_a_run_that_is_not_unique_or_unknown_is_an_error_that_names_some(mill):
    result = mill.ask("status", "mine-")
    assert result.exit_code == 1
    assert mill.mined in result.stderr
    assert mill.ask("status", "nothing").exit_code == 1


# --- usage, factors, report, prompt -------------------------------------------------------------


def test_usage_as_json_is_the_counters_report_and_the_budget(mill, monkeypatch):
    monkeypatch.setattr("alphamill.runs.under_way.utc_day", lambda _: "2026-01-31")
    report = RedisUsage(mill.client).report(mill.mined)
    told = mill.told("usage", "--run", mill.mined)
    budget = told.pop("budget")
    assert told == report
    assert budget == {
        "asked_usd_micros": 1_000_000,
        "usd_micros": 1_000_000,
        "raises": [],
        "unfunded": 0,
        "go_on": None,
    }
    assert set(report) == {"totals", "by"}
    assert report["totals"]["cost_usd_micros"] == 642
    told = mill.told("usage")
    day = told.pop("day")
    assert told == RedisUsage(mill.client).report()
    assert day["cap_usd_micros"] == 10_000_000
    spent = day["spent_usd_micros"] + day["reserved_usd_micros"] + day["unknown_usd_micros"]
    assert spent >= 642
    left = f"left today: ${(10_000_000 - spent) / 1e6:.6f} of the day's $10.000000"
    assert left in mill.ask("usage").stdout
    text = mill.ask("usage", "--run", mill.mined).stdout
    assert "$0.000642" in text
    assert "failed: timeout 1" in text
    assert mill.mined in mill.ask("usage").stdout
    assert "no model call" in mill.ask("usage", "--run", mill.scored).stdout


def test_usage_of_a_finished_run_needs_no_redis(mill):
    gone = {"ALPHAMILL_REDIS_URL": "redis://127.0.0.1:1/0"}
    told = mill.told("usage", "--run", mill.mined, **gone)
    assert told["totals"]["cost_usd_micros"] == 642
    assert "$0.000642" in mill.ask("usage", "--run", mill.mined, **gone).stdout
    unknown = mill.ask("usage", "--run", mill.running, **gone)
    assert unknown.exit_code == 3
    assert "ALPHAMILL_REDIS_URL" in unknown.stderr


def test_usage_and_doctor_say_that_a_server_cuts_its_prompts(mill, monkeypatch):
    """The mined run's calls state 30 tokens each, far fewer than the manual has."""
    told = "read no more than 30 tokens of 2 different prompts"
    assert told not in " ".join(mill.ask("usage", "--run", mill.mined).stdout.split())
    monkeypatch.setattr("alphamill.runs.cut_prompts.PROMPT_VERSION", "1")
    usage = " ".join(mill.ask("usage", "--run", mill.mined).stdout.split())
    assert told in usage
    assert "raise the server's context" in usage
    (check,) = local.prompts_checks(mill.settings)
    assert (check.state, told in check.detail) == ("warn", True)
    lost = mill.settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    assert list(local.prompts_checks(lost)) == []


@pytest.mark.parametrize("columns", [80, 160])
def test_factors_shows_figures_verdicts_and_reasons(mill, columns):
    result = mill.ask("factors", "--run", mill.mined, columns=columns)
    assert result.exit_code == 0
    text = result.stdout
    assert "0 tradable, 1 predictive, 2 rejected; 208 trials" in text
    assert "offline proposer" in text
    for part in ("-ts_rank(close, 24)", "+6.2", "+1.5", "8%", "0.970", "0.012"):
        assert part in text, part
    words = " ".join(text.split())
    assert "not tradable: net_validation -3 (needs 0)" in words
    assert "fails deflated_sharpe 0.413 (needs 0.95)" in words
    assert "vetoed by final_verification: looks [i]ahead[/i]" in words
    assert "\x1b" not in text
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= columns


def test_factors_as_json_has_every_column_decoded_and_no_nan(mill):
    told = mill.told("factors", "--run", mill.mined)
    assert told["run_id"] == mill.mined
    assert told["offline_proposer"] is True
    assert [set(row) for row in told["factors"]] == [
        {*VERDICTS.names, "calls", "discovery_score"}
    ] * 3
    first, second, _ = told["factors"]
    assert first["gates"][0]["name"] == "validation_t"
    assert first["reasons"] == ["a reason"]
    assert second["bh_p"] is None
    assert first["library_correlation"] is None
    assert first["validation_rank_ic_t"] == 6.25


def test_factors_of_an_evaluate_run_are_its_trials(mill):
    told = mill.told("factors", "--run", mill.scored)
    assert told["trials"][0]["score"]["n_bars"] == 744
    assert told["trials"][0]["net_sharpe"] is None
    text = mill.ask("factors", "--run", mill.scored).stdout
    assert "In-sample" in text
    assert "+4.50" in text


@pytest.mark.parametrize("command", [("factors", "--run"), ("report",)])
def test_a_run_without_results_says_what_to_do(mill, command):
    running = mill.ask(*command, mill.running)
    assert running.exit_code == 1
    assert (
        f"1 of 2 jobs settled); follow it with: alphamill status {mill.running}" in running.stderr
    )
    failed = mill.ask(*command, mill.failed)
    assert failed.exit_code == 1
    assert f"alphamill resume {mill.failed}" in failed.stderr


def test_factors_without_a_run_takes_the_newest_that_has_results_of_either_kind(mill):
    assert mill.scored in mill.ask("factors").stdout
    assert mill.mined in mill.ask("factors", "--run", mill.mined).stdout


def _ended(mill: Mill, run: str) -> None:
    """Every job done, in the plan's order, as if workers had been there."""
    for job in plan(RunSpec.from_message(mill.ledger.run(run).spec)):
        mill.ledger.finish(_claim(mill, run, job.id), {})


def test_options_of_the_measures_are_part_of_the_run_and_nothing_else_changes_its_id(mill):
    asked = (
        *("evaluate", "close / open", "--symbols", ",".join(SYMBOLS), "--interval", "1h"),
        *("--start", "2024-01-01", "--end", "2024-02-01", "--unlisted"),
    )
    own = ("--weighting", "quantile", "--quantiles", "3", "--taker-bps", "2.5")
    own += ("--band", "0.5", "--hold", "48")
    fees = ("--maker-bps", "-0.5", "--maker-frac", "0.4", "--spread-bps", "1.5")
    plain = mill.ask(*asked).stdout.strip()
    same = mill.ask(*asked, "--horizon", str(mill.settings.segments.horizon_bars)).stdout.strip()
    other = mill.ask(*asked, "--horizon", "24", *own, *fees).stdout.strip()
    several = mill.ask(*asked, "--horizon", "24,1,4,4").stdout.strip()
    try:
        assert same == plain != other
        assert several == mill.ask(*asked, "--horizon", " 1, 4,24").stdout.strip()
        assert several not in (plain, other)
        message = mill.ledger.run(several).spec
        assert (message["horizons_bars"], message["segments"]["horizon_bars"]) == ([1, 4, 24], 1)
        assert "horizons_bars" not in mill.ledger.run(plain).spec
        spec = RunSpec.from_message(mill.ledger.run(other).spec)
        assert spec.segments.horizon_bars == 24
        assert (spec.portfolio.weighting, spec.portfolio.quantiles) == ("quantile", 3)
        assert (spec.portfolio.band, spec.portfolio.hold_bars) == (0.5, 48)
        assert {"band", "hold_bars"} & mill.ledger.run(plain).spec["portfolio"].keys() == set()
        assert spec.fees == FeeSettings(
            taker_bps=2.5, maker_bps=-0.5, maker_frac=0.4, spread_bps=1.5
        )
        for wrong, said in {
            ("--horizon", "0"): "'0' is no number of bars from 1 on",
            ("--horizon", "1,x"): "'x' is no number of bars",
            ("--horizon", ",".join(map(str, range(1, 15)))): "14 horizons; at most 12",
            ("--quantiles", "1"): "not in the range",
            ("--band", "nan"): "--band must be a number",
            ("--band", "11"): "not in the range",
            ("--hold", "-1"): "not in the range",
            ("--taker-bps", "nan"): "--taker-bps must be a number",
            ("--maker-bps", "nan"): "--maker-bps must be a number",
            ("--spread-bps", "-1"): "not in the range",
            ("--maker-frac", "1.1"): "not in the range",
            ("--maker-bps", "-20", "--maker-frac", "0.9"): "whoever trades is paid 16.9 bps",
        }.items():
            result = mill.ask(*asked, *wrong)
            assert result.exit_code == 2, wrong
            assert said in " ".join(result.stderr.split()), result.stderr
        mine = mill.ask("mine", *SYMBOLS, *asked[4:], "--horizon", "1,4")
        assert mine.exit_code == 2
        assert "takes one --horizon" in mine.stderr
    finally:
        for run in (plain, other, several):
            mill.ledger.cancel(run)
            mill.ledger.forget(run)


def test_who_waits_is_told_the_id_first_and_at_the_end_the_figures(mill):
    asked = (
        *("evaluate", "close / open", "--symbols", ",".join(SYMBOLS), "--interval", "1h"),
        *("--start", "2024-01-01", "--end", "2024-02-01", "--unlisted"),
    )
    run = mill.ask(*asked).stdout.strip()
    try:
        rows.publish(mill.lake, run, mill.ledger.run(run).spec, [rows.TRIAL])
        _ended(mill, run)
        told = mill.ask(*asked, "--wait")
        assert told.exit_code == 0, told.stderr
        assert told.stderr.splitlines()[1] == f"waiting for {run}; Ctrl-C leaves it running"
        assert "+0.0312" in told.stdout
        assert f"alphamill report {run} --open  # plots" in told.stdout
        assert told.stdout.splitlines()[-1] == run
        assert set(json.loads(mill.ask(*asked, "--wait", "--json").stdout)) == {
            *("run_id", "state", "joined")
        }
    finally:
        mill.ledger.forget(run)
        for key in mill.lake.list(f"runs/run={run}"):
            mill.lake.delete(key)


def test_who_waits_for_a_mining_run_sees_the_verdicts_the_best_and_what_to_type(
    mill, monkeypatch, capsys
):
    monkeypatch.setattr("producers.read.result._FACTORS", 2)
    show_result(mill.ledger.run(mill.mined))
    text = capsys.readouterr().out
    assert "0 tradable, 1 predictive, 2 rejected; 208 trials" in text
    assert "-ts_rank(close, 24)" in text
    assert "close / open" not in text
    assert "and 1 more" in text
    for command in ("factors", "report"):
        assert f"alphamill {command} {mill.mined}" in text
    assert f"alphamill factors {mill.mined} 1" in text
    show_result(mill.ledger.run(mill.failed))
    show_result(mill.ledger.run(mill.running))
    assert capsys.readouterr().out == ""


def test_a_result_that_lies_elsewhere_is_said_and_the_run_is_done_all_the_same(mill):
    run = _open(
        mill, _spec(RunKind.EVALUATE, mill.lake, salt="9"), _job("all", "publish", goal=True)
    )
    try:
        mill.ledger.finish(_claim(mill, run, "publish-all"), {})
        told = mill.ask("resume", run, "--wait")
        assert (told.exit_code, told.stdout.strip()) == (0, run)
        assert "its figures cannot be shown here" in told.stderr
    finally:
        mill.ledger.forget(run)


def test_a_run_is_named_as_an_argument_or_by_an_option_and_once(mill):
    for command in (("factors",), ("funnel",), ("usage",), ("prompt", "quick_scan")):
        named = mill.ask(*command, mill.mined)
        assert named.exit_code == 0, named.output
        assert named.stdout == mill.ask(*command, "--run", mill.mined).stdout
        twice = mill.ask(*command, mill.mined, "--run", mill.scored)
        assert twice.exit_code == 2
        assert f"one run, please: {mill.mined} and {mill.scored} were named" in twice.stderr
    for words in (("h1", "--run", mill.mined), ("1", mill.mined)):
        assert mill.ask("replay", *words).output == mill.ask("replay", mill.mined, "1").output
    both = mill.ask("factors", "1", "2")
    assert (both.exit_code, "one factor, please: 1 and 2" in both.stderr) == (2, True)
    assert "#1 h1" in mill.ask("factors", mill.mined, "nothing").stderr
    assert "fits 0 runs; name one of: " in mill.ask("factors", "mine-zz").stderr


def test_a_factor_is_named_by_the_boards_number_or_by_its_hash(mill):
    board = mill.ask("factors", "--run", mill.mined).stdout
    second = next(line for line in board.splitlines() if "ts_mean(volume, 6)" in line)
    number, own_hash, *_ = second.split()
    assert (number, own_hash) == ("2", "h2")
    views = {mill.ask("factors", name, "--run", mill.mined).stdout for name in ("2", "#2", "h2")}
    views |= {
        mill.ask("factors", *words).stdout for words in ((mill.mined, "2"), ("2", mill.mined))
    }
    assert len(views) == 1
    assert "ts_mean(volume, 6) / ts_mean(volume, 71)" in views.pop()
    none = mill.ask("factors", "4", "--run", mill.mined)
    assert none.exit_code == 1
    assert "#3 h3 close / open" in none.stderr


def test_a_replay_without_a_run_is_of_the_newest_that_mined(mill):
    """Nothing of this run can be computed again: its files were written by hand."""
    first = mill.ask("replay", "1")
    assert first.output == mill.ask("replay", "h1", "--run", mill.mined).output
    assert mill.ask("replay").output == mill.ask("replay", mill.mined).output


def test_one_given_expression_of_the_newest_run_is_named_in_the_same_way(mill):
    assert mill.scored in mill.ask("factors", "1").stdout
    assert [row["hash"] for row in mill.told("factors", "cd")["trials"]] == ["cd34"]
    assert mill.ask("factors", "2").exit_code == 1


def test_what_is_in_the_lake_is_read_without_redis(mill, tmp_path):
    gone = {"ALPHAMILL_REDIS_URL": "redis://:pw@127.0.0.1:1/0"}
    assert mill.mined in mill.ask("factors", "--run", mill.mined, **gone).stdout
    out = tmp_path / "page.html"
    assert mill.ask("report", mill.mined, "--out", str(out), **gone).exit_code == 0
    assert "$0.000642" in out.read_text(encoding="utf-8")


def test_report_writes_one_page_and_says_where(mill, tmp_path, monkeypatch):
    out = tmp_path / "page.html"
    result = mill.ask("report", mill.mined, "--out", str(out))
    assert result.exit_code == 0
    assert result.stdout.strip() == str(out)
    page = out.read_text(encoding="utf-8")
    for part in (
        mill.mined,
        "-ts_rank(close, 24)",
        "offline proposer",
        "read as an expression",
        "Survivorship: each of the",
        "HTTP 451",
        "discovery",
        "$0.000642",
    ):
        assert part in page, part
    assert "<script" not in page
    monkeypatch.chdir(tmp_path)
    told = mill.told("report", mill.scored)
    assert told["path"] == str(tmp_path / f"{mill.scored}.html")
    assert "in-sample" in (tmp_path / f"{mill.scored}.html").read_text(encoding="utf-8")
    assert mill.ask("report", mill.mined, "--out", str(tmp_path / "no" / "x.html")).exit_code == 3


def test_the_report_counts_the_funnel_and_dates_the_segments(mill):
    page = page_of(PublishedRun.open(mill.lake, mill.mined))
    assert page.funnel == {
        "candidates": 4,
        "read as an expression": 4,
        "evaluated": 2,
        "same sign on validation": 1,
        "passed validation": 0,
        "finalists": 1,
        "admitted": 1,
        "tradable": 0,
    }
    ((interval, segment, facts),) = page.segments
    assert (interval, segment) == (Interval.H1, Segment.DISCOVERY)
    assert (facts.bars, facts.history_bars, facts.embargo_bars) == (400, HISTORY, 5)
    text = render(page)
    assert "2024-01-04 18:00" in text  # where the 90 hours of history end
    assert "2024-01-17 16:00" in text
    assert "310" in text  # of its own
    names = ("net_validation", "validation_t", "deflated_sharpe")
    gates = [text.index(f"<b>{name}</b>") for name in names]
    assert gates[0] == min(gates)  # what failed comes first
    assert any("shown to 2 factors so far" in caveat for caveat in page.caveats)


def test_prompt_shows_what_was_sent(mill):
    latest = mill.ask("prompt", "quick_scan", "--run", mill.mined)
    assert "second ?[31m[bold]raw[/]" in latest.stdout  # no escape reaches the terminal
    assert "The manual." in latest.stdout
    told = mill.told("prompt", "quick_scan", "--run", mill.mined, "--call", "quick_scan-0")
    assert told["call_id"] == "quick_scan-0aa"
    assert told["messages"] == [
        {"role": "system", "content": "The manual."},
        {"role": "user", "content": "first"},
    ]
    exact = mill.told("prompt", "quick_scan", "--run", mill.mined)
    assert exact["messages"][1]["content"] == "second \x1b[31m[bold]raw[/]"


def test_prompt_names_calls_that_do_not_exist_or_are_not_unique(mill):
    none = mill.ask("prompt", "final_verification", "--run", mill.mined)
    assert none.exit_code == 1
    assert "made no final_verification call" in none.stderr
    both = mill.ask("prompt", "quick_scan", "--run", mill.mined, "--call", "quick_scan-")
    assert both.exit_code == 1
    assert "quick_scan-0aa, quick_scan-1aa" in both.stderr
    assert mill.ask("prompt", "no_tier", "--run", mill.mined).exit_code == 2


def test_operators_is_the_manual_or_one_record_an_operator(mill):
    assert "ts_mean(x, bars)" in mill.ask("operators").stdout
    told = {row["name"]: row for row in mill.told("operators")}
    assert told["ts_mean"]["params"][1] == {
        "name": "bars",
        "kind": "bars",
        "low": told["ts_mean"]["params"][1]["low"],
        "high": None,
        "default": None,
    }


# --- gaps ---------------------------------------------------------------------------------------


def test_gaps_reads_the_lake_alone(mill):
    dead = {"ALPHAMILL_REDIS_URL": "redis://127.0.0.1:1/0"}
    told = mill.told("gaps", "AUSDT", "ZUSDT", "--interval", "1h", **dead)
    (series,) = told["series"]
    assert (series["rows"], series["expected"]) == (741, 744)
    assert series["missing"][0].pop("asked_ms") > JAN.end_ms
    assert series["missing"] == [
        {
            "start_ms": JAN.start_ms + 5 * H1_MS,
            "end_ms": JAN.start_ms + 8 * H1_MS,
            "bars": 3,
            "why": "absent at the exchange",
        }
    ]
    assert series["halts"] == [{"start_ms": 0, "end_ms": H1_MS, "bars": 1, "asked_ms": None}]
    assert told["absent"] == ["ZUSDT"]
    text = mill.ask("gaps", "AUSDT", **dead).stdout
    assert "99.60 %" in text
    assert "2024-01-01 05:00" in text
    assert "absent at the exchange" in text


def test_gaps_without_klines_says_how_to_fetch_them(mill):
    result = mill.ask("gaps", "ZUSDT")
    assert result.exit_code == 1
    assert "alphamill fetch ZUSDT" in result.stderr
    assert mill.ask("gaps", "--market", "um").exit_code == 1
    assert mill.ask("gaps", "btcusdt").exit_code == 2


# --- results of the demo ------------------------------------------------------------------------


def _printed(width: int = 80) -> Any:
    import io

    from rich.console import Console

    return Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)


@pytest.mark.parametrize("width", [80, 160])
def test_results_show_verdicts_costs_failures_and_files_that_open(mill, width):
    console = _printed(width)
    show_results(mill.settings, mill.ledger.run(mill.mined), console)
    text = console.file.getvalue()
    assert "offline proposer" in text
    assert "1 predictive" in text
    assert "$0.000642" in text
    assert "[red]not served here[/]" in text
    line = next(line for line in text.splitlines() if "read_parquet" in line)
    path = line.partition("('")[2].partition("')")[0]
    assert len(pd.read_parquet(path)) == 3
    query = next(line for line in text.splitlines() if "duckdb:" in line).partition(":")[2]
    assert len(duckdb.sql(query).fetchall()) == 10
    wrapped = [line for line in text.splitlines() if mill.lake.uri not in line]
    assert max(len(line) for line in wrapped if "klines/" not in line) <= width


def test_results_of_a_failed_run_say_so_and_why(mill):
    console = _printed()
    show_results(mill.settings, mill.ledger.run(mill.failed), console)
    text = console.file.getvalue()
    assert "failed" in text
    assert "the run has no trial to show" in text
    assert "read_parquet" not in text


def test_planted_factors_count_as_found_only_when_they_held_up(mill):
    console = _printed()
    run = mill.ledger.run(mill.mined)
    assert show_planted(run, [REVERSAL, VOLUME], console) == 1
    text = console.file.getvalue()
    assert "Planted factors found: 1 of 2" in text
    assert "synthetic" in text
    assert "was not told" in " ".join(text.split())
    # -ts_rank(close, 24) says what -ts_zscore(close, 24) says; the volume factor was rejected
    lines = text.splitlines()
    volume = next(n for n, line in enumerate(lines) if VOLUME in line)
    assert lines[volume].startswith("not found")
    assert "rejected" in lines[volume + 1]
    assert "+0.9" in lines[volume + 1] or "+1.0" in lines[volume + 1]
    assert show_planted(mill.ledger.run(mill.failed), [REVERSAL], console) == 0


def test_the_correlation_is_of_the_scored_bars_alone(mill):
    run = PublishedRun.open(mill.lake, mill.mined)
    (match,) = search_planted(run, [REVERSAL])
    own, theirs = (
        compute(
            parse(text), load_panel(mill.lake, run.id, Interval.H1, "discovery", ["close"]).panel
        )
        for text in (REVERSAL, match.nearest)
    )
    scored = slice(HISTORY + 5, None)
    assert match.correlation == signal_correlation(own[scored], theirs[scored])
    assert match.correlation != signal_correlation(own, theirs)


# --- models and doctor --------------------------------------------------------------------------


class _Neighbour(BaseHTTPRequestHandler):
    """Answers as an exchange and as a model endpoint do."""

    skew_ms = 0
    key: str | None = None

    def do_GET(self):
        status, body = self._answer()
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self):
        if self.path.startswith("/api/v3/time"):
            return 200, {"serverTime": int(time.time() * 1000) + self.skew_ms}
        if self.path.startswith("/api/v3/exchangeInfo"):
            rule = {
                "rateLimitType": "REQUEST_WEIGHT",
                "interval": "MINUTE",
                "intervalNum": 1,
                "limit": 6000,
            }
            return 200, {"symbols": [], "rateLimits": [rule]}
        if self.path != "/v1/models":
            return 404, {}
        sent = self.headers.get("Authorization", "")
        if self.key is not None and sent != f"Bearer {self.key}":
            return 401, {"error": {"message": f"Incorrect API key provided: {sent[-8:]}"}}
        return 200, {"data": [{"id": "gpt-6.1-terra-2026-10-26"}, {"id": "gpt-6-luna"}]}

    def date_time_string(self, timestamp=None):
        return super().date_time_string(time.time() + self.skew_ms / 1000)

    def log_message(self, *_):
        pass


@pytest.fixture
def neighbour():
    class Own(_Neighbour):
        pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    yield SimpleNamespace(
        handler=Own, env={"ALPHAMILL_BINANCE_URL": url, "ALPHAMILL_LLM_URL": f"{url}/v1"}
    )
    server.shutdown()
    thread.join()
    server.server_close()


def test_models_lists_what_the_endpoint_offers(mill, neighbour):
    told = mill.told("models", **neighbour.env)
    assert told["source"] == "endpoint"
    by_name = {row["model"]: row for row in told["models"]}
    assert by_name["gpt-6.1-terra"]["listed"] is True  # served by its dated version
    assert by_name["gpt-6.1-terra"]["tiers"] == ["detailed_analysis"]
    dated = by_name["gpt-6.1-terra-2026-10-26"]
    assert dated["input"] is None  # a dated name has no price of its own
    assert dated["trained_until"] == "2026-06-01"  # and the training data of its name
    text = mill.ask("models", **neighbour.env).stdout
    assert "2026-11-30" in text


@pytest.mark.parametrize("path", ["/nothing/v1", "/v1"])
def test_models_falls_back_to_the_price_table_and_says_so(mill, neighbour, path):
    neighbour.handler.key = "another"
    url = neighbour.env["ALPHAMILL_BINANCE_URL"] + path
    env = {"ALPHAMILL_LLM_URL": url, "ALPHAMILL_LLM_API_KEY": SECRET}
    told = mill.told("models", **env)
    assert told["source"] == "price table"
    assert told["problem"]
    text = mill.ask("models", **env).stdout
    assert "the endpoint gives no list" in text
    assert "deepseek-flash" in text
    assert SECRET not in text + json.dumps(told)


def _checks(mill: Mill, env: dict[str, str], code: int) -> dict[str, dict[str, str]]:
    result = mill.ask("doctor", "--json", **env)
    assert result.exit_code == code, result.output
    assert SECRET not in result.output
    told = json.loads(result.stdout)
    assert told["ok"] is (code == 0)
    return {check["name"]: check for check in told["checks"]}


@pytest.fixture
def staffed(mill):
    """Every pool has a worker, the ledger was swept, and what Redis holds would survive."""
    presence = Presence(mill.client)
    pools = ("features", "evaluate", "llm", "control")
    for pool in pools:
        presence.announce(Worker(f"{pool}-1@host", pool, (pool,), 2, 1))
    presence.swept(int(time.time() * 1000))
    mill.client.config_set("appendonly", "yes")
    yield
    mill.client.config_set("appendonly", "no")
    mill.client.delete("alphamill:swept")
    for pool in pools:
        presence.leave(f"{pool}-1@host")


def test_doctor_finds_a_healthy_stack_healthy(mill, neighbour, staffed):
    neighbour.handler.key = SECRET
    checks = _checks(mill, neighbour.env | {"ALPHAMILL_LLM_API_KEY": SECRET}, 0)
    assert list(checks) == [
        "python",
        "settings",
        "redis",
        "persistence",
        "eviction",
        "memory",
        "workers",
        "worker code",
        "beat",
        "broker",
        "lake",
        "exchange",
        "clock",
        "limits",
        "llm",
        "models",
        "prices",
    ]
    assert {name for name, check in checks.items() if check["state"] == "fail"} == set()
    assert "from before workers said what they run with" in checks["worker code"]["detail"]
    assert "2,940 kline requests" in checks["limits"]["detail"]
    text = mill.ask("doctor", **neighbour.env, ALPHAMILL_LLM_API_KEY=SECRET).stdout
    assert max(len(line) for line in text.splitlines()) <= 80


def test_doctor_names_each_fault_and_its_cure(mill, neighbour):
    neighbour.handler.skew_ms, neighbour.handler.key = -5000, "another"
    checks = _checks(mill, neighbour.env | {"ALPHAMILL_LLM_API_KEY": SECRET}, 1)
    assert checks["clock"]["state"] == "warn"
    assert "ahead of the exchange's" in checks["clock"]["detail"]
    assert (checks["llm"]["state"], checks["beat"]["state"]) == ("fail", "fail")
    assert "HTTP 401" in checks["llm"]["detail"]
    assert checks["workers"]["detail"] == "fetch 1; none for features, evaluate, llm, control"
    assert all(check["cure"] for check in checks.values() if check["state"] != "ok")
    unset = _checks(mill, neighbour.env, 1)
    assert unset["llm"]["cure"] == "set ALPHAMILL_LLM_API_KEY"


def test_doctor_asks_nothing_of_an_exchange_that_banned_us(mill, neighbour):
    from alphamill.limits import RedisLimiter, binance_pool
    from alphamill.settings import BinanceSettings

    binance = BinanceSettings(spot_url=neighbour.env["ALPHAMILL_BINANCE_URL"])
    pool = binance_pool(binance, Market.SPOT, 1200)
    RedisLimiter(mill.client).pause(pool, 60, "418: banned")
    checks = _checks(mill, neighbour.env, 1)
    assert checks["exchange"]["state"] == "warn"
    assert "418: banned" in checks["exchange"]["detail"]
    assert "clock" not in checks


def test_doctor_with_everything_dead_ends_in_time_and_hides_passwords(mill, tmp_path):
    (tmp_path / "file").touch()
    with socket.socket() as silent:  # takes connections and never says a word
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        where = f"127.0.0.1:{silent.getsockname()[1]}"
        env = {
            "ALPHAMILL_REDIS_URL": f"redis://:{SECRET}@{where}/0",
            "ALPHAMILL_BROKER_URL": f"redis://:{SECRET}@{where}/1",
            "ALPHAMILL_BINANCE_URL": f"http://{where}",
            "ALPHAMILL_LLM_URL": f"http://user:{SECRET}@{where}/v1",
            "ALPHAMILL_LAKE": str(tmp_path / "file" / "lake"),
        }
        began_s = time.monotonic()
        checks = _checks(mill, env, 1)
        took_s = time.monotonic() - began_s
    assert took_s < 8 * slowness()
    failed = {name for name, check in checks.items() if check["state"] == "fail"}
    assert failed == {"redis", "broker", "lake", "exchange", "llm"}
    assert "no answer within" not in str(checks)  # each probe gave up by itself
    assert checks["redis"]["detail"] == (
        f"what listens at {where}/0 does not answer as Redis without TLS"
    )


def test_doctor_names_a_bad_setting(mill, tmp_path):
    config = tmp_path / "bad.toml"
    config.write_text("[binance]\nrequests_per_minute = 0\n", encoding="utf-8")
    checks = _checks(mill, {"ALPHAMILL_CONFIG": str(config)}, 1)
    assert checks["settings"]["state"] == "fail"
    assert "binance.requests_per_minute" in checks["settings"]["cure"]


def test_a_sweep_leaves_the_mark_that_doctor_reads(mill, monkeypatch):
    from workers import tasks

    tools = SimpleNamespace(
        ledger=SimpleNamespace(sweep=list),
        redis=mill.client,
        clock=SimpleNamespace(now_ms=lambda: int(time.time() * 1000)),
        notifier=SimpleNamespace(poke=lambda: None),
    )
    monkeypatch.setattr(tasks, "resources", lambda: tools)
    monkeypatch.setattr(tasks, "publish", len)
    assert tasks.sweep() == "0 published"
    assert 0 < mill.client.ttl("alphamill:swept") <= 30
    checks = _checks(
        mill,
        {
            "ALPHAMILL_LLM_URL": "http://127.0.0.1:1/v1",
            "ALPHAMILL_BINANCE_URL": "http://127.0.0.1:1",
        },
        1,
    )
    assert checks["beat"]["state"] == "ok"
    mill.client.delete("alphamill:swept")


@pytest.mark.parametrize(
    "command",
    [
        "status",
        "usage",
        "factors",
        "library list",
        "library remove",
        "gaps",
        "report",
        "prompt",
        "operators",
        "models",
        "cost",
        "doctor",
    ],
)
def test_help_has_an_example_and_every_reader_speaks_json(mill, command):
    text = mill.ask(*command.split(), "--help").stdout
    assert "Example:\n" in text
    assert f"alphamill {command}" in text
    assert "--json" in text


@pytest.mark.parametrize(
    "command", [("status",), ("top", "--json"), ("factors", "--run", "x"), ("report", "x")]
)
def test_without_redis_the_setting_is_named(mill, command):
    result = mill.ask(*command, ALPHAMILL_REDIS_URL="redis://:pw@127.0.0.1:1/0")
    assert result.exit_code == 3
    assert "ALPHAMILL_REDIS_URL" in result.stderr
    assert "pw" not in result.stderr


def test_what_only_reads_leaves_no_folder(mill, tmp_path):
    nobody = {"ALPHAMILL_BINANCE_URL": "http://127.0.0.1:9", "ALPHAMILL_LLM_URL": ""}
    new = {"ALPHAMILL_HOME": str(tmp_path / "home"), "ALPHAMILL_LAKE": None, **nobody}
    for words in (["status"], ["doctor"], ["factors"], ["gaps"], ["library", "list"], ["usage"]):
        mill.ask(*words, **new)
        assert list(tmp_path.iterdir()) == [], words
