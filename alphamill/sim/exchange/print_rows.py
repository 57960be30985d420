"""Bars as the exchange prints them: rows whose numbers read back as exactly the same floats."""

from __future__ import annotations

import numpy as np

from alphamill.frames import KLINE_FIELDS, Interval
from alphamill.sim.market import Bars
from alphamill.sim.market.bars import close_ms

_BLOCK_ROWS = 1000
_NUMBERS = tuple(name for name in KLINE_FIELDS if name != "trades")


def number_text(value: float) -> str:
    """Eight decimals, as the exchange prints, or as many as `float(text) == value` needs.

    Raises ValueError for NaN and infinity, which no exchange prints.
    """
    text = f"{value:.8f}"
    if float(text) == value:
        return text
    if not np.isfinite(value):
        raise ValueError(f"{value} is not a price")
    return np.format_float_positional(value, unique=True, trim="-")


def print_rows(bars: Bars, interval: Interval, unit: int = 1) -> list[str]:
    """One JSON array of 12 fields a bar; times in milliseconds x `unit` (1000: microseconds)."""
    quoted = [
        [f'"{number_text(value)}"' for value in column.tolist()]
        for column in (getattr(bars, name) for name in _NUMBERS)
    ]
    columns = zip(bars.open_ms.tolist(), bars.trades.tolist(), *quoted, strict=True)
    return [
        f"[{start * unit},{o},{h},{low},{c},{v},{(close_ms(start, interval) + 1) * unit - 1},"
        f'{quote},{trades},{taker},{taker_quote},"0"]'
        for start, trades, o, h, low, c, v, quote, taker, taker_quote in columns
    ]


class PrintedRows:
    """Rows of closed bars, printed once a block; bars never change while the server runs."""

    def __init__(self, bars: Bars, interval: Interval) -> None:
        self.bars = bars
        self._interval = interval
        self._blocks: dict[int, list[str]] = {}

    def texts(self, first: int, stop: int) -> list[str]:
        """Rows `first` to `stop` (excluded), times in milliseconds."""
        found: list[str] = []
        for block in range(first // _BLOCK_ROWS, -(-stop // _BLOCK_ROWS)):
            start = block * _BLOCK_ROWS
            found += self._block(block)[max(0, first - start) : stop - start]
        return found

    def _block(self, block: int) -> list[str]:
        if block not in self._blocks:
            start = block * _BLOCK_ROWS
            part = self.bars.rows(start, start + _BLOCK_ROWS)
            self._blocks[block] = print_rows(part, self._interval)
        return self._blocks[block]
