"""The page: well formed, self-contained, and no text of a model is ever markup."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.report.elements import element
from alphamill.report.html import render_report

HOSTILE = "</code></td><script>alert(1)</script><img src=x onerror=alert(1)>\" ' & [bold] \x1b[31m"
VOID = {"meta", "br"}
TAGS = {"html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "p", "div",
        "b", "span", "i", "dl", "dt", "dd", "section", "table", "thead", "tbody", "tr", "th", "td",
        "details", "summary", "code", "svg", "line", "rect", "small", "ul", "li"}  # fmt: skip


class Page(HTMLParser):
    """Tags, attributes and text; fails on a tag that is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def report(**changes: Any) -> dict[str, Any]:
    factor = {
        "rank": 1, "expression": "rank(close / ma_20) - 0.5", "hash": "ab12",
        "verdict": "predictive", "hypothesis": "prices return to their mean",
        "tier": "quick_scan", "symbol_of_origin": "BTCUSDT",
        "reasons": [{"gate": "net Sharpe", "passed": False, "value": -0.4, "threshold": 0.0}],
        "discovery": {"correlation": 0.04}, "validation": {"correlation": 0.03, "t": 3.6},
        "holdout": {"correlation": -0.01, "t": -0.9}, "net_sharpe": -0.4, "gross_sharpe": 1.1,
        "turnover": 0.4, "coverage": 0.99, "trials": 311, "dsr": 0.96, "bh_p": 0.004,
    }  # fmt: skip
    return {
        "run": {"id": "mine-1", "state": "done", "market": "spot",
                "symbols": ["BTCUSDT", "ETHUSDT"], "intervals": ["1h"],
                "start_ms": 1609459200000, "end_ms": 1640995200000},
        "factors": [factor],
        "usage": {"totals": {"requests": 3, "cost_usd_micros": 1234}, "by": [
            {"day": "2025-01-01", "tier": "quick_scan", "model": "m", "requests": 3,
             "cost_usd_micros": 1234}]},
        "funnel": [{"name": "proposed", "count": 311}, {"name": "finalists", "count": 10}],
        "segments": [{"name": "discovery", "interval": "1h", "bars": 600, "embargo_bars": 0}],
        "caveats": ["One market regime."],
    } | changes  # fmt: skip


def test_shows_what_it_is_given() -> None:
    page = Page(render_report(report()))
    text = " ".join(page.texts)
    for part in ("mine-1", "rank(close / ma_20) - 0.5", "prices return to their mean", "predictive",
                 "+0.040 / +0.030 / -0.010", "+3.60", "$0.001234", "One market regime.", "311",
                 "✗ net Sharpe -0.4 (needs 0)", "2021-01-01 00:00", "0.0040"):  # fmt: skip
        assert part in text, part
    assert page.tags <= TAGS


def test_bars_of_the_rank_ics_stand_on_the_zero_line() -> None:
    text = render_report(report())
    heights = re.findall(r'<rect x="(\d+)" width="12" height="([\d.]+)" y="([\d.]+)"', text)
    assert heights == [("4", "12.00", "2.00"), ("22", "9.00", "5.00"), ("40", "3.00", "14.00")]
    assert "<rect" not in render_report(report(factors=[{"discovery": {"correlation": 0.0}}]))


def test_is_self_contained() -> None:
    text = render_report(report())
    page = Page(text)
    assert not {name for name, _ in page.attributes} & {
        "src",
        "href",
        "action",
        "srcset",
        "xlink:href",
    }
    assert not re.search(r"https?:|url\(|@import", text)
    assert "prefers-color-scheme: dark" in text
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


@pytest.mark.parametrize("missing", [{}, {"run": None, "factors": None, "usage": None}])
def test_every_part_may_be_missing(missing: dict[str, Any]) -> None:
    text = " ".join(Page(render_report(missing)).texts)
    assert "No factor came out of this run." in text
    Page(render_report(report(factors=[{}], segments=[{}], funnel=[{}], usage={"totals": {}})))


def poisoned(value: Any, text: str) -> Any:
    """The same shape with `text` in place of every string, and as every key of `errors`."""
    if isinstance(value, dict):
        return {key: poisoned(item, text) for key, item in value.items()} | (
            {"errors": {text: 1}} if "requests" in value else {}
        )
    if isinstance(value, list):
        return [poisoned(item, text) for item in value]
    return text if isinstance(value, str) else value


def test_hostile_text_anywhere_stays_text() -> None:
    clean, dirty = Page(render_report(report())), render_report(poisoned(report(), HOSTILE))
    page = Page(dirty)
    assert page.tags == clean.tags
    assert "<script" not in dirty
    assert "<img" not in dirty
    assert "\x1b" not in dirty
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in " ".join(page.texts)


@settings(max_examples=40, deadline=None)
@given(st.text(max_size=60))
def test_any_text_anywhere_keeps_the_page_well_formed(text: str) -> None:
    page = Page(render_report(poisoned(report(), text)))
    assert page.tags <= TAGS
    render_report(poisoned(report(), text)).encode("utf-8")


def test_very_long_text_is_cut() -> None:
    assert len(render_report(poisoned(report(), "y" * 200_000))) < 40_000


def test_the_notice_is_shown_before_the_figures() -> None:
    text = render_report(report(run={"id": "r", "notice": "Offline proposer: a control arm."}))
    assert text.index("a control arm") < text.index("Factors")


def test_elements_escape_children_and_attributes() -> None:
    made = element("p", "<b>", element("b", "&"), ["x", None], class_='"><')
    assert made == '<p class="&quot;&gt;&lt;">&lt;b&gt;<b>&amp;</b>x</p>'
