"""How many jobs of a queue could run now: what an autoscaler should see, and no more.

Jobs that wait count only as far as the exchange's limit, a tier's limits, its circuit and the
budgets let them run: a worker that is started for any other would wait with them. Jobs that run
count always, so that nobody is taken away from them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from alphamill.ledger.overview import RunOverview
from alphamill.limits.protocol import Concurrent, FixedWindow, Pool, PoolState, SteadyRate
from alphamill.llm.journal.budget import Account

AT_CAP_FRAC = 0.95  # of what the pace allows so far: beyond, more workers bring nothing
_BEGINNING_FRAC = 0.05  # of a window, in which the pace allows next to nothing yet
_LEAST_WEIGHT = 2.0  # of a request for bars


def exchange_room(pool: Pool, state: PoolState, now_ms: int) -> int:
    """Fetch jobs that the exchange's limits let begin; 0 at the cap and in a pause."""
    if state.paused_until_ms is not None:
        return 0
    left = math.inf
    for dimension, now in zip(pool.dimensions, state.dimensions, strict=True):
        if isinstance(dimension, FixedWindow):
            begun = ((now_ms + (state.offset_ms or 0.0)) / dimension.window_ms) % 1
            limit = dimension.limit - max(0.0, now.forecast - now.external)
            so_far = limit * min(1.0, dimension.pace * max(begun, _BEGINNING_FRAC))
            if now.used >= AT_CAP_FRAC * so_far:
                return 0
            unit = _LEAST_WEIGHT if dimension.name == "weight" else 1.0
            left = min(left, (limit - now.used) / unit)
    return max(0, math.floor(left)) if math.isfinite(left) else 0


def tier_room(pool: Pool, state: PoolState, tokens_a_call: float) -> int:
    """Model calls that a tier's limits let begin; 0 while the next one has to wait."""
    if state.paused_until_ms is not None:
        return 0
    left = math.inf
    for dimension, now in zip(pool.dimensions, state.dimensions, strict=True):
        if isinstance(dimension, SteadyRate):
            unit = 1.0 if dimension.name == "requests" else tokens_a_call
            if now.used + min(unit, dimension.burst) > dimension.burst + 1e-9:
                return 0
            left = min(left, max(1.0, dimension.limit / max(unit, 1.0)))
        elif isinstance(dimension, Concurrent):
            left = min(left, dimension.limit - now.used)
    return max(0, math.floor(left)) if math.isfinite(left) else 0


def budget_room(account: Account, cap_usd_micros: int) -> int:
    """Calls of the account's usual cost that fit into what is left of it."""
    left = cap_usd_micros - account.committed_usd_micros
    usual = account.spent_usd_micros / account.settled_calls if account.settled_calls else 0.0
    return max(0, math.floor(left / max(usual, 1.0)))


def backlog(
    queue: str, runs: Sequence[RunOverview], room: Mapping[str, int], shared_room: int | None = None
) -> int:
    """Jobs of a queue that run or could.

    room: by run, how many of its waiting jobs may begin; a run without is not held back.
    shared_room: how many of all runs together; None: as many as there are.
    """
    running = waiting = 0
    for run in runs:
        if depth := run.queues.get(queue):
            running += depth.running
            waiting += min(depth.waiting, room.get(run.id, depth.waiting))
    return running + (waiting if shared_room is None else min(waiting, shared_room))
