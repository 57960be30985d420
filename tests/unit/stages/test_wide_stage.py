"""What futures have beside bars, brought into the lake and compared with the exchange again."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp
from alphamill.flow import plan
from alphamill.frames import METRICS, Interval, Market, Month, TimeRange, Wide, rows_within
from alphamill.jobs import FundingJob, RecheckJob, RunKind, WideJob
from alphamill.lake import (
    FundingSeries,
    MarkSeries,
    MetricsSeries,
    PremiumSeries,
    Series,
    load_partition,
    read_corrections,
    read_partition,
    read_series,
)
from alphamill.market import Damaged, FakeArchive, FakeExchange, FakeFunding, FakeMetrics
from alphamill.market.funding.parse import funding_table
from alphamill.market.metrics.labels import VALUES, metrics_table
from alphamill.stages import funding, recheck, wide
from alphamill.stages.funding import FundingDeps
from alphamill.stages.recheck import RecheckDeps
from alphamill.stages.wide import WideDeps
from alphamill.testing import klines_at, spec_of

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
STEP = 5 * MINUTE
MARCH, APRIL = Month(2026, 3), Month(2026, 4)
NOW = Month(2026, 6).start_ms
SERIES = MetricsSeries(Market.USD_M, "BTCUSDT")


def rows(start_ms, end_ms, level=100.0):
    opens = np.arange(start_ms, end_ms, STEP, dtype=np.int64)
    return metrics_table(opens, dict.fromkeys(VALUES, level + opens / 1000000000000.0))


def days_of(table, month):
    days = range(1, month.range.length_ms // DAY + 1)
    ranges = {
        day: TimeRange(month.start_ms + (day - 1) * DAY, month.start_ms + day * DAY) for day in days
    }
    return {
        f"BTCUSDT-metrics-{month}-{day:02d}": rows_within(table, one) for day, one in ranges.items()
    }


@pytest.fixture
def fake():
    return FakeMetrics(ManualClock(NOW), {}, days_of(rows(MARCH.start_ms, MARCH.end_ms), MARCH))


@pytest.fixture
def prices():
    fake = FakeExchange(ManualClock(NOW))
    fake.add("BTCUSDT", Interval.H1, klines_at([MARCH.start_ms + HOUR * n for n in range(744)]))
    return fake


@pytest.fixture
def deps(lake, fake, prices):
    return WideDeps(lake, lambda _: prices, fake, None, fake, fake.clock)


def job(kind=Wide.METRICS, month=MARCH, market=Market.USD_M, symbol="BTCUSDT", of=WideJob):
    interval = Interval.H1 if kind in (Wide.PREMIUM, Wide.MARK, Wide.INDEX) else None
    return of(kind, market, symbol, interval, month.start_ms, month.end_ms)


def test_a_month_of_metrics_is_one_file_with_its_gaps_and_is_not_asked_for_again(lake, fake, deps):
    stem = "BTCUSDT-metrics-2026-03-09"
    fake.files[stem] = fake.files[stem].slice(0, 276)  # the last hour is not there
    facts = wide.run(job(), deps)
    assert (facts.rows, facts.missing, facts.expected) == (8916, 12, 8928)
    assert (facts.files, facts.requests, facts.source) == (31, 0, "archive-daily")
    assert lake.list("metrics") == ["metrics/market=um/symbol=BTCUSDT/2026-03.parquet"]
    partition, table = load_partition(lake, SERIES, MARCH)
    assert table.schema.equals(METRICS)
    assert [gap.bars for gap in partition.facts.gaps] == [12]
    assert partition.complete
    fake.stems.clear()
    again = wide.run(job(), deps)
    assert (again.skipped, again.rows, fake.stems) == (True, 8916, [])


def test_a_day_in_doubt_is_asked_for_again_and_alone(lake, fake, deps):
    stem = "BTCUSDT-metrics-2026-03-09"
    good = fake.files[stem]
    fake.files[stem] = Damaged(stem, "it does not have its CHECKSUM's sha256", b"bytes", "ab" * 32)
    facts = wide.run(job(), deps)
    assert f"quarantined {stem}" in facts.archive_note
    folder = "quarantine_metrics/market=um/symbol=BTCUSDT"
    assert lake.list("quarantine_metrics") == [f"{folder}/{stem}.json", f"{folder}/{stem}.zip"]
    assert not read_partition(lake, SERIES, MARCH).complete
    fake.files[stem] = good
    fake.stems.clear()
    healed = wide.run(job(), deps)
    assert (healed.rows, healed.missing, fake.stems) == (8928, 0, [stem])
    assert read_partition(lake, SERIES, MARCH).complete


@pytest.mark.parametrize(
    ("kind", "series"), [(Wide.PREMIUM, PremiumSeries), (Wide.MARK, MarkSeries)]
)
def test_computed_prices_lie_beside_bars_without_volumes(lake, deps, prices, kind, series):
    facts = wide.run(job(kind), deps)
    assert (facts.rows, facts.missing) == (744, 0)
    of = series(Market.USD_M, "BTCUSDT", Interval.H1)
    table = read_series(lake, of, MARCH.start_ms, MARCH.end_ms)
    assert table.column_names == ["open_time", "open", "high", "low", "close"]
    assert table["close"].equals(prices.tables["BTCUSDT", Interval.H1]["close"])
    assert lake.list("klines") == []
    # Files of a mark price are named as those of bars; what is wrong with them is kept apart.
    bars = Series(Market.USD_M, "BTCUSDT", Interval.H1)
    assert of.folder("quarantine") != bars.folder("quarantine")


def test_prices_are_read_from_their_own_folder_of_the_archive(lake, deps, prices):
    class Files(FakeArchive):
        def read(self, file):
            paths.append(file.path)
            return super().read(file)

    paths = []
    files = Files(dict(prices.tables))
    wide.run(job(Wide.MARK), replace(deps, files=files))
    assert paths == ["data/futures/um/monthly/markPriceKlines/BTCUSDT/1h/BTCUSDT-1h-2026-03.zip"]
    assert prices.asked == []


def test_what_no_market_or_name_can_have_leaves_nothing_behind(lake, deps):
    with pytest.raises(GiveUp, match="spot has no metrics of BTCUSDT"):
        wide.run(job(market=Market.SPOT), deps)
    with pytest.raises(GiveUp, match="cannot name a file"):
        wide.run(job(symbol="../X"), deps)
    with pytest.raises(GiveUp, match="no symbol 'XUSDT'"):
        wide.run(job(Wide.MARK, symbol="XUSDT"), deps)
    assert lake.list("") == []


def test_a_symbol_without_metrics_is_told_in_words(deps):
    facts = wide.run(job(symbol="NEWUSDT"), deps)
    assert facts.note == "the exchange has no metrics of NEWUSDT in this range"
    assert (facts.rows, facts.missing) == (0, 8928)
    assert "NEWUSDT-metrics-2026-03-01.zip" in facts.archive_note


def test_what_nobody_could_be_asked_about_is_not_called_absent(lake, deps):
    facts = wide.run(job(), replace(deps, metrics_files=None))
    assert facts.note == "what metrics there are of BTCUSDT could not be asked for"
    assert "30 days only" in facts.archive_note
    assert not read_partition(lake, SERIES, MARCH).complete


def check_again(kind, deps, settled=None):
    settled = settled or FakeFunding(ManualClock(NOW))
    return recheck.run(job(kind, of=RecheckJob), RecheckDeps(deps, settled))


def changes(lake, series):
    return [
        (row["column"], row["old"], row["new"])
        for row in read_corrections(lake, series).to_pylist()
    ]


def test_metrics_that_the_exchange_filled_later_appear_and_are_recorded(lake, fake, deps):
    stem = "BTCUSDT-metrics-2026-03-09"
    whole = fake.files[stem]
    fake.files[stem] = whole.slice(1)
    wide.run(job(), deps)
    fake.files[stem] = whole
    facts = check_again(Wide.METRICS, deps)
    assert (facts.compared, facts.appeared, facts.corrected, facts.vanished) == (8927, 1, 0, 0)
    time_ms = float(MARCH.start_ms + 8 * DAY)
    assert changes(lake, SERIES) == [("open_time", None, time_ms)]
    assert read_partition(lake, SERIES, MARCH).rows == 8928
    assert lake.list("corrections") == []
    assert check_again(Wide.METRICS, deps).appeared == 0


def test_a_ratio_that_the_api_had_rounded_is_no_correction(lake, fake, deps):
    wide.run(job(), deps)
    moved = rows(MARCH.start_ms, MARCH.end_ms)
    for name, by in (("long_short_account_ratio", 0.00004), ("open_interest", 0.00004)):
        values = moved[name].to_numpy().copy()
        values[:5] += by
        moved = moved.set_column(
            moved.schema.get_field_index(name), METRICS.field(name), pa.array(values)
        )
    fake.files = days_of(moved, MARCH)
    facts = check_again(Wide.METRICS, deps)
    assert facts.corrected == 5
    assert {column for column, _, _ in changes(lake, SERIES)} == {"open_interest"}


def test_what_only_a_failing_source_lacks_has_not_vanished(lake, fake, deps):
    wide.run(job(), deps)
    stem = "BTCUSDT-metrics-2026-03-09"
    fake.files[stem] = Damaged(stem, "it is not a zip", b"x")
    facts = check_again(Wide.METRICS, deps)
    assert (facts.vanished, facts.appeared) == (0, 0)
    assert f"quarantined {stem}" in facts.archive_note
    del fake.files[stem]
    assert check_again(Wide.METRICS, deps).vanished == 288  # now it says that there is none
    assert read_partition(lake, SERIES, MARCH).rows == 8928  # and they stay


def test_a_mark_price_is_corrected(lake, deps, prices):
    wide.run(job(Wide.MARK), deps)
    table = prices.tables["BTCUSDT", Interval.H1]
    closes = table["close"].to_numpy().copy()
    was, closes[10] = closes[10], 7.5
    at = table.schema.get_field_index("close")
    prices.tables["BTCUSDT", Interval.H1] = table.set_column(
        at, table.schema.field("close"), pa.array(closes)
    )
    facts = check_again(Wide.MARK, deps)
    series = MarkSeries(Market.USD_M, "BTCUSDT", Interval.H1)
    assert (facts.corrected, facts.compared) == (1, 744)
    assert changes(lake, series) == [("close", was, 7.5)]
    assert read_series(lake, series, MARCH.start_ms, MARCH.end_ms)["close"][10].as_py() == 7.5


def test_funding_is_compared_by_the_minute_and_kind(lake, deps):
    times = [MARCH.start_ms + 8 * HOUR * n for n in range(93)]
    settled = FakeFunding(ManualClock(NOW), {"BTCUSDT": funding_table(times, [0.0001] * 93)})
    funding.run(
        FundingJob(Market.USD_M, "BTCUSDT", MARCH.start_ms, MARCH.end_ms),
        FundingDeps(settled, lake, None, settled.clock),
    )
    rates = [0.0001] * 92 + [0.0002]
    stamped = [time + 5 for time in times]
    kinds = ["Regular"] * 93
    settled.tables["BTCUSDT"] = funding_table(
        [*stamped, stamped[3]], [*rates, -0.01], [*kinds, "Special"]
    )
    facts = check_again(Wide.FUNDING, deps, settled)
    assert (facts.compared, facts.corrected, facts.appeared, facts.vanished) == (93, 1, 1, 0)
    series = FundingSeries(Market.USD_M, "BTCUSDT")
    assert sorted(changes(lake, series), key=str) == [
        ("funding_rate Special", None, -0.01),
        ("funding_rate", 0.0001, 0.0002),
    ]
    _, table = load_partition(lake, series, MARCH)
    assert table.num_rows == 94
    assert check_again(Wide.FUNDING, deps, settled).corrected == 0
    settled.tables["BTCUSDT"] = settled.tables["BTCUSDT"].slice(0, 80)
    assert check_again(Wide.FUNDING, deps, settled).vanished == 14
    assert load_partition(lake, series, MARCH)[1].num_rows == 94


def test_nothing_is_compared_that_the_lake_does_not_have(deps):
    assert check_again(Wide.METRICS, deps).note == "the lake has no such metrics; fetch them first"


def spec(kind=RunKind.EVALUATE, market=Market.USD_M, beside=tuple(Wide), **more):
    times = {"start_ms": MARCH.start_ms, "end_ms": APRIL.end_ms}
    made = spec_of("AUSDT", "BUSDT", kind=kind, **times)
    return replace(made, market=market, wide=beside, **more)


def test_the_panel_waits_for_all_that_is_asked_for():
    jobs = {job.id: job for job in plan(spec(intervals=(Interval.H1,)))}
    (panel,) = [job for job in jobs.values() if job.stage == "panel"]
    before = [jobs[one].message for one in panel.after if jobs[one].stage == "wide"]
    kinds = {"metrics": 6, "premium": 4, "mark": 4, "index": 4}  # symbols x months, and an hour
    assert {kind: sum(one["kind"] == kind for one in before) for kind in kinds} == kinds
    assert min(one["start_ms"] for one in before) == MARCH.start_ms - HOUR
    assert {one["interval"] for one in before if one["kind"] == "metrics"} == {None}


def test_metrics_are_not_asked_for_before_there_were_any():
    early = replace(
        spec(beside=(Wide.METRICS,)),
        start_ms=Month(2020, 7).start_ms,
        end_ms=Month(2020, 10).end_ms,
    )
    asked = [job.message for job in plan(early) if job.stage == "wide"]
    assert min(one["start_ms"] for one in asked) == Month(2020, 9).start_ms


def test_runs_that_ask_for_nothing_keep_their_names_and_plans():
    plain = spec_of("AUSDT", "BUSDT", start_ms=MARCH.start_ms, end_ms=APRIL.end_ms)
    assert "wide" not in plain.to_message()
    assert replace(plain, wide=(Wide.MARK,)).run_id != plain.run_id
    assert all(job.stage != "wide" for job in plan(plain))


def test_verify_compares_funding_and_what_is_asked_for():
    asked = spec(
        RunKind.FETCH, beside=(Wide.METRICS, Wide.MARK), verify_frac=1.0, intervals=(Interval.H1,)
    )
    stages = [(job.stage, job.message.get("kind")) for job in plan(asked)]
    assert {one: stages.count(one) for one in stages} == {
        ("reverify", None): 4,
        ("recheck", "metrics"): 6,
        ("recheck", "mark"): 4,
        ("recheck", "funding"): 4,
    }
