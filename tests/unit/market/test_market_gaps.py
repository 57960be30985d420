"""The grid of bars, gaps and halts."""

from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill import grid
from alphamill.frames import KLINES, BarSpan, Interval, TimeRange, times_ms
from alphamill.market.klines.parse import find_gaps, find_halts, merge_klines

DATA = Path(__file__).parents[4] / "shared" / "data"
HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_617_235_200_000  # 2021-04-01 00:00 UTC, a Thursday


def ms(*date):
    return int(datetime(*date, tzinfo=UTC).timestamp() * 1000)


def klines(times, close=1.0, volume=1.0):
    n = len(times)
    stamp = pa.timestamp("ms", tz="UTC")
    columns = {
        f.name: pa.array(np.full(n, close), pa.float64()) for f in KLINES if f.type == pa.float64()
    }
    columns["volume"] = pa.array(np.broadcast_to(volume, n), pa.float64())
    columns["trades"] = pa.array(np.ones(n), pa.int64())
    columns["open_time"] = pa.array(times, pa.int64()).cast(stamp)
    columns["close_time"] = pa.array(np.asarray(times, dtype=np.int64) + 1, pa.int64()).cast(stamp)
    return pa.Table.from_pydict(columns, schema=KLINES)


@pytest.mark.parametrize(
    ("interval", "inside", "opens", "next_opens"),
    [
        (Interval.S1, START + 1, START, START + 1000),
        (Interval.H4, START + 5 * HOUR, START + 4 * HOUR, START + 8 * HOUR),
        (Interval.D3, ms(2024, 1, 3, 23), ms(2024, 1, 1), ms(2024, 1, 4)),
        (Interval.D3, ms(1970, 1, 1), ms(1969, 12, 30), ms(1970, 1, 2)),
        (Interval.W1, ms(2021, 4, 1), ms(2021, 3, 29), ms(2021, 4, 5)),
        (Interval.MO1, ms(2021, 12, 31, 23), ms(2021, 12, 1), ms(2022, 1, 1)),
        (Interval.MO1, ms(2024, 2, 29), ms(2024, 2, 1), ms(2024, 3, 1)),
    ],
)
def test_where_bars_open(interval, inside, opens, next_opens):
    assert grid.floor_ms(interval, inside) == opens
    assert grid.ceil_ms(interval, opens) == opens
    assert grid.ceil_ms(interval, opens + 1) == next_opens
    assert grid.next_ms(interval, inside) == next_opens


@given(st.sampled_from(list(Interval)), st.integers(0, 2**42))
def test_numbering_is_one_grid(interval, time_ms):
    index = grid.index_at(interval, time_ms)
    opens = grid.open_ms(interval, index)
    assert opens <= time_ms < grid.open_ms(interval, index + 1)
    assert grid.indices(interval, np.array([time_ms])).tolist() == [index]
    assert grid.off_grid(interval, np.array([opens, opens + 1])).tolist() == [False, True]
    assert grid.next_ms(interval, time_ms) == grid.open_ms(interval, index + 1)


def test_months_have_no_fixed_length():
    times = [ms(2021, 1, 1), ms(2021, 2, 1), ms(2021, 5, 1)]
    gaps = find_gaps(klines(times), Interval.MO1, TimeRange(ms(2021, 1, 1), ms(2021, 6, 1)))
    assert gaps == [BarSpan(ms(2021, 3, 1), ms(2021, 5, 1), 2)]


def test_gaps_at_both_ends_and_between():
    table = klines([START + i * HOUR for i in (1, 2, 5)])
    assert find_gaps(table, Interval.H1, TimeRange(START, START + 8 * HOUR)) == [
        BarSpan(START, START + HOUR, 1),
        BarSpan(START + 3 * HOUR, START + 5 * HOUR, 2),
        BarSpan(START + 6 * HOUR, START + 8 * HOUR, 2),
    ]


def test_no_bars_is_one_gap_and_no_range_is_none():
    assert find_gaps(klines([]), Interval.W1, TimeRange(ms(2021, 4, 1), ms(2021, 5, 1))) == [
        BarSpan(ms(2021, 4, 5), ms(2021, 5, 3), 4)
    ]
    assert find_gaps(klines([]), Interval.H1, TimeRange(START, START)) == []


@pytest.mark.parametrize("start_days", range(9))
def test_three_day_bars_have_their_gaps_wherever_the_range_begins(start_days):
    opens = [ms(2023, 12, 29) + 3 * n * DAY for n in range(7)]
    table = klines([t for t in opens if t != ms(2024, 1, 13)])
    start = opens[0] + start_days * DAY
    gaps = find_gaps(table, Interval.D3, TimeRange(start, opens[-1]))
    assert gaps == [BarSpan(ms(2024, 1, 13), ms(2024, 1, 16), 1)]


@pytest.mark.skipif(not DATA.exists(), reason="recorded data is not here")
@pytest.mark.parametrize(
    ("interval", "rows"), [(Interval.D1, 3065), (Interval.D3, 1023), (Interval.W1, 438)]
)
def test_the_exchanges_own_bars_of_eight_years_are_a_grid_without_a_gap(interval, rows):
    days = pd.read_csv(DATA / f"bars_3d_1w/BTCUSDT_{interval}.csv")["timestamp"]
    times = days.to_numpy("datetime64[ms]").astype(np.int64)
    assert len(times) == rows
    assert not grid.off_grid(interval, times).any()
    # From any time within the first bar to the end of the last.
    for early_ms in (0, DAY - 1):
        asked = TimeRange(int(times[0]) - early_ms, grid.next_ms(interval, int(times[-1])))
        assert find_gaps(klines(times), interval, asked) == []


@given(
    st.sampled_from(
        [Interval.M1, Interval.H4, Interval.D1, Interval.D3, Interval.W1, Interval.MO1]
    ),
    st.sets(st.integers(0, 60)),
    st.integers(0, 30),
    st.integers(0, 40),
)
def test_bars_and_gaps_tile_every_range(interval, present, skip, length):
    base = grid.index_at(interval, START)
    opens = [grid.open_ms(interval, base + i) for i in range(100)]
    table = klines([opens[i] for i in sorted(present)])
    gaps = find_gaps(table, interval, TimeRange(opens[skip], opens[skip + length]))
    absent = [i for i in range(skip, skip + length) if i not in present]
    covered = [t for gap in gaps for t in opens if gap.start_ms <= t < gap.end_ms]
    assert covered == [opens[i] for i in absent]
    assert sum(gap.bars for gap in gaps) == len(absent)
    assert all(a.end_ms < b.start_ms for a, b in pairwise(gaps))  # none could be joined


def test_halts_need_no_volume_and_no_move():
    volume = np.array([1, 0, 0, 1, 0, 1], dtype=float)
    table = klines([START + i * HOUR for i in range(6)], volume=volume)
    assert find_halts(table, Interval.H1) == [
        BarSpan(START + HOUR, START + 3 * HOUR, 2),
        BarSpan(START + 4 * HOUR, START + 5 * HOUR, 1),
    ]
    assert find_halts(table, Interval.H1, min_bars=2) == [
        BarSpan(START + HOUR, START + 3 * HOUR, 2)
    ]
    moved = table.set_column(2, KLINES.field("high"), pa.array(np.full(6, 9.0)))
    assert find_halts(moved, Interval.H1) == []


def test_an_absent_bar_ends_a_halt():
    table = klines([START, START + 2 * HOUR], volume=0.0)
    assert [halt.bars for halt in find_halts(table, Interval.H1)] == [1, 1]


@given(st.lists(st.lists(st.integers(0, 30), max_size=20), max_size=5))
def test_merging_keeps_each_bar_once_and_the_later_table_wins(lists):
    tables = [
        klines([START + i * HOUR for i in sorted(set(ids))], close=float(n + 1))
        for n, ids in enumerate(lists)
    ]
    merged = merge_klines(tables)
    expected = {i: float(n + 1) for n, ids in enumerate(lists) for i in ids}
    assert times_ms(merged).tolist() == [START + i * HOUR for i in sorted(expected)]
    assert merged["close"].to_pylist() == [expected[i] for i in sorted(expected)]


@pytest.mark.skipif(not DATA.exists(), reason="recorded data is not here")
def test_the_halt_of_2023_03_24_shows_both_ways():
    bars = pq.read_table(DATA / "klines/spot/BTCUSDT-1m.parquet")
    stamp = pa.timestamp("ms", tz="UTC")
    opens = bars["open_time"]
    table = (
        bars.set_column(0, "open_time", opens.cast(stamp))
        .append_column("close_time", pa.array(opens.to_numpy() + 59_999).cast(stamp))
        .select(KLINES.names)
    )
    span = ms(2023, 2, 1), ms(2023, 6, 1)
    missing = BarSpan(ms(2023, 3, 24, 12, 40), ms(2023, 3, 24, 14, 0), 80)
    assert find_gaps(table, Interval.M1, TimeRange(*span)) == [missing]
    flat = BarSpan(ms(2023, 3, 24, 11, 28), ms(2023, 3, 24, 12, 40), 72)
    assert find_halts(table, Interval.M1) == [flat]
