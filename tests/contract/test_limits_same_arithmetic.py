"""memory.py and limiter.lua are one algorithm written twice: the same steps, the same answers."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.clock import ManualClock
from alphamill.limits import (
    Concurrent,
    FixedWindow,
    MemoryLimiter,
    Pool,
    RedisLimiter,
    Slot,
    SteadyRate,
)

POOL = Pool(
    "both",
    (
        FixedWindow("weight", 60, 6_000, 100),
        FixedWindow("requests", 12, 6_000, 100, pace=1.5),
        SteadyRate("tokens", 3_000, 60_000, 200),
        Concurrent("calls", 3, 20_000),
    ),
)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("book"), st.integers(0, 20), st.integers(0, 300)),
        st.tuples(st.just("idle"), st.integers(0, 4000), st.just(0)),
        st.tuples(st.just("pause"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("observe"), st.integers(0, 80), st.integers(-2000, 2000)),
        st.tuples(st.just("settle"), st.integers(0, 300), st.just(0)),
    ),
    max_size=40,
)


class Side:
    """One implementation, driven step by step."""

    def __init__(self, limiter: Any, clock: ManualClock) -> None:
        self.limiter, self.clock = limiter, clock
        self.slot: Slot | None = None

    def do(self, what: str, first: int, second: int) -> list[float]:
        if what == "book":
            costs = {"weight": float(first), "requests": 1.0, "tokens": float(second), "calls": 0}
            booking = self.limiter.book(POOL, costs, 1.0)
            if booking.granted:
                self.slot = Slot(POOL, costs, booking.windows, booking.at_ms, 0, booking.token)
            within_s = booking.send_within_s
            told = (booking.granted, booking.busy, booking.wait_s, within_s)
            return [*told, *booking.windows.values()]
        if what == "pause":
            self.limiter.pause(POOL, first, "told to")
        elif what == "observe" and self.slot:
            self.limiter.observe(self.slot, first, self.clock.now_ms() + second, 50)
        elif what == "settle" and self.slot:
            self.limiter.settle(self.slot, {"tokens": first})
        state = self.limiter.state(POOL)
        parts = [(d.issued, d.external, d.forecast) for d in state.dimensions]
        return [
            self.limiter.paused_s(POOL),
            state.paused_until_ms or 0,
            state.offset_ms or 0,
            state.offset_error_ms,
            *(number for part in parts for number in part),
        ]


@settings(max_examples=60, deadline=None)
@given(steps)
def test_memory_and_lua_agree_step_by_step(steps: list[tuple[str, int, int]]) -> None:
    clock = ManualClock()
    scripted = RedisLimiter(fakeredis.FakeRedis(), clock, server_now_ms=clock.now_ms)
    sides = Side(MemoryLimiter(clock), clock), Side(scripted, clock)
    for what, first, second in steps:
        if what == "idle":
            clock.advance(first / 1000)
        memory, lua = (side.do(what, first, second) for side in sides)
        assert lua == pytest.approx(memory, abs=2e-3)
