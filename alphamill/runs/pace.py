"""When a run will have ended, if it goes on as it has been seen to."""

from __future__ import annotations

import time
from collections.abc import Callable

from alphamill.ledger import RunRecord
from alphamill.runs.under_way import job_totals

_SEEN_FOR_S = 2.0  # before that a pace is chance


class Pace:
    """Watches one run: ask now and then.

    A stage's jobs take what that stage's took while they were watched. Those of a stage that nobody
    has seen at work take what a job has taken in the mean, so that early figures are rough: a call
    of a model is not a download.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._monotonic_s = monotonic_s
        self._began_s: float | None = None
        self._had: dict[str, int] = {}  # settled jobs a stage at the first look
        self._looked_s = 0.0
        self._worked_s: dict[str, float] = {}  # seconds that a stage was seen at work
        self._settled: dict[str, int] = {}  # at the last look

    def left_s(self, run: RunRecord) -> float | None:
        """Seconds until all its jobs are settled; None while that cannot be told."""
        now_s = self._monotonic_s()
        totals = {stage: job_totals(run.counts, [stage]) for stage in run.counts}
        settled = {stage: jobs.settled for stage, jobs in totals.items()}
        if self._began_s is None:
            self._began_s, self._had = now_s, settled
        else:
            moved = [stage for stage in settled if settled[stage] > self._settled.get(stage, 0)]
            open_ = [s for s in settled if 0 < settled[s] < totals[s].total]
            for stage in {*moved, *open_}:  # stages side by side share the time between them
                share_s = (now_s - self._looked_s) / len({*moved, *open_})
                self._worked_s[stage] = self._worked_s.get(stage, 0.0) + share_s
        self._looked_s, self._settled = now_s, settled
        new = {stage: n - self._had.get(stage, 0) for stage, n in settled.items()}
        watched_s = now_s - self._began_s
        if not run.state.active or sum(new.values()) <= 0 or watched_s < _SEEN_FOR_S:
            return None
        mean_s = watched_s / sum(new.values())
        left_s = 0.0
        for stage, jobs in totals.items():
            own = new.get(stage, 0)
            a_job_s = self._worked_s[stage] / own if own > 0 and stage in self._worked_s else mean_s
            left_s += (jobs.total - jobs.settled) * a_job_s
        return left_s
