"""Flow columns of the bars that a builder closes, of the trades that it kept of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphamill.bars.flow_columns import FLOW
from alphamill.bars.kernels import flow as kernels
from alphamill.bars.trades import DECIMALS, Trades
from alphamill.frames import FloatArray, IntArray

WordArray = NDArray[np.uint64]

# Of FLOW, those that come of exact sums; the others stand in the kernel's order.
_EXACT = ("signed_volume", "signed_quote")
_FIGURES = tuple(name for name in FLOW if name not in _EXACT)


@dataclass(frozen=True, slots=True)
class _Held:
    times: IntArray
    prices: FloatArray
    sizes: FloatArray
    values: FloatArray
    sides: NDArray[np.uint8]
    fills: IntArray


class FlowOfBars:
    """Trades go in as they come, figures come out when their bar closes.

    The trades of the open bar are held, 41 bytes each: an hour of the busiest symbol takes 40 MB.
    """

    def __init__(self) -> None:
        self._held: list[_Held] = []

    def add(self, trades: Trades, stops: IntArray, spans_s: FloatArray) -> FloatArray:
        """Figures (bars, figures) of the bars that close before the trades `stops` of this piece.

        All trades given count. spans_s: how long each of the bars is.
        """
        out = np.empty((stops.size, kernels.N_FIGURES))
        before = sum(held.times.size for held in self._held)
        self._held.append(_columns(trades))
        if not stops.size:
            return out
        whole = _joined(self._held)
        ends = stops + before
        ordered = whole.sizes[: ends[-1]].copy()
        for start, stop in _pairs(ends):
            ordered[start:stop].sort()
        longest = int(np.diff(ends, prepend=0).max())
        kernels.flow_figures(
            ends,
            spans_s,
            whole.times,
            whole.prices,
            whole.sizes,
            whole.values,
            whole.sides,
            whole.fills,
            ordered,
            np.empty((5, longest)),
            np.empty(longest, np.int64),
            out,
        )
        names = _Held.__slots__
        self._held = [_Held(**{name: getattr(whole, name)[ends[-1] :] for name in names})]
        return out


def _pairs(ends: IntArray) -> Iterator[tuple[int, int]]:
    start = 0
    for stop in ends.tolist():
        yield start, stop
        start = stop


def _columns(trades: Trades) -> _Held:
    prices = trades.price / 10**DECIMALS
    sizes = trades.quantity / 10**trades.quantity_decimals
    stated = trades.quote
    values = prices * sizes if stated is None else stated / 10**trades.quote_decimals
    if trades.first_id is None or trades.last_id is None:
        fills = np.ones(len(trades), np.int64)
    else:
        fills = trades.last_id - trades.first_id + 1
    sides = trades.is_buyer_maker.astype(np.uint8)
    return _Held(trades.time_us.copy(), prices, sizes, values, sides, fills)


def _joined(pieces: list[_Held]) -> _Held:
    if len(pieces) == 1:
        return pieces[0]
    names = _Held.__slots__
    return _Held(
        **{name: np.concatenate([getattr(piece, name) for piece in pieces]) for name in names}
    )


def flow_columns(
    figures: FloatArray, sums: WordArray, decimals: tuple[int, int], known: NDArray[np.bool_]
) -> dict[str, FloatArray]:
    """Columns by name, of figures, and of exact sums (bars, (bought, all) x (volume, quote) words).

    decimals: of the sums. known: where all quantities of a bar are.
    """
    columns: dict[str, FloatArray] = {}
    for k, name in enumerate(_EXACT):
        columns[name] = _balance(sums[:, 4 * k : 4 * k + 4], decimals[k])
    for k, name in enumerate(_FIGURES):
        columns[name] = figures[:, k].copy()
    for name, column in columns.items():
        if FLOW[name].needs_quantities:
            column[~known] = np.nan
    return columns


def _balance(words: WordArray, decimals: int) -> FloatArray:
    """Twice what was bought less all, as the nearest double."""
    scale = 10**decimals
    balances = [
        (2 * (bought + (bought_high << 64)) - (all_ + (all_high << 64))) / scale
        for bought, bought_high, all_, all_high in words.tolist()
    ]
    return np.array(balances, np.float64)
