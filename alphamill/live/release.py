"""When a bar's cross-section is computed, and over which symbols.

A bar is released when every expected symbol's bar has arrived, and at its close + release_ms at the
latest, or as long after it was first listened for; bars are released in order. Below the quorum it
is released as no signal. When one arrives later, up to close + correct_within_ms, the bar is
released again as a revision, together with the bars after it that were out already: their windows
reach back to it. Late symbols are gathered: the revision waits for the rest of the absent, at most
another release_ms.

Pure: told what arrived and what time it is, on one clock, the exchange's.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from alphamill.frames import Interval
from alphamill.grid import index_at, open_ms


class Cause(StrEnum):
    """Why a bar is released now."""

    WHOLE = "whole"  # all expected symbols are there
    DEADLINE = "deadline"
    LATE = "late"  # a revision: a bar came after the release
    EARLIER = "earlier"  # a revision of an earlier bar may change this one


@dataclass(frozen=True, slots=True)
class Release:
    """A bar to compute and publish.

    bar_ms: its open time. revision: 0 for the first time. present, absent: of the followed symbols.
    signal: whether the quorum is met. A release of cause EARLIER is to be published only if it says
    something else than the one before.
    """

    bar_ms: int
    revision: int
    cause: Cause
    present: frozenset[str]
    absent: frozenset[str]
    signal: bool


@dataclass(slots=True)
class _Released:
    present: set[str]
    absent: set[str]
    revision: int = 0
    revise_ms: int | None = None  # when what came late is released


@dataclass(slots=True)
class ReleaseRule:
    """The releases of one live. All times are UTC epoch milliseconds of the exchange's clock.

    first_bar_ms: open time of the first bar to release.
    """

    interval: Interval
    symbols: Collection[str]
    release_ms: int
    quorum: float
    correct_within_ms: int
    first_bar_ms: int
    _next: int = field(init=False)  # number of the bar to release next
    _arrived: dict[int, set[str]] = field(init=False, default_factory=dict)  # of bars to come
    _out: dict[int, _Released] = field(init=False, default_factory=dict)
    _followed: frozenset[str] = field(init=False)
    _expected: set[str] = field(init=False)
    _begun_ms: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._next = index_at(self.interval, self.first_bar_ms)
        self._followed = frozenset(self.symbols)
        self._expected = set(self._followed)

    @property
    def next_bar_ms(self) -> int:
        """Open time of the bar that is released next."""
        return open_ms(self.interval, self._next)

    def begin(self, now_ms: int) -> None:
        """Bars that closed before now are waited for as if they had closed now: nobody asked for
        them in time.
        """
        self._begun_ms = now_ms

    def expect(self, symbols: Collection[str]) -> None:
        """From the next bar on wait for these symbols alone: the others do not trade."""
        self._expected = set(symbols)

    def arrived(self, symbol: str, bar_ms: int, now_ms: int) -> list[Release]:
        """A closed bar is known. Twice the same, one too late or a symbol not followed: nothing."""
        self.known(symbol, bar_ms, now_ms)
        return list(self._due(now_ms))

    def known(self, symbol: str, bar_ms: int, now_ms: int) -> None:
        """As `arrived`, but releases nothing yet: for bars that are brought together."""
        index = index_at(self.interval, bar_ms)
        if index >= self._next:
            self._arrived.setdefault(index, set()).add(symbol)
        elif (
            (out := self._out.get(index))
            and symbol in out.absent
            and now_ms <= self._close_ms(index) + self.correct_within_ms
        ):
            out.absent.discard(symbol)
            out.present.add(symbol)
            if out.revise_ms is None:
                out.revise_ms = now_ms + self.release_ms

    def tick(self, now_ms: int) -> list[Release]:
        """Whatever is due at `now_ms`; to be called at `due_ms` at the latest."""
        return list(self._due(now_ms))

    @property
    def due_ms(self) -> int:
        """When the next release is due if nothing arrives."""
        late = [out.revise_ms for out in self._out.values() if out.revise_ms is not None]
        return min([self._deadline_ms(self._next), *late])

    def missing(self, now_ms: int) -> list[tuple[str, int]]:
        """(symbol, bar) of closed bars that a release still waits for or could still revise."""
        found = [
            (symbol, open_ms(self.interval, index))
            for index, out in sorted(self._out.items())
            for symbol in sorted(out.absent & self._expected)
        ]
        for index in range(self._next, index_at(self.interval, now_ms)):
            rest = self._expected - self._arrived.get(index, set())
            found += [(symbol, open_ms(self.interval, index)) for symbol in sorted(rest)]
        return found

    def _close_ms(self, index: int) -> int:
        return open_ms(self.interval, index + 1)

    def _deadline_ms(self, index: int) -> int:
        return max(self._close_ms(index), self._begun_ms) + self.release_ms

    def _due(self, now_ms: int) -> Iterator[Release]:
        while release := self._first_due(now_ms):
            yield release
        yield from self._revisions(now_ms)
        for index in [one for one in self._out if not self._open_to_revision(one, now_ms)]:
            del self._out[index]

    def _open_to_revision(self, index: int, now_ms: int) -> bool:
        pending = self._out[index].revise_ms is not None
        return pending or now_ms <= self._close_ms(index) + self.correct_within_ms

    def _first_due(self, now_ms: int) -> Release | None:
        arrived = self._arrived.get(self._next, set())
        # Each of a bar's arrivals comes by here, and most have fewer before them than are expected.
        whole = len(arrived) >= len(self._expected) and arrived >= self._expected
        if not whole and now_ms < self._deadline_ms(self._next):
            return None
        here = arrived & self._followed
        out = _Released(here, set(self._followed - here))
        self._arrived.pop(self._next, None)
        self._out[self._next] = out
        release = self._release(self._next, out, Cause.WHOLE if whole else Cause.DEADLINE)
        self._next += 1
        return release

    def _revisions(self, now_ms: int) -> Iterator[Release]:
        """The bars whose late symbols are gathered, and all that were released after the first."""
        due = [
            index
            for index, out in self._out.items()
            if out.revise_ms is not None and (not out.absent or out.revise_ms <= now_ms)
        ]
        if not due:
            return
        for index in sorted(one for one in self._out if one >= min(due)):
            out = self._out[index]
            late = out.revise_ms is not None  # what is gathered goes along
            out.revise_ms = None
            out.revision += 1
            yield self._release(index, out, Cause.LATE if late else Cause.EARLIER)

    def unchanged(self, bar_ms: int) -> None:
        """The last release of a bar said nothing new and was not published."""
        if out := self._out.get(index_at(self.interval, bar_ms)):
            out.revision -= 1

    def released(
        self, bar_ms: int, revision: int, present: Collection[str], absent: Collection[str]
    ) -> None:
        """A bar before the first was released by whoever followed before; it may be revised."""
        self._out[index_at(self.interval, bar_ms)] = _Released(set(present), set(absent), revision)

    def _release(self, index: int, out: _Released, cause: Cause) -> Release:
        return Release(
            bar_ms=open_ms(self.interval, index),
            revision=out.revision,
            cause=cause,
            present=frozenset(out.present),
            absent=frozenset(out.absent),
            signal=len(out.present) >= self.least,
        )

    @property
    def least(self) -> int:
        """Symbols that make a signal: the quorum of all that the live follows, rounded up."""
        return max(1, math.ceil(self.quorum * len(self.symbols) - 1e-9))
