"""Bars made of shorter ones, for a length that the exchange does not serve."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from alphamill.frames.arrays import FloatArray

_SUMS = frozenset(
    {"volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"}
)  # over a bar


def coarser(fields: Mapping[str, FloatArray], every: int) -> dict[str, FloatArray]:
    """Each `every` bars as one: first open, highest high, lowest low, last close, the others' sums.

    fields: KLINE_FIELDS or some of them, float64 (bars, ...) on a full grid whose first bar begins
    a longer one; NaN where there is no bar. A longer bar of which one is missing is missing; bars
    at the end that make no whole one are left out.
    Raises ValueError for a field that is no column of klines.
    """
    known = _SUMS | {"open", "high", "low", "close"}
    if unknown := sorted(set(fields) - known):
        raise ValueError(f"{', '.join(unknown)}: of columns of klines alone is known how they add")
    found = {}
    for name, values in fields.items():
        whole = len(values) // every * every
        parts = values[:whole].reshape(-1, every, *values.shape[1:])
        if name in _SUMS:
            made = parts.sum(axis=1)
        elif name == "high":
            made = parts.max(axis=1)
        elif name == "low":
            made = parts.min(axis=1)
        else:
            made = parts[:, 0 if name == "open" else -1].copy()
            made[np.isnan(parts).any(axis=1)] = np.nan
        found[name] = made
    return found
