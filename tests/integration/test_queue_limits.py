"""The exchange's limit over several worker processes: used up in every window, never broken."""

from __future__ import annotations

import time

import psutil
import pytest

from alphamill.frames import Interval, Market
from alphamill.sim.exchange import Limits
from tests.deadlines import wait_for

SCALED_DOWN = Limits(weight=600, requests=None, window_ms=6_000)
WINDOW_S = SCALED_DOWN.window_ms / 1000
FULL_WINDOWS = 4
MOST_WINDOWS = 10
ENOUGH = 0.96 * SCALED_DOWN.weight


def full_windows(exchange):
    """Of each window that passes: the weight used, and how busy the whole machine was in it."""
    window = int(time.time() // WINDOW_S) + 1
    time.sleep(window * WINDOW_S - time.time())
    for ends in range(window + 1, window + 1 + MOST_WINDOWS):
        psutil.cpu_percent()
        time.sleep(max(0.0, ends * WINDOW_S - time.time()))
        busy_percent = psutil.cpu_percent()
        counted = {w["start_ms"]: w["weight"] for w in exchange.stats()["windows"]}
        yield counted.get((ends - 1) * SCALED_DOWN.window_ms, 0), busy_percent


@pytest.mark.alone
@pytest.mark.slow
def test_three_workers_use_the_limit_up_and_are_never_refused(make_mill, market):
    # USD-M asks for 499 bars at weight 2, spot for 1,000: half the parsing for the same limit.
    mill = make_mill(market(symbols=20, months=13, interval=Interval.M5), SCALED_DOWN)
    control, *workers = mill.control(), *(mill.worker("fetch") for _ in range(3))
    mill.wait_until_here(control, *workers)
    run = mill.submit(mill.spec(venue=Market.USD_M))
    served = mill.requests_served
    wait_for(lambda: served() > 3 * 8, "all threads to have begun", served)

    seen = []
    for weight, busy_percent in full_windows(mill.exchange):
        seen.append((weight, busy_percent))
        # A window may be lower where other programs left these no time to send.
        if sum(weight >= ENOUGH for weight, _ in seen) == FULL_WINDOWS:
            break
    assert sum(weight >= ENOUGH for weight, _ in seen) == FULL_WINDOWS, seen
    assert mill.state(run.id) == "running", "the run was too short for the measurement"
    mill.ledger.cancel(run.id)
    assert mill.exchange.stats()["totals"]["refused"] == 0
