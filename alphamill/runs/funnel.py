"""What became of each tier's calls and candidates, and what they cost: from a run's own tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from alphamill.llm.journal.records import CallStatus
from alphamill.runs.schemas import association_t
from alphamill.settings import Tier

Row = Mapping[str, Any]

ADMITTED = ("predictive", "tradable")
_PAID = (CallStatus.SETTLED, CallStatus.DUPLICATE)
_DOUBTFUL = (CallStatus.UNKNOWN, CallStatus.OPEN)
_SUMS = ("asked", "proposed", "parsed", "repaired_free", "repaired_paid", "salvaged",
         "unreadable", "unclean", "duplicate", "fault", "evaluated", "passed_validation",
         "admitted", "prompt_tokens", "cached_tokens", "completion_tokens", "cost_usd_micros",
         "unknown_usd_micros", "failed_attempts")  # fmt: skip


def tier_funnels(
    trials: Sequence[Row], verdicts: Sequence[Row], calls: Sequence[Row], validation_t: float
) -> list[dict[str, Any]]:
    """A row a tier and one of the total, `tier` "total"; counts, integer micro-dollars, ms.

    trials, verdicts, calls: the rows of trials, factors and calls.parquet. A candidate counts for
    the tier that proposed it, a paid repair for the tier whose reply it mended. parsed: read as an
    expression, mended ones too; salvaged: those of a reply that broke off behind them.
    passed_validation: t on validation of at least `validation_t` in the direction found on
    discovery. cost_per_admitted_usd_micros is None where none is admitted.
    """
    tier_of_call = {row["call_id"]: row["tier"] for row in trials if row["call_id"]}
    admitted = Counter(row["tier"] for row in verdicts if row["verdict"] in ADMITTED)
    rows = []
    for tier in Tier:
        made = [call for call in calls if _tier(call, tier_of_call) == tier]
        own = [row for row in trials if row["tier"] == tier]
        rows.append(_funnel(tier.value, own, made, admitted[tier], validation_t))
    total = {name: sum(row[name] for row in rows) for name in _SUMS}
    return [*rows, {"tier": "total", **total, **_derived(total, calls)}]


def spending(calls: Sequence[Row]) -> tuple[int, int, int]:
    """Answers paid for, their cost, and what else may have been billed, in micro-dollars."""
    paid = [call for call in calls if call["status"] in _PAID]
    doubtful = [call for call in calls if call["status"] in _DOUBTFUL]
    return (
        len(paid),
        sum(call["cost_usd_micros"] or 0 for call in paid),
        sum(call["reserved_usd_micros"] for call in doubtful),
    )


def _funnel(
    tier: str, trials: Sequence[Row], calls: Sequence[Row], admitted: int, validation_t: float
) -> dict[str, Any]:
    fates = Counter(row["status"] for row in trials)
    mended = Counter(row.get("repair") or "" for row in trials)
    paid = [call for call in calls if call["status"] in _PAID]
    _, cost, unknown = spending(calls)
    counts = {
        "asked": len({call["call_id"] for call in paid}),
        "proposed": len(trials),
        "parsed": sum(bool(row["hash"]) for row in trials),
        "repaired_free": mended["free"],
        "repaired_paid": mended["model"],
        "salvaged": sum(bool(row.get("cut") and row["hash"]) for row in trials),
        "unreadable": fates["unreadable"] + fates["invalid"],
        "unclean": fates["unclean"],
        "duplicate": fates["duplicate"],
        "fault": fates["fault"],
        "evaluated": fates["evaluated"],
        "passed_validation": sum(_holds(row, validation_t) for row in trials),
        "admitted": admitted,
        **{
            name: sum(call[name] for call in paid)
            for name in ("prompt_tokens", "cached_tokens", "completion_tokens")
        },
        "cost_usd_micros": cost,
        "unknown_usd_micros": unknown,
        "failed_attempts": sum(bool(call["error_class"]) for call in calls),
    }
    return {"tier": tier, **counts, **_derived(counts, calls)}


def _derived(counts: Mapping[str, int], calls: Sequence[Row]) -> dict[str, Any]:
    spent = counts["cost_usd_micros"] + counts["unknown_usd_micros"]
    latencies = sorted(call["latency_ms"] for call in calls if call["status"] in _PAID)
    return {
        "cost_per_admitted_usd_micros": (
            round(spent / counts["admitted"]) if counts["admitted"] else None
        ),
        "latency_ms": {"p50": _percentile(latencies, 0.5), "p99": _percentile(latencies, 0.99)},
        "errors": _errors(calls),
        "provider_difference_usd_micros": _difference(calls),
    }


def _tier(call: Row, tier_of_call: Mapping[str, str]) -> str:
    parent = str(call["call_id"]).removesuffix(".repair")
    return str(
        call["tier"] if parent == call["call_id"] else tier_of_call.get(parent, call["tier"])
    )


def _holds(row: Row, validation_t: float) -> bool:
    later, direction = association_t(row, "validation_"), row.get("direction") or 0
    return later is not None and direction != 0 and later * direction >= validation_t


def _errors(calls: Iterable[Row]) -> dict[str, int]:
    return dict(sorted(Counter(c["error_class"] for c in calls if c["error_class"]).items()))


def _difference(calls: Iterable[Row]) -> int | None:
    """How much more the provider says than our table, over the calls that it priced."""
    stated = [call.get("cost_difference_usd_micros") for call in calls]
    known = [difference for difference in stated if difference is not None]
    return sum(known) if known else None


def _percentile(ordered: Sequence[int], frac: float) -> int:
    """Nearest rank; 0 of nothing."""
    return ordered[max(0, math.ceil(frac * len(ordered)) - 1)] if ordered else 0
