"""Time bars in which nothing was traded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from alphamill.bars.bars import Bars
from alphamill.bars.flow_columns import FLOW
from alphamill.frames import FloatArray, IntArray

DAY_US = 86_400_000_000
_MOST = 5_000_000  # bars at once; more come of a time that cannot be true


def time_grid(length_us: int, start_us: int, end_us: int) -> IntArray:
    """Where bars open from `start_us` on and before `end_us`; each day begins anew at midnight.

    ValueError for more than five million: a time far off is a fault of the data.
    """
    if (end_us - start_us) // length_us > _MOST:
        raise ValueError(
            f"from {_shown(start_us)} to {_shown(end_us)} are over {_MOST:,} bars: "
            f"a time is wrong, or `within_us` is missing"
        )
    days = np.arange(start_us // DAY_US, -(-end_us // DAY_US), dtype=np.int64) * DAY_US
    opens = (days[:, None] + np.arange(0, DAY_US, length_us, dtype=np.int64)[None, :]).ravel()
    found: IntArray = opens[(opens >= start_us) & (opens < end_us)]
    return found


def _shown(time_us: int) -> str:
    return str(np.datetime64(time_us, "us"))


def with_flat_bars(bars: Bars, opens: IntArray, length_us: int, previous: float | None) -> Bars:
    """`bars` at their places among `opens`; the others flat at the close before them.

    previous: the close before the first of `bars`; needed where `opens` begin earlier.
    """
    if opens.size == len(bars):
        return bars
    before = np.searchsorted(bars.open_time_us, opens, side="right") - 1
    closes = np.append(bars.close, np.nan if previous is None else previous)
    close: FloatArray = closes[before]  # -1, before the first, is `previous`
    traded = np.zeros(opens.size, np.bool_)
    traded[np.searchsorted(opens, bars.open_time_us)] = True

    def put(values: NDArray[Any], flat: FloatArray | float) -> NDArray[Any]:
        column = np.full(opens.size, flat, values.dtype)
        column[traded] = values
        return column

    ends = np.minimum(opens + length_us, opens - opens % DAY_US + DAY_US) - 1000
    return Bars(
        open_time_us=opens,
        close_time_us=ends,
        open=put(bars.open, close),
        high=put(bars.high, close),
        low=put(bars.low, close),
        close=put(bars.close, close),
        volume=put(bars.volume, 0.0),
        quote_volume=put(bars.quote_volume, 0.0),
        trades=put(bars.trades, 0),
        taker_buy_base=put(bars.taker_buy_base, 0.0),
        taker_buy_quote=put(bars.taker_buy_quote, 0.0),
        first_id=put(bars.first_id, -1),
        last_id=put(bars.last_id, -1),
        complete=put(bars.complete, 1),
        flow={name: put(values, FLOW[name].of_silence) for name, values in bars.flow.items()},
    )
