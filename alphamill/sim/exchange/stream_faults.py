"""Faults that the simulated exchange causes on its streams on purpose, when a bar's end is due."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from hashlib import blake2b

from alphamill.sim.exchange.faults import When

LATE_MS = (5_000, 30_000)  # as users report of busy markets


class StreamFaultKind(StrEnum):
    """What goes wrong in place of telling that a bar has closed."""

    CLOSE_LATE = "close_late"  # it is told 5 to 30 s later, after frames of the next bar
    CLOSE_LOST = "close_lost"  # it is never told
    DROP = "drop"  # connections that would hear it are cut, without a closing frame
    SILENT = "silent"  # they stay open and answer pings, but hear no event any more
    SHUTDOWN = "shutdown"  # they are closed; on spot `serverShutdown` is told before


@dataclass(frozen=True, slots=True)
class StreamFault:
    """One kind of fault, and which bars of every kline stream it strikes.

    A share decides for each bar by itself, whoever listens; numbers count the bars of each stream
    that end after the exchange has started, from 1.
    """

    kind: StreamFaultKind
    when: When

    @classmethod
    def parse(cls, text: str) -> StreamFault:
        """From "close_lost:0.02", "drop:/50", "silent:@7" or "close_late:@7-9"; else ValueError."""
        name, _, amount = text.partition(":")
        try:
            return cls(StreamFaultKind(name), When.parse(amount))
        except ValueError as error:
            kinds = ", ".join(StreamFaultKind)
            raise ValueError(f"{text!r} is not {When.FORMS} ({kinds}): {error}") from error


def draw(seed: int, *of: object) -> float:
    """Uniform in [0, 1): the same for the same seed and words, in whatever order they are asked."""
    digest = blake2b(repr((seed, *map(str, of))).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


@dataclass(frozen=True, slots=True)
class StreamFaultPlan:
    """What happens at the end of each bar; it follows from seed, stream and bar alone."""

    faults: Sequence[StreamFault] = ()
    seed: int = 0

    def at_close(self, stream: str, open_ms: int, number: int) -> StreamFaultKind | None:
        """The fault of a stream's bar, its `number`th to end since the start; the first wins."""
        for at, fault in enumerate(self.faults):
            share = partial(draw, self.seed, at, stream, open_ms)
            if number >= 1 and fault.when.strikes(number, share):
                return fault.kind
        return None

    def late_ms(self, stream: str, open_ms: int) -> int:
        """How late a late close is."""
        least, most = LATE_MS
        return least + int((most - least) * draw(self.seed, "late", stream, open_ms))
