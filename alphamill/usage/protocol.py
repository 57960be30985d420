"""What is counted about model calls, and the report that everybody reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol

from alphamill.usage.latency import percentile_ms

MEASURES = (
    "requests",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "cost_usd_micros",
    "provider_cost_usd_micros",
    "compared_cost_usd_micros",
    "estimated_requests",
    "estimated_cost_usd_micros",
    "doubted_requests",
    "gateway_retries",
)


@dataclass(frozen=True, slots=True)
class UsageEntry:
    """One model call that was answered and is paid for.

    provider_cost_usd_micros: the provider's own figure, 0 where it states none; then
    compared_cost_usd_micros, ours for the same call by the price table, is 0 too.
    estimated_requests, estimated_cost_usd_micros: 1 and the cost, if that is only estimated, since
    tokens or price are not known. doubted_requests: 1 if its figures contradict each other and were
    read the dearer way. gateway_retries: further calls that its gateway made of it.
    """

    call_id: str
    run: str
    day: str  # UTC, "2026-01-31"
    tier: str
    model: str
    prompt_tokens: int  # all of them, cached ones too
    cached_tokens: int
    completion_tokens: int
    cost_usd_micros: int
    latency_ms: int
    provider_cost_usd_micros: int = 0
    compared_cost_usd_micros: int = 0
    estimated_requests: int = 0
    estimated_cost_usd_micros: int = 0
    doubted_requests: int = 0
    gateway_retries: int = 0

    def __post_init__(self) -> None:
        check_row(self.run, self.day, self.tier, self.model)
        if not self.call_id:
            raise ValueError("a call needs an id")
        for name in (*MEASURES[1:], "latency_ms"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise ValueError(f"{name} must be a whole number from 0, not {value!r}")

    @property
    def measures(self) -> dict[str, int]:
        """What this call adds to its row."""
        return {"requests": 1} | {name: getattr(self, name) for name in MEASURES[1:]}


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """What counters are kept by."""

    run: str
    day: str
    tier: str
    model: str


@dataclass(slots=True)
class Tally:
    """A row's counters. errors: class -> count; buckets: the latency histogram."""

    measures: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    buckets: Counter[int] = field(default_factory=Counter)
    latency_sum_ms: int = 0


class Usage(Protocol):
    """Counters of tokens, cost, errors and latencies over all workers."""

    def record(self, entry: UsageEntry) -> bool:
        """Count a call once, however often it is recorded; False if it was counted before."""

    def record_error(self, run: str, day: str, tier: str, model: str, error_class: str) -> None:
        """Count a call that failed."""

    def report(self, run: str | None = None) -> dict[str, Any]:
        """Totals and rows, of one run or all; see `build_report`."""


def check_row(run: str, day: str, tier: str, model: str) -> None:
    """ValueError unless these can name a row: printable, not empty, an ISO day."""
    for name, value in (("run", run), ("tier", tier), ("model", model)):
        if not value or not value.isprintable():
            raise ValueError(f"{name}: {value!r} names nothing")
    if date.fromisoformat(day).isoformat() != day:
        raise ValueError(f"day: {day!r} is not YYYY-MM-DD")


def build_report(rows: Mapping[Row, Tally]) -> dict[str, Any]:
    """`{"totals": {measures}, "by": [{"run", "day", "tier", "model", measures}]}`, all integers.

    Measures: requests (answered calls), prompt_tokens, cached_tokens, completion_tokens,
    cost_usd_micros, provider_cost_usd_micros, compared_cost_usd_micros (over the calls that the
    provider priced too), estimated_requests, estimated_cost_usd_micros, doubted_requests,
    gateway_retries (see `UsageEntry`), errors {class: count}, latency_ms {p50, p99, mean}.
    Percentiles are within 2.5 %, 0 without a latency. Rows are in order of run, day, tier, model.
    """
    keyed = sorted(rows.items())
    return {
        "totals": _measures(_add(tally for _, tally in keyed)),
        "by": [
            {"run": row.run, "day": row.day, "tier": row.tier, "model": row.model}
            | _measures(tally)
            for row, tally in keyed
        ],
    }


def _add(tallies: Iterable[Tally]) -> Tally:
    total = Tally()
    for tally in tallies:
        total.measures.update(tally.measures)
        total.errors.update(tally.errors)
        total.buckets.update(tally.buckets)
        total.latency_sum_ms += tally.latency_sum_ms
    return total


def _measures(tally: Tally) -> dict[str, Any]:
    count = sum(tally.buckets.values())
    return {name: tally.measures[name] for name in MEASURES} | {
        "errors": dict(sorted(tally.errors.items())),
        "latency_ms": {
            "p50": percentile_ms(tally.buckets, 0.50),
            "p99": percentile_ms(tally.buckets, 0.99),
            "mean": round(tally.latency_sum_ms / count) if count else 0,
        },
    }
