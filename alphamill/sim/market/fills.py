"""A bar taken apart into trades whose sum is that bar, exactly, in whole ticks and lots.

Of each side (takers that bought, takers that sold) the bar states volume and quote volume. Trades
of one lot give the open, the high, the low and the close; what is left of a side at an average
between two neighbouring ticks is so many lots at the one and so many at the other, which has a
solution whenever that average lies in the bar's range. Equal bars give equal trades.

A bar cannot be hit whose count of trades is too small for its four prices and two averages, whose
lots are fewer than its trades, or whose quote volume is no sum of ticks times lots. Its trades then
give all the rest and a quote volume that is as near as its prices allow; `exact` says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.frames import IntArray
from alphamill.sim.market.bars import BoolArray

_GOLDEN = 0.6180339887498949  # its multiples, less their whole parts, are spread evenly
_SOME = 40  # trades from which on several fills share an aggregate
_FILLS_IN = 4  # of so many trades, one shares its aggregate with another
_LOTS_A_TRADE = 4  # where there are fewer, every trade is an aggregate of its own
_MOST_AGGREGATES = 240  # of a bar: a busy coin's day, some millions of trades, is made in seconds


@dataclass(frozen=True, slots=True)
class WholeBar:
    """A bar in whole ticks and lots; quote volumes in ticks times lots.

    trades: how many there are to be. buy, buy_quote: what takers bought of volume and quote.
    """

    open: int
    high: int
    low: int
    close: int
    volume: int
    quote: int
    trades: int
    buy: int
    buy_quote: int


@dataclass(frozen=True, slots=True)
class Fills:
    """Trades of one bar in order; arrays of one length.

    price: ticks. lots: at least 1. sell: whether the taker sold. aggregate: which trades are one
    aggregate: 0, 0, 1, 2, 2, ... exact: whether they give the bar in all its numbers.
    """

    price: IntArray
    lots: IntArray
    sell: BoolArray
    aggregate: IntArray
    exact: bool


@dataclass(slots=True)
class _Part:
    """Lots at one price on one side, made of `pieces` aggregates."""

    price: int
    lots: int
    sell: bool
    pieces: int = 1


def aggregates_of(trades: IntArray, lots: IntArray) -> IntArray:
    """How many aggregates bars with so many trades and lots are told as; of a busy bar at most 240.

    The exchange has more of those; their ids count all trades all the same.
    """
    several = (trades >= _SOME) & (lots >= _LOTS_A_TRADE * trades)
    shared = np.minimum(trades - trades // _FILLS_IN, _MOST_AGGREGATES)
    found: IntArray = np.where(several, shared, trades)
    return found


def fills_of(bar: WholeBar) -> Fills:
    """At most as many trades as the bar has lots; see the module."""
    trades = min(bar.trades, bar.volume)
    if trades <= 0:
        return _fills([], 0, exact=bar.trades == bar.volume == 0)
    aggregates = int(aggregates_of(np.array(trades), np.array(bar.volume)))
    parts = next(_solutions(bar, aggregates), None)
    exact = parts is not None and trades == bar.trades
    if parts is None:
        parts = _nearest(bar, aggregates)
    _cut(parts, aggregates)
    return _fills(parts, trades, exact=exact)


def _solutions(bar: WholeBar, most: int) -> Iterator[list[_Part]]:
    """Parts in order, open first and close last, that give the bar; at most `most` of them."""
    ends = [bar.open, bar.close] if most > 1 else [bar.open]
    if most == 1 and bar.open != bar.close:
        return
    inner = [price for price in (bar.high, bar.low) if price not in ends]
    fixed = [ends[0], *dict.fromkeys(inner), *ends[1:]]
    if len(fixed) > most:
        return
    sides = (bar.buy, bar.buy_quote), (bar.volume - bar.buy, bar.quote - bar.buy_quote)
    for sells in itertools.product((False, True), repeat=len(fixed)):
        found: list[list[tuple[int, int]]] = []
        free: list[_Part] = []
        for sell, (lots, quote) in zip((False, True), sides, strict=True):
            own = [price for price, side in zip(fixed, sells, strict=True) if side is sell]
            solved = _side(lots, quote, own, bar, most - len(fixed))
            if solved is None:
                break
            found.append([*zip(own, solved[0], strict=True)])
            free += [_Part(price, lots, sell) for price, lots in solved[1]]
        if len(found) < len(sides) or len(fixed) + len(free) > most:
            continue
        rows = [iter(found[0]), iter(found[1])]
        parts = [_Part(*next(rows[sell]), sell) for sell in sells]
        yield [*parts[:-1], *free, parts[-1]] if len(parts) > 1 else [*parts, *free]


def _side(
    lots: int, quote: int, own: Sequence[int], bar: WholeBar, room: int
) -> tuple[list[int], list[tuple[int, int]]] | None:
    """Lots of the side's own trades, and of at most `room` others: price and lots of each.

    None if there is no such solution among those that are looked for.
    """
    left, left_quote = lots - len(own), quote - sum(own)
    if left < 0:
        return None
    ones = [1] * len(own)
    if left == 0:
        return (ones, []) if left_quote == 0 else None
    price, above = divmod(left_quote, left)
    if bar.low <= price <= bar.high and (not above or price < bar.high):
        others = [(price, left - above), (price + 1, above)]
        others = [(at, size) for at, size in others if size]
        if len(others) <= room:
            return ones, others
    return _own_alone(left, left_quote, own)


def _own_alone(
    left: int, left_quote: int, own: Sequence[int]
) -> tuple[list[int], list[tuple[int, int]]] | None:
    """The side's own trades, of which one or two take what is left beside one lot each."""
    for at, price in enumerate(own):
        if price * left == left_quote:
            return [1 + left * (other == at) for other in range(len(own))], []
    for one, two in itertools.combinations(range(len(own)), 2):
        apart = own[two] - own[one]
        if not apart:
            continue
        second, rest = divmod(left_quote - own[one] * left, apart)
        if not rest and 0 <= second <= left:
            sizes = [1] * len(own)
            sizes[one] += left - second
            sizes[two] += second
            return sizes, []
    return None


def _nearest(bar: WholeBar, most: int) -> list[_Part]:
    """Parts that give the volume of each side and the prices, as far as there is room for them."""
    inner = [price for price in (bar.high, bar.low) if price not in (bar.open, bar.close)]
    prices = [bar.open, *dict.fromkeys(inner[: max(0, most - 2)]), bar.close][-most:]
    sold = bar.volume - bar.buy
    selling = min(sold, len(prices))
    if selling == len(prices) > 1 and bar.buy:
        selling -= 1
    parts = [_Part(price, 1, at < selling) for at, price in enumerate(prices)]
    average = bar.quote // bar.volume
    for sell, lots in ((False, bar.buy), (True, sold)):
        own = [part for part in parts if part.sell is sell] or parts
        left = lots - len(own) if own is not parts else lots
        min(own, key=lambda part: abs(part.price - average)).lots += left
    return parts


def _cut(parts: list[_Part], pieces: int) -> None:
    """Give each part its share of `pieces` aggregates, none more than it has lots."""
    spare = pieces - len(parts)
    total = sum(part.lots for part in parts)
    for part in sorted(parts, key=lambda part: part.lots):
        room = part.lots - 1
        others = total - part.lots
        share = spare if others <= 0 else min(spare, spare * part.lots // total)
        part.pieces += min(room, share)
        spare -= part.pieces - 1
        total = others
    for part in sorted(parts, key=lambda part: -part.lots):
        more = min(spare, part.lots - part.pieces)
        part.pieces += more
        spare -= more


def _fills(parts: Sequence[_Part], trades: int, *, exact: bool) -> Fills:
    """The parts cut into aggregates and those into trades; the first part leads, the last ends."""
    if not parts:
        nothing = np.zeros(0, dtype=np.int64)
        return Fills(nothing, nothing, nothing.astype(bool), nothing, exact)
    sizes = [_sizes(part.lots, part.pieces) for part in parts]
    lots = np.concatenate(sizes)
    price = np.repeat([part.price for part in parts], [part.pieces for part in parts])
    sell = np.repeat([part.sell for part in parts], [part.pieces for part in parts])
    order = _mixed(len(lots))
    lots, price, sell = lots[order], price[order], sell[order]
    fills = _shares(lots, trades)
    aggregate = np.repeat(np.arange(len(lots)), fills)
    first = np.diff(aggregate, prepend=-1) > 0
    one = lots // fills  # of each fill but the first, which has the rest
    each = np.where(first, (lots - one * (fills - 1))[aggregate], one[aggregate])
    return Fills(price[aggregate], each, sell[aggregate], aggregate, exact)


def _shares(lots: IntArray, trades: int) -> IntArray:
    """So many fills in all, at least one of each and none with more than it has lots.

    A few are shared by the largest; many by all, as large as they are.
    """
    fills = np.ones(len(lots), dtype=np.int64)
    more = trades - len(lots)
    if more > len(lots):
        fills += np.floor(lots * (more / lots.sum())).astype(np.int64)
        fills = np.minimum(fills, lots)
        more = trades - int(fills.sum())
    order = np.argsort(-lots, kind="stable")
    while more > 0:
        taking = order[fills[order] < lots[order]][:more]
        fills[taking] += 1
        more -= len(taking)
    return fills


def _sizes(lots: int, pieces: int) -> IntArray:
    """`lots` in so many pieces of different sizes, each at least 1, and 2 where there is enough."""
    least = 2 if lots >= 2 * pieces else 1
    spare = lots - least * pieces
    weights = np.cumsum((np.arange(1, pieces + 1) * _GOLDEN % 1.0) ** 3 + 0.01)
    cuts = np.floor(spare * (weights / weights[-1])).astype(np.int64)
    cuts[-1] = spare
    sizes: IntArray = least + np.diff(cuts, prepend=0)
    return sizes


def _mixed(count: int) -> IntArray:
    """An order of so many that keeps the first and the last in their places."""
    order: IntArray = np.arange(count)
    if count > 2:
        order[1:-1] = 1 + np.argsort(order[: count - 2] * _GOLDEN % 1.0, kind="stable")
    return order
