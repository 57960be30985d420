"""The shapes of data that rooms hand to each other, each defined once.

KLINES  a pyarrow table of one symbol and interval, one row a closed bar, ascending `open_time`, no
        duplicates; missing bars are missing rows, never filled
FUNDING a pyarrow table of one perpetual contract, one row a payment, ascending `funding_time`: of
        one instant (see `market.funding.parse.settled_ms`) one of each kind, and all of them count
PRICES  as KLINES, of a price that is computed and not traded: mark, index, premium index
METRICS a pyarrow table of one futures contract, one row five minutes, ascending `open_time`, no
        duplicates; a value that the exchange has not published is null
PANEL   fields -> float64 arrays (bars, symbols) on one regular time grid; a missing bar is NaN, and
        so is an infinity

Each is loaded when it is asked for: an interval's length needs neither numpy nor pyarrow.
"""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.frames.arrays import FloatArray, IntArray
    from alphamill.frames.intervals import Interval, Market
    from alphamill.frames.panel import Panel
    from alphamill.frames.symbols import (
        SYMBOL_SPELLING,
        is_letter_or_number,
        is_symbol,
        symbol_meant,
    )
    from alphamill.frames.tables import (
        FUNDING,
        KLINE_FIELDS,
        KLINES,
        METRICS,
        PRICES,
        rows_within,
        times_ms,
    )
    from alphamill.frames.times import (
        SPECIAL_FUNDING_FROM,
        BarSpan,
        Month,
        TimeRange,
        months_between,
        union,
    )
    from alphamill.frames.wide import FLOW_UP_TO, METRICS_FROM, Wide, has_flow

__all__ = [
    "FLOW_UP_TO",
    "FUNDING",
    "KLINES",
    "KLINE_FIELDS",
    "METRICS",
    "METRICS_FROM",
    "PRICES",
    "SPECIAL_FUNDING_FROM",
    "SYMBOL_SPELLING",
    "BarSpan",
    "FloatArray",
    "IntArray",
    "Interval",
    "Market",
    "Month",
    "Panel",
    "TimeRange",
    "Wide",
    "has_flow",
    "is_letter_or_number",
    "is_symbol",
    "months_between",
    "rows_within",
    "symbol_meant",
    "times_ms",
    "union",
]

export_on_demand(__name__)
