"""How fast a run's bars come in: bars a second, the exchange's limit in use, the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import redis

from alphamill.errors import RetryLater
from alphamill.frames import Market
from alphamill.ledger import RunRecord
from alphamill.limits import RedisLimiter, binance_pool
from alphamill.runs.under_way import job_totals
from alphamill.settings import Settings
from alphamill.usage.bars import BarCounters, Landed

_STAGES = ("fetch", "funding", "wide", "reverify", "recheck", "bars")
_WINDOW_S = 30.0  # a rate over less jumps; over more it lags
_WEIGHT_LIMIT = 1200  # a minute's, where the exchange has not stated it yet


@dataclass(frozen=True, slots=True)
class FetchProgress:
    """What a run's fetch jobs have landed, and how fast; None for what is not known."""

    landed: Landed
    bars_per_s: float = 0.0
    weight_used: int | None = None  # of this minute, by us and by others on our address
    left_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        rates = {name: getattr(self, name) for name in ("bars_per_s", "weight_used", "left_s")}
        return asdict(self.landed) | rates


class FetchRate:
    """Watches one run: ask about twice a second, or once for its rate so far."""

    def __init__(
        self,
        client: redis.Redis,
        settings: Settings,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._counters = BarCounters(client)
        self._limiter = RedisLimiter(client)
        self._settings = settings
        self._monotonic_s = monotonic_s
        self._seen: deque[tuple[float, int, int]] = deque()  # when, bars, jobs settled

    def progress(self, run: RunRecord) -> FetchProgress | None:
        """How far it is; None while it has fetched nothing, or Redis does not answer."""
        try:
            landed = self._counters.read(run.id)
            if landed is None:
                return None
            used = self._weight_used(run, landed) if run.state.active else None
        except RetryLater:
            return None
        jobs = job_totals(run.counts, _STAGES)
        bars_per_s, jobs_per_s = self._rates(landed, jobs.settled, run)
        left_s = None
        if run.state.active and jobs_per_s > 0:
            left_s = (jobs.total - jobs.settled) / jobs_per_s
        return FetchProgress(landed, bars_per_s, used, left_s)

    def _rates(self, landed: Landed, settled: int, run: RunRecord) -> tuple[float, float]:
        """Bars and jobs a second: of the last half minute, at the first look of the whole run."""
        now_s = self._monotonic_s()
        self._seen.append((now_s, landed.all_bars, settled))
        while len(self._seen) > 2 and now_s - self._seen[1][0] >= _WINDOW_S:
            self._seen.popleft()
        first_s, bars, jobs = self._seen[0]
        if now_s - first_s >= 2.0 and run.state.active:
            spent_s = now_s - first_s
            return (landed.all_bars - bars) / spent_s, (settled - jobs) / spent_s
        spent_s = max(1.0, (landed.last_ms - run.created_ms) / 1000)
        return landed.all_bars / spent_s, settled / spent_s

    def _weight_used(self, run: RunRecord, landed: Landed) -> int:
        market = Market(run.spec["market"])
        pool = binance_pool(self._settings.binance, market, landed.weight_limit or _WEIGHT_LIMIT)
        weight = next(d for d in self._limiter.state(pool).dimensions if d.name == "weight")
        return round(weight.used)
