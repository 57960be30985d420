"""Trades in order of their ids, of files in which they are not, within a stated memory.

Monthly files of 2023 hold two ends of the month by turns, a row of each, and others hold blocks
twice (binance/binance-public-data, issues 203, 293, 339). Nothing short of the whole file says
which trade is next, so the file is read several times: each pass keeps the `most` smallest ids
above those that have left, which is sorting by selection. A day of such a month is mostly in order
when the other days are left out; only the day where the ends meet takes more than one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from alphamill.bars.trades import Trades, join

MOST = 1_000_000
"""Trades in memory at the least; at the most twice so many and a piece: 41 bytes each."""


def in_order(
    read: Callable[[], Iterable[Trades]], within_us: tuple[int, int] | None = None, most: int = MOST
) -> Iterator[Trades]:
    """Pieces of about `most` trades in order of id; of equal ids the first one read comes first.

    read: begins the file anew; it is called once a pass. within_us: trades of another time are left
    out, start included, end excluded.
    """
    after: int | None = -(2**63)
    while after is not None:
        held, after = _smallest(read(), within_us, after, most)
        if held is not None:
            yield held


def _smallest(
    pieces: Iterable[Trades], within_us: tuple[int, int] | None, after: int, most: int
) -> tuple[Trades | None, int | None]:
    """About `most` trades with the smallest ids above `after`, and the last of them; None: all."""
    held: list[Trades] = []
    n, last = 0, None
    for piece in pieces:
        inside = piece if within_us is None else piece.within(*within_us)
        wanted = inside.id > after
        if last is not None:
            wanted &= inside.id <= last
        if wanted.any():
            held.append(inside[wanted])  # a copy: a parser's pieces are overwritten
            n += len(held[-1])
        if n > 2 * most:
            whole = join(held)
            last = int(np.partition(whole.id, most - 1)[most - 1])
            held = [whole[whole.id <= last]]  # equal ids stay together
            n = len(held[0])
    if not held:
        return None, None
    whole = join(held)
    return whole[np.argsort(whole.id, kind="stable")], last
