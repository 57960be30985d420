"""The limiter that all workers share: one Lua script on the Redis server's clock."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import msgspec
import redis

from alphamill.clock import Clock, SystemClock
from alphamill.errors import GiveUp, RetryLater
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
from alphamill.redis_store import ScriptCall, reached, script

SCRIPT = script(__package__, "limiter")
_log = logging.getLogger(__name__)


class RedisLimiter:
    """Limits over every worker of one Redis; see `protocol.Limiter`.

    client: with or without decode_responses; its socket timeouts bound how long a dead server is
        waited for.
    server_now_ms: replaces the server's clock, for tests that move time by hand.
    """

    def __init__(
        self,
        client: redis.Redis,
        clock: Clock | None = None,
        prefix: str = "alphamill",
        server_now_ms: Callable[[], float] | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._prefix = prefix
        self._server_now_ms = server_now_ms
        self._client = client
        self._script = client.register_script(SCRIPT)

    def reserve(self, pool: Pool, costs: Mapping[str, float], max_wait_s: float = 30.0) -> Slot:
        return wait_for_slot(self, self._clock, pool, costs, max_wait_s)

    def at_once(self, pool: Pool, costs: Mapping[str, float]) -> ScriptCall[Slot | None] | None:
        try:
            costs, token = pool.costs(costs), uuid.uuid4().hex
        except GiveUp:  # for `reserve` to say, to whom still wants a slot then
            return None

        def slot(answer: Any) -> Slot | None:
            booking = _booking(pool, token, msgspec.json.decode(answer))
            if not booking.granted:
                return None
            return Slot(pool, costs, booking.windows, booking.at_ms, 0.0, token)

        message = self._message(_booked(pool, costs), _booking_request(0.0, token))
        return ScriptCall(SCRIPT, self._keys(pool), ("book", message), slot)

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
        observed = {
            "used": used,
            "server_ms": server_time_ms,
            "resolution_ms": resolution_ms,
            "window": slot.windows[metered.name],
            "at_ms": slot.at_ms,
        }
        self._correct("observe", slot.pool, [_dimension(metered, 0.0)], observed)

    def settle(self, slot: Slot, costs: Mapping[str, float]) -> None:
        dims = [
            _dimension(d, costs[d.name] - slot.costs[d.name])
            for d in slot.pool.dimensions
            if isinstance(d, SteadyRate) and d.name in costs
        ]
        if dims or slot.pool.concurrent:
            self._correct("settle", slot.pool, dims, {"token": slot.token})

    def pause(self, pool: Pool, for_s: float, reason: str) -> None:
        self._run("pause", pool, [], {"for_ms": for_s * 1000, "reason": reason})

    def unpause(self, pool: Pool) -> None:
        self._run("unpause", pool, [], {})

    def state(self, pool: Pool) -> PoolState:
        return _state(pool, self._run("read", pool, _unbooked(pool), {}))

    def states(self, pools: Sequence[Pool]) -> list[PoolState]:
        """The state of each pool, in one trip."""
        if not pools:
            return []
        with reached("the limits cannot be read"), self._client.pipeline(transaction=False) as pipe:
            for pool in pools:
                arguments: list[str | bytes] = ["read", self._message(_unbooked(pool), {})]
                self._script(keys=self._keys(pool), args=arguments, client=pipe)
            answers = pipe.execute()
        return [
            _state(pool, msgspec.json.decode(answer))
            for pool, answer in zip(pools, answers, strict=True)
        ]

    def book(self, pool: Pool, costs: Mapping[str, float], ahead_s: float) -> Booking:
        token = uuid.uuid4().hex
        request = _booking_request(ahead_s * 1000, token)
        return _booking(pool, token, self._run("book", pool, _booked(pool, costs), request))

    def give_back(self, pool: Pool, token: str) -> None:
        if pool.concurrent:
            self._correct("give_back", pool, [], {"token": token})

    def paused_s(self, pool: Pool) -> float:
        return float(self._run("paused", pool, [], {})["paused_ms"]) / 1000

    def _run(
        self, operation: str, pool: Pool, dims: Sequence[Mapping[str, Any]], more: Mapping[str, Any]
    ) -> dict[str, Any]:
        return msgspec.json.decode(self._send(operation, pool, dims, more))  # type: ignore[no-any-return]

    def _send(
        self, operation: str, pool: Pool, dims: Sequence[Mapping[str, Any]], more: Mapping[str, Any]
    ) -> Any:
        with reached(f"{pool.name}: no slot without Redis"):
            return self._script(keys=self._keys(pool), args=[operation, self._message(dims, more)])

    def _keys(self, pool: Pool) -> list[str]:
        key = f"{self._prefix}:limits:{{{pool.name}}}"
        return [key, f"{key}:booked", f"{key}:held"]

    def _message(self, dims: Sequence[Mapping[str, Any]], more: Mapping[str, Any]) -> bytes:
        ask = {"dims": dims, "lead_frac": LEAD_FRAC, **more}
        if self._server_now_ms is not None:
            ask["now_ms"] = self._server_now_ms()
        return msgspec.json.encode({n: value for n, value in ask.items() if value is not None})

    def _correct(
        self, operation: str, pool: Pool, dims: Sequence[Mapping[str, Any]], more: Mapping[str, Any]
    ) -> None:
        try:
            self._send(operation, pool, dims, more)
        except RetryLater as error:
            _log.warning("%s lost: %s", operation, error)


def _unbooked(pool: Pool) -> list[dict[str, Any]]:
    return [_dimension(d, 0.0) for d in pool.dimensions]


def _state(pool: Pool, answer: Mapping[str, Any]) -> PoolState:
    low, high = answer.get("low_ms"), answer.get("high_ms")
    return PoolState(
        name=pool.name,
        dimensions=tuple(
            DimensionState(
                *(d.name, d.limit, now["issued"], now["external"], now["forecast"]),
                lately=now.get("lately"),
            )
            for d, now in zip(pool.dimensions, answer["dims"], strict=True)
        ),
        paused_until_ms=answer.get("paused_until_ms"),
        pause_reason=answer["reason"],
        offset_ms=None if low is None else (low + high) / 2,
        offset_error_ms=0.0 if low is None else (high - low) / 2,
    )


def _booked(pool: Pool, costs: Mapping[str, float]) -> list[dict[str, Any]]:
    metered = pool.metered
    return [
        _dimension(d, costs[d.name]) | {"metered": metered is not None and d.name == metered.name}
        for d in pool.dimensions
    ]


def _booking_request(ahead_ms: float, token: str) -> dict[str, Any]:
    return {"ahead_ms": ahead_ms, "token": token, "busy_ms": BUSY_MS}


def _booking(pool: Pool, token: str, answer: Mapping[str, Any]) -> Booking:
    windows = zip(pool.dimensions, answer["windows"], strict=True)
    return Booking(
        granted=answer["granted"],
        wait_s=answer["wait_ms"] / 1000,
        at_ms=answer["at_ms"],
        send_within_s=answer["within_ms"] / 1000 if pool.metered is not None else None,
        windows={d.name: int(w) for d, w in windows if isinstance(d, FixedWindow)},
        token=token,
        reason=answer["reason"],
        busy=answer["busy"],
    )


def _dimension(dimension: Dimension, cost: float) -> dict[str, Any]:
    return {**_described(dimension), "cost": cost}


@lru_cache(maxsize=256)
def _described(dimension: Dimension) -> dict[str, Any]:
    return {"kind": _KINDS[type(dimension)], **asdict(dimension)}


_KINDS = {FixedWindow: "fixed", SteadyRate: "steady", Concurrent: "concurrent"}
