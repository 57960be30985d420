"""A whole mining run in one process: the real plan, lake and stages; the offline model.

What is proven here: the flow gives verdicts, nothing behind discovery reaches a prompt, and the
same run done again asks no model and writes the same bytes.
"""

import json
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from alphamill.clock import ManualClock
from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import Search
from alphamill.errors import GiveUp
from alphamill.evaluation import Grade
from alphamill.flow import plan
from alphamill.frames import Market, months_between
from alphamill.jobs import RunKind
from alphamill.lake import Lake, run_key
from alphamill.live.choose import worth
from alphamill.market import FakeFunding
from alphamill.market.funding.parse import funding_table
from alphamill.replay import run as replay
from alphamill.report.caveats import caveats, power_words, undecidable_line
from alphamill.report.page import page_of, render
from alphamill.report.terminal.leaderboard import run_board
from alphamill.runs.funnel import tier_funnels
from alphamill.runs.library import entries
from alphamill.runs.published import PublishedRun
from alphamill.runs.training import training_to_json
from alphamill.settings import Price, Tier
from alphamill.testing import ScriptedChat, work_market
from producers.cli import main
from tests.rendering import shown

MARKET = ControlMarket(seed=0, n_symbols=4, n_bars=90 * 24, ragged=False)
SYMBOLS = MARKET.symbols
SEARCH = Search(rounds=2, candidates=4, decoys=False)


def mined(folder, chat=None, market=MARKET, search=SEARCH, **more):
    """A run with indicators and a model that costs something."""
    paid = {"indicators": True, "price": Price(input=0.1, output=0.5)}
    return work_market(folder, market, search, chat, mill=paid, **more)


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    return mined(tmp_path_factory.mktemp("lake"))


def test_every_job_is_done_and_the_run_with_it(worked):
    assert worked.record.state == "done"
    assert [job.id for job in worked.jobs] == [job.id for job in plan(worked.spec)]
    assert worked.dead == []


def test_the_ledger_keeps_the_same_facts_of_each_stage_as_ever(worked):
    """`status` and whoever reads the ledger know them by these names."""
    kept = {job.stage: set(job.result) for job in worked.jobs}
    assert kept["features"] == {"rows", "indicators", "written", "up_to_date", "registry"}
    assert kept["panel"] == {"symbols", "missing", "fields", "bars", "snapshot", "skipped"}
    assert kept["propose.quick_scan"] >= {"key", "cost_usd_micros", "parsed"}
    assert kept["evaluate"] >= {"key", "evaluated"}
    assert kept["validate"] == {"key", "validated"}
    assert kept["rank"] == {"key", "finalists", "n_trials"}
    assert kept["veto"] == {"key", "finalists", "kept", "vetoed"}
    assert kept["verify"] > {"key"}
    grades = {"rejected", "undecidable", "predictive", "tradable"}
    assert kept["publish"] == {"trials", "missing", *grades}


def test_every_candidate_is_a_row_with_its_fate(worked):
    trials = worked.table("trials")
    asked = 2 * (len(SYMBOLS) + 1) * 4
    assert len(trials) == asked
    known = {"evaluated", "duplicate", "fault", "invalid", "unclean", "unreadable"}
    assert {row["status"] for row in trials} <= known
    for row in trials:
        assert (row["rank_ic_mean"] is not None) == (row["status"] == "evaluated")
        assert (row["validation_rank_ic_mean"] is not None) == (row["status"] == "evaluated")


def test_every_finalist_has_a_verdict_with_gates_and_counts_every_trial(worked):
    trials, factors = worked.table("trials"), worked.table("factors")
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


def test_bars_too_few_to_tell_are_undecidable_wherever_verdicts_are_shown(worked, monkeypatch):
    """90 days of four coins, and 40 trials: power below 2 %, and no claim."""
    run = worked.published
    verdicts = [factor.verdict for factor in run.factors]
    undecided = [factor for factor in run.factors if factor.verdict == "undecidable"]
    assert len(undecided) >= 5
    assert not any(verdict.admitted for verdict in verdicts)
    assert verdicts == sorted(verdicts, key=list(Grade).index, reverse=True)
    for factor in undecided:
        assert factor.power < 0.02
        assert factor.power_bars_needed > 90 * 24
        assert factor.power_symbols_needed > 4
        assert factor.reasons[0].startswith("Undecidable: with a true correlation of 0.03 ")
    counts = {job.stage: job.result for job in worked.jobs}
    told = f"{len(undecided)} undecidable, {len(verdicts) - len(undecided)} rejected"
    assert counts["publish"]["undecidable"] == counts["verify"]["undecidable"] == len(undecided)
    board = "".join(shown(run_board(run), 100).split())
    page = render(page_of(run))
    assert "".join(f"0 tradable, 0 predictive, {told}".split()) in board
    for said in (power_words(undecided[0]), undecidable_line(run.factors)):
        assert "".join(said.split()) in board
        assert said in page
    assert f"<b>{len(undecided)}</b><span>undecidable</span>" in page
    monkeypatch.setenv("ALPHAMILL_LAKE", worked.lake.uri)
    listed = CliRunner().invoke(main, ["factors", run.id, "--json"])
    rows = json.loads(listed.output)["factors"]
    assert [row["power"] for row in rows] == [factor.power for factor in run.factors]
    assert not entries(worked.lake)
    with pytest.raises(GiveUp, match="no predictive factor"):
        worth(run, Grade.PREDICTIVE)


def test_who_answered_is_kept_with_the_end_of_its_training_data(worked):
    summary = json.loads(worked.lake.read_bytes(run_key(worked.spec.run_id, "run.json")))
    (row,) = summary["trained_models"]
    assert (row["model"], row["until"]) == ("offline-proposer", "untrained")
    assert [asdict(one) for one in worked.published.trained_models] == [row]
    (clean,) = training_to_json(worked.published.trained_models, worked.published.manifests)[
        "clean"
    ].values()
    assert clean == ["validation", "holdout"]


def test_the_accounts_add_up(worked):
    calls = worked.table("calls")
    totals = worked.mill.usage.report(worked.spec.run_id)["totals"]
    assert len(calls) == totals["requests"] == len(worked.mill.chat.requests)
    assert sum(call["cost_usd_micros"] for call in calls) == totals["cost_usd_micros"]
    assert sum(call["prompt_tokens"] for call in calls) == totals["prompt_tokens"]


def test_prompts_hold_what_was_learned_on_discovery_and_nothing_later(worked):
    later = [request.messages[-1].content for request in worked.mill.chat.requests[len(SYMBOLS) :]]
    assert any("What worked so far" in text for text in later)
    trials = worked.table("trials")
    numbers = {
        f"{row['validation_rank_ic_t']:+.2f}"
        for row in trials
        if row["validation_rank_ic_t"] is not None and abs(row["validation_rank_ic_t"]) > 1
    }
    told = {f"{row['rank_ic_t']:+.2f}" for row in trials if row["rank_ic_t"] is not None}
    assert numbers - told, "nothing is left that could have been told"
    for text in later:
        assert not [number for number in numbers - told if f"t {number}" in text]


def test_poison_behind_discovery_reaches_no_prompt(worked, tmp_path):
    behind_ms = MARKET.start_ms + int(MARKET.n_bars * 0.6) * MARKET.interval.ms

    def poisoned(bars):
        scale = np.where(bars.open_ms < behind_ms, 1.0, 1000.0)
        prices = {name: getattr(bars, name) * scale for name in ("open", "high", "low", "close")}
        return replace(bars, **prices)

    other = mined(tmp_path, change=poisoned)
    calls = 2 * (len(SYMBOLS) + 1)  # the veto's list of finalists may differ, not its numbers
    asked = [request.messages for request in worked.mill.chat.requests[:calls]]
    assert [request.messages for request in other.mill.chat.requests[:calls]] == asked
    assert other.table("trials") != worked.table("trials")


def test_done_again_it_asks_nobody_and_writes_the_same_bytes(worked):
    mill = worked.mill
    keys = [key for key in mill.lake.list("") if key.endswith(".parquet")]
    before = {key: mill.lake.read_bytes(key) for key in keys}
    asked_market, asked_model = len(mill.exchange.asked), len(mill.chat.requests)
    assert [job.state for job in mill.work(worked.spec)] == [job.state for job in worked.jobs]
    assert len(mill.exchange.asked) == asked_market
    assert len(mill.chat.requests) == asked_model
    assert {key: mill.lake.read_bytes(key) for key in keys} == before


def test_a_failed_symbol_costs_its_own_jobs_only(tmp_path):
    got = mined(tmp_path, search=Search(decoys=False), symbols=(*SYMBOLS, "NOPEUSDT"))
    assert got.record.state == "done"
    months = len(months_between(MARKET.start_ms, MARKET.end_ms))
    assert [job.stage for job in got.dead] == ["fetch"] * months + ["features"]
    summary = json.loads(got.lake.read_bytes(run_key(got.spec.run_id, "run.json")))
    assert "NOPEUSDT" in summary["missing"][0]["reason"]


def test_what_needs_a_job_that_failed_is_skipped_with_the_reason(tmp_path):
    got = mined(tmp_path, symbols=("NOPEUSDT",))
    panel, *behind = [job for job in got.jobs if job.stage not in ("fetch", "features")]
    *skipped, publish = behind
    assert (panel.state, publish.state) == ("dead", "dead")
    assert {job.state for job in skipped} == {"skipped"}
    assert all(panel.error in job.error for job in skipped)
    assert got.record.state == "failed"
    assert got.mill.chat.requests == []


def test_a_futures_run_fetches_funding_and_its_months_can_be_compared_again(tmp_path):
    symbols = ("BTCUSDT", "ETHUSDT", "BNBUSDT")
    market = replace(MARKET, n_symbols=3, n_bars=600)
    times = np.arange(market.start_ms, market.end_ms + 60_000, 8 * market.interval.ms)
    settled = funding_table(times, np.full(len(times), 1e-4))
    fake = FakeFunding(ManualClock(market.end_ms + 86_400_000), dict.fromkeys(symbols, settled))
    got = work_market(
        tmp_path, market, Search(decoys=False), market=Market.USD_M, mill={"funding": fake}
    )
    assert got.dead == []
    settlements = [job.result["settlements"] for job in got.jobs if job.stage == "funding"]
    assert settlements == [len(times)] * 3
    again = replace(got.spec, kind=RunKind.FETCH, verify_frac=1.0)
    jobs = got.mill.work(again)
    compared = {"reverify": 0, "recheck": 0}
    for job in jobs:
        compared[job.stage] += job.result["compared"]
    # The last settlement is that of the last bar's end, which the range does not hold.
    assert compared == {"reverify": 3 * market.n_bars, "recheck": 3 * (len(times) - 1)}


def test_an_exhausted_budget_ends_the_asking_not_the_run(tmp_path):
    got = mined(tmp_path, budget_usd_micros=4000)
    assert got.record.state == "done"
    spent = got.mill.usage.report(got.spec.run_id)["totals"]["cost_usd_micros"]
    assert 0 < spent <= 4000
    stopped = [job for job in got.jobs if "stopped" in (job.result or {})]
    assert stopped
    assert "budget" in stopped[0].result["stopped"]
    assert sum(group.jobs for group in got.published.unasked) == len(stopped)
    told = caveats(got.published)
    assert any(line.startswith("Not asked: ") for line in told)
    assert any(line.startswith("Stopped by money: its budget of $0.004 kept ") for line in told)
    assert {job.result["unfunded"] for job in stopped} == {"run"}


def test_a_budget_that_pays_for_nothing_is_the_reason_that_the_run_gives(tmp_path):
    got = mined(tmp_path, budget_usd_micros=1)
    (publish,) = [job for job in got.jobs if job.stage == "publish"]
    assert publish.state == "dead"
    assert "no trial to show: the run's budget of $0.000001 has" in publish.error
    assert f"; go on with: alphamill resume {got.spec.run_id} --budget-usd 0." in publish.error


def test_replies_that_are_not_json_leave_rows_and_the_run_ends_with_a_reason(tmp_path):
    chat = ScriptedChat(["I would rather <script>alert(1)</script> not."] * 50)
    got = mined(tmp_path, chat, search=Search(decoys=False))
    assert got.record.state == "done"
    assert {row["status"] for row in got.table("trials")} == {"unreadable"}
    assert got.table("factors") == []


def test_a_run_is_replayed_from_what_it_paid_for_and_comes_out_equal(worked, tmp_path):
    done = replay.replay(worked.published, Lake(str(tmp_path / "scratch")))
    assert (done.differences, done.failed) == ((), ())
    assert done.trials == len(worked.table("trials"))
    assert done.verdicts == len(worked.table("factors")) > 0


def test_a_replay_says_what_came_out_otherwise(worked, tmp_path):
    run_id = worked.spec.run_id
    source = Lake(str(tmp_path / "source"))
    for key in worked.lake.list(f"runs/run={run_id}"):
        source.write_bytes(key, worked.lake.read_bytes(key))
    calls = source.read(run_key(run_id, "calls.parquet")).to_pylist()
    forged = {"candidates": [{"expression": "rank(ts_std(returns, 77))"}]}
    calls[0]["reply_text"] = json.dumps(forged)
    calls[1]["status"] = "unknown"
    source.write(run_key(run_id, "calls.parquet"), pa.Table.from_pylist(calls), {})
    done = replay.replay(PublishedRun.open(source, run_id), Lake(str(tmp_path / "scratch")))
    assert not done.equal
    assert {one.table for one in done.differences} >= {"trials"}
    assert any("no reply in the journal" in text for text in done.failed)


def test_the_funnel_adds_up_to_the_tables(worked):
    run = worked.published
    *tiers, total = tier_funnels(run.trials, run.factors, run.calls, validation_t=3.0)
    assert [funnel.tier for funnel in tiers] == [tier.value for tier in Tier]
    assert total.asked == len(run.calls) == len(worked.mill.chat.requests)
    assert total.cost_usd_micros == sum(call.cost_usd_micros for call in run.calls)
    assert total.proposed == len(run.trials)
    for one in tiers[:2]:
        fates = (one.unreadable, one.unclean, one.duplicate, one.fault, one.evaluated)
        assert one.proposed == sum(fates)
        assert one.evaluated >= one.passed_validation >= 0
    admitted = sum(factor.verdict in ("predictive", "tradable") for factor in run.factors)
    assert total.admitted == admitted
    assert (total.cost_per_admitted_usd_micros is None) == (admitted == 0)
    assert total.latency_ms == {"p50": 5, "p99": 5}


def test_the_commands_read_a_published_run_from_its_lake_alone(worked, monkeypatch):
    monkeypatch.setenv("ALPHAMILL_LAKE", worked.lake.uri)
    monkeypatch.setenv("ALPHAMILL_REDIS_URL", "redis://127.0.0.1:1/0")  # nobody is there
    replayed = CliRunner().invoke(main, ["replay", worked.spec.run_id, "--json"])
    assert replayed.exit_code == 0, replayed.output
    assert json.loads(replayed.output)["equal"] is True
    shown = CliRunner().invoke(main, ["funnel", "--run", worked.spec.run_id])
    assert shown.exit_code == 0, shown.output
    assert "cost of an admitted factor" in shown.output
    report = CliRunner().invoke(main, ["funnel", "--run", worked.spec.run_id, "--json"])
    assert json.loads(report.output)["tiers"][-1]["asked"] == len(worked.mill.chat.requests)
