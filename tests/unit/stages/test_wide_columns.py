"""Panels of futures with more than bars: no value is in a bar at whose close it was not out yet."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest

from alphamill.clock import ManualClock
from alphamill.controls.markets import ControlMarket
from alphamill.controls.planted import Search
from alphamill.factors.look_ahead import sees_no_future
from alphamill.factors.wide import WIDE_FIELDS, wide_kinds, wide_units
from alphamill.frames import METRICS, PRICES, Interval, Market, Month, TimeRange, Wide, times_ms
from alphamill.jobs import PanelJob, RunKind
from alphamill.lake import (
    FundingSeries,
    IndexSeries,
    Lake,
    MarkSeries,
    MetricsSeries,
    MonthFacts,
    PremiumSeries,
    update_partition,
)
from alphamill.language import language_manual, read_expression, read_given
from alphamill.llm.prompts.sections import Title
from alphamill.market import FakeFunding, FakeMetrics, MetricsFile
from alphamill.market.funding.parse import funding_table, merge_funding
from alphamill.market.metrics.archive_file import parse_metrics_csv
from alphamill.market.metrics.history import merge_metrics
from alphamill.market.metrics.labels import VALUES, metrics_table
from alphamill.runs.panels import read_manifest
from alphamill.stages import panel
from alphamill.stages.panel import PanelDeps, panel_in_memory
from alphamill.stages.wide_columns import CARRY_MS, Bars, as_known, wide_fields
from alphamill.testing import klines_at, put_klines, spec_of, work_market
from alphamill.testing.mill import ProposingChat

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
STEP = 5 * MINUTE
JUNE = Month(2026, 6)
CHANGE = JUNE.start_ms + 24 * DAY  # 2026-06-25, when labels moved
HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,"
    "count_toptrader_long_short_ratio,sum_toptrader_long_short_ratio,count_long_short_ratio,"
    "sum_taker_long_short_vol_ratio\n"
)


def put(lake, series, table, start_ms, end_ms, merge=None):
    asked = TimeRange(start_ms, end_ms)
    for month, part in asked.by_month():
        inside = [part.start_ms <= t < part.end_ms for t in times_ms(table).tolist()]
        rows = table.filter(pa.array(inside, pa.bool_()))
        facts = MonthFacts("archive-daily", part)
        update_partition(lake, series, month, lambda _, r=rows, f=facts: (r, f))


def label(time_ms):
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def file_of(day, market=Market.USD_M, symbol="BTCUSDT"):
    """A day's file as the exchange writes it; an open interest is the minute that it is of."""
    start_ms = JUNE.start_ms + (day - 1) * DAY
    ends = market is Market.USD_M and day < 25
    moments = start_ms + STEP * np.arange(1, 289)
    lines = [
        f"{label(moment if ends else moment - STEP)},{symbol},{moment // MINUTE},1,1,1,1,1\n"
        for moment in moments.tolist()
    ]
    text = (HEADER + "".join(lines)).encode()
    return parse_metrics_csv(text, MetricsFile(market, symbol, JUNE, day))


def bars_of(interval, start_ms, end_ms):
    return np.arange(start_ms, end_ms, interval.ms, dtype=np.int64)


def panel_of(lake, interval, start_ms, end_ms, fields, market=Market.USD_M, symbol="BTCUSDT"):
    opens = bars_of(interval, start_ms, end_ms)
    put_klines(lake, symbol, klines_at(opens, interval), market, interval)
    spec = spec_of(symbol, start_ms=start_ms, end_ms=end_ms, intervals=(interval,))
    spec = replace(spec, market=market, wide=wide_kinds(fields))
    return panel_in_memory(interval, PanelDeps(lake, spec), fields)


@pytest.mark.parametrize(
    ("market", "symbol"), [(Market.USD_M, "BTCUSDT"), (Market.COIN_M, "BTCUSD_PERP")]
)
@pytest.mark.parametrize("interval", [Interval.M1, Interval.M5, Interval.M15, Interval.H1])
def test_on_both_sides_of_the_change_a_bar_knows_the_latest_moment_that_was_out(
    lake, market, symbol, interval
):
    table = merge_metrics([file_of(day, market, symbol) for day in (24, 25)])
    put(lake, MetricsSeries(market, symbol), table, CHANGE - DAY, CHANGE + DAY)
    start_ms, end_ms = CHANGE - 6 * HOUR, CHANGE + 6 * HOUR
    made = panel_of(lake, interval, start_ms, end_ms, ["open_interest"], market, symbol)
    moments_ms = made["open_interest"][:, 0] * MINUTE
    closes_ms = made.times_ms + interval.ms
    # Five minutes end on the grid, and are out a minute later.
    np.testing.assert_array_equal(moments_ms, (closes_ms - MINUTE) // STEP * STEP)
    assert (moments_ms + MINUTE <= closes_ms).all()


def test_labels_taken_as_they_stand_would_be_seen_five_minutes_early(lake):
    """What the test above would miss if the shift were left out: it is there to be found."""
    raw = CHANGE + 12 * HOUR  # the label of the five minutes that end at 12:05
    row = next(
        row for row in file_of(25).to_pylist() if row["open_interest"] * MINUTE == raw + STEP
    )
    assert row["available_time"].timestamp() * 1000 == raw + STEP + MINUTE


def test_a_value_at_the_very_edge_counts_from_the_close_that_it_was_out_at():
    out = np.array([100, 200], dtype=np.int64)
    values = np.array([1.0, 2.0])
    closes = np.array([99, 100, 199, 200, 230, 231], dtype=np.int64)
    known = as_known(out, values, closes, 99)
    np.testing.assert_array_equal(known, [np.nan, 1, 1, 2, 2, 2])
    aged = as_known(out, values, np.array([298, 299, 300], dtype=np.int64), 99)
    np.testing.assert_array_equal(aged, [2, 2, np.nan])
    holes = as_known(out, np.array([1.0, np.nan]), closes, 130)
    np.testing.assert_array_equal(holes, [np.nan, 1, 1, 1, 1, np.nan])


def test_a_hole_is_carried_over_for_half_an_hour_and_no_longer(lake):
    table = file_of(25)
    minutes = table["open_interest"].to_numpy() * MINUTE
    lost = (minutes > CHANGE + 2 * HOUR) & (minutes <= CHANGE + 4 * HOUR)
    table = table.filter(pa.array(~lost))
    put(lake, MetricsSeries(Market.USD_M, "BTCUSDT"), table, CHANGE, CHANGE + DAY)
    made = panel_of(lake, Interval.M5, CHANGE + HOUR, CHANGE + 6 * HOUR, ["open_interest"])
    closes, values = made.times_ms + STEP, made["open_interest"][:, 0]
    gone = np.isnan(values)
    last_out_ms = CHANGE + 2 * HOUR + MINUTE
    expected = (closes - last_out_ms > CARRY_MS) & (closes < CHANGE + 4 * HOUR + STEP + MINUTE)
    np.testing.assert_array_equal(gone, expected)
    assert gone.any()


FIELDS = sorted(name for name, one in WIDE_FIELDS.items() if one.of is not Wide.FLOW)
FORMULA = (
    "ts_mean(open_interest, 5) / delay(open_interest_value, 3) + premium * last_funding_rate "
    "+ mark_price / index_price + toptrader_account_ratio - toptrader_position_ratio "
    "+ long_short_account_ratio * taker_long_short_ratio + funding_interval_hours"
)


@pytest.fixture
def filled(lake):
    """Two days of hourly bars over the change, with everything that futures have."""
    start_ms, end_ms = CHANGE - DAY, CHANGE + DAY
    opens = np.arange(start_ms, end_ms, STEP, dtype=np.int64)
    rng = np.random.default_rng(3)
    values = {name: 1 + rng.random(len(opens)) for name in VALUES}
    metrics = metrics_table(opens, values)
    put(lake, MetricsSeries(Market.USD_M, "BTCUSDT"), metrics, start_ms, end_ms)
    hours = bars_of(Interval.H1, start_ms, end_ms)
    for series in (PremiumSeries, MarkSeries, IndexSeries):
        prices = klines_at(hours, close=1 + rng.random(len(hours))).select(PRICES.names)
        put(lake, series(Market.USD_M, "BTCUSDT", Interval.H1), prices, start_ms, end_ms)
    settled = [start_ms + 8 * HOUR * n + 6 for n in range(-3, 7)]
    rates = funding_table(settled, rng.random(10) / 1e4, ["Regular"] * 10)
    put(lake, FundingSeries(Market.USD_M, "BTCUSDT"), rates, start_ms - DAY, end_ms + MINUTE)
    return lake


def test_a_factor_over_all_of_it_does_not_look_ahead(filled):
    factor = read_expression(FORMULA)
    assert set(factor.fields) == set(FIELDS)
    made = panel_of(filled, Interval.H1, CHANGE - DAY, CHANGE + DAY, FIELDS)
    assert sees_no_future(factor, made)


@pytest.mark.parametrize("field", FIELDS)
def test_what_comes_out_after_a_close_changes_nothing_up_to_it(filled, field):
    """The join's own proof: the lake's future is disturbed, and the bars that closed stay."""
    span = CHANGE - DAY, CHANGE + DAY
    before = panel_of(filled, Interval.H1, *span, [field])[field]
    cut_ms = CHANGE + 3 * HOUR + 90_000  # amid five minutes, and after a bar's close
    disturb(filled, cut_ms)
    after = panel_of(filled, Interval.H1, *span, [field])[field]
    closed = bars_of(Interval.H1, *span) + HOUR <= cut_ms
    np.testing.assert_array_equal(after[closed], before[closed])
    assert not np.array_equal(after, before, equal_nan=True)


def disturb(lake, cut_ms):
    """Change what was not out at that time: by the five minutes, the close, the stamp."""
    found = [
        (MetricsSeries(Market.USD_M, "BTCUSDT"), STEP + MINUTE),
        *(
            (series(Market.USD_M, "BTCUSDT", Interval.H1), HOUR)
            for series in (PremiumSeries, MarkSeries, IndexSeries)
        ),
        (FundingSeries(Market.USD_M, "BTCUSDT"), 0),
    ]
    for series, out_after_ms in found:

        def changed(present, series=series, out_after_ms=out_after_ms):
            partition, table = present
            late = times_ms(table) + out_after_ms > cut_ms
            for at, one in enumerate(table.schema):
                if one.type == pa.float64():
                    values = table[one.name].to_numpy().copy()
                    values[late] += 7.0
                    table = table.set_column(at, one, pa.array(values))
            if isinstance(series, FundingSeries):  # another interval from then on
                table = table.filter(pa.array(~late | (np.cumsum(late) % 2 == 0)))
            return table, partition.facts

        update_partition(lake, series, JUNE, changed)


def test_a_computed_price_is_of_the_bar_itself_and_not_carried(filled):
    series = MarkSeries(Market.USD_M, "BTCUSDT", Interval.H1)
    hours = bars_of(Interval.H1, CHANGE - DAY, CHANGE + DAY)
    closes = np.arange(len(hours), dtype=np.float64)
    table = klines_at(hours, close=closes).select(PRICES.names)
    lost = pa.array(closes != 5)
    put(filled, series, table.filter(lost), CHANGE - DAY, CHANGE + DAY)
    made = panel_of(filled, Interval.H1, CHANGE - DAY, CHANGE + DAY, ["mark_price"])
    closes[5] = np.nan
    np.testing.assert_array_equal(made["mark_price"][:, 0], closes)


def funding_at(lake, opens, interval=Interval.H1):
    class Column:
        symbol, listing = "BTCUSDT", None

    bars = Bars(lake, Market.USD_M, interval, opens)
    names = ["last_funding_rate", "funding_interval_hours"]
    found = dict(wide_fields(bars, [Column()], [Wide.FUNDING], names))
    return found["last_funding_rate"][:, 0], found["funding_interval_hours"][:, 0]


def test_a_settlement_is_known_from_the_close_after_it(lake):
    series, start_ms = FundingSeries(Market.USD_M, "BTCUSDT"), JUNE.start_ms
    table = merge_funding(
        [
            funding_table(
                [
                    start_ms + 4,
                    start_ms + 4 * HOUR + 2,
                    start_ms + 4 * HOUR + 2,
                    start_ms + 8 * HOUR,
                ],
                [0.1, 0.2, -9.0, 0.3],
                ["Regular", "Regular", "Special", "Regular"],
            )
        ]
    )
    put(lake, series, table, start_ms, start_ms + 20 * HOUR)
    rates, hours = funding_at(lake, bars_of(Interval.H1, start_ms, start_ms + 18 * HOUR))
    # The bar that ends at 04:00 does not know what is settled at 04:00.
    np.testing.assert_array_equal(rates[:4], 0.1)
    np.testing.assert_array_equal(rates[4:8], 0.2)
    np.testing.assert_array_equal(rates[8:16], 0.3)
    assert np.isnan(rates[16:]).all()  # longer than any interval: not known
    assert np.isnan(hours[:4]).all()  # what was before is not in the lake
    np.testing.assert_array_equal(hours[4:16], 4.0)


def test_what_the_lake_does_not_know_of_funding_is_not_known(lake):
    rates, hours = funding_at(lake, bars_of(Interval.H1, JUNE.start_ms, JUNE.start_ms + DAY))
    assert np.isnan(rates).all()
    assert np.isnan(hours).all()
    series = FundingSeries(Market.USD_M, "BTCUSDT")
    table = funding_table([JUNE.start_ms + 4], [0.1])
    put(lake, series, table, JUNE.start_ms, JUNE.start_ms + 3 * HOUR)
    rates, _ = funding_at(lake, bars_of(Interval.H1, JUNE.start_ms, JUNE.start_ms + DAY))
    assert np.isfinite(rates).tolist() == [True] * 3 + [False] * 21


def test_units_and_names_are_of_the_language():
    assert wide_units((Wide.METRICS,))["open_interest"] == "volume"
    assert read_given("open_interest * mark_price / open_interest_value").unit == "ratio"
    assert read_given("open_interest / volume").unit == "ratio"
    assert wide_kinds(["close", "premium", "open_interest"]) == (Wide.METRICS, Wide.PREMIUM)
    assert [one for kind in Wide for one in wide_units((kind,))] == list(WIDE_FIELDS)


def test_a_model_may_name_only_what_its_run_has():
    assert read_expression("ts_mean(premium, 5)", wide=(Wide.PREMIUM,)).fields == ("premium",)
    for wide in ((), (Wide.METRICS,)):
        with pytest.raises(Exception, match="premium"):
            read_expression("ts_mean(premium, 5)", wide=wide)


def test_prompts_name_the_fields_only_where_the_panel_has_them():
    plain = language_manual()
    assert not any(name in plain for name in FIELDS)
    metrics = language_manual((Wide.METRICS,))
    assert all(name in metrics for name in wide_units((Wide.METRICS,)))
    assert "index_price" not in metrics
    assert metrics.startswith(plain[:2000])


MARKET = ControlMarket(seed=5, n_symbols=3, n_bars=700, ragged=False)


def test_a_run_over_futures_mines_what_it_asked_for(tmp_path):
    bars = MARKET.bars()
    first = next(iter(bars.values()))
    start_ms, end_ms = int(first.open_ms[0]), int(first.open_ms[-1]) + HOUR
    rng = np.random.default_rng(11)
    opens = np.arange(start_ms - 2 * HOUR, end_ms, STEP, dtype=np.int64)
    clock = ManualClock(end_ms + 10 * MINUTE)
    tables = {
        symbol: metrics_table(opens, {name: 1 + rng.random(len(opens)) for name in VALUES})
        for symbol in bars
    }
    times = list(range(start_ms - start_ms % (8 * HOUR), end_ms + HOUR, 8 * HOUR))
    settled = dict.fromkeys(bars, funding_table(times, [1e-4] * len(times)))
    chat = ProposingChat("ts_zscore(open_interest, 24)", "ts_mean(premium, 5)")
    worked = work_market(
        tmp_path,
        MARKET,
        Search(rounds=1, candidates=2),
        chat,
        mill={
            "metrics": FakeMetrics(clock, tables),
            "funding": FakeFunding(clock, settled),
            "clock": clock,
        },
        market=Market.USD_M,
        wide=(Wide.METRICS, Wide.FUNDING),
    )
    assert worked.dead == []
    trials = worked.table("trials")
    scored, refused = (
        [row for row in trials if row["proposed"] == text] for text in chat.expressions
    )
    assert {row["status"] for row in scored} == {"evaluated", "duplicate"}, scored[0]["reason"]
    assert {row["status"] for row in refused} == {"invalid"}
    assert "premium" in refused[0]["reason"]
    told = chat.requests[0].messages
    assert "open_interest (volume)" in told[0].content
    assert "premium (ratio)" not in told[0].content
    shown = told[1].content.partition(Title.INDICATORS)[2]
    assert "toptrader_account_ratio=" in shown
    assert "last_funding_rate=" in shown
    assert "open_interest=" not in shown  # an amount, which says which coin it is


def test_a_panel_holds_them_under_its_hash(tmp_path):
    manifests = []
    for level in (1.0, 2.0):
        lake = Lake(str(tmp_path / str(level)))
        opens = bars_of(Interval.H1, CHANGE - DAY, CHANGE + DAY)
        put_klines(lake, "BTCUSDT", klines_at(opens), Market.USD_M)
        fives = np.arange(CHANGE - DAY, CHANGE + DAY, STEP, dtype=np.int64)
        rows = metrics_table(fives, dict.fromkeys(VALUES, np.full(len(fives), level)))
        put(lake, MetricsSeries(Market.USD_M, "BTCUSDT"), rows, CHANGE - DAY, CHANGE + DAY)
        times = {"start_ms": CHANGE - DAY, "end_ms": CHANGE + DAY}
        spec = spec_of("BTCUSDT", kind=RunKind.EVALUATE, market=Market.USD_M, **times)
        spec = replace(spec, wide=(Wide.METRICS,))
        panel.run(PanelJob(Interval.H1), PanelDeps(lake, spec, indicators=False))
        manifests.append(read_manifest(lake, spec.run_id, Interval.H1))
    one, other = manifests
    assert set(wide_units((Wide.METRICS,))) <= set(next(iter(one.segments.values())).fields)
    assert one.snapshot != other.snapshot


def test_the_schema_is_the_lakes():
    assert METRICS.names[2:] == list(wide_units((Wide.METRICS,)))
