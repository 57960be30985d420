"""Where a perpetual traded and nothing was settled for longer than any interval: not a known zero.

An exchange that sends no row has sent nothing about what was paid: it may have lost rows, or refuse
them for a symbol. Before a listing, after a delisting and in a halt nothing is paid, and there are
no trades. Trades are known by their bars only, so that the first of a run counts from its end and
the last from its open: what is called silent is so wherever in those bars the trades were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.frames import IntArray, TimeRange
from alphamill.market.funding.parse import LONGEST_MS, MINUTE_MS

_HOUR_MS = 3_600_000  # the shortest interval between settlements
_HALT_MS = 2 * 86_400_000  # without a trade for so long, a contract did not trade in between


@dataclass(frozen=True, slots=True)
class Quiet(TimeRange):
    """A stretch without a settlement. opened, closed: whether one is at its start, at its end."""

    opened: bool
    closed: bool


def quiet_stretches(settled: IntArray, known: Sequence[TimeRange]) -> list[Quiet]:
    """What of `known` is longer than any interval and has no settlement, in order.

    settled: when, to the minute, ascending. known: stretches of which all settlements are there.
    """
    found = []
    for span in known:
        first, last = np.searchsorted(settled, [span.start_ms, span.end_ms])
        edges = [span.start_ms, *settled[first:last].tolist(), span.end_ms]
        for at in np.flatnonzero(np.diff(edges) > LONGEST_MS).tolist():
            opened, closed = at > 0, at + 2 < len(edges)
            found.append(Quiet(edges[at], edges[at + 1], opened, closed))
    return found


def silent_stretches(quiet: Sequence[Quiet], traded_ms: IntArray, bar_ms: int) -> list[TimeRange]:
    """What of those stretches must have had a settlement, since the contract traded in it.

    traded_ms: when the bars open that have a trade, ascending. A settlement at the start or the end
    of a stretch stays outside.
    """
    return [found for one in quiet for found in _silent_in(one, traded_ms, bar_ms)]


def _silent_in(one: Quiet, traded_ms: IntArray, bar_ms: int) -> Iterator[TimeRange]:
    first, last = np.searchsorted(traded_ms, [one.start_ms, one.end_ms - MINUTE_MS + 1])
    inside = traded_ms[first:last]
    pause_ms = max(_HALT_MS, 2 * bar_ms)
    for run in np.split(inside, np.flatnonzero(np.diff(inside) > pause_ms) + 1):
        if not run.size:
            continue
        begins, ends = int(run[0]), int(run[-1])
        opened = one.opened and begins - one.start_ms <= pause_ms
        closed = one.closed and one.end_ms - ends <= pause_ms
        length_ms = (one.end_ms if closed else ends) - (one.start_ms if opened else begins + bar_ms)
        if length_ms < LONGEST_MS or (opened and closed and length_ms <= LONGEST_MS + MINUTE_MS):
            continue
        yield TimeRange(
            one.start_ms + MINUTE_MS if opened else begins,
            one.end_ms - _HOUR_MS if closed else min(one.end_ms, ends + bar_ms + MINUTE_MS),
        )
