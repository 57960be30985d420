"""Bars of trades: by definition, equal to the exchange's, and the same for any cut."""

from __future__ import annotations

import gzip
import json
import re
from fractions import Fraction
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.bars import (
    BARS,
    BarBuilder,
    Layout,
    TradeParser,
    TradeSource,
    build_day,
    compare,
    parse_rule,
    parse_trade_rows,
    parse_trades,
)
from alphamill.frames import KLINES, Market
from tests.unit.bars.conftest import (
    DAY_US,
    EIGHTH_US,
    SPOT,
    SPOT_AGGREGATES,
    USD_M,
    USD_M_AGGREGATES,
    Row,
    aggregated,
    bar_of,
    built,
    printed,
    shown,
)

NINTH_US = EIGHTH_US + DAY_US
END_US = NINTH_US + 2_000_000  # behind the last recorded trade
RULES = ("1s", "7m", "1d", "1000t", "3v", "2e5$", "50ti", "1vi", "5e4$i")


def by_definition(rows, rule):
    """Rows of each bar, by the rule's words."""
    groups, held, held_sum, day = [], [], Fraction(0), None
    for row in rows:
        this_day, of_day_us = divmod(row.time_ms * 1000, DAY_US)
        key = (this_day, of_day_us // rule.length_us if rule.is_time else None)
        if held and key != day:
            groups.append(held)
            held, held_sum = [], Fraction(0)
        day = key
        held.append(row)
        weight = {"trades": Fraction(row.last - row.first + 1), "time": Fraction(0)}
        weight |= {"volume": Fraction(row.quantity), "quote": row.value}
        held_sum += weight[rule.measure] * (-1 if rule.imbalance and row.sold else 1)
        if not rule.is_time and abs(held_sum) >= Fraction(rule.threshold):
            groups.append(held)
            held, held_sum = [], Fraction(0)
    return [*groups, held] if held else groups


@pytest.mark.parametrize("kind", ["spot", "usdm"])
@pytest.mark.parametrize("text", RULES)
def test_recorded_trades_make_the_bars_of_the_definition(recorded, kind, text):
    rows, rule = recorded(kind)[-3000:], parse_rule(text)
    layout = SPOT if kind == "spot" else USD_M
    trades = parse_trades(printed(rows, layout), layout)
    bars = built([trades], rule, layout, END_US)
    groups = by_definition(rows, rule)
    assert len(groups) > 1 or rule.text in ("7m", "1d")
    assert shown(bars) == [bar_of(group) for group in groups]
    held = bars[bars.first_id >= 0]
    assert held.first_id.tolist() == [group[0].id for group in groups]
    assert held.last_id.tolist() == [group[-1].id for group in groups]


@pytest.mark.parametrize("text", RULES)
def test_aggregates_make_the_same_bars_as_trades_on_spot(recorded, text):
    """All but those that close within an aggregate: by trades, volume or value."""
    rows, rule = recorded("spot")[-3000:], parse_rule(text)
    whole = aggregated(rows)
    assert len(whole) < 0.7 * len(rows)
    trades = parse_trades(printed(whole, SPOT_AGGREGATES), SPOT_AGGREGATES)
    bars = built([trades], rule, SPOT_AGGREGATES, END_US)
    assert shown(bars) == [bar_of(group) for group in by_definition(whole, rule)]
    if rule.is_time:
        of_trades = built([parse_trades(printed(rows, SPOT), SPOT)], rule, SPOT, END_US)
        agreement = compare(bars.klines(), of_trades.klines())
        assert agreement.equal == agreement.bars == len(bars)
        assert agreement.differing_frac == 0


def test_futures_aggregates_cross_the_ends_of_bars_and_the_share_is_said(recorded):
    rows, rule = recorded("usdm")[:6000], parse_rule("1s")
    of_trades = built([parse_trades(printed(rows, USD_M), USD_M)], rule, USD_M, NINTH_US)
    whole = parse_trades(printed(aggregated(rows, 100), USD_M_AGGREGATES), USD_M_AGGREGATES)
    of_aggregates = built([whole], rule, USD_M_AGGREGATES, NINTH_US)
    agreement = compare(of_aggregates.klines(), of_trades.klines())
    assert 0 < agreement.differing_frac < 0.5
    assert agreement.by_field["volume"] < agreement.bars
    assert agreement.absent_ours == agreement.absent_theirs == 0
    assert of_aggregates.volume.sum() == pytest.approx(of_trades.volume.sum(), rel=1e-12)
    assert of_aggregates.trades.sum() == of_trades.trades.sum()


@pytest.mark.parametrize("text", RULES)
def test_cuts_make_no_difference(recorded, text):
    rows, rule = recorded("usdm")[:700], parse_rule(text)
    trades = parse_trades(printed(rows, USD_M), USD_M)
    whole = built([trades], rule, USD_M, NINTH_US)
    apart = built([trades[at : at + 1] for at in range(len(trades))], rule, USD_M, NINTH_US)
    assert apart.table().equals(whole.table())


@settings(max_examples=40)
@given(st.lists(st.integers(0, 80), max_size=6), st.sampled_from(RULES), st.data())
def test_cuts_make_no_difference_across_days_and_silences(places, text, data):
    steps = data.draw(
        st.lists(st.sampled_from([0, 1, 700, 61_000, 5_000_000]), min_size=80, max_size=80)
    )
    times = np.cumsum(steps) + 1_723_161_000_000
    rows = [
        Row(n, f"{100 + n % 7}.{n % 10}", f"0.{n % 5 + 1}", int(time), n % 3 == 0)
        for n, time in enumerate(times)
    ]
    trades = parse_trades(printed(rows, USD_M), USD_M)
    end_us = int(times[-1]) * 1000 + DAY_US // 24
    rule = parse_rule("15s" if text == "1s" else text)
    whole = built([trades], rule, USD_M, end_us)
    pieces = [trades[a:b] for a, b in pairwise([0, *sorted(places), 80])]
    assert built(pieces, rule, USD_M, end_us).table().equals(whole.table())


def test_seven_fields_of_recorded_klines(shared_data):
    """States of running bars of USD-M, July 2021, whose trades were all recorded."""
    frames = gzip.decompress((shared_data / "ws_2021" / "um.jsonl.gz").read_bytes()).splitlines()
    events = [json.loads(line)["message"]["data"] for line in frames]
    compared = 0
    by_symbol = {}
    for event in events:
        by_symbol.setdefault(event["s"], []).append(event)
    for of_symbol in by_symbol.values():
        fills = sorted(
            (event for event in of_symbol if event["e"] == "aggTrade"), key=lambda row: row["a"]
        )
        for kline in (event["k"] for event in of_symbol if event["e"] == "kline"):
            inside = [row for row in fills if kline["f"] <= row["f"] and row["l"] <= kline["L"]]
            if sum(row["l"] - row["f"] + 1 for row in inside) != kline["n"] or not inside:
                continue
            trades = parse_trade_rows(inside, USD_M_AGGREGATES)
            bars = built([trades], parse_rule("1m"), USD_M_AGGREGATES, kline["t"] * 1000)
            assert bars.open_time_us.tolist() == [kline["t"] * 1000]
            numbers = tuple(float(kline[key]) for key in "ohlcvqnVQ")
            assert shown(bars) == [numbers]
            assert bars.klines()["close_time"].cast(pa.int64()).to_pylist() == [kline["T"]]
            compared += 1
    assert compared >= 5


def test_bars_without_trades_are_flat_as_the_exchange_sends_them(shared_data):
    rows = [
        Row(5, "2.5", "3", 1_723_075_260_500, True),
        Row(6, "2.6", "1", 1_723_075_500_000, False),
    ]
    trades = parse_trades(printed(rows, SPOT), SPOT)
    rule = parse_rule("1m")
    bars = built([trades], rule, SPOT, EIGHTH_US + 600_000_000)
    assert np.diff(bars.open_time_us).tolist() == [60_000_000] * 8
    assert bars.open_time_us[0] == EIGHTH_US + 60_000_000  # nothing is known before the first
    recorded_line = (shared_data / "exchange_2026" / "closed_bar_without_a_trade.jsonl").read_text()
    kline = json.loads(recorded_line)
    kline = kline.get("message", kline).get("data", kline.get("message", kline))["k"]
    flat = bars[1:2]
    assert kline["x"]
    assert [kline[key] for key in "ohl"] == [kline["c"]] * 3
    assert (flat.open, flat.high, flat.low) == (flat.close,) * 3 == (2.5,) * 3
    numbers = ("volume", "trades", "quote_volume", "taker_buy_base", "taker_buy_quote")
    assert [getattr(flat, name)[0] for name in numbers] == [float(kline[key]) for key in "vnqVQ"]
    assert flat.table()["first_id"].to_pylist() == [None]
    assert flat.complete.all()
    begun = BarBuilder(rule, SPOT, within_us=(EIGHTH_US, NINTH_US), previous_close=2.4)
    first = begun.add(trades)
    assert first.open_time_us[0] == EIGHTH_US
    assert first.close[0] == 2.4
    assert built([], rule, SPOT, NINTH_US, within_us=(EIGHTH_US, NINTH_US)).table().num_rows == 0
    silent = built([], rule, SPOT, NINTH_US, within_us=(EIGHTH_US, NINTH_US), previous_close=2.4)
    assert (len(silent), set(silent.close.tolist())) == (1440, {2.4})


def test_what_midnight_or_the_end_cuts_off_is_kept_and_flagged():
    times_ms = [EIGHTH_US // 1000 + 86_399_000, NINTH_US // 1000 + 500]
    rows = [Row(n, "2", "1", time_ms, False) for n, time_ms in enumerate(times_ms)]
    trades = parse_trades(printed(rows, SPOT), SPOT)
    ticks = built([trades], parse_rule("3t"), SPOT, NINTH_US + DAY_US)
    assert ticks.complete.tolist() == [False, False]
    assert ticks.close_time_us.tolist() == [time_ms * 1000 for time_ms in times_ms]
    sevens = built([trades], parse_rule("7m"), SPOT, NINTH_US + 1_000_000)
    # 1,440 is no multiple of 7: the day's last bar has five minutes
    assert sevens.open_time_us.tolist() == [NINTH_US - 300_000_000, NINTH_US]
    assert sevens.close_time_us.tolist() == [NINTH_US - 1000, NINTH_US + 420_000_000 - 1000]
    assert sevens.complete.tolist() == [True, False]


def test_a_day_depends_on_its_own_trades_alone(recorded):
    rows = recorded("usdm")[:2000]
    assert rows[0].time_ms * 1000 < NINTH_US
    later = [Row(r.id + 10**6, r.price, r.quantity, r.time_ms + 86_400_000, r.sold) for r in rows]
    both = parse_trades(printed(rows + later, USD_M), USD_M)
    alone = parse_trades(printed(later, USD_M), USD_M)
    for text in RULES:
        rule = parse_rule(text)
        day = build_day(lambda: [both], rule, USD_M, NINTH_US)
        assert day.bars.table().equals(
            build_day(lambda: [alone], rule, USD_M, NINTH_US).bars.table()
        )
        assert day.quality.outside == len(rows)
        continued = built([both], rule, USD_M, NINTH_US + DAY_US)
        kept = continued[(continued.open_time_us >= NINTH_US) & (continued.first_id >= 10**6)]
        ours = day.bars[day.bars.first_id >= 0]
        assert kept.table().equals(ours.table())


def test_sums_of_the_largest_numbers_are_exact():
    rows = [
        Row(n, "0.00000012", "90000000000.12345678", 1_723_075_200_000, n % 2 == 0)
        for n in range(40)
    ]
    text = printed(rows, USD_M)
    bars = built([parse_trades(text, USD_M)], parse_rule("1m"), USD_M, NINTH_US)
    assert shown(bars) == [bar_of(rows)]
    huge = [*rows, Row(40, "0.00000012", "250000000000.5", 1_723_075_200_000, False)]
    parser = TradeParser(USD_M)  # which needs fewer decimals from some piece on
    pieces = [parser.add(line) for line in printed(huge, USD_M).splitlines(keepends=True)]
    assert {piece.quantity_decimals for piece in pieces} == {8, 7}
    assert shown(built(pieces, parse_rule("1m"), USD_M, NINTH_US)) == [bar_of(huge)]
    by_volume = built(pieces, parse_rule("1e12v"), USD_M, NINTH_US)
    assert shown(by_volume) == [bar_of(group) for group in by_definition(huge, parse_rule("1e12v"))]


def test_coin_margined_volumes():
    layout = Layout(Market.COIN_M, TradeSource.TRADES)
    text = (
        b"7,34000.5,3,0.00882340,1698364800000,false\n8,34000.4,2,0.00588228,1698364800001,true\n"
    )
    bars = built([parse_trades(text, layout)], parse_rule("1m"), layout, 1698364860000_000)
    assert shown(bars) == [(34000.5, 34000.5, 34000.4, 34000.4, 5.0, 0.01470568, 2, 3.0, 0.0088234)]
    aggregates = Layout(Market.COIN_M, TradeSource.AGG_TRADES)
    text = b"1,34000.5,3,7,7,1698364800000,false\n2,34000.4,2,8,8,1698364800001,true\n"
    with pytest.raises(ValueError, match="what a contract is worth"):
        BarBuilder(parse_rule("1m"), aggregates)
    own = built(
        [parse_trades(text, aggregates)],
        parse_rule("1m"),
        aggregates,
        1698364860000_000,
        contract_usd=100,
    )
    assert shown(own) == shown(bars)


def test_tables_have_their_shapes(recorded):
    trades = parse_trades(printed(recorded("spot")[:500], SPOT), SPOT)
    bars = built([trades], parse_rule("1s"), SPOT, NINTH_US)
    assert bars.table().schema == BARS
    assert bars.klines().schema == KLINES
    assert bars.klines()["close_time"][0].as_py().microsecond == 999_000


def test_a_time_that_cannot_be_true_ends_in_words():
    rows = [Row(1, "2", "1", 1_723_075_200_000, False), Row(2, "2", "1", 99_723_075_200_000, False)]
    trades = parse_trades(printed(rows, SPOT), SPOT)
    with pytest.raises(ValueError, match=re.escape("over 5,000,000 bars: a time is wrong")):
        built([trades], parse_rule("1m"), SPOT, NINTH_US)
    day = build_day(lambda: [trades], parse_rule("1m"), SPOT, EIGHTH_US)
    assert (len(day.bars), day.quality.outside) == (1440, 1)


def test_time_bars_cover_every_second_of_the_recording(recorded):
    rows = recorded("spot")[:2000]
    bars = built([parse_trades(printed(rows, SPOT), SPOT)], parse_rule("1s"), SPOT, NINTH_US)
    by_second = [second for second, _ in groupby(rows, lambda row: row.time_ms // 1000)]
    traded = bars[bars.first_id >= 0]
    assert (traded.open_time_us // 1_000_000).tolist() == by_second
    assert (np.diff(bars.open_time_us) == 1_000_000).all()
