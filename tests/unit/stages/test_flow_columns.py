"""Flow of a bar's own trades as fields: from the lake to the panel, in time, and mined to verdicts.

The run's universe has a coin that dies within the range.
"""

from dataclasses import replace
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

import alphamill as am
from alphamill.bars import FLOW, Trades
from alphamill.clock import ManualClock
from alphamill.controls.markets import klines_of
from alphamill.evaluation import Segment
from alphamill.factors import parse
from alphamill.factors.look_ahead import sees_no_future
from alphamill.factors.units import UNITS
from alphamill.factors.wide import wide_units
from alphamill.flow import plan
from alphamill.frames import Interval, Market, Month, TimeRange, Wide
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake
from alphamill.lake.days import DayFacts, DaySeries, write_day
from alphamill.language import language_manual, read_expression
from alphamill.market import FakeExchange, FakeTrades
from alphamill.mill import Mill
from alphamill.replay import replay
from alphamill.runs.panels import load_panel
from alphamill.runs.published import PublishedRun
from alphamill.settings import Tier, TierSettings
from alphamill.stages.panel import PanelDeps, panel_in_memory
from alphamill.testing import ProposingChat, klines_at, put_klines, spec_of
from alphamill.universe.master_list import Listed
from alphamill.universe.resolve import resolve, survey
from alphamill.universe.rule import parse_rule
from alphamill.universe.snapshots import MasterList, write_master_list
from tests.mortal_market import MortalMarket

H1 = Interval.H1
HOUR, DAY = 3_600_000, 86_400_000
START = Month(2023, 1).start_ms
FIELDS = list(FLOW)


def put_flow(lake, opens, rows, complete=None, symbol="BTCUSDT", interval=H1):
    """A day's file; every column of a bar is its row's number, and the column's place."""
    columns = {
        "open_time": pa.array(opens * 1000).cast(pa.timestamp("us", tz="UTC")),
        **{name: pa.array(rows + place / 100) for place, name in enumerate(FIELDS)},
        "complete": pa.array([True] * len(opens) if complete is None else complete),
    }
    start_ms = int(opens[0]) // DAY * DAY
    facts = DayFacts(TimeRange(start_ms, start_ms + DAY), "rest", "aggTrades")
    write_day(lake, DaySeries.flow(Market.SPOT, interval, symbol), pa.table(columns), facts)


def day_of(number):
    return START + number * DAY + HOUR * np.arange(24, dtype=np.int64)


def panel_of(lake, fields, start_ms=START, end_ms=START + 3 * DAY):
    opens = np.arange(start_ms, end_ms, HOUR, dtype=np.int64)
    put_klines(lake, "BTCUSDT", klines_at(opens, H1), Market.SPOT, H1)
    spec = spec_of("BTCUSDT", start_ms=start_ms, end_ms=end_ms, intervals=(H1,))
    spec = replace(spec, market=Market.SPOT, wide=(Wide.FLOW,))
    return panel_in_memory(H1, PanelDeps(lake, spec), fields)


def test_a_bars_flow_is_in_its_own_row_and_nothing_is_carried(lake):
    put_flow(lake, day_of(0), np.arange(24.0))
    complete = [True] * 23 + [False]
    put_flow(lake, day_of(2)[:12], np.arange(48.0, 60.0), complete[-12:])
    made = panel_of(lake, FIELDS, START + 5 * HOUR, START + 3 * DAY)
    hours = np.arange(5.0, 72.0)
    known = (hours < 24) | ((hours >= 48) & (hours < 59))  # a day is absent, a bar was cut off
    for place, name in enumerate(FIELDS):
        want = np.where(known, hours + place / 100, np.nan)
        np.testing.assert_array_equal(made[name][:, 0], want)


def test_a_notebooks_panel_has_flow_as_a_runs_does(tmp_path):
    lake = Lake(uri := str(tmp_path))
    for day in range(3):
        put_flow(lake, day_of(day), 24.0 * day + np.arange(24))
    run = panel_of(lake, FIELDS)
    theirs = am.lake(uri)
    made = theirs.panel("BTCUSDT", "1h", START, START + 3 * DAY, FIELDS)
    for name in FIELDS:
        np.testing.assert_array_equal(made[name], run[name])
    assert {*FIELDS} <= {*theirs.fields("1h")}
    assert not {*FIELDS} & {*theirs.fields("4h")}  # of longer bars nobody makes any
    assert {"open_interest", *FIELDS} <= {*theirs.fields("1h", "um")}
    assert "open_interest" not in theirs.fields("1h")


def test_what_trades_after_a_close_changes_nothing_up_to_it(lake):
    for day in range(3):
        put_flow(lake, day_of(day), 24.0 * day + np.arange(24))
    factor = read_expression("ts_mean(signed_volume, 5) / size_max + delay(realised_variance, 2)")
    before = panel_of(lake, list(factor.fields))
    assert sees_no_future(factor, before)
    put_flow(lake, day_of(1), np.where(np.arange(24) < 7, 24.0 + np.arange(24), -1.0))
    after = panel_of(lake, list(factor.fields))
    for name in factor.fields:
        closed = before.times_ms + HOUR <= START + DAY + 7 * HOUR
        np.testing.assert_array_equal(after[name][closed], before[name][closed])
        assert (after[name][24 + 7 : 48] != before[name][24 + 7 : 48]).all()


def test_every_column_has_a_unit_of_the_language_and_is_told_where_asked_for_alone():
    assert list(wide_units((Wide.FLOW,))) == FIELDS
    assert {one.unit for one in FLOW.values()} <= set(UNITS)
    assert read_expression("hasbrouck_lambda * sqrt(quote_volume)").unit == "ratio"
    assert read_expression("kyle_lambda * signed_quote + signed_volume / volume").unit == "ratio"
    told = language_manual((Wide.FLOW,))
    assert all(f"  {name} (" in told for name in FIELDS)
    assert "futures" not in told
    plain = language_manual((Wide.METRICS,))
    assert not any(f"  {name} (" in plain for name in FIELDS)
    with pytest.raises(Exception, match="vpin"):
        read_expression("ts_mean(vpin, 5)", wide=(Wide.METRICS,))


@pytest.mark.parametrize(
    ("market", "source"), [(Market.SPOT, "aggTrades"), (Market.USD_M, "trades")]
)
def test_a_run_waits_for_its_days_of_trades_at_each_of_its_intervals(market, source):
    spec = spec_of("BTCUSDT", start_ms=START + 9 * HOUR, end_ms=START + DAY + 6 * HOUR)
    spec = replace(spec, market=market, intervals=(Interval.M15, H1), wide=(Wide.FLOW,))
    jobs = plan(spec)
    days = [job for job in jobs if job.stage == "bars"]
    assert [
        (job.message["rule"], job.message["source"], job.message["start_ms"], job.message["end_ms"])
        for job in days
    ] == [
        (rule, source, start_ms, end_ms)
        for rule in ("15m", "1h")
        for start_ms, end_ms in ((START, START + DAY), (START + DAY, START + DAY + 6 * HOUR))
    ]
    panels = [job for job in jobs if job.stage == "panel"]
    assert all({day.id for day in days} <= set(panel.after) for panel in panels)
    assert not any(job.stage == "wide" for job in jobs)
    assert not any(job.stage == "bars" for job in plan(replace(spec, wide=())))


END = START + 45 * DAY
DEATH = START + 40 * DAY
EARLY = Month(2022, 12).start_ms
LIVES = {
    "AAAUSDT": (EARLY, END, 9e6),
    "BBBUSDT": (EARLY, END, 5e6),
    "CCCUSDT": (EARLY, END, 3e6),
    "DEADUSDT": (EARLY, DEATH, 7e6),
}
EXPRESSIONS = (
    "rank(signed_volume / volume)",
    "-ts_zscore(trade_imbalance, 24)",
    "rank(ts_mean(realised_variance, 12))",
    "ts_mean(open_interest, 5)",
)


def fills(stop_ms, seed):
    """Six trades an hour from START on, none once a coin is dead."""
    rng = np.random.default_rng(seed)
    time_us = 1000 * np.arange(START + 60_000, stop_ms, 600_000, dtype=np.int64)
    count = len(time_us)
    price = np.exp(np.cumsum(rng.normal(0, 1e-3, count))) * 100
    ids = np.arange(1, count + 1, dtype=np.int64)
    return Trades(
        id=ids,
        time_us=time_us,
        price=np.rint(price * 1e4).astype(np.int64) * 10**4,
        quantity=rng.integers(1, 500, count) * 10**6,
        is_buyer_maker=rng.random(count) < 0.5,
        first_id=ids,
        last_id=ids,
    )


def test_a_universe_with_a_coin_that_dies_is_mined_with_flow_to_verdicts(tmp_path):
    lake, market = Lake(str(tmp_path / "lake")), MortalMarket(LIVES, H1)
    clock = ManualClock(END + DAY)
    exchange = FakeExchange(clock)
    for symbol in LIVES:
        for interval in (H1, Interval.D1):
            own = market.bars(Market.SPOT, symbol, interval)
            exchange.add(symbol, interval, klines_of(own, interval))
    trades = FakeTrades(
        clock,
        {name: fills(end, at) for at, (name, (_, end, _)) in enumerate(LIVES.items())},
        page_rows=150,
    )
    listed = MasterList(
        Market.SPOT,
        date(2023, 3, 3),
        tuple(
            Listed(
                name,
                name.removesuffix("USDT"),
                "USDT",
                "" if name == "DEADUSDT" else "TRADING",
                first=Month(2022, 12),
                last=Month(2023, 2),
            )
            for name in LIVES
        ),
    )
    write_master_list(lake, listed)
    rule = parse_rule("top:3 by mean_10d(quote_volume), listed:20d")
    chat = ProposingChat(*EXPRESSIONS)
    mill = Mill(lake, exchange, chat, indicators=False, trades=trades, clock=clock)
    asked = survey(lake, listed, rule, START, END)
    daily = RunSpec(
        *(RunKind.FETCH, lake.uri, Market.SPOT, tuple(asked.missing), (Interval.D1,), EARLY, END),
        universe=asked.what_to_bring(),
    )
    mill.work(daily)
    found = resolve(survey(lake, listed, rule, START, END), START, END)
    assert found.universe.members["DEADUSDT"] == ("2023-01..2023-02",)
    spec = RunSpec(
        *(RunKind.MINE, lake.uri, Market.SPOT, found.symbols, (H1,), START, END),
        universe=found.universe,
        rounds=1,
        candidates=4,
        shards=1,
        budget_usd_micros=1_000_000,
        tiers=dict.fromkeys(Tier, TierSettings(model="offline", max_tokens=2000)),
        wide=(Wide.FLOW,),
    )
    jobs = mill.work(spec)
    assert [job.error for job in jobs if job.error] == []

    run = PublishedRun.open(lake, spec.run_id)
    by_text = {trial.proposed: trial.status for trial in reversed(run.trials)}
    assert [by_text[text] for text in EXPRESSIONS] == ["evaluated"] * 3 + ["invalid"]
    judged = {factor.hash for factor in run.factors}  # each has a verdict, whatever it says
    assert judged
    assert judged <= {parse(text, fields=wide_units((Wide.FLOW,))).hash for text in EXPRESSIONS[:3]}
    assert "signed_volume (volume)" in chat.requests[0].messages[0].content
    assert "trade_imbalance=" in chat.requests[0].messages[1].content

    held = load_panel(lake, spec.run_id, H1, Segment.HOLDOUT, ["signed_volume", "close"]).panel
    dead = held.symbols.index("DEADUSDT")
    lived = held.times_ms < DEATH
    assert np.isfinite(held["signed_volume"][lived, dead]).all()
    assert np.isnan(held["signed_volume"][~lived, dead]).all()
    assert lived.any()
    assert np.isfinite(held["signed_volume"][:, held.symbols.index("AAAUSDT")]).all()
    asked_of = len(trades.asked)
    assert replay(run, Lake(str(tmp_path / "again"))).equal
    assert len(trades.asked) == asked_of  # from what was recorded
