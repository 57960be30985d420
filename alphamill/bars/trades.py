"""Trades as columns of exact integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import IntArray, Market

BoolArray = NDArray[np.bool_]

DECIMALS = 8
"""Of prices, and of quantities where 64 bits hold them (up to 92 thousand million)."""


class TradeSource(StrEnum):
    """What a row is, spelled as in the archive's paths."""

    TRADES = "trades"  # one fill
    AGG_TRADES = "aggTrades"  # the fills of one taker order at one price


@dataclass(frozen=True, slots=True)
class Layout:
    """Whose rows they are, and of which kind."""

    market: Market
    source: TradeSource

    @property
    def aggregates(self) -> bool:
        """Whether a row may be several fills."""
        return self.source is TradeSource.AGG_TRADES

    @property
    def ids_are_contiguous(self) -> bool:
        """Whether an id that is absent is a row that is absent.

        Not so for futures' trades: self-trade prevention burns their ids.
        """
        return self.aggregates or self.market is Market.SPOT


@dataclass(frozen=True, slots=True)
class Trades:
    """A piece of one symbol's trades; all columns are of one length.

    id: of the trade or of the aggregate.
    time_us: UTC epoch microseconds; of an aggregate its first fill.
    price: times 10**8, exactly.
    quantity: times 10**quantity_decimals, exactly: 8 decimals, or fewer where a value would not fit
        64 bits.
    is_buyer_maker: True where the taker sold.
    quote: what was paid, times 10**quote_decimals, where the source states it (spot and COIN-M
        trades); None: it is price times quantity.
    first_id, last_id: the fills of an aggregate; None for trades.
    """

    id: IntArray
    time_us: IntArray
    price: IntArray
    quantity: IntArray
    is_buyer_maker: BoolArray
    quote: IntArray | None = None
    first_id: IntArray | None = None
    last_id: IntArray | None = None
    quantity_decimals: int = DECIMALS
    quote_decimals: int = DECIMALS

    def __len__(self) -> int:
        return int(self.id.size)

    def __getitem__(self, rows: slice | IntArray | BoolArray) -> Trades:
        """Some of the rows: a slice, their numbers, or a mask."""
        return replace(self, **{name: column[rows] for name, column in self._columns().items()})

    def within(self, start_us: int, end_us: int) -> Trades:
        """Those of that time; start included, end excluded."""
        inside = (self.time_us >= start_us) & (self.time_us < end_us)
        return self if inside.all() else self[inside]

    def _columns(self) -> dict[str, Any]:
        names = (
            "id",
            "time_us",
            "price",
            "quantity",
            "is_buyer_maker",
            "quote",
            "first_id",
            "last_id",
        )
        found = ((name, getattr(self, name)) for name in names)
        return {name: column for name, column in found if column is not None}


def copied(piece: Trades) -> Trades:
    """The same in memory of its own."""
    return piece[np.arange(len(piece))]


def join(pieces: list[Trades]) -> Trades:
    """One piece of several of one layout, at least one; decimals become the fewest among them.

    Raises ValueError where a value needs the decimals that another piece has no room for.
    """
    if len(pieces) == 1:
        return pieces[0]
    decimals = {
        name: min(getattr(piece, name) for piece in pieces)
        for name in ("quantity_decimals", "quote_decimals")
    }
    level = [_at(piece, decimals) for piece in pieces]
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(piece, name) for piece in level])
        for name in pieces[0]._columns()  # noqa: SLF001  its own
    }
    return replace(level[0], **columns)


def _at(piece: Trades, decimals: dict[str, int]) -> Trades:
    changed: dict[str, Any] = {}
    for name, wanted in decimals.items():
        column = getattr(piece, name.removesuffix("_decimals"))
        more = getattr(piece, name) - wanted
        if more and column is not None:
            short, lost = np.divmod(column, 10**more)
            if lost.any():
                raise ValueError("quantities of these pieces do not fit 64 bits together")
            changed |= {name: wanted, name.removesuffix("_decimals"): short}
    return replace(piece, **changed) if changed else piece
