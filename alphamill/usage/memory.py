"""Usage counters inside one process, for tests and notebooks."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from alphamill.usage.latency import bucket_of
from alphamill.usage.protocol import Row, Tally, UsageEntry, build_report, check_row


@dataclass(slots=True)
class _Counts:
    measures: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    buckets: Counter[int] = field(default_factory=Counter)
    latency_sum_ms: int = 0


class MemoryUsage:
    """See `protocol.Usage`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[tuple[str, str]] = set()
        self._rows: dict[Row, _Counts] = defaultdict(_Counts)

    def record(self, entry: UsageEntry) -> bool:
        with self._lock:
            if (entry.run, entry.call_id) in self._seen:
                return False
            self._seen.add((entry.run, entry.call_id))
            counts = self._rows[Row(entry.run, entry.day, entry.tier, entry.model)]
            counts.measures.update(entry.measures)
            counts.buckets[bucket_of(entry.latency_ms)] += 1
            counts.latency_sum_ms += entry.latency_ms
            return True

    def record_error(self, run: str, day: str, tier: str, model: str, error_class: str) -> None:
        check_row(run, day, tier, model)
        with self._lock:
            self._rows[Row(run, day, tier, model)].errors[error_class] += 1

    def report(self, run: str | None = None) -> dict[str, Any]:
        with self._lock:
            return build_report(
                {
                    row: Tally(c.measures, c.errors, c.buckets, c.latency_sum_ms)
                    for row, c in self._rows.items()
                    if run is None or row.run == run
                }
            )
