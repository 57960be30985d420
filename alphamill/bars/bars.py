"""Bars as columns, and exact sums as the doubles nearest to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alphamill.bars.flow_columns import FLOW
from alphamill.frames import KLINES, FloatArray, IntArray

BoolArray = NDArray[np.bool_]
WordArray = NDArray[np.uint64]

_TIME = pa.timestamp("us", tz="UTC")
BARS = pa.schema(
    [
        pa.field("open_time", _TIME, nullable=False),  # time bars: on the grid; else first trade
        pa.field(
            "close_time", _TIME, nullable=False
        ),  # time bars: last millisecond; else last trade
        pa.field("open", pa.float64()),  # prices: quote per base
        pa.field("high", pa.float64()),  # quote per base
        pa.field("low", pa.float64()),  # quote per base
        pa.field("close", pa.float64()),  # quote per base
        pa.field("volume", pa.float64()),  # base units; contracts on COIN-M
        pa.field("quote_volume", pa.float64()),  # quote units; base units on COIN-M
        pa.field("trades", pa.int64()),  # fills; of aggregates last_id - first_id + 1
        pa.field("taker_buy_base", pa.float64()),  # of volume, what takers bought
        pa.field("taker_buy_quote", pa.float64()),  # of quote_volume, what takers bought
        pa.field("first_id", pa.int64()),  # of its first trade or aggregate; null without one
        pa.field("last_id", pa.int64()),  # of its last; null without one
        pa.field("complete", pa.bool_(), nullable=False),  # False: cut off by midnight or the end
    ]
)
"""Columns of bars of any rule; volumes are null where they are not known (see `Bars`)."""

_VOLUMES = ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote")


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars of one rule in order; all columns are of one length.

    open_time_us, close_time_us: UTC epoch microseconds, see BARS.
    open, high, low, close: quote per base.
    volume, quote_volume, taker_buy_base, taker_buy_quote: the double nearest to the exact decimal
        sum; NaN where a trade of the bar has no quantity, the last two also where takers' sides are
        not known.
    trades: fills. first_id, last_id: of rows; -1 in a bar without trades.
    complete: False for a bar that midnight or the end of the data cut off.
    flow: further columns by name, see `FLOW`.
    """

    open_time_us: IntArray
    close_time_us: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray
    quote_volume: FloatArray
    trades: IntArray
    taker_buy_base: FloatArray
    taker_buy_quote: FloatArray
    first_id: IntArray
    last_id: IntArray
    complete: BoolArray
    flow: Mapping[str, FloatArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.open_time_us.size)

    def __getitem__(self, rows: slice | IntArray | BoolArray) -> Bars:
        """Some of the rows: a slice, their numbers, or a mask."""
        columns = {name: getattr(self, name)[rows] for name in COLUMNS}
        return Bars(**columns, flow={name: column[rows] for name, column in self.flow.items()})

    def without_sides(self) -> Bars:
        """The same where takers' sides are not known: what needs them is NaN."""
        nothing = np.full(len(self), np.nan)
        flow = {
            name: nothing if FLOW[name].needs_sides else column
            for name, column in self.flow.items()
        }
        return replace(self, taker_buy_base=nothing, taker_buy_quote=nothing, flow=flow)

    def table(self) -> pa.Table:
        """BARS, and flow columns behind them; NaN is null."""
        empty = self.first_id < 0
        columns = {}
        for name in BARS.names:
            values = getattr(self, f"{name}_us" if name.endswith("_time") else name)
            kind = BARS.field(name).type
            if name in ("first_id", "last_id"):
                columns[name] = pa.array(values, mask=empty)
            elif name in _VOLUMES:
                columns[name] = pa.array(values, from_pandas=True)
            elif name.endswith("_time"):
                columns[name] = pa.array(values).view(kind)
            else:
                columns[name] = pa.array(values)
        schema = BARS
        for name, values in self.flow.items():
            columns[name] = pa.array(values, from_pandas=True)
            schema = schema.append(pa.field(name, pa.float64()))
        return pa.table(columns, schema=schema)

    def klines(self) -> pa.Table:
        """KLINES of time bars, as the exchange would serve them."""
        table = self.table().select(KLINES.names)
        return table.cast(KLINES)


COLUMNS = tuple(name for name in Bars.__dataclass_fields__ if name != "flow")


def join_bars(pieces: list[Bars]) -> Bars:
    """Bars of several pieces in their order, at least one."""
    if len(pieces) == 1:
        return pieces[0]
    columns = {name: np.concatenate([getattr(bars, name) for bars in pieces]) for name in COLUMNS}
    flow = {name: np.concatenate([bars.flow[name] for bars in pieces]) for name in pieces[0].flow}
    return Bars(**columns, flow=flow)


_EXACT = 2**53  # whole numbers up to here are doubles


def doubles(low: WordArray, high: WordArray, decimals: int) -> FloatArray:
    """The doubles nearest to (high * 2**64 + low) / 10**decimals."""
    words = low.astype(np.uint64)
    scale = 10**decimals
    # Both are doubles then, and a quotient of doubles is rounded once.
    plain = (high == 0) & (words <= _EXACT) if decimals <= 22 else np.zeros(low.size, np.bool_)
    values: FloatArray = np.divide(words, float(scale))
    for row in np.flatnonzero(~plain):
        values[row] = ((int(high[row]) << 64) + int(words[row])) / scale
    return values


def prices(values: IntArray, decimals: int) -> FloatArray:
    """The doubles nearest to `values` / 10**decimals; `values` are not below 0."""
    return doubles(values.view(np.uint64), np.zeros(values.size, np.uint64), decimals)
