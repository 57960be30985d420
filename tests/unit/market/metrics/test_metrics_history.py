"""A range of metrics from daily files and from REST, which reaches back thirty days."""

import numpy as np
import pytest

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Market, Month, TimeRange, rows_within, times_ms
from alphamill.market import Damaged, FakeMetrics, MetricsHistory
from alphamill.market.metrics.history import merge_metrics
from alphamill.market.metrics.labels import VALUES, metrics_table

MINUTE, DAY = 60_000, 86_400_000
STEP = 5 * MINUTE
MARCH, APRIL, MAY = Month(2026, 3), Month(2026, 4), Month(2026, 5)
NOW = MAY.start_ms + 10 * DAY + 7 * MINUTE


def rows(start_ms, end_ms, level=100.0):
    opens = np.arange(start_ms, end_ms, STEP, dtype=np.int64)
    return metrics_table(opens, dict.fromkeys(VALUES, level + opens / 1000000000000.0))


def files_of(table, month, days, symbol="BTCUSDT"):
    return {
        f"{symbol}-metrics-{month}-{day:02d}": rows_within(
            table, TimeRange(month.start_ms + (day - 1) * DAY, month.start_ms + day * DAY)
        )
        for day in days
    }


@pytest.fixture
def fake():
    whole = rows(MARCH.start_ms, NOW)
    files = files_of(whole, MARCH, range(1, 32)) | files_of(whole, APRIL, range(1, 31))
    return FakeMetrics(ManualClock(NOW), {"BTCUSDT": whole}, files)


def parts(fake, start_ms, end_ms, archive=True, market=Market.USD_M, symbol="BTCUSDT"):
    history = MetricsHistory(market, fake, fake if archive else None, fake.clock)
    return list(history.parts(symbol, TimeRange(start_ms, end_ms)))


def test_a_past_month_is_its_daily_files_and_no_request(fake):
    (part,) = parts(fake, MARCH.start_ms, MARCH.end_ms)
    assert (part.files, part.requests, part.source) == (31, 0, "archive-daily")
    assert part.table.equals(rows(MARCH.start_ms, MARCH.end_ms))
    assert part.range == MARCH.range


def test_a_hole_older_than_thirty_days_is_absent_and_asks_nobody(fake):
    stem = "BTCUSDT-metrics-2026-03-09"
    fake.files[stem] = fake.files[stem].slice(20)
    del fake.files["BTCUSDT-metrics-2026-03-20"]
    (part,) = parts(fake, MARCH.start_ms, MARCH.end_ms)
    assert part.table.num_rows == 31 * 288 - 20 - 288
    assert (part.unverified, part.requests, fake.pages) == ((), 0, [])
    assert part.notes == ("the archive has no BTCUSDT-metrics-2026-03-20.zip",)


@pytest.mark.parametrize(
    "failure", [Damaged("BTCUSDT-metrics-2026-03-09", "x", b"y"), RetryLater("no answer", 5.0)]
)
def test_a_file_that_could_not_be_read_leaves_its_day_in_doubt(fake, failure):
    fake.files["BTCUSDT-metrics-2026-03-09"] = failure
    (part,) = parts(fake, MARCH.start_ms, MARCH.end_ms)
    day = TimeRange(MARCH.start_ms + 8 * DAY, MARCH.start_ms + 9 * DAY)
    assert part.unverified == (day,)
    assert part.table.num_rows == 30 * 288


def test_a_recent_hole_is_asked_of_the_api(fake):
    stem = "BTCUSDT-metrics-2026-04-28"
    fake.files[stem] = fake.files[stem].slice(0, 100)
    (part,) = parts(fake, APRIL.start_ms, APRIL.end_ms)
    assert part.table.equals(rows(APRIL.start_ms, APRIL.end_ms))
    start_ms = APRIL.start_ms + 27 * DAY + 100 * STEP
    assert fake.pages == [("BTCUSDT", start_ms, APRIL.start_ms + 28 * DAY)]
    assert part.requests == 5


def test_the_running_month_ends_where_the_exchange_has_told(fake):
    found = parts(fake, APRIL.start_ms, NOW + DAY)
    table = merge_metrics([part.table for part in found])
    until_ms = NOW // STEP * STEP - STEP  # the five minutes before these ended 7 minutes ago
    assert found[-1].range.end_ms == until_ms
    assert table.equals(rows(APRIL.start_ms, until_ms))
    assert all(end - start <= 499 * STEP for _, start, end in fake.pages)


def test_of_a_symbol_that_was_never_there_it_says_so_once(fake):
    (part,) = parts(fake, MARCH.start_ms, MARCH.end_ms, symbol="NONEUSDT")
    assert (part.table.num_rows, part.unverified, part.range) == (0, (), MARCH.range)
    assert part.notes == (
        "the archive has no metrics of then (NONEUSDT-metrics-2026-03-01.zip, ...)",
    )


def test_without_an_archive_what_is_older_is_not_known(fake):
    old, recent, *_ = parts(fake, APRIL.start_ms, APRIL.start_ms + 12 * DAY, archive=False)
    reach_ms = -(-(NOW - 30 * DAY + 60 * MINUTE) // STEP) * STEP
    assert old.unverified == (TimeRange(APRIL.start_ms, reach_ms),)
    assert "30 days only" in old.notes[0]
    assert times_ms(recent.table)[0] == reach_ms


def test_a_page_that_is_empty_is_asked_for_twice(fake):
    fake.tables["BTCUSDT"] = rows(MARCH.start_ms, MARCH.end_ms)
    (part,) = parts(fake, NOW - DAY, NOW - DAY + 60 * MINUTE, archive=False)
    assert (part.table.num_rows, part.requests, len(fake.pages)) == (0, 10, 2)


def test_what_the_api_refuses_of_a_month_stays_in_doubt(fake):
    del fake.files["BTCUSDT-metrics-2026-04-28"]
    fake.failures = [GiveUp("HTTP 451")]
    (part,) = parts(fake, APRIL.start_ms, APRIL.end_ms)
    day = TimeRange(APRIL.start_ms + 27 * DAY, APRIL.start_ms + 28 * DAY)
    assert part.unverified == (day,)
    assert "HTTP 451" in part.notes[-1]


def test_a_dated_coin_margined_contract_is_the_archives_alone(fake):
    whole = rows(APRIL.start_ms, APRIL.end_ms)
    fake.files = files_of(whole, APRIL, range(1, 30), "BTCUSD_260626")
    (part,) = parts(
        fake, APRIL.start_ms, APRIL.end_ms, market=Market.COIN_M, symbol="BTCUSD_260626"
    )
    assert part.table.num_rows == 29 * 288
    assert fake.pages == []
