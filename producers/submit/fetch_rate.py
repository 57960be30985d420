"""How fast a run's bars come in: bars a second, the exchange's limit in use, the time left."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import redis
from rich.text import Text

from alphamill.errors import RetryLater
from alphamill.frames import Market
from alphamill.ledger import SETTLED, RunRecord
from alphamill.limits import RedisLimiter, binance_pool
from alphamill.report.terminal.progress import bars_line
from alphamill.settings import Settings
from alphamill.usage.bars import BarCounters, Landed

_STAGES = ("fetch", "funding", "reverify")
_WINDOW_S = 30.0  # a rate over less jumps; over more it lags


class FetchRate:
    """Watches one run: call it about twice a second, or once for its rate so far."""

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

    def __call__(self, run: RunRecord) -> Text | None:
        """One line, or None while the run has fetched nothing."""
        facts = self.facts(run)
        return None if facts is None else bars_line(facts)

    def facts(self, run: RunRecord) -> dict[str, Any] | None:
        """The run's counts with `bars_per_s`, `weight_used` and `left_s` (None: not known)."""
        try:
            landed = self._counters.read(run.id)
            if landed is None:
                return None
            used = self._weight_used(run, landed) if run.state.active else None
        except RetryLater:
            return None
        settled, total = _jobs(run)
        rates = self._rates(landed, settled, run)
        left_s = None
        if run.state.active and rates[1] > 0:
            left_s = (total - settled) / rates[1]
        return asdict(landed) | {
            "bars_per_s": rates[0],
            "weight_used": used,
            "left_s": left_s,
        }

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

    def _weight_used(self, run: RunRecord, landed: Landed) -> int | None:
        """Weight of this minute, ours and what others on our address are seen to use."""
        market = Market(run.spec["market"])
        pool = binance_pool(self._settings.binance, market, landed.weight_limit or 1200)
        weight = next(d for d in self._limiter.state(pool).dimensions if d.name == "weight")
        return round(weight.used)


def _jobs(run: RunRecord) -> tuple[int, int]:
    """Fetch jobs settled, and all of them."""
    stages = [run.counts.get(stage, {}) for stage in _STAGES]
    settled = sum(stage.get(state, 0) for stage in stages for state in SETTLED)
    return settled, sum(sum(stage.values()) for stage in stages)
