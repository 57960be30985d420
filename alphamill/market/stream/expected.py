"""Which bars are expected, and what has become of each: it closes once, or it is absent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import heapify, heappop, heappush

from alphamill import grid
from alphamill.frames import Interval
from alphamill.market.stream.messages import StreamBar

Series = tuple[str, Interval]
_REMEMBERED_BARS = 16


class Standing(StrEnum):
    """What a closed bar is to those before it."""

    IN_TIME = "in time"  # nothing had been said of this bar
    LATE = "late"  # it had been named absent
    CHANGED = "changed"  # it had closed with other numbers


@dataclass(slots=True)
class _Followed:
    next_open_ms: int  # of the first bar that has not been due
    first_open_ms: int  # of the first that is expected at all
    closed: dict[int, tuple[float, ...]] = field(default_factory=dict)
    absent: dict[int, None] = field(default_factory=dict)
    missed: int = 0  # bars named absent since one last closed


@dataclass(slots=True)
class ExpectedBars:
    """The bars of many series, each due `patience_ms` after its end on the exchange's clock.

    Of every bar one thing is said by then: that it closed, or that it is absent. An absent one may
    still close, and one that closed may change; both are said too. What is older than the last
    sixteen bars of its series is forgotten.
    """

    patience_ms: int
    ignored: Counter[str] = field(default_factory=Counter)  # closed bars, by why
    _followed: dict[Series, _Followed] = field(default_factory=dict)
    _due: list[tuple[int, str, str]] = field(default_factory=list)  # a heap: when, of what

    def follow(self, series: Series, now_ms: int) -> None:
        """Expect its bars from the one on that is running at `now_ms`."""
        if series not in self._followed:
            open_ms = grid.floor_ms(series[1], now_ms)
            self._followed[series] = _Followed(open_ms, open_ms)
            heappush(self._due, (self._due_ms(series[1], open_ms), *series))

    def leave(self, series: Series) -> None:
        """Expect nothing of it any more."""
        if self._followed.pop(series, None):
            self._due = [due for due in self._due if (due[1], due[2]) != series]
            heapify(self._due)

    @property
    def due_ms(self) -> int | None:
        """When the next bar is due on the exchange's clock; None if nothing is followed."""
        return self._due[0][0] if self._due else None

    def missed(self, series: Series) -> int:
        """Bars in a row that were named absent."""
        followed = self._followed.get(series)
        return followed.missed if followed else 0

    def take(self, bar: StreamBar) -> Standing | None:
        """A closed bar has come; None if that says nothing new."""
        followed = self._followed.get((bar.symbol, bar.interval))
        if followed is None:
            self.ignored["not followed"] += 1
            return None
        if bar.open_ms < self._oldest_ms(followed, bar.interval):
            self.ignored["too old"] += 1
            return None
        known = followed.closed.get(bar.open_ms)
        if known == bar.values:
            self.ignored["twice"] += 1
            return None
        followed.closed[bar.open_ms] = bar.values
        followed.missed = 0
        if known is not None:
            return Standing.CHANGED
        if bar.open_ms in followed.absent:
            del followed.absent[bar.open_ms]
            return Standing.LATE
        return Standing.IN_TIME

    def absent(self, now_ms: int) -> Iterator[tuple[Series, int]]:
        """Series and open time of each bar that is due at `now_ms` and has not closed, once."""
        while self._due and self._due[0][0] <= now_ms:
            _, symbol, interval = heappop(self._due)
            series = symbol, Interval(interval)
            followed = self._followed[series]
            open_ms = followed.next_open_ms
            followed.next_open_ms = grid.next_ms(series[1], open_ms)
            due_ms = self._due_ms(series[1], followed.next_open_ms)
            heappush(self._due, (due_ms, symbol, interval))
            self._forget(followed, series[1])
            if open_ms not in followed.closed:
                followed.absent[open_ms] = None
                followed.missed += 1
                yield series, open_ms

    def _due_ms(self, interval: Interval, open_ms: int) -> int:
        return grid.next_ms(interval, open_ms) + self.patience_ms

    def _oldest_ms(self, followed: _Followed, interval: Interval) -> int:
        """Open time of the first bar that is spoken of."""
        at = grid.index_at(interval, followed.next_open_ms) - _REMEMBERED_BARS
        return max(followed.first_open_ms, grid.open_ms(interval, at))

    def _forget(self, followed: _Followed, interval: Interval) -> None:
        oldest_ms = self._oldest_ms(followed, interval)
        for known in (followed.closed, followed.absent):
            for open_ms in [one for one in known if one < oldest_ms]:
                del known[open_ms]
