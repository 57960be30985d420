"""The exchange's limit over several worker processes: used up, never broken, and not wasted."""

from __future__ import annotations

import time

import pytest

from alphamill.frames import Interval
from alphamill.sim.windows import Limits

SCALED_DOWN = Limits(weight=600, requests=None, window_ms=6_000)
FULL_WINDOWS = 4


@pytest.mark.slow
def test_three_workers_use_the_limit_up_and_are_never_refused(make_mill, market, wait_for):
    mill = make_mill(market(symbols=20, months=13, interval=Interval.M5), SCALED_DOWN)
    control, *workers = mill.control(), *(mill.worker("fetch") for _ in range(3))
    mill.wait_until_here(control, *workers)
    run = mill.submit(mill.spec())
    wait_for(lambda: mill.requests_served() > 3 * 8, what="all threads to have begun")

    length_s = SCALED_DOWN.window_ms / 1000
    first_s = (time.time() // length_s + 1) * length_s
    time.sleep(first_s + FULL_WINDOWS * length_s - time.time())
    stats = mill.exchange.stats()
    mill.ledger.cancel(run.id)

    begins_ms, ends_ms = first_s * 1000, (first_s + FULL_WINDOWS * length_s) * 1000
    full = [w["weight"] for w in stats["windows"] if begins_ms <= w["start_ms"] < ends_ms]
    assert len(full) == FULL_WINDOWS
    assert min(full) >= 0.96 * SCALED_DOWN.weight, full
    assert stats["totals"]["refused"] == 0
