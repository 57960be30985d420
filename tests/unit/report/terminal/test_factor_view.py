"""One factor in full: every figure of every segment, its gates, its origin; at any width."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from alphamill.evaluation import Grade
from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.report.terminal.factor import factor_view
from alphamill.runs.figures import dump_score
from tests import rows

SPEC = RunSpec(RunKind.MINE, "/lake", Market.SPOT, ("AUSDT",), (Interval.H1,), 0, 3_600_000)
FACTOR = replace(
    rows.figures_of(rows.FACTOR, discovery={"half_life_bars": 6.0, "start_ms": 0}),
    gates=(rows.gate("net_holdout", False, -0.5, 0.0, Grade.TRADABLE),),
    call_id="a",
    veto_reason="[bold]peeks[/] \x1b[31m",
    earlier_nearest="rank(volume)",
    earlier_run="mine-2",
    earlier_correlation=0.31,
)
SCORE = replace(rows.SCORE, fold_rank_corrs=(0.031, -0.004), decay={1: 0.05, 12: 0.01})
TRIAL = replace(rows.TRIAL, hash=FACTOR.hash, score_text=dump_score(SCORE))
CALLS = [
    replace(rows.CALL, call_id="a"),
    replace(rows.CALL, call_id="a.repair", attempt="r"),
    replace(rows.CALL, call_id="b", attempt="b", prompt_tokens=987),
]


@pytest.fixture
def run(tmp_path):
    tables = {"trials": [TRIAL], "factors": [FACTOR], "calls": CALLS}
    return rows.publish(Lake(str(tmp_path)), "mine-1", SPEC.to_message(), **tables)


@pytest.mark.parametrize("width", [80, 160])
def test_all_there_is_of_a_factor_is_told_and_nothing_of_it_obeyed(run, width):
    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)
    console.print(factor_view(run, run.factor("ab")))
    text = console.file.getvalue()
    words = " ".join(text.split())
    for part in (
        "-(rank(close / open))",
        "rejected, place 1",
        "vetoed by final_verification: [bold]peeks[/]",
        "first bar (UTC) 1970-01-01 00:00 – –",
        "t (Newey-West) +13.94 +8.34 –",
        "✗ net_holdout -0.5 0 tradable",
        "-0.031 +0.004",
        "-0.050 at 1, -0.010 at 12 bars; half-life 6",
        "+0.31 with rank(volume) of mine-2",
        "shown to 3 factors so far",
    ):
        assert part in words, part
    assert words.count("30 prompt tokens") == 2  # the call and its repair, and no other
    assert "987" not in words
    assert "\x1b" not in text
    assert max(len(line) for line in text.splitlines()) <= width
