"""Bars as the exchange prints them: rows whose numbers read back as exactly the same floats."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from alphamill.frames import KLINE_FIELDS, Interval
from alphamill.sim.market import Bars
from alphamill.sim.market.bars import close_ms, unfinished

_BLOCK_ROWS = 1000
_PRICES = ("open", "high", "low", "close")
NUMBERS = tuple(name for name in KLINE_FIELDS if name != "trades")


@dataclass(frozen=True, slots=True)
class Decimals:
    """How many decimals are printed of a price, of a volume and of a quote volume, at the least."""

    price: int = 8
    volume: int = 8
    quote: int = 8

    def of(self, field: str) -> int:
        """Of one of KLINE_FIELDS."""
        if field in ("volume", "taker_buy_base"):
            return self.volume
        return self.quote if field in ("quote_volume", "taker_buy_quote") else self.price


SPOT_DECIMALS = Decimals()


def number_text(value: float, decimals: int = 8) -> str:
    """So many decimals, as the exchange prints, or as many as `float(text) == value` needs.

    Raises ValueError for NaN and infinity, which no exchange prints.
    """
    text = f"{value:.{decimals}f}"
    if float(text) == value:
        return text
    if not np.isfinite(value):
        raise ValueError(f"{value} is not a price")
    return np.format_float_positional(value, unique=True, trim="-")


def on_grid(field: str, value: float, decimals: Decimals) -> float:
    """A number of an unfinished bar as it can be traded: amounts are cut, never raised."""
    fewest = decimals.of(field)
    if field in _PRICES:
        return round(value, fewest)
    return round(math.floor(round(value * 10.0**fewest, 6)) / 10.0**fewest, fewest)


def unfinished_on_grid(bar: Bars, interval: Interval, now_ms: int, decimals: Decimals) -> Bars:
    """The one bar of `bar` as it is printed at `now_ms`, before its close."""
    running = unfinished(bar, interval, now_ms)
    values = {
        name: np.array([on_grid(name, float(getattr(running, name)[0]), decimals)])
        for name in NUMBERS
    }
    return replace(running, **values)


def print_rows(
    bars: Bars, interval: Interval, unit: int = 1, decimals: Decimals = SPOT_DECIMALS
) -> list[str]:
    """One JSON array of 12 fields a bar; times in milliseconds x `unit` (1000: microseconds)."""
    quoted = [
        [f'"{number_text(value, decimals.of(name))}"' for value in getattr(bars, name).tolist()]
        for name in NUMBERS
    ]
    columns = zip(bars.open_ms.tolist(), bars.trades.tolist(), *quoted, strict=True)
    return [
        f"[{start * unit},{o},{h},{low},{c},{v},{(close_ms(start, interval) + 1) * unit - 1},"
        f'{quote},{trades},{taker},{taker_quote},"0"]'
        for start, trades, o, h, low, c, v, quote, taker, taker_quote in columns
    ]


class PrintedRows:
    """Rows of closed bars, printed once a block; bars never change while the server runs."""

    def __init__(self, bars: Bars, interval: Interval, decimals: Decimals = SPOT_DECIMALS) -> None:
        self.bars = bars
        self.decimals = decimals
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
            self._blocks[block] = print_rows(part, self._interval, decimals=self.decimals)
        return self._blocks[block]
