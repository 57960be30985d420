"""The known defects of the archive's trades, each handled and counted."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.bars import (
    BarBuilder,
    Layout,
    OutOfOrder,
    TradeSource,
    build_day,
    in_order,
    parse_rule,
    parse_trades,
)
from alphamill.frames import Market
from tests.unit.bars.conftest import (
    DAY_US,
    EIGHTH_US,
    SPOT,
    USD_M,
    USD_M_AGGREGATES,
    Row,
    aggregated,
    built,
    printed,
)

MINUTE = parse_rule("1m")
START_MS = EIGHTH_US // 1000
OF_2026_07_US = 1_783_036_800_000_000  # 2026-07-03, since when USD-M trades said true throughout


def rows_of(n, start_ms=START_MS, first_id=100, step_ms=700):
    return [
        Row(first_id + k, f"{50 + k % 9}.5", f"0.{k % 7 + 1}", start_ms + k * step_ms, k % 3 == 0)
        for k in range(n)
    ]


def trades_of(rows, layout=USD_M):
    return parse_trades(printed(rows, layout), layout)


def day_of(rows, layout=USD_M, rule=MINUTE, size=7, day_us=EIGHTH_US, **options):
    trades = trades_of(rows, layout)
    pieces = [trades[at : at + size] for at in range(0, max(len(trades), 1), size)]
    return build_day(lambda: pieces, rule, layout, day_us, **options)


def test_months_written_from_two_ends_at_once():
    """A row of each by turns: the days of either end come in order once the others are left out,
    and the day on which they meet is sorted."""
    days = [rows_of(300, START_MS + 86_400_000 * day, 1000 * day) for day in range(3)]
    early, late = days[0] + days[1][:150], days[1][150:] + days[2]
    month = [row for pair in zip(early, late, strict=True) for row in pair]
    for day, of_day in enumerate(days):
        day_us = EIGHTH_US + DAY_US * day
        found = day_of(month, day_us=day_us)
        wanted = day_of(of_day, day_us=day_us)
        assert found.bars.table().equals(wanted.bars.table())
        assert found.quality.disordered == (day == 1)
        assert found.quality.trades == 300
        assert found.quality.absent_ids == 0
    with pytest.raises(OutOfOrder, match="trade 0 comes after trade 1150"):
        BarBuilder(MINUTE, USD_M).add(trades_of([late[0], early[0]]))


def test_rows_as_they_were_quoted(shared_data):
    folder = shared_data / "exchange_2026" / "archive_rows"

    def day(name, day_us):
        text = (folder / name).read_bytes()
        trades = parse_trades(text, USD_M_AGGREGATES)
        return build_day(lambda: [trades], MINUTE, USD_M_AGGREGATES, day_us)

    first = 1_682_899_200_000_000 // DAY_US * DAY_US
    ordered = day("um_aggTrades_2023-05_disordered_issue339.csv", first)
    assert (ordered.quality.trades, ordered.quality.outside) == (4, 4)
    assert (ordered.quality.first_id, ordered.quality.last_id) == (1715206948, 1715206951)
    assert not ordered.quality.disordered  # the other end is of another day
    doubled = day("um_aggTrades_2022-09_duplicates_issue203.csv", 1_662_940_800_000_000)
    assert (doubled.quality.trades, doubled.quality.duplicates) == (3, 3)
    assert doubled.quality.conflicts == 0
    assert doubled.bars.trades[0] == 7
    assert doubled.bars.volume[0] == 1.853
    zero = day("um_aggTrades_2023-05_zero_quantity_issue342.csv", first)
    assert (zero.quality.trades, zero.quality.no_quantity) == (1, 1)
    assert zero.bars.close[0] == 1868.42
    assert zero.bars.trades[0] == 3
    assert np.isnan(zero.bars.volume[0])
    assert zero.bars.table()["quote_volume"].to_pylist()[0] is None


def test_quantities_that_are_not_there_spoil_their_own_bars_alone():
    rows = rows_of(400)
    lost = [
        Row(r.id, r.price, "0.0" if r.id == 200 else r.quantity, r.time_ms, r.sold) for r in rows
    ]
    whole, holed = day_of(rows, flow=True).bars, day_of(lost, flow=True).bars
    at = (rows[100].time_ms - START_MS) // 60_000
    unknown = np.zeros(len(whole), np.bool_)
    unknown[at] = True
    for name in ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote"):
        assert np.isnan(getattr(holed, name)).tolist() == unknown.tolist()
        assert np.array_equal(getattr(holed, name)[~unknown], getattr(whole, name)[~unknown])
    for name in ("open", "high", "low", "close", "trades"):
        assert np.array_equal(getattr(holed, name), getattr(whole, name))
    assert np.isnan(holed.flow["signed_volume"][at])
    assert np.isnan(holed.flow["size_median"][at])
    assert holed.flow["realised_variance"][at] == whole.flow["realised_variance"][at]


def test_duplicates_are_left_out_wherever_they_stand():
    rows = rows_of(300)
    wanted = day_of(rows, flow=True)
    beside = day_of([row for row in rows for _ in range(2)], flow=True)
    assert beside.bars.table().equals(wanted.bars.table())
    assert (beside.quality.duplicates, beside.quality.disordered) == (300, False)
    block = day_of(rows[:200] + rows[50:], flow=True)  # a stretch written twice
    assert block.bars.table().equals(wanted.bars.table())
    assert (block.quality.duplicates, block.quality.disordered) == (150, True)
    other = Row(rows[-1].id, "1.0", "9", rows[-1].time_ms, False)
    differs = day_of([*rows, other])
    assert (differs.quality.duplicates, differs.quality.conflicts) == (1, 1)
    assert differs.bars.table().equals(day_of(rows).bars.table())  # the first one counts


def all_sold(n, start_us, step_ms=700):
    rows = rows_of(n, start_us // 1000, step_ms=step_ms)
    return [Row(row.id, row.price, row.quantity, row.time_ms, True) for row in rows]


@pytest.mark.parametrize(
    ("layout", "day_us", "n", "known"),
    [
        (USD_M, OF_2026_07_US, 20, False),
        (USD_M, OF_2026_07_US - DAY_US, 20, True),  # a quiet day may well be one-sided
        (USD_M, OF_2026_07_US - DAY_US, 1000, False),  # but a busy one is not
        (Layout(Market.COIN_M, TradeSource.TRADES), OF_2026_07_US - 2 * DAY_US, 20, False),
        (Layout(Market.COIN_M, TradeSource.TRADES), OF_2026_07_US - 3 * DAY_US, 20, True),
        (USD_M_AGGREGATES, OF_2026_07_US, 20, True),  # which stayed sound
        (SPOT, OF_2026_07_US, 20, True),
        (SPOT, OF_2026_07_US, 1000, False),
    ],
)
def test_a_side_that_is_the_same_in_every_row_is_not_believed(layout, day_us, n, known):
    rows = all_sold(n, day_us)
    if layout.aggregates:
        rows = aggregated(rows)
    day = day_of(rows, layout, day_us=day_us, flow=True)
    assert day.quality.sides_known == known
    assert day.quality.sold == n
    assert np.isnan(day.bars.taker_buy_base).all() == (not known)
    assert np.isnan(day.bars.taker_buy_quote).all() == (not known)
    assert np.isnan(day.bars.flow["signed_volume"]).all() == (not known)
    assert not np.isnan(day.bars.flow["size_max"][0])
    assert not np.isnan(day.bars.volume).any()
    if known:
        assert len(day_of(rows, layout, parse_rule("5ti"), day_us=day_us).bars) >= n // 5
    else:
        with pytest.raises(ValueError, match=f"the same in all {n:,} .* no 5ti bars can be built"):
            day_of(rows, layout, parse_rule("5ti"), day_us=day_us)


def test_one_row_that_differs_makes_the_sides_true():
    rows = all_sold(50, OF_2026_07_US)
    rows[20] = Row(rows[20].id, "50.5", "0.3", rows[20].time_ms, False)
    day = day_of(rows, day_us=OF_2026_07_US)
    assert day.quality.sides_known
    assert day.bars.taker_buy_base.sum() == 0.3


def test_completeness_is_judged_by_ids_that_are_not_burned():
    rows = rows_of(100)
    missing = day_of([row for row in rows if not 110 <= row.id < 115], SPOT).quality
    assert missing.absent_ids == missing.missing(SPOT) == 5
    assert missing.missing(USD_M) == 0  # of futures' trades it may be self-trade prevention
    whole = aggregated(rows)
    burned = [
        Row(r.id, r.price, r.quantity, r.time_ms, r.sold, r.first + 3 * r.id, r.last + 3 * r.id + 1)
        for r in whole
    ]
    quality = day_of(burned, USD_M_AGGREGATES).quality
    assert quality.burned_ids == 2 * (len(whole) - 1)
    assert quality.missing(USD_M_AGGREGATES) == 0
    assert quality.fills == 2 * len(whole)  # last - first + 1, burned ids among them
    assert day_of(burned[:9] + burned[11:], USD_M_AGGREGATES).quality.missing(USD_M_AGGREGATES) == 2
    overlapping = [*burned[:5], Row(6, "2", "1", burned[5].time_ms, True, burned[4].last, 10**6)]
    assert day_of(overlapping, USD_M_AGGREGATES).quality.overlaps == 1


def test_aggregates_that_were_taken_back_are_none():
    text = b"1,2.5,1,1,1,1723075200000,True,True\n"
    text += b"2,0.00000000,0.00000000,-1,-1,1723075201000,True,True\n"
    text += b"3,2.6,1,2,2,1723075202000,False,True\n"
    layout = Layout(Market.SPOT, TradeSource.AGG_TRADES)
    day = build_day(lambda: [parse_trades(text, layout)], MINUTE, layout, EIGHTH_US)
    assert (day.quality.trades, day.quality.void, day.quality.missing(layout)) == (2, 1, 0)
    assert (day.bars.low[0], day.bars.trades[0], day.bars.volume[0]) == (2.5, 2, 2.0)


def test_rows_earlier_than_the_open_bar_count_in_it_and_are_counted():
    rows = [*rows_of(100), Row(200, "50", "1", START_MS + 5, False)]
    day = day_of(rows)
    assert day.quality.late == 1
    assert day.bars.volume.sum() == pytest.approx(day_of(rows[:-1]).bars.volume.sum() + 1)


def test_a_file_cut_off_ends_where_its_rows_end():
    rows = rows_of(1000)
    text = printed(rows, USD_M)
    with pytest.raises(ValueError, match="the file may be cut off"):
        parse_trades(text[:20_000], USD_M)
    day = day_of(rows[:500])
    assert day.quality.last_us == rows[499].time_ms * 1000  # two hours of a day, say
    partial = day_of(rows[:500], end_us=day.quality.last_us)
    assert len(partial.bars) == (rows[499].time_ms - START_MS) // 60_000 + 1
    assert partial.bars.complete.tolist() == [True] * (len(partial.bars) - 1) + [False]


def test_a_day_without_trades_has_no_bars():
    day = day_of([])
    assert (len(day.bars), day.quality.trades, day.quality.first_id) == (0, 0, -1)
    assert day.bars.table().num_rows == 0
    assert len(day_of([], previous_close=2.5).bars) == 1440
    assert len(day_of(rows_of(3), rule=parse_rule("1e9v")).bars) == 1  # never reached: cut off
    assert not day_of(rows_of(3), rule=parse_rule("1e9v")).bars.complete[0]


@settings(max_examples=12)
@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 30))
def test_sorting_needs_no_more_than_its_memory(seed, most, size):
    order = [*range(150), 17, 17, 90]
    random.Random(seed).shuffle(order)
    rows = rows_of(150)
    trades = trades_of([rows[k] for k in order])
    reads = 0

    def read():
        nonlocal reads
        reads += 1
        return [trades[at : at + size] for at in range(0, len(trades), size)]

    pieces = list(in_order(read, most=most))
    ids = np.concatenate([piece.id for piece in pieces])
    assert ids.tolist() == sorted(trades.id.tolist())
    assert max(map(len, pieces)) <= 2 * most + 3
    assert reads <= -(-153 // most) + 1
    inside = (EIGHTH_US, EIGHTH_US + 60_000_000)
    kept = np.concatenate([piece.id for piece in in_order(read, inside, most)])
    assert kept.tolist() == sorted(trades.within(*inside).id.tolist())


def test_a_builder_says_what_it_was_given():
    rows = rows_of(10)
    builder = BarBuilder(MINUTE, USD_M)
    builder.add(trades_of(rows))
    quality = builder.quality
    assert quality.to_message() == {
        "trades": 10,
        "fills": 10,
        "sold": 4,
        "first_id": 100,
        "last_id": 109,
        "first_us": EIGHTH_US,
        "last_us": rows[-1].time_ms * 1000,
        "duplicates": 0,
        "conflicts": 0,
        "no_quantity": 0,
        "void": 0,
        "outside": 0,
        "late": 0,
        "absent_ids": 0,
        "burned_ids": 0,
        "overlaps": 0,
        "sides_known": True,
        "disordered": False,
    }
    builder.finish(EIGHTH_US + DAY_US)
    with pytest.raises(ValueError, match="finished"):
        builder.add(trades_of(rows))
    assert len(built([], MINUTE, USD_M, EIGHTH_US)) == 0
