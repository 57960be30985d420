"""What a limiter is asked and what it answers.

A pool is one thing that several limits guard together: an exchange host as seen from one egress IP,
or one tier of a model endpoint. A call reserves a slot in all of the pool's dimensions at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from alphamill.errors import GiveUp
from alphamill.redis_store import ScriptCall

LEAD_FRAC = 0.25  # a slot ends this fraction of the guard before its last safe moment


@dataclass(frozen=True, slots=True)
class FixedWindow:
    """At most `limit` units in each window that starts at a multiple of `window_ms` of the server.

    guard_ms: kept clear on both sides of a window's edge; must exceed the one-way latency.
    pace: units are spread over the window at this multiple of the even rate, so that a correction
        finds some of the window not yet given out.
    """

    name: str
    limit: float
    window_ms: int
    guard_ms: int
    pace: float = 1.05

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not (self.limit > 0 and math.isfinite(self.limit)):
            raise ValueError(f"{self.name}: limit must be above 0, not {self.limit}")
        if self.guard_ms < 0 or self.window_ms < 4 * self.guard_ms or self.window_ms < 1:
            raise ValueError(f"{self.name}: window_ms must be at least 4 guards, and above 0")
        if not self.pace >= 1:
            raise ValueError(f"{self.name}: pace must be 1 or more, not {self.pace}")


@dataclass(frozen=True, slots=True)
class SteadyRate:
    """At most `limit` units a `window_ms`, continuously, with `burst` units at once after idling.

    Any span of W ms books at most limit * W / window_ms + burst. A cost above `burst` waits until
    nothing is owed, and then stands in for `burst` in that bound.
    """

    name: str
    limit: float
    window_ms: int
    burst: float

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not (self.limit > 0 and math.isfinite(self.limit)):
            raise ValueError(f"{self.name}: limit must be above 0, not {self.limit}")
        if not (self.burst > 0 and math.isfinite(self.burst)) or self.window_ms < 1:
            raise ValueError(f"{self.name}: burst and window_ms must be above 0")


@dataclass(frozen=True, slots=True)
class Concurrent:
    """At most `limit` slots at a time, each until it is settled or `lease_ms` after its moment.

    A slot takes one, whatever its cost. lease_ms: longer than any call, since a worker that dies
    gives nothing back.
    """

    name: str
    limit: float
    lease_ms: int

    def __post_init__(self) -> None:
        _check_name(self.name)
        if not self.limit >= 1 or self.lease_ms < 1:
            raise ValueError(f"{self.name}: limit and lease_ms must be 1 or more")


Dimension = FixedWindow | SteadyRate | Concurrent


@dataclass(frozen=True, slots=True)
class Pool:
    """Dimensions that are booked together. Workers that give the same name share its state."""

    name: str
    dimensions: tuple[Dimension, ...]

    def __post_init__(self) -> None:
        _check_name(self.name)
        names = [dimension.name for dimension in self.dimensions]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"{self.name}: dimensions must be named, each once: {names}")
        if sum(isinstance(dimension, Concurrent) for dimension in self.dimensions) > 1:
            raise ValueError(f"{self.name}: only one limit of slots at a time")

    @property
    def metered(self) -> FixedWindow | None:
        """The dimension that the server's used header speaks of: the first fixed window."""
        return next((d for d in self.dimensions if isinstance(d, FixedWindow)), None)

    @property
    def concurrent(self) -> Concurrent | None:
        """The limit of slots at a time, if there is one."""
        return next((d for d in self.dimensions if isinstance(d, Concurrent)), None)

    def with_limit(self, name: str, limit: float) -> Pool:
        """The same pool with another limit in one dimension; KeyError if there is no such."""
        if name not in {d.name for d in self.dimensions}:
            raise KeyError(name)
        changed = (replace(d, limit=limit) if d.name == name else d for d in self.dimensions)
        return Pool(self.name, tuple(changed))

    def costs(self, costs: Mapping[str, float]) -> dict[str, float]:
        """`costs` for every dimension, in order, 0 where not given.

        ValueError on an unknown dimension, a negative or a NaN; GiveUp if a cost can never fit.
        """
        unknown = set(costs) - {d.name for d in self.dimensions}
        if unknown or any(not cost >= 0 for cost in costs.values()):
            raise ValueError(f"{self.name}: not costs of this pool: {dict(costs)}")
        for dimension in self.dimensions:
            cost = costs.get(dimension.name, 0.0)
            if cost > dimension.limit and not isinstance(dimension, Concurrent):
                raise GiveUp(
                    f"{self.name}: {cost:g} {dimension.name} can never fit: "
                    f"the limit is {dimension.limit:g} per {dimension.window_ms / 1000:g} s"
                )
        return {d.name: float(costs.get(d.name, 0.0)) for d in self.dimensions}


@dataclass(frozen=True, slots=True)
class Slot:
    """Leave to make one call, now. A worker that dies wastes it, no more.

    In a pool that limits slots at a time it is held until `settle`, or its lease ends.

    costs: what was booked, by dimension.
    windows: by fixed dimension, the number of the server's window that it was booked in.
    at_ms: the moment that was booked, on the store's clock.
    waited_s: how long `reserve` slept.
    token: this slot's identity; it settles once.
    """

    pool: Pool
    costs: Mapping[str, float]
    windows: Mapping[str, int]
    at_ms: float
    waited_s: float
    token: str


@dataclass(frozen=True, slots=True)
class DimensionState:
    """One limit now, in its own units.

    issued: booked in the current window; for a steady rate, booked and not yet worked off; for
        slots at a time, those not settled.
    external: what others are seen to use in the current window; forecast: what they are expected to
        use until its end. Both 0 but for a window.
    lately: what a steady rate booked in a span of its length up to now, as Redis estimates it for
        people; None for the others.
    """

    name: str
    limit: float
    issued: float
    external: float
    forecast: float
    lately: float | None = field(default=None, compare=False)

    @property
    def used(self) -> float:
        """Everybody's use now."""
        return self.issued + self.external


@dataclass(frozen=True, slots=True)
class PoolState:
    """A pool now, for people: status and doctor.

    paused_until_ms: on the store's clock; None while not paused.
    offset_ms: the server's clock minus the store's; None until a reply told.
    offset_error_ms: how far off that may be, either way.
    """

    name: str
    dimensions: tuple[DimensionState, ...]
    paused_until_ms: int | None
    pause_reason: str
    offset_ms: float | None
    offset_error_ms: float


class Limiter(Protocol):
    """One limit for all workers that share the store. Fails closed: no store, no slot."""

    def reserve(self, pool: Pool, costs: Mapping[str, float], max_wait_s: float = 30.0) -> Slot:
        """Wait for a slot and return when the call may be made, at once and once.

        Raises RetryLater (not counted as an attempt) when the wait would exceed `max_wait_s`, or
        the store cannot be reached; GiveUp when a cost is above its limit; ValueError on costs that
        are not this pool's.
        """

    def at_once(self, pool: Pool, costs: Mapping[str, float]) -> ScriptCall[Slot | None] | None:
        """A script that books a slot if one can be had now; it answers JSON with `granted`.

        It reads as the slot, or None if nothing was booked. None instead of a script where there
        can be none: without Redis, or at a cost that can never fit.
        """

    def observe(
        self,
        slot: Slot,
        used: float | None,
        server_time_ms: int | None = None,
        resolution_ms: int = 1,
    ) -> None:
        """Learn from the reply to the call made in `slot`; call it as soon as the reply is there.

        used: the server's count for the window, everybody's use in it; None if not told.
        server_time_ms: the server's clock when it replied, and `resolution_ms` its step: 1 for
            GET /time, 1000 for a Date header.
        Only a correction: a store that cannot be reached is logged, not raised.
        """

    def settle(self, slot: Slot, costs: Mapping[str, float]) -> None:
        """Replace what was booked in steady rates by what was used, and end the slot.

        Rates that `costs` leaves out stay as booked, and so do windows.
        A slot settles once; what is given back is never more than is still owed.
        Only a correction: a store that cannot be reached is logged, not raised.
        """

    def pause(self, pool: Pool, for_s: float, reason: str) -> None:
        """No slot for anybody for `for_s` seconds from now; never shortens a pause."""

    def unpause(self, pool: Pool) -> None:
        """End a pause by hand; for operators."""

    def state(self, pool: Pool) -> PoolState:
        """How full the pool is; books nothing."""


def _check_name(name: str) -> None:
    if not name or any(character in name for character in "{}|") or not name.isprintable():
        raise ValueError(f"not a name: {name!r}")
