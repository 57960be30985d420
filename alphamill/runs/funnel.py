"""What became of each tier's calls and candidates, and what they cost: from a run's own tables."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from alphamill.llm.journal.records import CallRecord, CallStatus
from alphamill.settings import Tier

if TYPE_CHECKING:  # rows come from parquet; what they led to is counted without
    from alphamill.runs.rows import JudgedFactor, Trial

DOUBTFUL = (CallStatus.UNKNOWN, CallStatus.OPEN)  # may have been billed


@dataclass(frozen=True, slots=True)
class TierFunnel:
    """What a tier's calls came to: candidates, tokens, integer micro-dollars, milliseconds.

    A candidate counts for the tier that proposed it, a paid repair for the tier whose reply it
    mended.
    """

    tier: str  # or "total", or "random"
    asked: int  # calls that were answered
    proposed: int
    parsed: int  # read as an expression, mended ones too
    repaired_free: int
    repaired_paid: int
    repairs_unread: int  # of those asked for, that the reply does not say in a way that is read
    salvaged: int  # parsed, of a reply that broke off behind them
    unreadable: int
    unclean: int
    duplicate: int
    fault: int
    evaluated: int
    slower: int  # variants that a rule made of what was proposed; trials too, and evaluated
    passed_validation: int  # t at least `validation_t` in the direction found on discovery
    admitted: int
    reviews_unread: int  # places in final_verification's replies; a veto may be lost in each
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost_usd_micros: int
    unknown_usd_micros: int  # more that may have been billed
    failed_attempts: int
    cost_per_admitted_usd_micros: int | None  # None where none is admitted
    latency_ms: Mapping[str, int]  # p50 and p99 of the calls answered, by nearest rank; 0 of none
    errors: Mapping[str, int]  # class -> attempts
    provider_difference_usd_micros: int | None  # how much more it says than our table


_COUNTS = tuple(one.name for one in fields(TierFunnel) if one.type == "int")


def tier_funnels(
    trials: Sequence[Trial],
    factors: Sequence[JudgedFactor],
    calls: Sequence[CallRecord],
    validation_t: float,
) -> list[TierFunnel]:
    """A funnel a tier, and last that of all of them, whose tier is "total"."""
    tier_of_call = {trial.call_id: trial.tier for trial in trials}
    admitted = Counter(factor.tier for factor in factors if factor.admitted)
    found = []
    for tier in Tier:
        made = [call for call in calls if _tier(call, tier_of_call) == tier]
        own = [trial for trial in trials if trial.tier == tier]
        reviewed = factors if tier is Tier.FINAL_VERIFICATION else ()
        counts = _counts(own, made, admitted[tier], validation_t, _unread(reviewed))
        found.append(TierFunnel(tier.value, **counts, **_derived(counts, made)))
    total: dict[str, Any] = {name: sum(getattr(one, name) for one in found) for name in _COUNTS}
    return [*found, TierFunnel("total", **total, **_derived(total, calls))]


def spending(calls: Sequence[CallRecord]) -> tuple[int, int, int]:
    """Answers paid for, their cost, and what else may have been billed, in micro-dollars."""
    paid = [call for call in calls if call.paid]
    doubtful = [call for call in calls if call.status in DOUBTFUL]
    return (
        len(paid),
        sum(call.cost_usd_micros or 0 for call in paid),
        sum(call.reserved_usd_micros for call in doubtful),
    )


def _counts(
    trials: Sequence[Trial],
    calls: Sequence[CallRecord],
    admitted: int,
    validation_t: float,
    reviews_unread: int,
) -> dict[str, Any]:
    fates = Counter(trial.status for trial in trials)
    mended = Counter(trial.repair for trial in trials)
    paid = [call for call in calls if call.paid]
    _, cost, unknown = spending(calls)
    return {
        "asked": len({call.call_id for call in paid}),
        "proposed": sum(not trial.slower_of for trial in trials),
        "parsed": sum(bool(trial.hash) and not trial.slower_of for trial in trials),
        "repaired_free": mended["free"],
        "repaired_paid": mended["model"],
        "repairs_unread": sum(bool(trial.repair_unread) for trial in trials),
        "salvaged": sum(bool(trial.cut and trial.hash) for trial in trials),
        "unreadable": fates["unreadable"] + fates["invalid"],
        "unclean": fates["unclean"],
        "duplicate": fates["duplicate"],
        "fault": fates["fault"],
        "evaluated": fates["evaluated"],
        "slower": sum(bool(trial.slower_of) for trial in trials),
        "passed_validation": sum(_passes(trial, validation_t) for trial in trials),
        "admitted": admitted,
        "reviews_unread": reviews_unread,
        "prompt_tokens": sum(call.prompt_tokens for call in paid),
        "cached_tokens": sum(call.cached_tokens for call in paid),
        "completion_tokens": sum(call.completion_tokens for call in paid),
        "cost_usd_micros": cost,
        "unknown_usd_micros": unknown,
        "failed_attempts": sum(bool(call.error_class) for call in calls),
    }


def _unread(factors: Sequence[JudgedFactor]) -> int:
    """How many places of an interval's review could not be read, added up; all have the same."""
    said = {factor.interval: factor.review_unread or "" for factor in factors}
    return sum(len(lines.splitlines()) for lines in said.values())


def _derived(counts: Mapping[str, Any], calls: Sequence[CallRecord]) -> dict[str, Any]:
    spent = counts["cost_usd_micros"] + counts["unknown_usd_micros"]
    latencies = sorted(call.latency_ms for call in calls if call.paid)
    errors = Counter(call.error_class for call in calls if call.error_class)
    return {
        "cost_per_admitted_usd_micros": (
            round(spent / counts["admitted"]) if counts["admitted"] else None
        ),
        "latency_ms": {"p50": _percentile(latencies, 0.5), "p99": _percentile(latencies, 0.99)},
        "errors": dict(sorted(errors.items())),
        "provider_difference_usd_micros": _difference(calls),
    }


def _tier(call: CallRecord, tier_of_call: Mapping[str | None, str | None]) -> str | None:
    parent = call.call_id.removesuffix(".repair")
    return call.tier if parent == call.call_id else tier_of_call.get(parent, call.tier)


def _passes(trial: Trial, validation_t: float) -> bool:
    later, direction = trial.validation.association_t, trial.direction or 0
    return later is not None and direction != 0 and later * direction >= validation_t


def _difference(calls: Iterable[CallRecord]) -> int | None:
    """How much more the provider says than our table, over the calls that it priced."""
    stated = [call.cost_difference_usd_micros for call in calls]
    known = [difference for difference in stated if difference is not None]
    return sum(known) if known else None


def _percentile(ordered: Sequence[int], frac: float) -> int:
    """Nearest rank; 0 of nothing."""
    return ordered[max(0, math.ceil(frac * len(ordered)) - 1)] if ordered else 0
