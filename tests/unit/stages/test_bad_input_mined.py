"""A mining run on bad input ends in order: a row with its reason, no number, and a leaderboard."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

from alphamill.clock import ManualClock
from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import OfflineChat, Search, spec_of
from alphamill.errors import GiveUp
from alphamill.lake import Lake, run_key
from alphamill.llm.scripted import ScriptedChat
from alphamill.market import FakeExchange
from alphamill.replay.run import replay
from alphamill.report.page import page_of, render
from alphamill.report.terminal.leaderboard import run_board
from alphamill.runs.schemas import MINED_TRIALS, SCORE_COLUMNS, VERDICTS
from alphamill.settings import SegmentSettings
from alphamill.sim.market import Bars
from alphamill.testing import Mill, WorkedRun, work_market
from producers.cli import main
from tests.rendering import shown

MARKET = ControlMarket(seed=11, n_symbols=4, n_bars=640, ragged=False)
HALVES = SegmentSettings(discovery_frac=0.5, validation_frac=0.25)  # 320, 160 and 160 bars
# A candidate, and why it has no figure. All stand in one reply beside what the proposer says.
BAD = {
    "sign(close)": "constant across symbols",
    "close / close - 1": "constant across symbols",
    "log(-abs(returns))": "no value",
    "ts_mean(returns, 400)": "no value",  # discovery has 320 bars
}
ON_VALIDATION = "rank(taker_buy_base / volume)"


class SpoiledChat(OfflineChat):
    """The offline proposer, naming the bad candidates in its first reply."""

    def __init__(self, *bad):
        super().__init__(seed=3)
        self.bad = list(bad)

    def complete(self, request):
        reply = super().complete(request)
        said = json.loads(reply.text)
        if "candidates" in said and self.bad:
            said["candidates"] += [
                {"expression": text, "hypothesis": "", "horizon_bars": None, "direction": None}
                for text in self.bad
            ]
            self.bad = []
            return ScriptedChat([json.dumps(said)]).complete(request)
        return reply


def mined(folder, *bad, market=MARKET, **changes):
    search = Search(rounds=1, candidates=3, segments=HALVES)
    return work_market(folder, market, search, SpoiledChat(*bad), **changes)


def rows(got, name):
    """As `alphamill factors --json` has them."""
    schema = {"trials": MINED_TRIALS, "factors": VERDICTS, "calls": None}[name]
    found = [row.to_json(schema) for row in getattr(got.published, name)]
    return json.loads(json.dumps(found, allow_nan=False))


def told(got):
    """The leaderboard and the page, as text."""
    page = render(page_of(got.published))
    return " ".join(shown(run_board(got.published), 100).split()), page


def kept(bars, rows):
    return Bars(*(getattr(bars, name)[rows] for name in Bars.__dataclass_fields__))


def idle(bars):
    return replace(bars, volume=0 * bars.volume, quote_volume=0 * bars.quote_volume)


def without_validation(bars):
    rows = np.arange(len(bars.close))
    return kept(bars, (rows < 300) | (rows >= 500))  # validation: 320 to 480


def one_sided(bars):
    """From validation on every coin is bought by takers alone: one value for all."""
    bought = np.where(np.arange(len(bars.close)) < 320, bars.taker_buy_base, bars.volume)
    return replace(bars, taker_buy_base=bought)


def held(bars):
    return HALVES.model_copy(update={"horizon_bars": bars})


def nowhere(market):
    early = market.start_ms - 400 * 86_400_000
    return {"start_ms": early, "end_ms": early + 30 * 86_400_000}


@pytest.fixture(scope="module")
def spoiled(tmp_path_factory):
    return mined(tmp_path_factory.mktemp("spoiled"), *BAD, ON_VALIDATION, change=one_sided)


@pytest.mark.parametrize(("expression", "reason"), BAD.items())
def test_a_bad_candidate_is_a_fault_with_its_reason_and_no_number(spoiled, expression, reason):
    assert spoiled.record.state == "done"
    (row,) = [row for row in rows(spoiled, "trials") if row["proposed"] == expression]
    assert row["status"] == "fault"
    assert reason in row["reason"]
    assert [row[name] for name in SCORE_COLUMNS if name != "coverage"] == [None] * (
        len(SCORE_COLUMNS) - 1
    )
    assert expression not in [factor["expression"] for factor in rows(spoiled, "factors")]


def test_what_fails_on_validation_is_measured_before_it_and_no_finalist(spoiled):
    (row,) = [row for row in rows(spoiled, "trials") if row["proposed"] == ON_VALIDATION]
    assert row["status"] == "evaluated"
    assert math.isfinite(row["rank_ic_t"])
    assert (row["validation_rank_ic_t"], row["validation_p_value"]) == (None, None)
    assert row["finalist"] is False
    assert "constant" in row["why_not_finalist"]


def test_the_good_beside_the_bad_are_judged_and_the_bad_count_as_trials(spoiled):
    trials, factors = rows(spoiled, "trials"), rows(spoiled, "factors")
    assert factors
    counted = sum(row["status"] in ("evaluated", "duplicate", "fault") for row in trials)
    assert {row["n_trials"] for row in factors} == {counted}
    assert counted > len(BAD)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"segments": held(400)}, "at a horizon of 400 each needs 832"),
        ({"segments": held(100)}, "segments of 320, 160, 160 bars"),
        ({"change": idle}, "discovery: nothing was traded in the segment: volume is 0 throughout"),
        ({"change": without_validation}, "validation: no symbol has a bar in the segment"),
        (nowhere(MARKET), "the lake has no 1h bar of"),
        ({"market": replace(MARKET, n_bars=60)}, "60 bars of 1h make segments of"),
    ],
    ids=["horizon", "horizon-of-a-part", "volume", "segment", "range", "bars"],
)
def test_bars_that_nothing_can_be_measured_on_are_a_row_and_cost_nothing(tmp_path, changes, reason):
    got = mined(tmp_path / "lake", **changes)
    assert got.record.state == "done"
    assert got.mill.chat.requests == [], "no model is asked about bars that cannot answer"
    (row,) = rows(got, "trials")
    assert (row["status"], row["interval"]) == ("unmeasured", "1h")
    assert reason in row["reason"]
    assert [row[name] for name in SCORE_COLUMNS] == [None] * len(SCORE_COLUMNS)
    assert rows(got, "factors") == rows(got, "calls") == []
    for text in told(got):
        assert f"Nothing could be measured at 1h: {row['reason']}." in text
    again = replay(got.published, Lake(str(tmp_path / "again")))
    assert (again.equal, again.failed) == (True, ())


def test_the_commands_show_a_run_that_measured_nothing(tmp_path):
    got = mined(tmp_path / "lake", change=idle)
    told = {
        command: CliRunner(env={"ALPHAMILL_LAKE": got.lake.uri, "COLUMNS": "100"}).invoke(
            main, command.split(), catch_exceptions=False
        )
        for command in (
            f"factors --run {got.spec.run_id}",
            f"factors --run {got.spec.run_id} --json",
            f"report {got.spec.run_id} --out {tmp_path}/page.html",
            f"funnel --run {got.spec.run_id}",
            f"replay {got.spec.run_id}",
        )
    }
    assert {command: one.exit_code for command, one in told.items()} == dict.fromkeys(told, 0)
    board, as_json, *_, again = (" ".join(one.output.split()) for one in told.values())
    reason = "discovery: nothing was traded in the segment: volume is 0 throughout"
    assert reason in board
    assert "nothing is claimed" in board
    assert json.loads(as_json)["unmeasured"] == [f"Nothing could be measured at 1h: {reason}."]
    assert reason in (tmp_path / "page.html").read_text()
    assert "1 trials, 0 verdicts, $0 spent: equal" in again


def test_where_a_fetch_failed_the_run_fails_and_can_go_on(tmp_path):
    class Refusing(FakeExchange):
        def klines(self, *_args, **_kwargs):
            raise GiveUp("HTTP 451: not served here")

    chat = SpoiledChat()
    mill = Mill(Lake(str(tmp_path)), Refusing(ManualClock(MARKET.end_ms)), chat, indicators=False)
    spec = spec_of(MARKET, Search(), str(tmp_path))
    got = WorkedRun(mill, spec, mill.work(spec))
    assert got.record.state == "failed"
    assert "HTTP 451" in " ".join(job.error for job in got.dead)
    assert not got.lake.stat(run_key(spec.run_id, "trials.parquet"))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One symbol: the whole run, with a candidate that holds what it was made of."""
    market = replace(MARKET, n_symbols=1, n_bars=1200)
    return mined(tmp_path_factory.mktemp("alone"), "-returns", market=market)


def test_one_symbol_is_mined_in_time_and_nothing_of_it_is_called_ic(alone):
    assert alone.record.state == "done"
    trials, factors = rows(alone, "trials"), rows(alone, "factors")
    measured = [row for row in trials if row["status"] == "evaluated"]
    assert measured
    for row in [*measured, *factors]:
        filled = [name for name, value in row.items() if value is not None and "ic" in parts(name)]
        assert filled == []
        for name in [name for name in row if "time_series_t" in name and "holdout" not in name]:
            assert isinstance(row[name], float)
    for row in measured:
        known = {name for name, value in row["score"].items() if value not in (None, [], {})}
        assert not any("ic" in parts(name) for name in known)
        assert {"time_series_rank_corr", "time_series_t", "decay"} <= known


def parts(name):
    """A column's words: rank_ic_mean -> {rank, ic, mean}."""
    return {"ic" if word == "icir" else word for word in name.split("_")}


def test_tables_page_and_prompts_say_what_one_symbol_has_instead(alone):
    board, page = told(alone)
    for text in (board, page):
        assert "IC" not in text.replace("PREDICTIVE", "")
        assert "in time" in text
    best = rows(alone, "factors")[0]
    assert f"{best['direction'] * best['validation_time_series_t']:+.1f}" in board


def test_models_are_told_the_correlation_in_time_and_the_best_first(alone):
    asked = [
        request
        for request in alone.mill.chat.requests
        if "What worked so far" in request.messages[-1].content
    ]
    assert asked
    for request in asked:
        body = request.messages[-1].content
        assert "| corr in time " in body
        assert "| ic " not in body
        section = body.partition("## What worked so far, best first\n")[2].partition("\n\n")[0]
        t = [abs(float(line.partition(" t ")[2].partition(",")[0])) for line in section.split("\n")]
        assert t == sorted(t, reverse=True)
