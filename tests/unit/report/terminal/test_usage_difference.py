"""The providers' own figures stand under the usage table, with how far they are from ours."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from alphamill.report.terminal.usage import doubts, provider_difference, tiers_table
from alphamill.usage import MemoryUsage, UsageEntry
from tests.rendering import shown


@pytest.mark.parametrize(
    ("theirs", "ours", "ends"),
    [
        (1_300_000, 1_000_000, "more"),
        (900_000, 1_000_000, "less"),
        (1_000_000, 1_000_000, "the same"),
    ],
)
def test_a_difference_is_said_with_its_direction(theirs: int, ours: int, ends: str) -> None:
    totals = {"provider_cost_usd_micros": theirs, "compared_cost_usd_micros": ours}
    assert provider_difference(totals).endswith(ends)


def test_it_stands_under_the_table_only_where_a_provider_said_something() -> None:
    for theirs, ours in ((0, 0), (130, 100)):
        counters = MemoryUsage()
        counters.record(
            UsageEntry("a", "run", "2026-11-22", "quick_scan", "m", 1, 0, 1, 130, 5, theirs, ours)
        )
        console = Console(width=100, record=True, file=None, quiet=False)
        with console.capture() as shown:
            console.print(tiers_table(counters.report("run")))
        assert ("providers state" in shown.get()) is bool(theirs)


def test_what_is_estimated_or_doubted_is_said_under_the_table() -> None:
    assert doubts({}) == []
    counters = MemoryUsage()
    sound = UsageEntry("a", "run", "2026-11-22", "quick_scan", "m", 1, 0, 1, 130, 5)
    counters.record(sound)
    counters.record(
        replace(sound, call_id="b", estimated_requests=1, estimated_cost_usd_micros=130)
    )
    counters.record(replace(sound, call_id="c", doubted_requests=1, gateway_retries=3))
    said = shown(tiers_table(counters.report("run")), 120)
    assert "estimated: $0.000130 for 1 call without usable token counts" in said
    assert "contradictory token counts: 1 call, read the dearer way" in said
    assert "gateways made 3 calls more" in said
