"""What was wrong with a symbol's trades, and what was done about it."""

from __future__ import annotations

from dataclasses import dataclass, fields

from alphamill.bars.trades import Layout, TradeSource
from alphamill.frames import Market

ONE_SIDED_FROM = 1000
"""So many trades that all say one side were not recorded so by a market."""
# Where the archive's trades (not its aggTrades) are known to say `true` in every row.
# binance/binance-public-data, issues 476 and 492.
_SUSPECT_FROM_US = {Market.USD_M: 1_783_036_800_000_000, Market.COIN_M: 1_782_864_000_000_000}


class OutOfOrder(ValueError):
    """A trade with a smaller id comes after one with a larger: read them through `in_order`."""


@dataclass(frozen=True, slots=True)
class Quality:
    """Counts over the trades that a builder was given; all but the first five are defects.

    trades: rows that count. fills: of them; more than rows for aggregates. sold: rows whose taker
        sold (`is_buyer_maker`).
    first_id, last_id: of rows, -1 without one; the next day's first should follow.
    first_us, last_us: their times, UTC epoch microseconds; -1 without one.
    duplicates: rows whose id was there already, left out. conflicts: those of them that differ.
    no_quantity: rows whose quantity is 0; their prices count, their bars' volumes are not known.
    void: rows without a price, which stand for an aggregate that was taken back; left out.
    outside: rows of another time than the builder's, left out (the other days of a month).
    late: rows that are earlier than the open bar; they count in it.
    absent_ids: ids between rows that are no row. A row is missing for each, except of futures'
        trades, where self-trade prevention burns ids.
    burned_ids: fills between aggregates that are in none: burned ids, on futures.
    overlaps: aggregates that begin within the one before.
    sides_known: False: `is_buyer_maker` is the same in every row and not to be believed; what needs
        it is NaN.
    disordered: whether rows had to be put in order.
    """

    trades: int = 0
    fills: int = 0
    sold: int = 0
    first_id: int = -1
    last_id: int = -1
    first_us: int = -1
    last_us: int = -1
    duplicates: int = 0
    conflicts: int = 0
    no_quantity: int = 0
    void: int = 0
    outside: int = 0
    late: int = 0
    absent_ids: int = 0
    burned_ids: int = 0
    overlaps: int = 0
    sides_known: bool = True
    disordered: bool = False

    def missing(self, layout: Layout) -> int:
        """Rows that are known to be missing between the first and the last."""
        return self.absent_ids if layout.ids_are_contiguous else 0

    def to_message(self) -> dict[str, int | bool]:
        """As plain values by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def sides_known(layout: Layout, rows: int, sold: int, first_us: int) -> bool:
    """Whether a day's `is_buyer_maker` can be true data.

    It cannot where all of a thousand rows say the same, nor where all rows say `true` in a period
    in which the archive is known to write `true` throughout.
    """
    if rows >= ONE_SIDED_FROM and sold in (0, rows):
        return False
    suspect_us = _SUSPECT_FROM_US.get(layout.market)
    if layout.source is not TradeSource.TRADES or suspect_us is None or not rows:
        return True
    return not (sold == rows and first_us >= suspect_us)
