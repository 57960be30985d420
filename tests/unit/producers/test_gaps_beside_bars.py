"""`alphamill gaps` says what a futures contract lacks beside its bars."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from click.testing import CliRunner

from alphamill.frames import PRICES, BarSpan, Interval, Market, Month, TimeRange
from alphamill.lake import Lake, MarkSeries, MetricsSeries, MonthFacts, update_partition
from alphamill.lake.days import DayFacts, DaySeries, write_day
from alphamill.market import find_gaps
from alphamill.market.metrics.labels import VALUES, metrics_table
from alphamill.testing import klines_at, put_klines
from producers.cli import main

HOUR, DAY, STEP = 3_600_000, 86_400_000, 300_000
MONTH = Month(2022, 5)


@pytest.fixture
def lake(tmp_path, monkeypatch):
    made = Lake(str(tmp_path / "lake"))
    monkeypatch.setenv("ALPHAMILL_LAKE", made.uri)
    bars = klines_at(np.arange(MONTH.start_ms, MONTH.end_ms, HOUR))
    put_klines(made, "BTCUSDT", bars, Market.USD_M)
    put_klines(made, "BTCUSDT", bars)
    opens = np.arange(MONTH.start_ms, MONTH.end_ms, STEP)
    opens = opens[(opens < MONTH.start_ms + 10 * HOUR) | (opens >= MONTH.start_ms + 13 * HOUR)]
    opens = np.delete(opens, 3)
    metrics = metrics_table(opens, dict.fromkeys(VALUES, np.ones(len(opens))))
    facts = MonthFacts("archive-daily", MONTH.range)
    lost = tuple(find_gaps(metrics, Interval.M5, MONTH.range))
    doubt = (BarSpan(lost[1].start_ms, lost[1].end_ms, lost[1].bars),)
    known = replace(facts, gaps=lost, unverified=doubt)
    series = MetricsSeries(Market.USD_M, "BTCUSDT")
    update_partition(made, series, MONTH, lambda _: (metrics, known))
    mark = MarkSeries(Market.USD_M, "BTCUSDT", Interval.H1)
    update_partition(made, mark, MONTH, lambda _: (bars.select(PRICES.names), facts))
    return made


def gaps(*arguments):
    done = CliRunner().invoke(main, ["gaps", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_line_says_how_many_rows_are_not_there_and_the_longest_stretch(lake):
    text = " ".join(gaps("--market", "um").split())
    assert (
        "metrics of BTCUSDT (um): 37 of 8,928 rows are not there; the longest stretch is "
        "2022-05-01 10:00 to 2022-05-01 13:00, not fetched"
    ) in text
    assert "mark of BTCUSDT (um 1h): 0 of 744 rows are not there" in text
    assert "index of BTCUSDT" not in text


def test_days_without_flow_are_counted_of_any_market(lake):
    for day, part in ((0, DAY), (1, DAY), (4, DAY), (5, 6 * HOUR)):
        start_ms = MONTH.start_ms + day * DAY
        opens = pa.array([start_ms * 1000]).cast(pa.timestamp("us", tz="UTC"))
        facts = DayFacts(TimeRange(start_ms, start_ms + part), "rest", "aggTrades")
        series = DaySeries.flow(Market.SPOT, Interval.H1, "BTCUSDT")
        write_day(lake, series, pa.table({"open_time": opens}), facts)
    spot = next(one for one in json.loads(gaps("--json"))["series"] if one["market"] == "spot")
    [flow] = spot["beside"]
    assert (flow["kind"], flow["rows"], flow["expected"]) == ("flow", 3 * 24 + 6, 744)
    assert [(one["bars"], one["why"]) for one in flow["missing"]] == [
        (48, "not fetched"),
        (744 - 5 * 24 - 6, "not fetched"),
    ]
    text = " ".join(gaps("--market", "spot").split())
    assert "flow of BTCUSDT (spot 1h): 666 of 744 rows are not there; the longest" in text


def test_json_has_every_stretch_and_spot_none(lake):
    found = {one["market"]: one for one in json.loads(gaps("--json"))["series"]}
    assert "beside" not in found["spot"]
    metrics, mark = found["um"]["beside"]
    assert (metrics["kind"], metrics["rows"], metrics["expected"]) == ("metrics", 8891, 8928)
    assert [(one["bars"], one["why"]) for one in metrics["missing"]] == [
        (1, "absent at the exchange"),
        (36, "not fetched"),
    ]
    assert (mark["kind"], mark["missing"]) == ("mark", [])
