"""A limiter inside one process: for tests, notebooks, and as the readable form of limiter.lua."""

from __future__ import annotations

import math
import threading
import uuid
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from alphamill.clock import Clock, SystemClock
from alphamill.limits.protocol import (
    LEAD_FRAC,
    Concurrent,
    Dimension,
    DimensionState,
    FixedWindow,
    Pool,
    PoolState,
    Slot,
    SteadyRate,
)
from alphamill.limits.waiting import BUSY_MS, Booking, wait_for_slot

DRIFT_FRAC = 50e-6
CATCH_UP_FRAC = 0.05
MARGIN = 1.05


@dataclass(slots=True)
class _Window:
    issued: float = 0.0
    next_ms: float = 0.0
    external: float | None = None


@dataclass(slots=True)
class _Pool:
    windows: dict[tuple[str, int], _Window] = field(default_factory=lambda: defaultdict(_Window))
    owed_until_ms: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    booked: list[tuple[float, int, float]] = field(default_factory=list)  # at_ms, window, cost
    settled: set[str] = field(default_factory=set)
    held: dict[str, float] = field(default_factory=dict)  # slots at a time: token, until
    offset: tuple[float, float, float] | None = None  # low, high, held at
    paused_until_ms: float = 0.0
    pause_reason: str = ""


class MemoryLimiter:
    """Limits over the threads of this process, on `clock`; see `protocol.Limiter`."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._pools: dict[str, _Pool] = defaultdict(_Pool)

    def reserve(self, pool: Pool, costs: Mapping[str, float], max_wait_s: float = 30.0) -> Slot:
        return wait_for_slot(self, self._clock, pool, costs, max_wait_s)

    def at_once(self, pool: Pool, costs: Mapping[str, float]) -> None:  # noqa: ARG002 - no script without Redis
        return None

    def observe(
        self,
        slot: Slot,
        used: float | None,
        server_time_ms: int | None = None,
        resolution_ms: int = 1,
    ) -> None:
        metered = slot.pool.metered
        if metered is None:
            raise ValueError(f"{slot.pool.name}: no fixed window that a server could count")
        window, counted_in = slot.windows[metered.name], range(0)
        with self._lock:
            pool, now = self._pools[slot.pool.name], self._clock.now_ms()
            if server_time_ms is not None:
                last_ms = server_time_ms + resolution_ms
                _calibrate(pool, now, server_time_ms - now, last_ms - slot.at_ms)
                first = server_time_ms // metered.window_ms
                counted_in = range(first, (last_ms - 1) // metered.window_ms + 1)
            if used is not None and (server_time_ms is None or window in counted_in):
                cell = pool.windows[metered.name, window]
                later = sum(cost for at, w, cost in pool.booked if at > now and w == window)
                cell.external = max(cell.external or 0.0, used - (cell.issued - later))

    def settle(self, slot: Slot, costs: Mapping[str, float]) -> None:
        with self._lock:
            pool, now = self._pools[slot.pool.name], self._clock.now_ms()
            pool.held.pop(slot.token, None)
            if slot.token in pool.settled:
                return
            pool.settled.add(slot.token)
            for d in slot.pool.dimensions:
                if isinstance(d, SteadyRate) and d.name in costs:
                    owed = max(pool.owed_until_ms[d.name], now)
                    change = (costs[d.name] - slot.costs[d.name]) * d.window_ms / d.limit
                    pool.owed_until_ms[d.name] = owed + change

    def pause(self, pool: Pool, for_s: float, reason: str) -> None:
        with self._lock:
            state, until_ms = self._pools[pool.name], self._clock.now_ms() + for_s * 1000
            if until_ms > state.paused_until_ms:
                state.paused_until_ms, state.pause_reason = until_ms, reason

    def unpause(self, pool: Pool) -> None:
        with self._lock:
            state = self._pools[pool.name]
            state.paused_until_ms, state.pause_reason = 0.0, ""

    def state(self, pool: Pool) -> PoolState:
        with self._lock:
            state, now = self._pools[pool.name], self._clock.now_ms()
            paused = state.paused_until_ms > now
            low, high, _ = state.offset or (0.0, 0.0, 0.0)
            return PoolState(
                name=pool.name,
                dimensions=tuple(_read(state, d, now) for d in pool.dimensions),
                paused_until_ms=math.ceil(state.paused_until_ms) if paused else None,
                pause_reason=state.pause_reason if paused else "",
                offset_ms=(low + high) / 2 if state.offset else None,
                offset_error_ms=(high - low) / 2,
            )

    def book(self, pool: Pool, costs: Mapping[str, float], ahead_s: float) -> Booking:
        with self._lock:
            state, now = self._pools[pool.name], float(self._clock.now_ms())
            paused = state.paused_until_ms > now
            at, windows, closes = _place(state, pool, costs, now, max(now, state.paused_until_ms))
            token = uuid.uuid4().hex
            busy = _busy(state, pool.concurrent, now)
            granted = at - now <= ahead_s * 1000 and not busy
            if granted:
                _commit(state, pool, costs, now, at, windows)
                if pool.concurrent is not None:
                    state.held[token] = at + pool.concurrent.lease_ms
            return Booking(
                granted=granted,
                wait_s=max(at - now, BUSY_MS if busy else 0.0) / 1000,
                at_ms=at,
                send_within_s=None if closes is None else (closes - now) / 1000,
                windows=windows,
                token=token,
                reason=state.pause_reason if paused else "the limit is reached",
                busy=busy,
            )

    def paused_s(self, pool: Pool) -> float:
        with self._lock:
            return max(0.0, self._pools[pool.name].paused_until_ms - self._clock.now_ms()) / 1000

    def give_back(self, pool: Pool, token: str) -> None:
        with self._lock:
            self._pools[pool.name].held.pop(token, None)


def _busy(pool: _Pool, d: Concurrent | None, now: float) -> bool:
    return d is not None and _held(pool, now) >= d.limit


def _held(pool: _Pool, now: float) -> int:
    pool.held = {token: until for token, until in pool.held.items() if until > now}
    return len(pool.held)


def _offset(pool: _Pool, now: float, window_ms: int) -> tuple[float, float]:
    if pool.offset is None:
        return 0.0, 0.0
    low, high, at = pool.offset
    drift = (now - at) * DRIFT_FRAC
    low, high = low - drift, high + drift
    excess = max(0.0, (high - low) - window_ms / 4) / 2
    return low + excess, high - excess


def _calibrate(pool: _Pool, now: float, low: float, high: float) -> None:
    if pool.offset is not None:
        old_low, old_high, at = pool.offset
        drift = (now - at) * DRIFT_FRAC
        old_low, old_high = old_low - drift, old_high + drift
        if max(low, old_low) <= min(high, old_high):
            low, high = max(low, old_low), min(high, old_high)
    pool.offset = (low, high, now)


def _forecast(pool: _Pool, d: FixedWindow, now: float, window: int) -> float:
    low, high = _offset(pool, now, d.window_ms)
    begun = (now + (low + high) / 2 - window * d.window_ms) / d.window_ms
    begun = min(1.0, max(0.0, begun))
    seen = pool.windows[d.name, window].external or 0.0
    earlier = (pool.windows[d.name, window - back].external for back in (1, 2))
    before = next((external for external in earlier if external is not None), 0.0)
    rate = max(before, seen / max(begun, 0.5))
    return max(before, seen + rate * (1 - begun))


def _room(pool: _Pool, d: FixedWindow, now: float, window: int) -> float:
    return d.limit - MARGIN * _forecast(pool, d, now, window)


def _place_fixed(
    pool: _Pool, d: FixedWindow, cost: float, now: float, start: float
) -> tuple[float, int, float]:
    low, high = _offset(pool, now, d.window_ms)
    window = math.floor((start + low) / d.window_ms)
    while True:
        cell = pool.windows[d.name, window]
        opens = window * d.window_ms - low + d.guard_ms
        closes = (window + 1) * d.window_ms - high - d.guard_ms
        at = max(start, opens, cell.next_ms)
        fits = cell.issued + cost <= _room(pool, d, now, window)
        if fits and at <= closes - LEAD_FRAC * d.guard_ms:
            return at, window, closes
        window += 1


def _place(
    state: _Pool, pool: Pool, costs: Mapping[str, float], now: float, start: float
) -> tuple[float, dict[str, int], float | None]:
    at, before = start, -math.inf
    windows: dict[str, int] = {}
    closes: list[float] = []
    while at != before:
        before = at
        closes.clear()
        for d in pool.dimensions:
            cost = costs[d.name]
            if isinstance(d, FixedWindow):
                at, windows[d.name], close = _place_fixed(state, d, cost, now, at)
                closes.append(close)
            elif isinstance(d, SteadyRate):
                unit_ms = d.window_ms / d.limit
                owed = state.owed_until_ms[d.name]
                at = max(at, owed + (cost - max(d.burst, cost)) * unit_ms)
    return at, windows, min(closes, default=None)


def _commit(
    state: _Pool,
    pool: Pool,
    costs: Mapping[str, float],
    now: float,
    at: float,
    windows: Mapping[str, int],
) -> None:
    for d in pool.dimensions:
        cost = costs[d.name]
        if isinstance(d, FixedWindow):
            _commit_fixed(state, d, cost, now, at, windows[d.name])
        elif isinstance(d, SteadyRate):
            owed = max(state.owed_until_ms[d.name], at)
            state.owed_until_ms[d.name] = owed + cost * d.window_ms / d.limit
    if pool.metered is not None:
        name = pool.metered.name
        state.booked = [slot for slot in state.booked if slot[0] >= now]
        state.booked.append((at, windows[name], costs[name]))


def _commit_fixed(
    pool: _Pool, d: FixedWindow, cost: float, now: float, at: float, window: int
) -> None:
    for name, old in list(pool.windows):
        if name == d.name and old < window - 3:
            del pool.windows[name, old]
    low, high = _offset(pool, now, d.window_ms)
    cell = pool.windows[d.name, window]
    usable_ms = d.window_ms - (2 + LEAD_FRAC) * d.guard_ms - (high - low)
    unit_ms = usable_ms / (max(_room(pool, d, now, window), cost) * d.pace)
    next_ms = max(cell.next_ms, at - CATCH_UP_FRAC * d.window_ms)
    cell.issued += cost
    if cost > 0:
        cell.next_ms = next_ms + cost * unit_ms


def _read(pool: _Pool, d: Dimension, now: float) -> DimensionState:
    if isinstance(d, Concurrent):
        return DimensionState(d.name, d.limit, _held(pool, now), 0.0, 0.0)
    if isinstance(d, SteadyRate):
        owed_ms = max(0.0, pool.owed_until_ms[d.name] - now)
        return DimensionState(d.name, d.limit, owed_ms * d.limit / d.window_ms, 0.0, 0.0)
    low, high = _offset(pool, now, d.window_ms)
    window = math.floor((now + (low + high) / 2) / d.window_ms)
    cell = pool.windows[d.name, window]
    forecast = _forecast(pool, d, now, window)
    return DimensionState(d.name, d.limit, cell.issued, cell.external or 0.0, forecast)
