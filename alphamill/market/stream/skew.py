"""How far this machine's clock is from the exchange's, measured by what the exchange sends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

_SPAN_MS = 60_000
_SPANS = 10
_JUMP_MS = 2_000
_FAR_MS = 600_000
_CONFIRMED_BY = 3


@dataclass(slots=True)
class ClockSkew:
    """Local time less the exchange's, in milliseconds.

    A frame is received after it was sent, so the skew is at most its local time of receipt less its
    event time; the least of ten minutes stands for it, and the fastest frame's way counts as
    none. A question about the time bounds it from both sides. A frame that would move the skew down
    by more than two seconds, or begin with one of ten minutes, is believed when two more agree: one
    wrong event time is not a clock.
    """

    _least: deque[tuple[int, int]] = field(default_factory=deque)  # (span of time, least of it)
    _asked: tuple[int, int, int] | None = None  # when (local), at least, at most
    _doubted: list[int] = field(default_factory=list)

    def heard(self, event_ms: int, received_ms: int) -> None:
        """A frame with event time `event_ms` was received at local time `received_ms`."""
        most = received_ms - event_ms
        known = self._of_frames(received_ms)
        if abs(most) > _FAR_MS if known is None else most < known - _JUMP_MS:
            self._doubted = [one for one in self._doubted if abs(one - most) <= _JUMP_MS] + [most]
            if len(self._doubted) < _CONFIRMED_BY:
                return
            self._least.clear()  # they were of a clock that has been set since
        self._doubted.clear()
        span = received_ms // _SPAN_MS
        if self._least and self._least[-1][0] == span:
            self._least[-1] = (span, min(most, self._least[-1][1]))
        else:
            self._least.append((span, most))
            if len(self._least) > _SPANS:
                self._least.popleft()

    def asked(self, server_ms: int, sent_ms: int, received_ms: int) -> None:
        """The exchange said `server_ms` to what was asked between two local times."""
        self._asked = (received_ms, sent_ms - server_ms, received_ms - server_ms)

    @property
    def doubts(self) -> bool:
        """Whether the newest frame was not believed, for want of others that agree."""
        return bool(self._doubted)

    def at(self, local_ms: int) -> int | None:
        """The skew as known at that local time; None before anything was heard."""
        least = self._of_frames(local_ms)
        if self._asked is None or local_ms - self._asked[0] > _SPANS * _SPAN_MS:
            return least
        _, low, high = self._asked
        return (low + high) // 2 if least is None else min(max(least, low), high)

    def exchange_ms(self, local_ms: int) -> int:
        """The exchange's clock at a local time; as if there were no skew until it is known."""
        return local_ms - (self.at(local_ms) or 0)

    def _of_frames(self, local_ms: int) -> int | None:
        oldest = local_ms // _SPAN_MS - _SPANS
        return min((least for span, least in self._least if span > oldest), default=None)
