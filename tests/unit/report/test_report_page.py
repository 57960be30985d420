"""The page: well formed, self-contained, and no text of a model is ever markup."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.evaluation import Gate, Grade, Segment
from alphamill.frames import Interval, Market
from alphamill.jobs import RunKind, RunSpec
from alphamill.report.page import RunPage, SearchFacts, render
from alphamill.report.values import NOTHING
from alphamill.runs.figures import DiscoveryFigures, Measures, SegmentFigures
from alphamill.runs.panels import SegmentFacts
from alphamill.runs.rows import JudgedFactor, Trial

HOSTILE = "</code></td><script>alert(1)</script><img src=x onerror=alert(1)>\" ' & [bold] \x1b[31m"
VOID = {"meta"}
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "main", "header", "section", "h1", "h2"),
    *("h3", "h4", "p", "div", "b", "span", "i", "a", "dl", "dt", "dd", "ul", "li", "table"),
    *("thead", "tbody", "tr", "th", "td", "details", "summary", "code", "small"),
    *("figure", "figcaption", "svg", "line", "rect", "path", "text"),
}
FACTOR = JudgedFactor(
    hash="ab12",
    expression="rank(close / ma_20) - 0.5",
    interval=Interval.H1,
    verdict=Grade.PREDICTIVE,
    rank=1,
    direction=1,
    gates=(
        Gate("net_validation", False, -0.4, 0.0, "net Sharpe above 0", Grade.TRADABLE),
        Gate("net_deflated_sharpe", False, 0.214, 0.95, "beats the luckiest", Grade.TRADABLE),
    ),
    reasons=(),
    discovery=DiscoveryFigures(
        rank_ic_mean=0.04,
        walk_forward_rank_corr=0.012,
        cpcv_same_sign_frac=0.9286,
        half_life_bars=6.0,
    ),
    validation=SegmentFigures(
        rank_ic_mean=0.03,
        rank_ic_t=3.6,
        gross_sharpe=3.5,
        net_sharpe=1.25,
        break_even_bps=8.31,
        coverage=0.99,
        capacity_quote=1_250_000.0,
    ),
    holdout=SegmentFigures(rank_ic_mean=-0.01, rank_ic_t=-0.9, net_sharpe=0.75),
    hypothesis="prices return to their mean",
    tier="quick_scan",
    symbol="BTCUSDT",
    n_trials=311,
    deflated_sharpe=0.963,
    bh_p=3e-9,
    call_cost_usd_micros=449,
)
USAGE = {
    "requests": 3,
    "prompt_tokens": 900,
    "cached_tokens": 0,
    "completion_tokens": 70,
    "cost_usd_micros": 1234,
    "errors": {"timeout": 1},
    "latency_ms": {"p50": 8, "p99": 9},
}
PAGE = RunPage(
    run_id="mine-1",
    spec=RunSpec(
        RunKind.MINE,
        "lake",
        Market.SPOT,
        ("BTCUSDT", "ETHUSDT"),
        (Interval.H1,),
        start_ms=1609459200000,
        end_ms=1640995200000,
        strategy="reversals",
    ),
    factors=(FACTOR,),
    searches={Interval.H1: SearchFacts(311, 0.0123)},
    funnel={"proposed": 311, "finalists": 10},
    segments=((Interval.H1, Segment.DISCOVERY, SegmentFacts(1609459200000, 600, 0, 0, {})),),
    usage={
        "by": [USAGE | {"day": "2025-01-01", "tier": "quick_scan", "model": "m"}],
        "totals": USAGE,
    },
    caveats=("One market regime.",),
    spent="$0.01 for 3 answers",
    legend="t: Newey-West t",
)


class Page(HTMLParser):
    """Tags, attributes and text; fails on a tag that is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.links: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        self.links |= {value or "" for name, value in attrs if name == "href"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def words(page: RunPage) -> str:
    return " ".join(" ".join(Page(render(page)).texts).split())


def cells(page: RunPage) -> list[str]:
    """The first factor's figures behind its correlations."""
    line = render(page).split("<tbody>")[1].split("</tr>")[0]
    return re.findall(r'<td class="figure">([^<]+)</td>', line)[1:]


def test_shows_what_it_is_given() -> None:
    text = words(PAGE)
    for part in (
        *("mine-1", "rank(close / ma_20) - 0.5", "predictive", "2021-01-01 00:00"),
        *("+0.040 / +0.030 / -0.010", "$0.001234", "One market regime.", "reversals", "timeout 1"),
        *("0.01 probability that the best", "$0.01 for 3 answers", "t: Newey-West t"),
    ):
        assert part in text, part


def test_trials_deflation_and_both_costs_stand_beside_the_sharpe_ratio() -> None:
    assert cells(PAGE) == [
        *("+3.60", "-0.90", "+1.25", "+0.75", "311", "0.963", "0.214", "&lt;0.0001", NOTHING),
        *("8.3", "93 %", "1.25M", "$0.000449"),
    ]


def test_a_factor_that_is_sold_is_shown_as_it_is_traded() -> None:
    sold = replace(
        FACTOR,
        direction=-1,
        discovery=DiscoveryFigures(rank_ic_mean=-0.04),
        validation=SegmentFigures(rank_ic_mean=-0.03, rank_ic_t=-3.6),
        holdout=SegmentFigures(rank_ic_mean=0.01, rank_ic_t=0.9),
    )
    page = replace(PAGE, factors=(sold,))
    assert "+0.040 / +0.030 / -0.010" in words(page)
    assert "-(rank(close / ma_20) - 0.5)" in words(page)
    assert cells(page)[:2] == ["+3.60", "-0.90"]
    assert re.findall(r'class="(up|down)"', render(page)) == ["up", "up", "down"]


def test_a_veto_stands_in_a_row_as_wide_as_the_table() -> None:
    page = replace(PAGE, factors=(replace(FACTOR, veto_reason="a copy of momentum"),))
    row = render(page).split('<tr class="below">')[1].split("</tr>")[0]
    assert 'colspan="15"' in row
    assert "✗ vetoed by final_verification: a copy of momentum" in row


def test_bars_of_the_rank_ics_stand_on_the_zero_line() -> None:
    bars = r'<rect x="(\d+)" width="12" height="([\d.]+)" y="([\d.]+)"'
    heights = re.findall(bars, render(PAGE))
    assert heights == [("4", "12.00", "2.00"), ("22", "9.00", "5.00"), ("40", "3.00", "14.00")]
    flat = replace(
        FACTOR,
        discovery=DiscoveryFigures(rank_ic_mean=0.0),
        validation=SegmentFigures(),
        holdout=SegmentFigures(),
    )
    assert "<rect" not in render(replace(PAGE, factors=(flat,)))


def test_given_expressions_are_shown_in_sample_and_without_verdicts() -> None:
    trials = (
        Trial(
            interval=Interval.H1,
            status="evaluated",
            expression="close",
            discovery=Measures(rank_ic_mean=-0.05, rank_ic_t=-2.14, net_sharpe=2.32),
        ),
        Trial(interval=Interval.H1, status="invalid", proposed="clsoe", reason="unknown field"),
    )
    page = replace(PAGE, factors=(), given=trials, searches={}, funnel={})
    text = words(page)
    for part in ("in-sample", "-2.14", "+2.32", "invalid", "clsoe", "✗ unknown field"):
        assert part in text, part
    assert "<span>tradable</span>" in render(PAGE)
    assert "<span>tradable</span>" not in render(page)


def test_several_intervals_are_told_apart() -> None:
    searches = {Interval.H1: SearchFacts(208, 0.5), Interval.H4: SearchFacts(7, None)}
    text = words(replace(PAGE, searches=searches))
    assert "trials at 4h" in text
    assert f"{NOTHING} probability that the best" in text  # not measured at 4h


def test_is_self_contained() -> None:
    text = render(PAGE)
    page = Page(text)
    names = {name for name, _ in page.attributes}
    assert not names & {"src", "action", "srcset", "xlink:href"}
    assert all(link.startswith("#") for link in page.links)
    assert not re.search(r"https?:|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_a_run_without_a_factor_says_so_and_leaves_the_other_parts_out() -> None:
    text = words(RunPage(run_id="mine-1", spec=PAGE.spec))
    assert "No factor came out of this run." in text
    assert "Funnel" not in text
    assert "Caveats" not in text


def poisoned(value: Any, text: str) -> Any:
    """The same shape with `text` in place of every string, and as every key of `errors`."""
    if isinstance(value, Enum):
        return value
    if isinstance(value, str):
        return text
    if is_dataclass(value) and not isinstance(value, type):
        changed = {one.name: poisoned(getattr(value, one.name), text) for one in fields(value)}
        return replace(value, **changed)
    if isinstance(value, Mapping):
        keys = {"timeout": text}
        return {keys.get(key, key): poisoned(item, text) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(poisoned(item, text) for item in value)
    return value


def test_hostile_text_anywhere_stays_text() -> None:
    clean, dirty = Page(render(PAGE)), render(poisoned(PAGE, HOSTILE))
    page = Page(dirty)
    assert page.tags == clean.tags <= TAGS
    assert "<script" not in dirty
    assert "<img" not in dirty
    assert "\x1b" not in dirty
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in " ".join(page.texts)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_any_text_anywhere_keeps_the_page_well_formed(text: str) -> None:
    shown = render(poisoned(PAGE, text))
    assert Page(shown).tags <= TAGS
    shown.encode("utf-8")


def test_very_long_text_is_cut() -> None:
    assert len(render(poisoned(PAGE, "y" * 200_000))) < 40_000


@pytest.mark.parametrize("notice", ["Offline proposer: a control arm."])
def test_the_notice_is_shown_before_the_figures(notice: str) -> None:
    text = render(replace(PAGE, notice=notice))
    assert text.index(notice) < text.index("Factors")
