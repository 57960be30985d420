"""Terminal tables: figures as stated, gaps as dashes, and foreign text that stays text."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import pytest
from rich.console import Console, RenderableType

from alphamill.report import tables, values

HOSTILE = "[bold red]x[/] \x1b[31mred\x1b[0m <script>alert(1)</script> \u202egnp.exe [/]"


def shown(renderable: RenderableType, width: int = 200) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, color_system=None)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def styled(renderable: RenderableType) -> str:
    console = Console(
        file=io.StringIO(), width=200, force_terminal=True, color_system="standard", _environ={}
    )
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


FACTOR: dict[str, Any] = {
    "rank": 1, "expression": "rank(ts_mean(close, 20) / close)", "verdict": "tradable",
    "validation": {"rank_ic": 0.0312, "ic_t": 4.5}, "holdout": {"rank_ic": -0.011},
    "net_sharpe": 1.234, "turnover": 0.345, "trials": 1234, "dsr": 0.977, "cost_usd_micros": 1234,
}  # fmt: skip

USAGE: dict[str, Any] = {
    "totals": {"requests": 12_345, "prompt_tokens": 1_000_000, "cached_tokens": 5,
               "completion_tokens": 60, "cost_usd_micros": 1_000_001, "errors": {"timeout": 2},
               "latency_ms": {"p50": 800, "p99": 12_000, "mean": 900}},
    "by": [{"run": "mine-1", "day": "2025-01-02", "tier": "quick_scan", "model": "m[1]",
            "requests": 3, "prompt_tokens": 10, "cached_tokens": 0, "completion_tokens": 2,
            "cost_usd_micros": 7, "errors": {}, "latency_ms": {"p50": 1, "p99": 2, "mean": 1}}],
}  # fmt: skip


def test_leaderboard_states_each_figure() -> None:
    text = shown(tables.leaderboard_table([FACTOR]))
    for part in ("rank(ts_mean(close, 20) / close)", "tradable", "+0.0312", "-0.0110", "+4.50",
                 "+1.23", "34.5 %", "1,234", "0.977", "$0.001234"):  # fmt: skip
        assert part in text, part


def test_missing_figures_are_dashes_and_never_zero() -> None:
    bare = {"expression": "close", "net_sharpe": math.nan, "validation": None, "dsr": None}
    lines = shown(tables.leaderboard_table([bare])).splitlines()
    line = next(line for line in lines if "close" in line)
    assert line.count("–") == 9
    assert re.findall(r"\d", line) == ["1"]  # its place


@pytest.mark.parametrize("width", [80, 100, 119, 120, 200])
def test_a_leaderboard_fits_and_cuts_no_figure(width: int) -> None:
    text = shown(tables.leaderboard_table([FACTOR]), width)
    assert "…" not in text
    assert "rank(ts_mean(close, 20) / close)" in text
    assert max(len(line) for line in text.splitlines()) <= width
    usage = shown(tables.usage_table(USAGE), width)
    assert "…" not in usage
    assert "1,000,000" in usage


def test_an_empty_leaderboard_says_so() -> None:
    assert "no factors" in shown(tables.leaderboard_table([]))


@pytest.mark.parametrize("width", [60, 80, 250])
def test_hostile_text_is_shown_and_obeyed_nowhere(width: int) -> None:
    factor = FACTOR | {"expression": HOSTILE, "verdict": "[blink]", "hypothesis": HOSTILE}
    text = shown(tables.leaderboard_table([factor]), width)
    assert "\x1b" not in text
    assert "\u202e" not in text
    squeezed = re.sub(r"[\s│┃]", "", text)
    if width == 250:
        assert "[boldred]x[/]" in squeezed
        assert "<script>alert(1)</script>" in squeezed
        assert "[blink]" in squeezed
    assert "\x1b[31m" not in styled(tables.leaderboard_table([factor]))


def test_hostile_text_in_every_table() -> None:
    everything = dict.fromkeys(
        ("market", "symbol", "interval", "why", "tier", "model", "as_of", "note", "name", "detail",
         "cure", "day"), HOSTILE)  # fmt: skip
    for table in (
        tables.gaps_table([everything]),
        tables.models_table([everything]),
        tables.checks_table([everything | {"ok": False}]),
        tables.usage_table({"by": [everything | {"errors": {HOSTILE: 1}}]}),
        tables.progress_table({HOSTILE: {"done": 1}}, 1.0),
    ):
        text = shown(table, 400)
        assert "\x1b" not in text
        assert "[bold" in text


def test_very_long_text_is_cut() -> None:
    text = shown(tables.leaderboard_table([FACTOR | {"expression": "x" * 100_000}]))
    assert text.count("x") < 500
    assert "…" in text


def test_usage_has_each_row_and_the_total() -> None:
    text = shown(tables.usage_table(USAGE))
    for part in ("quick_scan", "m[1]", "$0.000007", "$1.000001", "12,345", "2 (timeout 2)",
                 "800", "12,000", "total"):  # fmt: skip
        assert part in text, part
    assert "total" in shown(tables.usage_table({}))


def test_progress_counts_jobs_by_state() -> None:
    counts = {
        "fetch": {"done": 6, "running": 1, "queued": 2, "waiting": 1, "dead": 2},
        "panel": {"waiting": 4},
    }
    lines = shown(tables.progress_table(counts, 187)).splitlines()
    assert "3:07 min" in lines[0]
    fetch = next(line for line in lines if "fetch" in line)
    assert re.findall(r"\d+", fetch) == ["6", "1", "3", "2"]
    assert fetch.count("━") == 18  # 9 of 12 jobs of 24 cells are done, dead or running
    panel = next(line for line in lines if "panel" in line)
    assert "━" not in panel
    assert re.findall(r"\d+", panel) == ["0", "0", "4", "0"]


def test_gaps_models_and_checks() -> None:
    gap = {"market": "spot", "symbol": "BTCUSDT", "interval": "1m", "start_ms": 1679661600000,
           "end_ms": 1679666400000, "bars": 80, "why": "absent at the exchange"}  # fmt: skip
    text = shown(tables.gaps_table([gap]))
    assert "2023-03-24 12:40" in text
    assert "2023-03-24 14:00" in text
    assert "80" in text
    assert "nothing is missing" in shown(tables.gaps_table([]))
    model = {"tier": "quick_scan", "model": "m-1", "input": 0.4, "output": 1.6, "as_of": "2025-05"}
    text = shown(tables.models_table([model]))
    assert "0.4" in text
    assert "0.40" not in text
    checks = [{"name": "redis", "ok": True}, {"name": "clock", "ok": None, "detail": "3 s off"},
              {"name": "lake", "ok": False, "cure": "name a folder"}]  # fmt: skip
    text = shown(tables.checks_table(checks))
    assert [word in text for word in ("ok", "note", "fails", "3 s off", "name a folder")] == [
        True
    ] * 5


@pytest.mark.parametrize(
    ("micros", "text"),
    [(0, "$0.000000"), (1, "$0.000001"), (1_234_567, "$1.234567"), (-5, "-$0.000005"),
     (10**12, "$1,000,000.000000"), (None, "–"), (math.inf, "–"), (True, "–"), ("7", "–")],
)  # fmt: skip
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
    assert values.gates({"reasons": ["late", {"gate": "dsr", "passed": True, "value": 0.97,
                                              "threshold": 0.95}]}) == [
        ("late", False, ""), ("dsr", True, "0.97 (needs 0.95)")]  # fmt: skip
