"""What an autoscaler is told: jobs that could run, no more than limits and budgets let begin."""

from __future__ import annotations

from dataclasses import replace

import pytest

from alphamill.fleet.backlog import backlog, budget_room, exchange_room, tier_room
from alphamill.frames import Market
from alphamill.ledger import RunState
from alphamill.ledger.overview import QueueDepth, RunOverview
from alphamill.limits import binance_pool, tier_pool
from alphamill.limits.protocol import DimensionState, PoolState
from alphamill.llm.journal.budget import Account
from alphamill.settings import BinanceSettings, TierSettings

MINUTE_MS = 60_000
EXCHANGE = binance_pool(BinanceSettings(), Market.SPOT, 1200)
TIER = tier_pool(
    "quick_scan",
    "https://llm.test/v1",
    TierSettings(model="m", requests_per_minute=600, tokens_per_minute=100_000, concurrency=8),
)


def run(name: str, **queues: tuple[int, int, int]) -> RunOverview:
    depths = {queue: QueueDepth(*jobs, since_ms=0) for queue, jobs in queues.items()}
    return RunOverview(name, "fetch", {}, RunState.RUNNING, 0, 0, None, {}, depths)


def state(pool, used: dict[str, float], paused: int | None = None, **forecast) -> PoolState:
    dimensions = tuple(
        DimensionState(
            d.name, d.limit, used.get(d.name, 0.0), 0.0, float(forecast.get(d.name, 0.0))
        )
        for d in pool.dimensions
    )
    return PoolState(pool.name, dimensions, paused, "", None, 0.0)


@pytest.mark.parametrize(
    ("used", "at_ms", "room"),
    [
        (0, 30_000, 588),  # 1,176 of weight, 2 a request
        (100, 30_000, 538),
        (590, 30_000, 0),  # half a minute's share: the pace lets nobody in
        (1176, 59_000, 0),
        (600, 55_000, 288),
        (0, 0, 588),  # a window that has just begun is not a full one
    ],
)
def test_the_exchanges_room_ends_where_its_pace_does(used, at_ms, room):
    now = state(EXCHANGE, {"weight": used, "requests": used / 2})
    assert exchange_room(EXCHANGE, now, at_ms) == room


def test_a_pause_of_the_exchange_leaves_no_room():
    assert exchange_room(EXCHANGE, state(EXCHANGE, {}, paused=90_000), 30_000) == 0


def test_what_others_on_the_address_will_use_is_not_room():
    now = state(EXCHANGE, {}, weight=1000)
    assert exchange_room(EXCHANGE, now, 30_000) == 88


def test_requests_have_a_limit_of_their_own():
    few = replace(EXCHANGE.dimensions[1], limit=10)
    pool = replace(EXCHANGE, dimensions=(EXCHANGE.dimensions[0], few))
    assert exchange_room(pool, state(pool, {"requests": 2}), 30_000) == 8


@pytest.mark.parametrize(
    ("used", "room"),
    [
        ({}, 8),
        ({"calls": 5}, 3),
        ({"calls": 8}, 0),
        ({"requests": 6}, 0),  # the burst is used up
        ({"tokens": 3600}, 0),
    ],
)
def test_a_tiers_room_ends_at_each_of_its_caps(used, room):
    assert tier_room(TIER, state(TIER, used), tokens_a_call=900) == room


def test_a_pause_of_a_tier_leaves_no_room():
    assert tier_room(TIER, state(TIER, {}, paused=90_000), 900) == 0


@pytest.mark.parametrize(
    ("account", "room"),
    [
        (Account(), 1_000_000),
        (Account(spent_usd_micros=500_000, settled_calls=50), 50),
        (Account(spent_usd_micros=500_000, settled_calls=50, reserved_usd_micros=495_000), 0),
        (Account(spent_usd_micros=600_000, settled_calls=1, unknown_usd_micros=600_000), 0),
    ],
)
def test_a_budget_has_room_for_calls_of_the_usual_cost(account, room):
    assert budget_room(account, 1_000_000) == room


def test_what_runs_counts_always_and_what_waits_only_as_far_as_there_is_room():
    runs = [run("a", fetch=(100, 64, 8)), run("b", fetch=(5, 2, 0)), run("c")]
    assert backlog("fetch", runs, {}) == 179
    assert backlog("fetch", runs, {}, 50) == 58
    assert backlog("fetch", runs, {}, 0) == 8
    assert backlog("fetch", runs, {"a": 3}) == 18
    assert backlog("features", runs, {}) == 0
