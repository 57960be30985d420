"""A run that its budget stopped, gone on with more: what was left out is asked, nothing paid twice.

Here every job is done again, as a resumed run does those behind a call that was left out; which go
back is the ledger's contract.
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from dataclasses import replace

import pytest
from click.testing import CliRunner

from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import Search
from alphamill.flow import plan
from alphamill.frames import Interval, Market
from alphamill.jobs import EvaluateJob, RunKind, RunSpec
from alphamill.lake import Lake, run_key
from alphamill.ledger import BudgetRaise
from alphamill.llm.messages import prompt_digest
from alphamill.mill import InProcess
from alphamill.replay import run as replay
from alphamill.report.caveats import caveats, page_caveats
from alphamill.runs.failures import group_unasked
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import Trial
from alphamill.runs.schemas import TRIALS, rows_in, trials_key, write_rows
from alphamill.runs.unfunded import Shortfall, committed_usd_micros, dollars, shortfall
from alphamill.search.stopping import why_stop
from alphamill.settings import Price, SearchSettings, Tier
from alphamill.stages import evaluate
from alphamill.testing import work_market
from producers.cli import main
from tests import rows

MARKET = ControlMarket(seed=11, n_symbols=4, n_bars=640, ragged=False)
SEARCH = Search(rounds=2, candidates=4)
RAISED_MS = 1_796_083_200_000  # 2026-12-01


def worked(folder, budget_usd_micros, **more):
    paid = {"price": Price(input=0.1, output=0.5)}
    return work_market(
        folder, MARKET, SEARCH, mill=paid, budget_usd_micros=budget_usd_micros, **more
    )


def advised(command: str) -> int:
    """The figure of a command that is told, in micro-dollars."""
    program, verb, _, option, figure = shlex.split(command)
    assert (program, verb, option) == ("alphamill", "resume", "--budget-usd")
    return round(float(figure) * 1_000_000)


def asked(got) -> Counter[str]:
    return Counter(call.call_id for call in got.mill.journal.calls(got.spec.run_id))


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """Before and after: a published run that stopped early, and what more money made of it."""
    got = worked(tmp_path_factory.mktemp("lake"), 4_000)
    before = PublishedRun.open(got.lake, got.spec.run_id)
    first = (before, before.trials, before.factors, asked(got), before.shortfall, caveats(before))
    raises = [BudgetRaise(RAISED_MS, advised(before.shortfall.command))]
    got.mill.work(got.spec, raises)
    return first, got, PublishedRun.open(got.lake, got.spec.run_id)


def test_the_figure_that_is_advised_pays_for_all_that_was_left_out(resumed):
    (_, _, _, calls, short, told), got, after = resumed
    assert short.by_run == short.calls > 0
    assert any(line.endswith(short.command) for line in told)
    assert after.unasked == []
    assert after.shortfall is None
    spent = sum(call.cost_usd_micros or 0 for call in after.calls)
    assert 4_000 < spent <= advised(short.command)
    assert set(calls.values()) == set(asked(got).values()) == {1}, "no call is made twice"
    assert calls.keys() < asked(got).keys()
    assert len(got.mill.chat.requests) == len(after.calls)


@pytest.mark.parametrize("budget", [1, 6_000])
def test_the_figure_is_enough_wherever_the_run_stopped(tmp_path, budget):
    got = worked(tmp_path, budget)
    unasked = group_unasked((job.stage, job.result or {}) for job in got.jobs)
    spent = committed_usd_micros(list(got.mill.journal.calls(got.spec.run_id)))
    short = shortfall(got.spec.run_id, unasked, budget, spent)
    assert short is not None
    got.mill.work(got.spec, [BudgetRaise(RAISED_MS, short.enough_usd_micros)])
    assert got.published.unasked == []
    assert set(asked(got).values()) == {1}


def test_every_expression_ever_tried_still_counts(resumed):
    (_, trials, factors, *_), _, after = resumed
    tried = {trial.hash for trial in trials if trial.counted}
    assert tried <= {trial.hash for trial in after.trials if trial.counted}
    counted = sum(trial.counted for trial in after.trials)
    assert counted > sum(trial.counted for trial in trials)
    assert {factor.n_trials for factor in after.factors} == {counted}
    proposed = Counter(trial.proposed for trial in trials)
    assert proposed <= Counter(trial.proposed for trial in after.trials)
    assert factors


def test_what_a_later_step_has_scored_is_no_original_of_an_earlier_one(resumed):
    """The later step ran before the earlier one's call had money; it is scored anew too."""
    _, got, _ = resumed
    job = EvaluateJob(Tier.QUICK_SCAN, MARKET.interval, 0, 0, 1)
    own, later = (
        trials_key(got.spec.run_id, MARKET.interval, number, Tier.QUICK_SCAN, 0)
        for number in (0, 1)
    )
    before = {key: got.lake.read_bytes(key) for key in (own, later)}
    write_rows(got.lake, later, map(Trial.from_row, rows_in(got.lake, own)), TRIALS)
    evaluate.run(job, got.deps)
    assert got.lake.read_bytes(own) == before[own]
    got.lake.write_bytes(later, before[later])


def test_the_run_says_what_it_asked_for_and_what_that_became(resumed):
    _, got, after = resumed
    summary = json.loads(got.lake.read_bytes(run_key(got.spec.run_id, "run.json")))
    (raised,) = summary["budget_raises"]
    assert raised == {"at_ms": RAISED_MS, "usd_micros": after.budget_usd_micros}
    assert summary["spec"]["budget_usd_micros"] == 4_000
    figure = dollars(after.budget_usd_micros)
    line = f"Its budget: $0.004 asked for, raised to ${figure} on 2026-12-01 00:00 UTC."
    assert line in caveats(after)
    assert line in page_caveats(after)


def test_a_resumed_run_is_replayed_equal_and_so_is_one_that_stopped(resumed, tmp_path):
    _, _, after = resumed
    done = replay.replay(after, Lake(str(tmp_path / "resumed")))
    assert (done.differences, done.failed) == ((), ())
    stopped = worked(tmp_path / "stopped", 6_000).published
    assert stopped.shortfall is not None
    done = replay.replay(stopped, Lake(str(tmp_path / "again")))
    assert (done.differences, done.failed) == ((), ())


def test_looks_of_the_first_judgement_count_as_earlier_ones(resumed):
    (_, _, before, *_), _, after = resumed
    shown, now = (
        {one.hash for one in factors if one.holdout_looks} for factors in (before, after.factors)
    )
    given_up = len(shown - now)
    assert given_up
    assert {one.holdout_looks for one in after.factors if one.hash in now} == {len(shown | now)}
    assert {one.holdout_looks_before for one in after.factors if one.hash in now} == {given_up}
    assert any(f"judged anew: {given_up} of its factors" in line for line in caveats(after))


def test_a_rule_stops_no_call_that_was_answered_already(tmp_path):
    got = worked(tmp_path, 1_000_000)
    trials, calls = got.table("trials"), asked(got)
    rule = SearchSettings(enough_promising=1, promising_t=0.01)
    strict = replace(got.spec, search=rule)
    process = InProcess(got.mill._gateway(strict), journal=got.mill.journal, indicators=False)
    jobs = [job for job in plan(got.spec) if job.needs or job.goal]
    process.work_in_order(jobs, replace(got.deps, spec=strict))
    assert got.table("trials") == trials
    assert asked(got) == calls
    last = got.published.trials[-1].round
    assert why_stop(last, got.published.trials, rule, 0.0), "the rule would stop the last round"


@pytest.fixture
def no_redis(resumed, monkeypatch):
    """The commands over the lake of the resumed run, with an address where no Redis is."""
    monkeypatch.setenv("ALPHAMILL_LAKE", resumed[1].lake.uri)
    monkeypatch.setenv("ALPHAMILL_REDIS_URL", "redis://127.0.0.1:1/0")

    def ask(*arguments, code=0):
        result = CliRunner(env={"COLUMNS": "200"}).invoke(main, arguments)
        assert result.exit_code == code, result.output
        return result

    return ask


def test_a_finished_run_is_read_without_redis(resumed, no_redis, tmp_path):
    _, got, after = resumed
    run = got.spec.run_id
    told = json.loads(no_redis("status", run, "--json").stdout)
    assert (told["state"], told["unfunded"], told["failed"]) == ("done", {}, 0)
    assert told["done"] == told["total"] == len(plan(got.spec))
    assert told["budget_raises"] == [{"at_ms": RAISED_MS, "usd_micros": after.budget_usd_micros}]
    spent = sum(call.cost_usd_micros or 0 for call in after.calls)
    assert told["budget"]["spent_usd_micros"] == spent
    shown = no_redis("status", run)
    assert "as the run was published in" in shown.stderr
    assert "raised to $" in shown.stdout

    report = json.loads(no_redis("usage", "--run", run, "--json").stdout)
    assert report["totals"]["cost_usd_micros"] == spent
    assert report["budget"]["usd_micros"] == after.budget_usd_micros
    assert report["budget"]["asked_usd_micros"] == 4_000
    assert "raised to $" in no_redis("usage", "--run", run).stdout
    everything = no_redis("usage", "--json")
    assert json.loads(everything.stdout)["totals"]["cost_usd_micros"] == spent
    assert "the finished runs in" in everything.stderr

    call = after.calls[0]
    (first,) = [
        request.messages
        for request in got.mill.chat.requests
        if prompt_digest([message.digest for message in request.messages]) == call.prompt_hash
    ]
    sent = json.loads(no_redis("prompt", call.tier, "--call", call.call_id, "--json").stdout)
    assert [(one["role"], one["content"]) for one in sent["messages"]] == [
        (message.role, message.content) for message in first
    ]
    assert sent["reply_text"] == call.reply_text
    latest = no_redis("prompt", "final_verification").stdout
    assert got.mill.chat.requests[-1].messages[-1].content in latest
    no_redis("prompt", "quick_scan", "--call", "nobody", code=1)

    for arguments in (
        ("factors",),
        ("funnel",),
        ("library", "list"),
        ("report", "--out", str(tmp_path / "page.html")),
        ("operators",),
        ("cost", "--symbols", "4"),
    ):
        no_redis(*arguments)
    assert "raised to $" in no_redis("replay").stdout


@pytest.mark.parametrize(
    "arguments", [("status",), ("top", "--json"), ("resume", "mine"), ("cancel", "mine")]
)
def test_what_needs_redis_says_so(resumed, no_redis, arguments):
    said = no_redis(*arguments, code=3)
    assert "no Redis answers at 127.0.0.1:1" in said.stderr
    if arguments == ("status",):
        assert f"need no Redis: alphamill status {resumed[1].spec.run_id}" in said.stderr


def test_what_money_stopped_says_so_without_redis_too(tmp_path, monkeypatch):
    monkeypatch.setenv("ALPHAMILL_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("ALPHAMILL_LAKE", str(tmp_path))
    spec = RunSpec(
        RunKind.MINE, str(tmp_path), Market.SPOT, ("AUSDT",), (Interval.H1,), 0, 3_600_000
    )
    left_out = {"stage": "veto", "jobs": 1, "reason": "no money", "unfunded": "run"}
    run = rows.publish(Lake(str(tmp_path)), spec.run_id, spec.to_message())
    key = run_key(spec.run_id, "run.json")
    summary = json.loads(run.lake.read_bytes(key))
    summary["unasked"] = [left_out | {"needs_usd_micros": 500}]
    run.lake.write_bytes(key, json.dumps(summary).encode())
    for arguments in (("status", spec.run_id), ("usage", "--run", spec.run_id)):
        result = CliRunner(env={"COLUMNS": "200"}).invoke(main, arguments)
        assert result.exit_code == 0, result.output
        assert f"alphamill resume {spec.run_id} --budget-usd 0.0025" in result.output
    lost = CliRunner().invoke(main, ["prompt", "quick_scan", "--run", spec.run_id])
    assert lost.exit_code == 1
    assert "an older version left them in Redis alone" in lost.output


def test_figures_are_rounded_up_and_never_below_what_is_there():
    short = Shortfall("mine-1", 2, 0, 4_000, 3_100, 4_000)
    assert short.enough_usd_micros == 13_000  # 3,100 + 1.5 x (4,000 + 2,000), two digits up
    assert short.command == "alphamill resume mine-1 --budget-usd 0.013"
    day = replace(short, by_run=0, by_day=1, budget_usd_micros=1_000_000)
    assert day.command == "alphamill resume mine-1"
    assert day.sentence == (
        "the day's budget kept 1 model call from being made; go on from 00:00 UTC on, or with a "
        "higher budget.day_usd, with: alphamill resume mine-1"
    )
    both = replace(short, by_day=1)
    assert both.sentence.startswith("its budget of $0.004 and the day's budget kept 3 model calls")
    assert [dollars(micros) for micros in (1, 50_000, 12_000_000, 1_500_000)] == [
        "0.000001",
        "0.05",
        "12",
        "1.5",
    ]
