"""How many bars a run has landed or compared, counted in Redis for whoever watches.

{prefix}:bars:RUN   hash: the counts, and when the first and the last were added

For display only: a worker killed between its work and its count leaves them a little low.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import redis

from alphamill.redis_store import as_text, reached

_log = logging.getLogger(__name__)
COUNTS = (
    "bars",
    "settlements",
    "wide",
    "made",
    "requests",
    "compared",
    "corrected",
    "appeared",
    "vanished",
)
_KEEP_S = 30 * 86_400
_FIRST, _LAST = "first_ms", "last_ms"


@dataclass(frozen=True, slots=True)
class Landed:
    """What a run's fetch jobs have done.

    bars, settlements of funding, and rows of what else futures have: brought into the lake;
    made: bars made of trades, which are no klines, though their flow may stand beside some;
    requests: of the exchange's API. compared: bars, or such rows, asked for again, of
    which corrected, appeared and vanished changed.
    weight_limit: a minute's, as the exchange states it; 0 unknown. first_ms, last_ms: of the
    counts, by the workers' clocks.
    """

    bars: int = 0
    settlements: int = 0
    wide: int = 0
    made: int = 0
    requests: int = 0
    compared: int = 0
    corrected: int = 0
    appeared: int = 0
    vanished: int = 0
    weight_limit: int = 0
    first_ms: int = 0
    last_ms: int = 0

    @property
    def all_bars(self) -> int:
        """Landed, made of trades, and compared."""
        return self.bars + self.made + self.compared


class BarCounters:
    """Counters of one Redis; counting never fails a job."""

    def __init__(self, client: redis.Redis, prefix: str = "alphamill") -> None:
        self._client = client
        self._prefix = prefix

    def add(self, run: str, counts: Mapping[str, Any], weight_limit: int, now_ms: int) -> None:
        """Add to a run's counts; names beyond `COUNTS` are left out.

        weight_limit: 0 where it is not known.
        """
        key = f"{self._prefix}:bars:{run}"
        pipe = self._client.pipeline(transaction=False)
        for name in COUNTS:
            if counts.get(name):
                pipe.hincrby(key, name, counts[name])
        pipe.hsetnx(key, _FIRST, str(now_ms))
        pipe.hset(key, _LAST, str(now_ms))
        if weight_limit:
            pipe.hset(key, "weight_limit", str(weight_limit))
        pipe.expire(key, _KEEP_S)
        try:
            pipe.execute()
        except redis.RedisError as error:
            _log.warning("bars of %s not counted: %s", run, error)

    def read(self, run: str) -> Landed | None:
        """A run's counts; None before the first. Raises RetryLater without Redis."""
        with reached("Redis does not answer"):
            found = self._client.hgetall(f"{self._prefix}:bars:{run}")
        if not found:
            return None
        texts = {as_text(name): int(value) for name, value in found.items()}
        return Landed(**{name: texts.get(name, 0) for name in Landed.__dataclass_fields__})
