"""The sample pages in the docs: small, whole, and as closed as the page that is written today."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from alphamill.report import page

SAMPLE = Path(__file__).resolve().parents[3] / "docs" / "sample"
PAGES = sorted(SAMPLE.glob("*.html"))


def test_they_are_those_that_the_docs_name_and_small_together():
    named = re.findall(r"`([\w-]+\.html)`", (SAMPLE / "README.md").read_text(encoding="utf-8"))
    assert named == [one.name for one in PAGES]
    assert sum(one.stat().st_size for one in PAGES) < 400_000


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_they_load_and_run_nothing_and_have_the_plots(path):
    text = path.read_text(encoding="utf-8")
    assert page._POLICY.replace("'", "&#39;") in text
    assert "<script" not in text
    assert not re.search(r"https?:|url\(|@import|\bsrc=", text)
    assert text.count("<figure>") in (8, 16)
    assert "offline proposer" in text
    assert not re.search(r"/(home|root|tmp|work)/", text)
