"""Usage counters inside one process, for tests and notebooks."""

from __future__ import annotations

import threading
from collections import defaultdict
from typing import Any

from alphamill.usage.latency import bucket_of
from alphamill.usage.protocol import Row, Tally, UsageEntry, build_report, check_row


class MemoryUsage:
    """See `protocol.Usage`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: set[tuple[str, str]] = set()
        self._rows: dict[Row, Tally] = defaultdict(Tally)

    def record(self, entry: UsageEntry) -> bool:
        with self._lock:
            if (entry.run, entry.call_id) in self._seen:
                return False
            self._seen.add((entry.run, entry.call_id))
            tally = self._rows[Row(entry.run, entry.day, entry.tier, entry.model)]
            tally.measures.update(entry.measures)
            tally.buckets[bucket_of(entry.latency_ms)] += 1
            tally.latency_sum_ms += entry.latency_ms
            return True

    def record_error(self, run: str, day: str, tier: str, model: str, error_class: str) -> None:
        check_row(run, day, tier, model)
        with self._lock:
            self._rows[Row(run, day, tier, model)].errors[error_class] += 1

    def report(self, run: str | None = None) -> dict[str, Any]:
        with self._lock:
            return build_report(
                {row: tally for row, tally in self._rows.items() if run in (None, row.run)}
            )
