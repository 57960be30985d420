"""What a position earns: forward returns for labels, bar-by-bar returns for a book.

Both act at the open of bar t + entry_lag_bars for a signal known at the close of bar t, and both
realise a delisted symbol's last return at its last close instead of forgetting it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class _Listing:
    """Which bars exist, and where each symbol's bars end."""

    exists: BoolArray  # (bars, symbols)
    last: NDArray[np.int64]  # (symbols,) index of the last bar; -1 if a symbol has none
    delisted: BoolArray  # (symbols,) bars end before the panel's last bar


def _listing(panel: Mapping[str, FloatArray]) -> _Listing:
    exists = (panel["open"] > 0) & (panel["close"] > 0)
    exists &= np.isfinite(panel["open"]) & np.isfinite(panel["close"])
    n_bars, n_symbols = exists.shape
    if exists.all():
        everywhere = np.full(n_symbols, n_bars - 1)
        return _Listing(exists, everywhere, np.zeros(n_symbols, dtype=bool))
    last = np.where(exists, np.arange(len(exists))[:, None], -1).max(axis=0, initial=-1)
    return _Listing(exists, last, last < last.max(initial=-1))


def forward_returns(
    panel: Mapping[str, FloatArray], horizon_bars: int, entry_lag_bars: int = 1, log: bool = False
) -> FloatArray:
    """Return from the open of bar t+lag to the open of bar t+lag+horizon, per bar t and symbol.

    panel needs "open" and "close", float64 (bars, symbols); a bar exists where both are positive.
    entry_lag_bars 0 trades at closes instead: close of t to close of t+horizon (it assumes a fill
    at the very price that made the signal). `log`: ln of the price ratio instead of ratio - 1.

    NaN where a bar from entry to exit is missing (both ends included: a label that spans an outage
    is not a horizon_bars return), and on the last lag+horizon bars. A symbol whose bars end before
    the panel's exits at its last close, so that a collapse before a delisting counts.
    Raises ValueError for a horizon below 1 or a negative lag.
    """
    _require_timing(horizon_bars, entry_lag_bars)
    n_bars, n_symbols = panel["open"].shape
    result = np.full((n_bars, n_symbols), np.nan)
    rows = n_bars - entry_lag_bars - horizon_bars
    if rows <= 0 or n_symbols == 0:
        return result
    listing = _listing(panel)
    first, end = entry_lag_bars, entry_lag_bars + horizon_bars
    prices = panel["open"] if entry_lag_bars else panel["close"]
    entry, leave = prices[first : first + rows], prices[end : end + rows]
    delisted = np.flatnonzero(listing.delisted & (listing.last >= 0))
    if delisted.size:
        leave = leave.copy()
        gone = np.arange(end, n_bars)[:, None] > listing.last[delisted]
        final = panel["close"][listing.last[delisted], delisted]
        leave[:, delisted] = np.where(gone, final, leave[:, delisted])
    whole = _whole_windows(listing, first, horizon_bars, rows, at_close=entry_lag_bars == 0)
    earned = result[:rows]
    np.divide(leave, entry, out=earned, where=whole)
    if log:
        np.log(earned, out=earned)
    else:
        earned -= 1.0
    return result


def _whole_windows(
    listing: _Listing, first: int, horizon_bars: int, rows: int, *, at_close: bool
) -> BoolArray:
    """Whether every bar from entry to exit exists; after a delisting none is expected."""
    if listing.exists.all():
        return np.ones((rows, listing.exists.shape[1]), dtype=bool)
    bars = np.arange(len(listing.exists))[:, None]
    expected = ~(listing.delisted & (bars > listing.last))
    missing = np.zeros((len(bars) + 1, listing.exists.shape[1]), dtype=np.int64)
    np.cumsum(expected & ~listing.exists, axis=0, out=missing[1:])
    begin = first + np.arange(rows)
    none_missing: BoolArray = missing[begin + horizon_bars + 1] == missing[begin]
    # An entry at the final close could never leave again.
    entered = (begin + at_close)[:, None] <= listing.last
    return none_missing & listing.exists[begin] & (entered | ~listing.delisted)


def _require_timing(horizon_bars: int, entry_lag_bars: int) -> None:
    if horizon_bars < 1 or entry_lag_bars < 0:
        raise ValueError(
            f"horizon_bars {horizon_bars} must be >= 1, entry_lag_bars {entry_lag_bars} >= 0"
        )


@dataclass(frozen=True, slots=True)
class Holding:
    """What a book decided at bar t faces while it is held for one bar; all (rows, symbols).

    returns: from the trade after bar t to the next bar's trade; 0 where nothing can be earned.
    tradable: the bar of the trade exists; elsewhere a position stays as it was.
    listed: the symbol still trades; afterwards a position is cash.
    """

    returns: FloatArray
    tradable: BoolArray
    listed: BoolArray


def holding_returns(panel: Mapping[str, FloatArray], entry_lag_bars: int = 1) -> Holding:
    """One-bar returns for marking a book, n_bars - lag - 1 rows (0 if the panel is shorter).

    Unlike a label, a book cannot drop an outage: across a hole the price stands at the last close
    and the jump is earned when trading resumes. After a symbol's last bar it stands at its last
    close and then earns nothing.
    """
    _require_timing(1, entry_lag_bars)
    n_bars, n_symbols = panel["open"].shape
    rows = max(n_bars - entry_lag_bars - 1, 0)
    listing = _listing(panel)
    marks = panel["open"] if entry_lag_bars else panel["close"]
    if not listing.exists.all():
        marks = _standing_prices(marks, panel["close"], listing.exists)
    marks = marks[entry_lag_bars : entry_lag_bars + rows + 1]
    returns = np.zeros((rows, n_symbols))
    np.divide(marks[1:], marks[:-1], out=returns, where=np.isfinite(marks[:-1]))
    returns -= np.isfinite(marks[:-1])
    bars = entry_lag_bars + np.arange(rows)[:, None]
    listed = ~listing.delisted | (bars <= listing.last)
    return Holding(returns, listing.exists[entry_lag_bars : entry_lag_bars + rows], listed)


def _standing_prices(marks: FloatArray, close: FloatArray, exists: BoolArray) -> FloatArray:
    """Each bar's price, or the last close before it; NaN before the first bar."""
    bars = np.where(exists, np.arange(len(exists))[:, None], -1)
    latest = np.maximum.accumulate(bars, axis=0)
    standing = np.take_along_axis(close, np.maximum(latest, 0), axis=0)
    return np.where(exists, marks, np.where(latest >= 0, standing, np.nan))
