"""One thing is said of every bar: it closed, or it is absent."""

from dataclasses import replace

import pytest

from alphamill import grid
from alphamill.frames import Interval
from alphamill.market.stream import Standing, StreamBar
from alphamill.market.stream.expected import ExpectedBars

MINUTE = 60_000
START = 1_704_067_200_000
BTC = ("BTCUSDT", Interval.M1)


def bar(minute, series=BTC, close=5.0):
    symbol, interval = series
    open_ms = grid.open_ms(interval, grid.index_at(interval, START) + minute)
    end_ms = grid.next_ms(interval, open_ms)
    return StreamBar(
        symbol, interval, open_ms, end_ms - 1, 5.0, 9.0, 1.0, close, 1.0, 5.0, 3, 0.5, 2.5, True,
        end_ms + 3,
    )  # fmt: skip


@pytest.fixture
def bars():
    expected = ExpectedBars(2_500)
    expected.follow(BTC, START + 30_000)
    return expected


def absent(expected, minutes, plus_ms=2_500):
    return [
        (open_ms - START) // MINUTE
        for _, open_ms in expected.absent(START + minutes * MINUTE + plus_ms)
    ]


def test_the_running_bar_is_the_first_that_is_due(bars):
    assert bars.due_ms == START + MINUTE + 2_500
    assert absent(bars, 1, 2_499) == []
    assert bars.take(bar(-1)) is None
    assert bars.take(bar(0)) is Standing.IN_TIME
    assert absent(bars, 1) == []
    assert bars.due_ms == START + 2 * MINUTE + 2_500
    assert bars.ignored == {"too old": 1}


def test_what_has_not_closed_is_absent_once_and_may_come_late_once(bars):
    assert absent(bars, 3) == [0, 1, 2]
    assert absent(bars, 3) == []
    assert bars.missed(BTC) == 3
    assert bars.take(bar(1)) is Standing.LATE
    assert bars.take(bar(1)) is None
    assert bars.missed(BTC) == 0
    assert absent(bars, 4) == [3]


def test_the_same_again_is_nothing_and_other_numbers_are_a_change(bars):
    assert bars.take(bar(0)) is Standing.IN_TIME
    assert bars.take(replace(bar(0), event_ms=START + 99_000)) is None
    assert bars.take(bar(0, close=6.0)) is Standing.CHANGED
    assert bars.take(bar(0, close=6.0)) is None
    assert absent(bars, 1) == []
    assert bars.ignored == {"twice": 2}


def test_order_does_not_matter(bars):
    assert [bars.take(bar(at)) for at in (2, 0, 1)] == [Standing.IN_TIME] * 3
    assert absent(bars, 3) == []


def test_series_have_their_own_grids_and_go():
    expected = ExpectedBars(0)
    eth = ("ETHUSDT", Interval.H1)
    month = ("BTCUSDT", Interval.MO1)
    for series in (BTC, eth, month, BTC):
        expected.follow(series, START)
    assert len(list(expected.absent(START + 59 * MINUTE))) == 59
    assert list(expected.absent(START + 60 * MINUTE)) == [(BTC, START + 59 * MINUTE), (eth, START)]
    expected.leave(BTC)
    expected.leave(("NEVER", Interval.M1))
    assert expected.due_ms == START + 120 * MINUTE
    assert expected.take(bar(60)) is None
    expected.leave(eth)
    assert list(expected.absent(START + 31 * 24 * 60 * MINUTE)) == [(month, START)]
    expected.leave(month)
    assert expected.due_ms is None


def test_memory_stays_flat_and_what_is_long_past_is_not_spoken_of(bars):
    for minute in range(5_000):
        if minute % 3:
            assert bars.take(bar(minute)) is Standing.IN_TIME
        list(bars.absent(START + (minute + 1) * MINUTE + 2_500))
    followed = bars._followed[BTC]
    assert len(followed.closed) + len(followed.absent) <= 17
    assert bars.take(bar(4_980)) is None
    assert bars.take(bar(4_998)) is Standing.LATE
