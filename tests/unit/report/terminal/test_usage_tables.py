"""Usage in the terminal: sums that are right, counts that fit."""

from __future__ import annotations

import pytest

from alphamill.report.terminal.usage import rounded, runs_table, tiers_table
from alphamill.usage import MemoryUsage, UsageEntry
from tests.rendering import shown

RUN, OTHER = "mine-0123456789abcdef", "mine-fedcba9876543210"


@pytest.fixture
def counters():
    found = MemoryUsage()
    for n, (run, day, tier) in enumerate(
        [
            (RUN, "2026-01-30", "quick_scan"),
            (RUN, "2026-01-30", "final_verification"),
            (RUN, "2026-01-31", "quick_scan"),
            (OTHER, "2026-01-31", "quick_scan"),
        ]
    ):
        found.record(
            UsageEntry(
                f"c{n}",
                run,
                day,
                tier,
                "offline-proposer",
                1_234_567,
                1_000,
                99_999,
                12_345_678,
                2_000,
            )
        )
    found.record_error(RUN, "2026-01-30", "quick_scan", "offline-proposer", "timeout")
    return found


@pytest.mark.parametrize("width", [80, 160])
def test_a_line_a_tier_with_the_total_and_the_failures(counters, width):
    text = shown(tiers_table(counters.report(RUN)), width)
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= width
    assert text.count("quick_scan") == 2  # two days
    assert "2026-01-31" in text
    total = next(line for line in text.splitlines() if line.startswith("total"))
    assert "$37.037034" in total
    assert ("3,703,701" if width > 100 else "3.7M") in total
    assert "failed: timeout 1" in text


def test_a_line_a_day_and_run_adds_up_its_tiers(counters):
    text = shown(runs_table(counters.report()), 80)
    assert "…" not in text
    lines = [line.split() for line in text.splitlines() if line.startswith("2026")]
    assert [(line[0], line[1], line[2]) for line in lines] == [
        ("2026-01-30", RUN, "2"),
        ("2026-01-31", RUN, "1"),
        ("2026-01-31", OTHER, "1"),
    ]
    assert lines[0][6:] == ["$24.691356", "1"]


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (99_999, "99,999"),
        (99_999.5, "100k"),
        (123_456, "123k"),
        (999_499, "999k"),
        (999_600, "1.0M"),
        (12_345_678, "12.3M"),
        (99_960_000, "100M"),
        (7.25e9, "7.2G"),
    ],
)
def test_rounded_counts_have_at_most_six_characters(count, text):
    assert rounded(count) == text
    assert len(rounded(count)) <= 6
