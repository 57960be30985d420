"""The last bars of a live's symbols: what its newest values are computed from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from alphamill.frames import KLINE_FIELDS, FloatArray, IntArray, Interval, Panel
from alphamill.grid import index_at, open_ms

BarValues = Sequence[float]  # in the order of KLINE_FIELDS


class Window:
    """Bars by number and symbol; a bar that is not known is NaN.

    bars: how many it holds at least. Memory is a quarter more: old bars leave many at a time, so
    that a panel is a view.
    """

    def __init__(self, interval: Interval, symbols: Sequence[str], bars: int) -> None:
        self.interval = interval
        self.symbols = tuple(symbols)
        self._column = {symbol: at for at, symbol in enumerate(self.symbols)}
        self._bars = bars
        self._places = bars + max(bars // 4, 16)
        shape = (self._places, len(self.symbols))
        self._fields = {name: np.full(shape, np.nan) for name in KLINE_FIELDS}
        self._digests: dict[int, bytes] = {}
        self._first: int | None = None  # number of row 0's bar

    def put(self, symbol: str, bar_ms: int, values: BarValues) -> bool:
        """Take a bar; False if it is older than what is held, or what was known already."""
        row = self._row(index_at(self.interval, bar_ms))
        if row is None:
            return False
        at = row, self._column[symbol]
        known = True
        for name, value in zip(KLINE_FIELDS, values, strict=True):
            field = self._fields[name]
            if field[at] != value:
                known = False
                field[at] = value if np.isfinite(value) else np.nan
        if not known:
            self._digests.pop(index_at(self.interval, bar_ms), None)
        return not known

    def panel(self, bar_ms: int, bars: int) -> Panel:
        """The `bars` bars that end with the one that opens at `bar_ms`, as views.

        ValueError for a bar that is not held any more, or not yet.
        """
        fields = self.fields(bar_ms, bars)
        return Panel(self.interval, self.times_ms(bar_ms, bars), self.symbols, fields)

    def fields(self, bar_ms: int, bars: int) -> dict[str, FloatArray]:
        """The same bars without a look at every value: KLINE_FIELDS, (bars, symbols), views."""
        rows = self._rows(index_at(self.interval, bar_ms), bars)
        return {name: values[rows] for name, values in self._fields.items()}

    def times_ms(self, bar_ms: int, bars: int) -> IntArray:
        """Their open times."""
        last = index_at(self.interval, bar_ms)
        numbers = range(last - bars + 1, last + 1)
        return np.array([open_ms(self.interval, number) for number in numbers], dtype=np.int64)

    def digest(self, bar_ms: int, bars: int) -> str:
        """SHA-256 of those bars of all symbols: equal for equal bits, whoever holds them."""
        last = index_at(self.interval, bar_ms)
        rows = self._rows(last, bars)
        whole = hashlib.sha256()
        for row in range(rows.start, rows.stop):
            number = last - (rows.stop - 1 - row)
            known = self._digests.get(number)
            if known is None:
                known = row_digest([self._fields[name][row] for name in KLINE_FIELDS])
                self._digests[number] = known
            whole.update(known)
        return whole.hexdigest()

    def _rows(self, last: int, bars: int) -> slice:
        row = self._row(last) if self._first is None or last >= self._first else None
        if row is None or row + 1 < bars or bars > self._bars:
            raise ValueError(f"{bars} bars up to number {last} are not held")
        return slice(row + 1 - bars, row + 1)

    def _row(self, index: int) -> int | None:
        """The row of a bar, made room for if it is new; None if it is older than all."""
        if self._first is None:
            self._first = index - self._bars + 1
        if index < self._first:
            return None
        if index - self._first >= self._places:
            self._leave(index - self._bars + 1 - self._first)
            self._first = index - self._bars + 1
        return index - self._first

    def _leave(self, gone: int) -> None:
        """Forget the first `gone` rows."""
        for values in self._fields.values():
            kept = values[gone:].copy()
            values[: len(kept)] = kept
            values[len(kept) :] = np.nan
        held = set(sorted(self._digests)[-self._bars :])
        self._digests = {number: one for number, one in self._digests.items() if number in held}


def row_digest(values: Sequence[FloatArray]) -> bytes:
    """SHA-256 of one bar of all symbols: its fields in the order of KLINE_FIELDS.

    Doubles, little-endian; every NaN is the one NaN, whatever its bits were.
    """
    whole = hashlib.sha256()
    for field in values:
        plain = np.where(np.isnan(field), np.nan, field).astype("<f8")
        whole.update(plain.tobytes())
    return whole.digest()


def panel_digest(panel: Panel) -> str:
    """The digest that a Window of the same bars has; the panel has the KLINE_FIELDS."""
    whole = hashlib.sha256()
    for row in range(panel.n_bars):
        whole.update(row_digest([panel.fields[name][row] for name in KLINE_FIELDS]))
    return whole.hexdigest()
