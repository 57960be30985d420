"""What trading takes: fees by kind of order, the spread, funding, and room in the market."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray

FUNDING = "funding_rate"
"""The panel's optional field: see `funding_by_bar`."""


class Fees(Protocol):
    """Cost of trading, one way, in basis points of the traded value."""

    @property
    def taker_bps(self) -> float:
        """The exchange's fee on an order that is filled at once."""

    @property
    def maker_bps(self) -> float:
        """Its fee on an order that waited in the book; negative: a rebate."""

    @property
    def maker_frac(self) -> float:
        """Share of the traded value that is filled as maker, 0 to 1."""

    @property
    def spread_bps(self) -> float:
        """Half of the quoted spread; who waits in the book does not pay it."""


def one_way_bps(fees: Fees | float) -> float:
    """What a unit of traded value costs on average: fee, and half spread of what is taken."""
    if isinstance(fees, (int, float)):
        return float(fees)
    taken = (1 - fees.maker_frac) * (fees.taker_bps + fees.spread_bps)
    return taken + fees.maker_frac * fees.maker_bps


def funding_by_bar(
    times_ms: NDArray[np.int64], interval_ms: int, settled_ms: NDArray[np.int64], rates: FloatArray
) -> FloatArray:
    """One symbol's funding, as a panel's `funding_rate` holds it: (bars,), 0 without a settlement.

    times_ms: the bars' open times. settled_ms, rates: the exchange's settlements (USD-M
    /fapi/v1/fundingRate: fundingTime and fundingRate), positive where longs pay shorts. Row t sums
    those after the open of bar t up to and including its end, which whoever traded at that open
    pays; a settlement at the very open is paid by the position from before. Of several payments at
    one instant (rateType Regular and Special) each is owed.
    """
    ends = np.asarray(times_ms) + interval_ms
    row = np.searchsorted(ends, settled_ms, side="left")
    inside = row < len(ends)
    inside[inside] &= settled_ms[inside] > np.asarray(times_ms)[row[inside]]
    return np.bincount(row[inside], weights=rates[inside], minlength=len(ends)).astype(np.float64)


def field_while_held(
    panel: Mapping[str, FloatArray], name: str, entry_lag_bars: int, rows: int, absent: float
) -> FloatArray:
    """A field over the bars in which a book's row is held: (rows, symbols).

    Where the panel has no such field: one row of `absent`. A NaN in it becomes `absent` too.
    """
    if name not in panel:
        return np.full((1, panel["open"].shape[1]), absent)
    first = max(entry_lag_bars, 1)  # a book that trades at closes holds the bar after
    held = panel[name][first : first + rows]
    return np.where(np.isfinite(held), held, absent)
