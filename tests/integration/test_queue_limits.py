"""The exchange's limit over several worker processes: used up in every window, never broken."""

from __future__ import annotations

import time
from dataclasses import dataclass

import psutil
import pytest

from alphamill.frames import Interval, Market
from alphamill.sim.exchange import Limits
from tests.deadlines import slowness, wait_for

WINDOW_S = 6.0
FULL_WINDOWS = 3
MOST_WINDOWS = 15
ENOUGH_FRAC = 0.96


def scaled_down():
    """A limit that this machine can use up, where bars are parsed as fast as asked for."""
    weight = max(150, round(600 / slowness()))
    return Limits(weight=weight, requests=None, window_ms=int(1000 * WINDOW_S))


@dataclass(frozen=True)
class Seen:
    """A window: how far it was used, requests refused in it, and how busy the machine was."""

    used_frac: float
    refused: int
    busy_percent: float

    @property
    def good(self) -> bool:
        return self.used_frac >= ENOUGH_FRAC and self.refused == 0


def windows_of(exchange, limits):
    """Each window that passes."""
    window = int(time.time() // WINDOW_S) + 1
    time.sleep(window * WINDOW_S - time.time())
    for ends in range(window + 1, window + 1 + MOST_WINDOWS):
        psutil.cpu_percent()
        time.sleep(max(0.0, ends * WINDOW_S - time.time()))
        busy_percent = psutil.cpu_percent()
        counted = {w["start_ms"]: w for w in exchange.stats()["windows"]}
        one = counted.get((ends - 1) * limits.window_ms, {"weight": 0, "refused": 0})
        yield Seen(one["weight"] / limits.weight, one["refused"], busy_percent)


@pytest.mark.alone
@pytest.mark.slow
def test_three_workers_use_the_limit_up_and_are_not_refused(make_mill, market):
    # USD-M asks for 499 bars at weight 2, spot for 1,000: half the parsing for the same limit.
    limits = scaled_down()
    mill = make_mill(market(symbols=20, months=13, interval=Interval.M5), limits)
    control, *workers = mill.control(), *(mill.worker("fetch") for _ in range(3))
    mill.wait_until_here(control, *workers)
    run = mill.submit(mill.spec(venue=Market.USD_M))
    served = mill.requests_served
    wait_for(lambda: served() > 3 * 8, "all threads to have begun", served)

    seen = []
    for window in windows_of(mill.exchange, limits):
        seen.append(window)
        # Another program may keep these from sending, or stop one between its turn and its request.
        if len(seen) >= FULL_WINDOWS and all(one.good for one in seen[-FULL_WINDOWS:]):
            break
    assert all(one.good for one in seen[-FULL_WINDOWS:]), seen
    assert mill.state(run.id) == "running", "the run was too short for the measurement"
    mill.ledger.cancel(run.id)
    assert mill.exchange.stats()["totals"]["bans"] == 0
