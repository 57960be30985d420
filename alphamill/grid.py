"""The times at which bars open.

Bars are numbered: bar `index` of an interval opens at `open_ms(interval, index)`. Fixed lengths
count from the epoch, three days from the day after it, weeks from a Monday, months by the calendar;
a gap is a jump in the numbers. A symbol's first bar opens on this grid as well, so that it may open
before the first trade, on days, weeks and months even before the day of the listing.

Source: recorded 1d, 3d and 1w bars of spot, 2017-08 to 2026-01; spot and USD-M agree.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import IntArray, Interval

BoolArray = NDArray[np.bool_]

DAY_MS = 86_400_000
# Where a bar opens that is not on the multiples of its length: weeks on 1970-01-05, a Monday.
_ANCHORS_MS = {Interval.D3: DAY_MS, Interval.W1: 4 * DAY_MS}


def _anchor_ms(interval: Interval) -> int:
    return _ANCHORS_MS.get(interval, 0)


def index_at(interval: Interval, time_ms: int) -> int:
    """Number of the bar that holds `time_ms`."""
    if interval is Interval.MO1:
        moment = datetime.fromtimestamp(time_ms // 1000, UTC)
        return (moment.year - 1970) * 12 + moment.month - 1
    return (time_ms - _anchor_ms(interval)) // interval.ms


def open_ms(interval: Interval, index: int) -> int:
    """Open time of bar `index`."""
    if interval is Interval.MO1:
        year, month = divmod(index, 12)
        return int(datetime(1970 + year, month + 1, 1, tzinfo=UTC).timestamp() * 1000)
    return index * interval.ms + _anchor_ms(interval)


def floor_ms(interval: Interval, time_ms: int) -> int:
    """Open time of the bar that holds `time_ms`."""
    return open_ms(interval, index_at(interval, time_ms))


def ceil_ms(interval: Interval, time_ms: int) -> int:
    """The first open time at or after `time_ms`."""
    floor = floor_ms(interval, time_ms)
    return floor if floor == time_ms else next_ms(interval, floor)


def next_ms(interval: Interval, time_ms: int) -> int:
    """Where the bar after the one that holds `time_ms` opens."""
    return open_ms(interval, index_at(interval, time_ms) + 1)


def indices(interval: Interval, times_ms: IntArray) -> IntArray:
    """Number of the bar that holds each time."""
    if interval is Interval.MO1:
        months: IntArray = (
            times_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
        )
        return months
    return (times_ms - _anchor_ms(interval)) // interval.ms


def off_grid(interval: Interval, times_ms: IntArray) -> BoolArray:
    """Which of the times are none at which a bar of this interval can open."""
    if interval is Interval.MO1:
        opens = times_ms.astype("datetime64[ms]").astype("datetime64[M]").astype("datetime64[ms]")
        wrong: BoolArray = opens.astype(np.int64) != times_ms
    else:
        wrong = (times_ms - _anchor_ms(interval)) % interval.ms != 0
    return wrong
