"""KLINES, FUNDING, PRICES and METRICS as pyarrow schemas, and their columns of times."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from alphamill.frames.arrays import IntArray
from alphamill.frames.times import TimeRange

_TIME = pa.timestamp("ms", tz="UTC")

KLINES = pa.schema(
    [
        pa.field("open_time", _TIME, nullable=False),  # of the bar; on the exchange's grid
        pa.field("open", pa.float64()),  # prices: quote per base
        pa.field("high", pa.float64()),  # quote per base
        pa.field("low", pa.float64()),  # quote per base
        pa.field("close", pa.float64()),  # quote per base
        pa.field("volume", pa.float64()),  # base units; contracts on COIN-M
        pa.field("close_time", _TIME, nullable=False),  # its last millisecond
        pa.field("quote_volume", pa.float64()),  # quote units; base units on COIN-M
        pa.field("trades", pa.int64()),  # their number
        pa.field("taker_buy_base", pa.float64()),  # of volume, what takers bought
        pa.field("taker_buy_quote", pa.float64()),  # of quote_volume, what takers bought
    ]
)

FUNDING = pa.schema(
    [
        pa.field("funding_time", _TIME, nullable=False),  # as the exchange says: some ms off
        pa.field("funding_rate", pa.float64(), nullable=False),  # of the position; longs pay it
        pa.field("rate_type", pa.string()),  # "Regular", "Special"; null where the source is silent
    ]
)

PRICES = pa.schema(
    [
        pa.field("open_time", _TIME, nullable=False),  # of the bar; on the exchange's grid
        pa.field("open", pa.float64()),  # quote per base; of a premium index a signed rate
        pa.field("high", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("close", pa.float64()),
    ]
)

METRICS = pa.schema(
    [
        pa.field("open_time", _TIME, nullable=False),  # five minutes begin, whatever label they had
        pa.field("available_time", _TIME, nullable=False),  # from here on a trader could know it
        pa.field("open_interest", pa.float64()),  # as they end; base units, contracts on COIN-M
        pa.field("open_interest_value", pa.float64()),  # quote units; base units on COIN-M
        pa.field("toptrader_account_ratio", pa.float64()),  # top traders' accounts, long over short
        pa.field("toptrader_position_ratio", pa.float64()),  # and their positions
        pa.field("long_short_account_ratio", pa.float64()),  # all accounts, long over short
        pa.field("taker_long_short_ratio", pa.float64()),  # takers: bought over sold, of then
    ]
)

KLINE_FIELDS = tuple(name for name in KLINES.names if name not in ("open_time", "close_time"))


def times_ms(table: pa.Table, column: str | int = 0) -> IntArray:
    """A time column, by default the first, as int64 UTC epoch milliseconds."""
    times: IntArray = table.column(column).cast(pa.int64()).to_numpy()
    return times


def rows_within(table: pa.Table, asked: TimeRange) -> pa.Table:
    """Rows of that time of a table whose first column is a time, ascending."""
    first, last = np.searchsorted(times_ms(table), [asked.start_ms, asked.end_ms])
    return table.slice(first, last - first)
