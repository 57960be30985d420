"""The times at which bars open.

Bars are numbered: bar `index` of an interval opens at `open_ms(interval, index)`. Fixed lengths
count from the epoch, weeks from a Monday, months by the calendar; a gap is a jump in the numbers.
"""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from alphamill.frames import IntArray, Interval

DAY_MS = 86_400_000
_MONDAY_MS = 4 * DAY_MS  # 1970-01-05, the first Monday of the epoch


def _anchor_ms(interval: Interval) -> int:
    return _MONDAY_MS if interval is Interval.W1 else 0


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
    """Where the bar after the one that holds `time_ms` opens.

    From an open time of an unknown 3d phase it is still three days on.
    """
    if interval is Interval.MO1:
        return open_ms(interval, index_at(interval, time_ms) + 1)
    if interval is Interval.D3 and time_ms % DAY_MS == 0:
        return time_ms + interval.ms
    return floor_ms(interval, time_ms) + interval.ms


def closed_until_ms(interval: Interval, server_time_ms: int) -> int:
    """A time before which every bar that opened has closed by the exchange's clock.

    The phase of 3d bars is not documented; a time that holds for any phase is given for them.
    """
    if interval is Interval.D3:
        return server_time_ms // DAY_MS * DAY_MS - 2 * DAY_MS
    return floor_ms(interval, server_time_ms)


def indices(interval: Interval, times_ms: IntArray) -> IntArray:
    """Number of the bar that holds each time."""
    if interval is Interval.MO1:
        months: IntArray = (
            times_ms.astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64)
        )
        return months
    return (times_ms - _anchor_ms(interval)) // interval.ms


def off_grid(interval: Interval, times_ms: IntArray) -> IntArray:
    """The times at which no bar of this interval can open; any day will do for 3d."""
    if interval is Interval.MO1:
        opens = times_ms.astype("datetime64[ms]").astype("datetime64[M]").astype("datetime64[ms]")
        wrong = opens.astype(np.int64) != times_ms
    else:
        step_ms = DAY_MS if interval is Interval.D3 else interval.ms
        wrong = (times_ms - _anchor_ms(interval)) % step_ms != 0
    strays: IntArray = times_ms[wrong]
    return strays
