"""Usage counters in Redis: one hash a row, found through sets, never through a scan of keys.

{prefix}:usage:runs               set of runs
{prefix}:usage:rows:RUN           set of rows, each ["day", "tier", "model"] as JSON
{prefix}:usage:calls:RUN          set of the calls already counted
{prefix}:usage:row:RUN:ROW        hash: measures, error:CLASS, latency:BUCKET, latency_sum_ms
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import redis

from alphamill.redis_store import as_text, reached, script
from alphamill.usage.latency import bucket_of
from alphamill.usage.protocol import MEASURES, Row, Tally, UsageEntry, build_report, check_row

ROWS_A_TRIP = 500
_reached = partial(reached, "usage: Redis cannot be reached")


class RedisUsage:
    """See `protocol.Usage`. Raises RetryLater while Redis cannot be reached.

    client: with or without decode_responses.
    """

    def __init__(self, client: redis.Redis, prefix: str = "alphamill") -> None:
        self._client = client
        self._prefix = f"{prefix}:usage"
        self._script = client.register_script(script(__package__, "record"))

    def record(self, entry: UsageEntry) -> bool:
        row = Row(entry.run, entry.day, entry.tier, entry.model)
        counts = {name: value for name, value in entry.measures.items() if value}
        counts[f"latency:{bucket_of(entry.latency_ms)}"] = 1
        return self._add(row, entry.call_id, counts | {"latency_sum_ms": entry.latency_ms})

    def record_error(self, run: str, day: str, tier: str, model: str, error_class: str) -> None:
        check_row(run, day, tier, model)
        self._add(Row(run, day, tier, model), "", {f"error:{error_class}": 1})

    def report(self, run: str | None = None) -> dict[str, Any]:
        """Costs two trips and one a few hundred rows."""
        with _reached():
            return build_report(self._tallies(self._rows(run)))

    def _rows(self, run: str | None) -> list[Row]:
        runs = [run] if run is not None else self._members(f"{self._prefix}:runs")
        with self._client.pipeline(transaction=False) as pipe:
            for name in runs:
                pipe.smembers(f"{self._prefix}:rows:{name}")
            rows = pipe.execute() if runs else []
        return [
            Row(name, *json.loads(text))
            for name, of_run in zip(runs, rows, strict=True)
            for text in sorted(map(as_text, of_run))
        ]

    def _tallies(self, rows: list[Row]) -> dict[Row, Tally]:
        tallies: dict[Row, Tally] = {}
        for start in range(0, len(rows), ROWS_A_TRIP):
            some = rows[start : start + ROWS_A_TRIP]
            pipeline = self._client.pipeline(transaction=False)
            for row in some:
                pipeline.hgetall(self._row_key(row))
            tallies |= zip(some, map(_tally, pipeline.execute()), strict=True)
        return tallies

    def _add(self, row: Row, call_id: str, counts: Mapping[str, int]) -> bool:
        keys = [
            self._row_key(row),
            f"{self._prefix}:rows:{row.run}",
            f"{self._prefix}:runs",
            f"{self._prefix}:calls:{row.run}",
        ]
        pairs = [part for pair in counts.items() for part in pair]
        with _reached():
            return bool(self._script(keys=keys, args=[call_id, row.run, _row_text(row), *pairs]))

    def _row_key(self, row: Row) -> str:
        return f"{self._prefix}:row:{row.run}:{_row_text(row)}"

    def _members(self, key: str) -> list[str]:
        return sorted(map(as_text, self._client.smembers(key)))


@lru_cache(maxsize=256)
def _row_text(row: Row) -> str:
    return json.dumps([row.day, row.tier, row.model], separators=(",", ":"))


def _tally(found: Mapping[bytes | str, bytes | str]) -> Tally:
    counts = {as_text(field): int(value) for field, value in found.items()}
    return Tally(
        measures=Counter({name: counts.get(name, 0) for name in MEASURES}),
        errors=Counter(_under("error:", counts)),
        buckets=Counter({int(bucket): n for bucket, n in _under("latency:", counts).items()}),
        latency_sum_ms=counts.get("latency_sum_ms", 0),
    )


def _under(prefix: str, counts: Mapping[str, int]) -> dict[str, int]:
    return {f.removeprefix(prefix): n for f, n in counts.items() if f.startswith(prefix)}
