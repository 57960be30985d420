"""What the Redis limiter leaves behind, and for how long."""

from __future__ import annotations

from datetime import timedelta

import fakeredis

from alphamill.clock import ManualClock
from alphamill.limits import FixedWindow, Pool, RedisLimiter, SteadyRate

HOST = Pool("host", (FixedWindow("weight", 100, 6_000, 100),))
TIER = Pool("tier", (SteadyRate("tokens", 1000, 60_000, 100),))


def remembered(client: fakeredis.FakeRedis, key: str) -> timedelta:
    return timedelta(milliseconds=client.pttl(key))


def test_a_pause_is_remembered_beyond_its_end() -> None:
    client = fakeredis.FakeRedis()
    RedisLimiter(client).pause(HOST, 3 * 86_400, "banned")
    assert remembered(client, "alphamill:limits:{host}") > timedelta(days=3)


def test_bookings_and_settled_slots_are_remembered_a_while_and_not_for_ever() -> None:
    client, clock = fakeredis.FakeRedis(), ManualClock()
    limiter = RedisLimiter(client, clock, server_now_ms=clock.now_ms)
    limiter.reserve(HOST, {"weight": 1})
    limiter.settle(limiter.reserve(TIER, {"tokens": 1}), {"tokens": 2})
    keys = sorted(key.decode() for key in client.scan_iter())
    assert len(keys) == 4
    for key in keys:
        assert timedelta(minutes=5) < remembered(client, key) <= timedelta(days=1)


def test_the_state_of_a_busy_pool_stays_small() -> None:
    client, clock = fakeredis.FakeRedis(), ManualClock()
    limiter = RedisLimiter(client, clock, server_now_ms=clock.now_ms)
    for _ in range(300):
        limiter.observe(limiter.reserve(HOST, {"weight": 20}), 20, clock.now_ms())
    assert client.hlen("alphamill:limits:{host}") < 25
    assert client.zcard("alphamill:limits:{host}:booked") < 10


def test_another_prefix_is_another_world() -> None:
    client, clock = fakeredis.FakeRedis(), ManualClock(1_700_000_002_000)
    for prefix in ("one", "two"):
        limiter = RedisLimiter(client, clock, prefix, clock.now_ms)
        assert limiter.reserve(HOST, {"weight": 100}).waited_s == 0
