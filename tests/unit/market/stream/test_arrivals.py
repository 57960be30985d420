"""The record of when each bar came, and what many sum up to."""

from dataclasses import replace

import pyarrow.parquet as pq
import pytest

from alphamill.frames import Interval, Market
from alphamill.market.stream import Standing
from alphamill.market.stream.arrivals import (
    ARRIVALS,
    ClosedBy,
    Source,
    arrivals_of,
    arrivals_table,
    lags_of,
    latest,
    of_rest,
    of_stream,
    reread,
    worst_symbols,
)
from tests.unit.market.stream.exchange import MINUTE, START, Scene

M1 = Interval.M1
BTC, ETH = ("BTCUSDT", M1), ("ETHUSDT", M1)


def followed(series, faults, minutes, **changed):
    """Records of a follower: as it was told, each with the last of the same bar before it."""
    scene = Scene(series, faults=faults, **changed)
    events = []
    scene.closed = scene.absent = scene.notices = events
    scene.go(60 * minutes)
    records, last = [], {}
    for event in events:
        if hasattr(event, "kind"):
            continue
        bar = getattr(event, "bar", event)
        key = bar.symbol, bar.interval, bar.open_ms
        last[key] = of_stream(event, last.get(key))
        records.append(last[key])
    return records


@pytest.fixture(scope="module")
def records():
    return followed([BTC, ETH], ["close_late=20-40:@3", "close_lost:@5"], 10, clock_off_ms=700)


def test_a_bar_that_came_late_keeps_when_it_was_missed(records):
    (first, second) = [one for one in records if one.key == ("BTCUSDT", M1, START + 2 * MINUTE)]
    assert (first.source, first.received_ms, first.lag_ms) == (None, None, None)
    assert first.closed_by is ClosedBy.NOTHING
    assert (second.source, second.closed_by) == (Source.STREAM, ClosedBy.LATE_FLAG)
    assert (second.absent_ms, second.reason) == (first.absent_ms, "nothing was told since its end")
    assert 20_000 <= second.lag_ms <= 40_020
    assert second.event_ms == second.received_ms - second.skew_ms
    assert second.skew_ms == 700
    assert second.connection == 1


def test_a_bar_is_counted_once_and_missing_is_not_late(records):
    lags = lags_of(records)
    assert len(records) == 22
    assert (lags.bars, lags.missing, lags.late, lags.revised, lags.reread) == (20, 2, 2, 0, 0)
    assert lags.missing_frac == 0.1
    assert lags.by_source == {"stream": 18}
    assert lags.reasons == {"nothing was told since its end": 4}
    assert lags.median_ms < 10
    assert lags.p99_ms == lags.longest_ms == max(one.lag_ms or 0 for one in records)


def test_a_missing_bar_that_rest_has_comes_from_there(records):
    (absent,) = [one for one in latest(records) if one.source is None and one.symbol == "ETHUSDT"]
    come = of_rest(*absent.key, absent.end_ms + 4_000 + 700, 700, absent)
    assert (come.source, come.closed_by, come.lag_ms) == (Source.REST, ClosedBy.REST, 4_000)
    assert (come.absent_ms, come.end_ms) == (absent.absent_ms, absent.end_ms)
    lags = lags_of([*records, come])
    assert (lags.bars, lags.missing, lags.late) == (20, 1, 3)
    assert lags.by_source == {"stream": 18, "rest": 1}


def test_a_frame_that_comes_after_rest_changes_nothing():
    early, late = followed([BTC], ["close_late=20:@1"], 2)[:2]
    come = of_rest(*early.key, early.end_ms + 3_000, 0, early)
    scene = Scene([BTC], faults=["close_late=20:@1"])
    scene.go(60)
    (event,) = scene.closed
    assert event.standing is Standing.LATE
    assert of_stream(event, early) == late
    assert of_stream(event, come) == come
    changed = replace(event, standing=Standing.CHANGED)
    assert of_stream(changed, come) == replace(come, revised=True)


def test_what_was_read_again_is_revised_or_not_and_stays_so(records):
    one = records[0]
    assert one.revised is None
    assert reread(one, same=True).revised is False
    assert reread(reread(one, same=False), same=True).revised is True
    lags = lags_of([*records, reread(records[0], same=True), reread(records[1], same=False)])
    assert (lags.bars, lags.reread, lags.revised) == (20, 2, 1)


def test_records_go_to_parquet_and_back(records, tmp_path):
    more = [*records, reread(records[0], same=False), of_rest("币安人生USDT", M1, START, START, 0)]
    table = arrivals_table(more)
    assert table.schema.equals(ARRIVALS)
    pq.write_table(table, tmp_path / "arrivals.parquet")
    read = pq.read_table(tmp_path / "arrivals.parquet", partitioning=None)
    assert arrivals_of(read) == more
    assert arrivals_of(arrivals_table([])) == []
    with pytest.raises(ValueError, match="columns"):
        arrivals_of(read.drop_columns(["skew_ms"]))


def test_the_worst_symbols_come_first():
    base = followed([BTC], [], 3)[0]

    def of(symbol, *lags):
        return [
            replace(base, symbol=symbol, open_ms=START + at * MINUTE,
                    end_ms=START + (at + 1) * MINUTE,
                    received_ms=None if lag is None else START + (at + 1) * MINUTE + lag)
            for at, lag in enumerate(lags)
        ]  # fmt: skip

    records = of("FAST", 5, 5, 5) + of("SLOW", 5, 9_000, 5) + of("LOST", 5, None, 5)
    assert [symbol for symbol, _ in worst_symbols(records, 2)] == ["LOST", "SLOW"]
    assert worst_symbols(records, 9)[2][1].p99_ms == 5
    assert worst_symbols([], 9) == []


def test_of_nothing_there_is_nothing_to_say():
    lags = lags_of([])
    assert (lags.bars, lags.missing_frac, lags.median_ms, lags.p99_ms) == (0, None, None, None)


def test_the_99th_percentile_is_a_lag_that_was_met():
    base = followed([BTC], [], 3, market=Market.SPOT)[0]
    bars = [
        replace(base, open_ms=START + at * MINUTE, end_ms=0, received_ms=at + 1, skew_ms=0)
        for at in range(200)
    ]
    lags = lags_of(bars)
    assert (lags.median_ms, lags.p99_ms, lags.longest_ms) == (100.5, 199, 200)
