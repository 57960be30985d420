"""Rows of JSON to KLINES: exact, ordered, each bar once, and never a bar that is not one."""

import json
import struct
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alphamill import grid
from alphamill.errors import RetryLater
from alphamill.frames import KLINES, Interval, times_ms
from alphamill.market.klines.parse import closed, parse_klines, split_off_grid

DATA = Path(__file__).parents[5] / "shared" / "data"
HOUR = 3_600_000
START = 1_617_235_200_000  # 2021-04-01 00:00 UTC


def row(open_ms, step=HOUR, **changes):
    fields = {
        "open": "1.5",
        "high": "2.0",
        "low": "1.0",
        "close": "1.75",
        "volume": "10.0",
        "quote": "17.5",
        "trades": 3,
        "base_taken": "4.0",
        "quote_taken": "7.0",
    }
    fields |= changes
    f = list(fields.values())
    return [open_ms, *f[:5], open_ms + step - 1, f[5], f[6], f[7], f[8], "0"]


def parse(rows, interval=Interval.H1):
    return parse_klines(json.dumps(rows).encode(), "BTCUSDT", interval)


def test_a_page_becomes_klines():
    table = parse([row(START), row(START + HOUR, close="41865.14000000")])
    assert table.schema.equals(KLINES)
    assert table["close"].to_pylist() == [1.75, 41865.14]
    assert table["trades"].to_pylist() == [3, 3]
    assert table["open_time"].to_pylist()[0] == datetime(2021, 4, 1, tzinfo=UTC)
    assert times_ms(table, "close_time").tolist() == [START + HOUR - 1, START + 2 * HOUR - 1]


def test_an_empty_page_is_klines_without_rows():
    assert parse([]).equals(KLINES.empty_table())


def test_a_price_that_comes_as_a_number_is_the_same_price():
    assert parse([row(START, close=1.75)]).equals(parse([row(START)]))


def test_rows_are_sorted_and_the_later_of_two_wins():
    table = parse([row(START + HOUR), row(START, close="1"), row(START, close="2")])
    assert times_ms(table).tolist() == [START, START + HOUR]
    assert table["close"].to_pylist() == [2.0, 1.75]


def test_microseconds_are_told_by_value():
    us = [START * 1000, *row(START)[1:6], (START + HOUR) * 1000 - 1, *row(START)[7:]]
    assert parse([us]).equals(parse([row(START)]))


@pytest.mark.parametrize("more", [["0.5"], [None], [{"v": 1}, "text", []]])
def test_columns_beyond_those_that_are_known_are_left_alone(more):
    rows = [row(START), row(START + HOUR)]
    assert parse([[*r, *more] for r in rows]).equals(parse(rows))
    assert parse([rows[0], [*rows[1], *more]]).equals(parse(rows))


decimals = st.one_of(
    st.decimals(0, 10**12, places=8, allow_nan=False).map(str),
    st.floats(0, allow_nan=False, allow_infinity=False).map(repr),
)


@given(decimals)
def test_numbers_equal_pythons_float_bit_for_bit(text):
    parsed = parse([row(START, close=text)])["close"][0].as_py()
    assert struct.pack("<d", parsed) == struct.pack("<d", float(text))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b'[[1617235200000,"1',
        b"{}",
        b"[1]",
        b"[[1,2]]",
        b"null",
        json.dumps([row(START), None]).encode(),
        json.dumps([[*row(START), 1], row(START)[:11]]).encode(),
        json.dumps([[*row(START, close=None), 1]]).encode(),
        json.dumps([["x", *row(START)]]).encode(),
        json.dumps([row(START)[:11]]).encode(),
        json.dumps([row(START, close=None)]).encode(),
        json.dumps([[None, *row(START)[1:]]]).encode(),
        json.dumps([row(START, close="abc")]).encode(),
        json.dumps([row(START, close="NaN")]).encode(),
        json.dumps([row(START, volume="inf")]).encode(),
        json.dumps([row(START, trades="many")]).encode(),
        json.dumps([row(START, trades=10**30)]).encode(),
        json.dumps([row(START, trades=1.5)]).encode(),
        json.dumps([row(START, close=True)]).encode(),
        json.dumps([row(START, close=["1.5"])]).encode(),
        b'[[1617235200000,"1.5","2","1","\xff"]]',
    ],
)
def test_a_malformed_page_is_retried(body):
    with pytest.raises(RetryLater, match="BTCUSDT 1h: malformed klines"):
        parse_klines(body, "BTCUSDT", Interval.H1)


@pytest.mark.parametrize(
    ("interval", "bad_ms"),
    [
        (Interval.M1, START + 30_000),
        (Interval.H4, START + HOUR),
        (Interval.D1, START + HOUR),
        (Interval.D3, START + 24 * HOUR),
        (Interval.W1, START),  # a Thursday
        (Interval.MO1, START + 24 * HOUR),
    ],
)
def test_a_row_off_the_grid_costs_itself_alone(interval, bad_ms):
    good_ms = grid.next_ms(interval, bad_ms)
    table, strays = split_off_grid(parse([row(bad_ms), row(good_ms)], interval), interval)
    assert (times_ms(table).tolist(), strays) == ([good_ms], (bad_ms,))
    assert split_off_grid(table, interval) == (table, ())


def test_bars_on_the_grid_of_long_intervals_are_taken():
    monday = 1_617_580_800_000  # 2021-04-05
    assert parse([row(monday)], Interval.W1).num_rows == 1
    assert parse([row(START)], Interval.MO1).num_rows == 1
    assert parse([row(START)], Interval.D3).num_rows == 1


def test_closed_goes_by_the_clock_not_by_position():
    table = parse([row(START + i * HOUR) for i in range(3)])
    assert closed(table, Interval.H1, START + 2 * HOUR).num_rows == 2
    assert closed(table, Interval.H1, START + 2 * HOUR - 1).num_rows == 1
    assert closed(table, Interval.H1, START + 3 * HOUR).num_rows == 3


def test_a_running_bar_with_an_early_close_time_is_not_closed():
    cut = row(START)
    cut[6] = START + 1000
    assert closed(parse([cut]), Interval.H1, START + 2000).num_rows == 0


def test_a_running_month_is_not_closed():
    may = 1_619_827_200_000
    month = row(START, step=may - START)
    assert closed(parse([month], Interval.MO1), Interval.MO1, may - 1).num_rows == 0
    assert closed(parse([month], Interval.MO1), Interval.MO1, may).num_rows == 1


@pytest.mark.skipif(not DATA.exists(), reason="recorded data is not here")
def test_the_recorded_reply_of_2022():
    recorded = json.loads((DATA / "binance_responses/klines_200_2022-01-11.json").read_text())
    table = parse_klines(json.dumps(recorded["body"]).encode(), "BTCUSDT", Interval.M1)
    assert table.to_pylist()[0]["quote_volume"] == 269127.18833360
    assert table.to_pylist()[0]["taker_buy_base"] == 2.62199


@pytest.mark.skipif(not DATA.exists(), reason="recorded data is not here")
def test_real_bars_survive_the_wire():
    bars = pq.read_table(DATA / "klines/spot/BTCUSDT-1m.parquet").slice(70_000, 1000)
    names = ["open", "high", "low", "close", "volume"]
    rows = [
        [
            b["open_time"],
            *(f"{b[n]:.8f}" for n in names),
            b["open_time"] + 59_999,
            f"{b['quote_volume']:.8f}",
            b["trades"],
            f"{b['taker_buy_base']:.8f}",
            f"{b['taker_buy_quote']:.8f}",
            "0",
        ]
        for b in bars.to_pylist()
    ]
    table = parse(rows, Interval.M1)
    for name in [*names, "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"]:
        assert table[name].combine_chunks().equals(bars[name].combine_chunks()), name
    assert table["open_time"].cast(pa.int64()).to_pylist() == bars["open_time"].to_pylist()
