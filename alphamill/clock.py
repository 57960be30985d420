"""Time as a dependency, so that tests can move it by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Wall time, monotonic time and sleep."""

    def now_ms(self) -> int:
        """UTC epoch milliseconds."""

    def monotonic_s(self) -> float:
        """Seconds on a clock that never goes back."""

    def sleep(self, seconds: float) -> None:
        """Block for `seconds`; zero and below return at once."""


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        if seconds > 0:
            time.sleep(seconds)


class ManualClock:
    """A clock that only moves when told to; sleeping moves it and returns at once."""

    def __init__(self, start_ms: int = 1_700_000_000_000) -> None:
        self._now_s = start_ms / 1000

    def now_ms(self) -> int:
        return round(self._now_s * 1000)

    def monotonic_s(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self.advance(max(0.0, seconds))

    def advance(self, seconds: float) -> None:
        """Move time forward by `seconds`."""
        self._now_s += seconds


class FastClock:
    """A clock that goes `speed` times as fast as another from now on, as a replayed market's does.

    offset_ms: how far ahead of the other it begins. Monotonic time and sleep are the other's: what
    a machine waits for is not replayed.
    """

    def __init__(self, clock: Clock, speed: float, offset_ms: int = 0) -> None:
        self._clock = clock
        self._speed = speed
        self._offset_ms = offset_ms
        self._begun_ms = clock.now_ms()

    def now_ms(self) -> int:
        passed_ms = self._clock.now_ms() - self._begun_ms
        return self._begun_ms + self._offset_ms + round(passed_ms * self._speed)

    def monotonic_s(self) -> float:
        return self._clock.monotonic_s()

    def sleep(self, seconds: float) -> None:
        self._clock.sleep(seconds)
