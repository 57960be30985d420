"""What each tier's calls led to, and what a factor cost, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from alphamill.report.terminal.tables import empty_table
from alphamill.report.values import usd, whole
from alphamill.runs.funnel import TierFunnel

_COUNTS = {
    "calls answered": "asked",
    "candidates": "proposed",
    "read as an expression": "parsed",
    "  mended by rule": "repaired_free",
    "  mended by a paid call": "repaired_paid",
    "  paid repairs not read": "repairs_unread",
    "  from a reply that broke off": "salvaged",
    "not read": "unreadable",
    "refused by the checks": "unclean",
    "proposed before": "duplicate",
    "without a figure": "fault",
    "evaluated": "evaluated",
    "smoothed by rule": "slower",
    "passed validation": "passed_validation",
    "admitted": "admitted",
    "places of a review not read": "reviews_unread",
    "prompt tokens": "prompt_tokens",
    "  from the cache": "cached_tokens",
    "completion tokens": "completion_tokens",
    "failed attempts": "failed_attempts",
}
_MONEY = {
    "cost": "cost_usd_micros",
    "possibly billed": "unknown_usd_micros",
    "cost of an admitted factor": "cost_per_admitted_usd_micros",
    "provider minus ours": "provider_difference_usd_micros",
}


def funnel_table(funnels: Sequence[TierFunnel]) -> Table:
    """A line a count, a column a funnel."""
    table = empty_table("", *(f">{one.tier.partition('_')[0]}" for one in funnels))
    for label, name in _COUNTS.items():
        table.add(label, *(whole(getattr(one, name)) for one in funnels))
    for label, name in _MONEY.items():
        table.add(label, *(usd(getattr(one, name)) for one in funnels))
    for part in ("p50", "p99"):
        table.add(f"latency {part}, ms", *(whole(one.latency_ms[part]) for one in funnels))
    return table
