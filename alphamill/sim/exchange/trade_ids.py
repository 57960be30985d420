"""Ids of trades that are known only as counts in bars."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np

from alphamill.frames import IntArray
from alphamill.sim.market import Bars

_PARTS = 10_000  # of which a share is given


@dataclass(frozen=True, slots=True)
class TradeIds:
    """The ids in the bars of one symbol and interval.

    before: trades before each bar. burned: ids in 10,000 that belong to no trade.
    """

    first_id: int
    before: IntArray
    burned: int = 0

    def within(self, at: int, trades: int) -> tuple[int, int]:
        """Ids of the first and the last of so many trades at the start of bar `at`; -1 for none."""
        if not trades:
            return -1, -1
        first = int(self.before[at])
        return self._id(first), self._id(first + trades - 1)

    def of_numbers(self, numbers: IntArray) -> IntArray:
        """Ids of trades that are counted from 0."""
        found: IntArray = self.first_id + numbers + numbers * self.burned // _PARTS
        return found

    def number_from(self, trade: int) -> int:
        """The first number, from 0 on, of which the id is `trade` or above."""
        number = max(0, (trade - self.first_id) * _PARTS // (_PARTS + self.burned) - 1)
        while self._id(number) < trade:
            number += 1
        return number

    def _id(self, number: int) -> int:
        return self.first_id + number + number * self.burned // _PARTS


def trade_ids(name: str, tape: Bars, bars: Bars, burned_frac: float) -> TradeIds:
    """Ids that ascend over `bars`, and are one trade's in all intervals that agree about counts.

    They are counted from the first bar of `tape` on, the same symbol's shortest, from a number that
    follows from its name. Bars that begin before the tape have ids of their own.
    """
    before = np.cumsum(bars.trades) - bars.trades
    if len(bars):
        before += int(tape.trades[: tape.start_at(int(bars.open_ms[0]))].sum())
    return TradeIds(1 + crc32(name.encode()) % 1_000_000_000, before, round(burned_frac * _PARTS))
