"""Progress and figures as text: what is unknown is a dash, foreign text stays text."""

from __future__ import annotations

import math
import re

import pytest

from alphamill.flow import plan
from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.report import values
from alphamill.report.terminal import progress
from alphamill.runs.fetch_rate import FetchProgress
from alphamill.runs.under_way import STAGES
from alphamill.usage.bars import Landed
from tests.rendering import shown

HOSTILE = "[bold red]x[/] \x1b[31mred\x1b[0m <script>alert(1)</script> \u202egnp.exe [/]"


def test_progress_counts_jobs_by_state() -> None:
    counts = {
        "fetch": {"done": 6, "running": 1, "queued": 2, "waiting": 1, "dead": 2},
        "panel": {"waiting": 4},
    }
    lines = shown(progress.progress_table(counts, 187), 200).splitlines()
    assert "3:07 min" in lines[0]
    fetch = next(line for line in lines if "fetch" in line)
    assert re.findall(r"\d+", fetch) == ["6", "1", "3", "2"]
    assert fetch.count("━") == 18  # 9 of 12 jobs of 24 cells are done, dead or running
    panel = next(line for line in lines if "panel" in line)
    assert "━" not in panel
    assert re.findall(r"\d+", panel) == ["0", "0", "4", "0"]


def test_a_hostile_stage_name_is_shown_and_obeyed_nowhere() -> None:
    text = shown(progress.progress_table({HOSTILE: {"done": 1}}, 1.0), 200)
    assert "\x1b" not in text
    assert "[bold" in text


def test_every_stage_of_a_run_fits_a_narrow_terminal() -> None:
    text = shown(progress.progress_table({"propose.detailed_analysis": {"done": 123_456}}, 1), 80)
    assert "detailed_analysis" in text
    assert "123,456" in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "$0.000000"),
        (1, "$0.000001"),
        (1_234_567, "$1.234567"),
        (-5, "-$0.000005"),
        (10**12, "$1,000,000.000000"),
        (None, "–"),
        (math.inf, "–"),
        (True, "–"),
        ("7", "–"),
    ],
)
def test_money_to_the_micro_dollar(micros: object, text: str) -> None:
    assert values.usd(micros) == text


def test_other_values() -> None:
    assert values.number(1234.567, 1) == "1,234.6"
    assert values.number(3e12) == "3.00e+12"
    assert values.percent(0.5) == "50.0 %"
    assert values.elapsed(7.9) == "7 s"
    assert values.elapsed(7500) == "2:05 h"
    assert values.moment(0) == "1970-01-01 00:00"
    assert values.moment(10**18) == "–"
    assert values.milliseconds(9999) == "9,999 ms"
    assert values.plain("a\tb\n c\x00\u2066") == "a b c��"
    assert values.plain(None) == "–"


def test_a_rate_is_told_while_bars_come_in() -> None:
    coming, landed = FetchProgress(Landed(bars=5700), 500.4), FetchProgress(Landed(bars=5700))
    assert progress.bars_line(coming).plain == "5,700 bars landed; 500 a second"
    assert progress.bars_line(landed).plain == "5,700 bars landed"


def test_bars_made_of_trades_are_no_bars_that_landed() -> None:
    flow, alone = Landed(bars=48, wide=7, made=24), Landed(made=295)
    assert progress.bars_line(FetchProgress(flow)).plain == (
        "48 bars landed, 7 rows beside bars, 24 bars made of trades"
    )
    text = progress.bars_line(FetchProgress(alone, 295.0)).plain
    assert text == "295 bars made of trades; 295 a second"
    assert flow.all_bars == 72


def test_stages_stand_in_the_order_of_every_plan() -> None:
    counts = {stage: {"waiting": 1} for stage in reversed(STAGES)}
    text = shown(progress.progress_table({"later": {"done": 1}, **counts}, 1), 100)
    named = [line.split()[0] for line in text.splitlines()[2:]]
    assert named == [*(stage.removeprefix("propose.") for stage in STAGES), "later"]


@pytest.mark.parametrize("kind", RunKind)
@pytest.mark.parametrize("market", [Market.SPOT, Market("um")])
@pytest.mark.parametrize("verify_frac", [0.0, 1.0])
def test_the_order_is_that_of_the_plans_themselves(kind, market, verify_frac) -> None:
    spec = RunSpec(
        kind=kind,
        lake="lake",
        market=market,
        symbols=("AUSDT",),
        intervals=(Interval.H1,),
        start_ms=0,
        end_ms=90 * 86_400_000,
        verify_frac=verify_frac,
    )
    planned = list(dict.fromkeys(job.stage for job in plan(spec)))
    assert [stage for stage in STAGES if stage in planned] == planned


def test_what_was_cancelled_has_a_column_of_its_own_and_is_not_failed() -> None:
    counts = {"propose.detailed_analysis": {"done": 172, "cancelled": 3}}
    for columns in (60, 80):  # the bar gives way, and no word or figure
        narrow = shown(progress.progress_table(counts, 1), columns)
        assert "…" not in narrow
        assert "detailed_analysis" in narrow
        assert "━" in narrow
    text = shown(progress.progress_table({"fetch": {"done": 2, "cancelled": 3}}, 1), 100)
    header, fetch = text.splitlines()[1:]
    assert header.split() == ["stage", "done", "running", "waiting", "failed", "cancelled"]
    assert re.findall(r"\d+", fetch) == ["2", "0", "0", "0", "3"]
    assert "cancelled" not in shown(progress.progress_table({"fetch": {"dead": 3}}, 1), 100)


def test_the_time_left_is_the_runs_and_that_of_fetching_says_so() -> None:
    text = shown(progress.progress_table({"fetch": {"done": 1}}, 62, 187), 100)
    assert text.startswith("1:02 min elapsed, about 3:07 min left at this pace")
    coming = FetchProgress(Landed(bars=1, weight_limit=1200), 1.0, 12, 40.0)
    assert progress.bars_line(coming).plain.endswith("; fetch: about 40 s left")
