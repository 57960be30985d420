"""Faults that the simulated exchange causes on its streams on purpose, when a bar's end is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from hashlib import blake2b

from alphamill.sim.exchange.faults import When

_LONGEST_MS = 3_600_000
_NEAR_MS = (200, 2_000)


class StreamFaultKind(StrEnum):
    """What goes wrong where the end of a bar is told."""

    CLOSE_LATE = "close_late"  # it is told 5 to 30 s later, after frames of the next bar
    CLOSE_LOST = "close_lost"  # it is never told
    CLOSE_TWICE = "close_twice"  # it is told again 0.2 to 2 s later, to whoever listens then
    STALE = "stale"  # it is told, and then an older frame of the same bar while it ran
    CUT_FRAME = "cut_frame"  # half of its frame is sent, and the connection is cut
    CUT_JSON = "cut_json"  # half of its JSON is sent, as a whole frame
    DROP = "drop"  # connections that would hear it are cut, without a closing frame
    SILENT = "silent"  # they stay open and answer pings, but hear no event any more
    SHUTDOWN = "shutdown"  # they are closed; on spot `serverShutdown` is told before


# Kinds that take a time, and what it is by default. Lateness as users report it of busy markets.
_SPANS_MS: Mapping[StreamFaultKind, tuple[int, int]] = {
    StreamFaultKind.CLOSE_LATE: (5_000, 30_000),
    StreamFaultKind.CLOSE_TWICE: _NEAR_MS,
    StreamFaultKind.SHUTDOWN: (0, 0),
}


@dataclass(frozen=True, slots=True)
class StreamFault:
    """One kind of fault, and which bars of every kline stream it strikes.

    A share decides for each bar by itself, whoever listens; numbers count the bars of each stream
    that end after the exchange has started, from 1. span_ms: least and most of a seeded uniform
    time on the exchange's clock: how late a close is, how long after it is told again, how long
    before the end a shutdown is announced (0 and 0: the connection ends at once, and the bar's end
    is not told); None for the kind's own.
    """

    kind: StreamFaultKind
    when: When
    span_ms: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.span_ms is None:
            object.__setattr__(self, "span_ms", _SPANS_MS.get(self.kind))
        elif self.kind not in _SPANS_MS:
            raise ValueError(f"{self.kind} takes no time")
        elif not 0 <= self.span_ms[0] <= self.span_ms[1] <= _LONGEST_MS:
            raise ValueError("a time is 0 to 3600 s, the shorter first")

    @classmethod
    def parse(cls, text: str) -> StreamFault:
        """From "close_lost:0.02", "drop:/50", "silent:@7", "close_late:@7-9", with a time in
        seconds "close_late=0.2-2:0.1" or "shutdown=10:@3"; else ValueError.
        """
        name, _, amount = text.partition(":")
        kind, timed, span = name.partition("=")
        try:
            return cls(StreamFaultKind(kind), When.parse(amount), _span_ms(span) if timed else None)
        except ValueError as error:
            kinds = ", ".join(
                f"{kind}[=S-S]" if kind in _SPANS_MS else kind for kind in StreamFaultKind
            )
            raise ValueError(f"{text!r} is not {When.FORMS} ({kinds}): {error}") from error


def _span_ms(text: str) -> tuple[int, int]:
    least, _, most = text.partition("-")
    return round(1000 * float(least)), round(1000 * float(most or least))


def draw(seed: int, *of: object) -> float:
    """Uniform in [0, 1): the same for the same seed and words, in whatever order they are asked."""
    digest = blake2b(repr((seed, *map(str, of))).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


@dataclass(frozen=True, slots=True)
class StreamFaultPlan:
    """What happens at the end of each bar; it follows from seed, stream and bar alone."""

    faults: Sequence[StreamFault] = ()
    seed: int = 0

    def at_close(self, stream: str, open_ms: int, number: int) -> StreamFault | None:
        """The fault of a stream's bar, its `number`th to end since the start; the first wins."""
        for at, fault in enumerate(self.faults):
            share = partial(draw, self.seed, at, stream, open_ms)
            if number >= 1 and fault.when.strikes(number, share):
                return fault
        return None

    def span_ms(self, fault: StreamFault, stream: str, open_ms: int) -> int:
        """The time that a fault takes at a bar."""
        least, most = fault.span_ms or (0, 0)
        return least + int((most - least) * draw(self.seed, "late", stream, open_ms))

    @property
    def longest_ms(self) -> int:
        """No fault of these takes longer."""
        return max((fault.span_ms[1] for fault in self.faults if fault.span_ms), default=0)
