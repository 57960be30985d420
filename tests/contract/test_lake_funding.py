"""Funding in the lake, on a local disk and on S3: what is known, merged by two writers."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pyarrow as pa
import pytest

from alphamill.clock import ManualClock
from alphamill.errors import RetryLater
from alphamill.frames import Interval, Market, Month, TimeRange
from alphamill.jobs import FundingJob
from alphamill.lake import (
    FundingSeries,
    Lake,
    MonthFacts,
    Series,
    load_partition,
    partitions,
    update_partition,
)
from alphamill.market import FakeFunding
from alphamill.market.funding.parse import funding_table
from alphamill.stages import funding
from alphamill.stages.funding import FundingDeps, read_funding
from tests.deadlines import ANSWER_S

HOUR = 3_600_000
JANUARY, FEBRUARY = Month(2023, 1), Month(2023, 2)
BTC = FundingSeries(Market.USD_M, "BTCUSDT")
ALL = (JANUARY.start_ms, FEBRUARY.end_ms)


def every_8_hours(start_ms, end_ms):
    times = np.arange(start_ms, end_ms, 8 * HOUR) + 4
    return funding_table(times, (times // HOUR % 89) / 1e5)


TABLE = every_8_hours(*ALL)


@pytest.fixture(params=["local", "s3"])
def lake(request, tmp_path):
    if request.param == "local":
        return Lake(str(tmp_path / "lake"))
    return Lake(request.getfixturevalue("s3_uri"))


def fetch(lake, start_ms, end_ms, fake=None):
    fake = fake or FakeFunding(ManualClock(Month(2024, 1).start_ms), {"BTCUSDT": TABLE})
    return funding.run(
        FundingJob(Market.USD_M, "BTCUSDT", start_ms, end_ms), FundingDeps(fake, lake)
    )


def known(lake, start_ms=ALL[0], end_ms=ALL[1]):
    return read_funding(lake, Market.USD_M, "BTCUSDT", start_ms, end_ms)


def test_two_months_come_back_and_are_asked_for_once(lake):
    facts = fetch(lake, *ALL)
    assert (facts.settlements, facts.requests, facts.source) == (177, 1, "rest")
    assert lake.list("funding") == [
        f"funding/market=um/symbol=BTCUSDT/2023-0{month}.parquet" for month in (1, 2)
    ]
    found = known(lake)
    assert found.table.equals(TABLE)
    assert found.known == (TimeRange(*ALL),)
    versions = lake.versions("funding")
    again = fetch(lake, *ALL)
    assert (again.skipped, again.requests, again.settlements) == (True, 0, 177)
    assert lake.versions("funding") == versions


def test_the_same_settlements_are_the_same_bytes_however_they_came(lake):
    fetch(lake, *ALL)
    keys = lake.list("funding")
    at_once = [lake.read_bytes(key) for key in keys]
    for key in keys:
        lake.delete(key)
    middle_ms = JANUARY.start_ms + 100 * HOUR
    fetch(lake, middle_ms, FEBRUARY.start_ms + 24 * HOUR)
    fetch(lake, *ALL)
    assert [lake.read_bytes(key) for key in keys] == at_once


def test_two_writers_at_one_month_lose_nothing(lake):
    """Both see an empty lake, both have their page, and write in either order."""
    together = Barrier(2)

    class Slow(FakeFunding):
        def page(self, *where):
            found = super().page(*where)
            together.wait(ANSWER_S)
            return found

    def write(hours):
        fake = Slow(ManualClock(Month(2024, 1).start_ms), {"BTCUSDT": TABLE})
        fetch(lake, *(JANUARY.start_ms + hour * HOUR for hour in hours), fake)

    with ThreadPoolExecutor(2) as writers:
        list(writers.map(write, [(0, 300), (200, 500)]))
    start_ms, end_ms = JANUARY.start_ms, JANUARY.start_ms + 500 * HOUR
    found = known(lake)
    assert found.known == (TimeRange(start_ms, end_ms),)
    assert found.table.equals(every_8_hours(start_ms, end_ms))


def test_writers_that_do_not_touch_leave_no_hole_that_counts_as_known(lake):
    def write(first, last):
        start_ms, end_ms = (JANUARY.start_ms + hour * HOUR for hour in (first, last))
        facts = MonthFacts("rest", TimeRange(start_ms, end_ms))
        update_partition(lake, BTC, JANUARY, lambda _: (every_8_hours(start_ms, end_ms), facts))

    class Overtaken(FakeFunding):
        """Another worker writes the end of the month while this one has its page."""

        def page(self, *where):
            write(400, 744)
            return super().page(*where)

    clock = ManualClock(Month(2024, 1).start_ms)
    overtaken = Overtaken(clock, {"BTCUSDT": TABLE})
    with pytest.raises(RetryLater, match="another worker"):
        fetch(lake, JANUARY.start_ms, JANUARY.start_ms + 100 * HOUR, overtaken)
    assert known(lake).known == (TimeRange(JANUARY.start_ms + 400 * HOUR, JANUARY.end_ms),)
    fetch(lake, JANUARY.start_ms, JANUARY.start_ms + 100 * HOUR)
    assert known(lake).known == (JANUARY.range,)
    assert known(lake).table.equals(every_8_hours(JANUARY.start_ms, JANUARY.end_ms))


def test_a_damaged_month_is_not_known_and_is_fetched_again(lake):
    fetch(lake, *ALL)
    key = BTC.key("funding", JANUARY)
    whole = lake.read_bytes(key)
    lake.write_bytes(key, whole[: len(whole) // 2])
    assert known(lake).known == (FEBRUARY.range,)
    fetch(lake, *ALL)
    assert known(lake).table.equals(TABLE)


@pytest.mark.parametrize("hours", [[8, 0], [0, 0], [-1], [744]])
def test_wrong_rows_are_refused(lake, hours):
    times = [JANUARY.start_ms + hour * HOUR for hour in hours]
    table = TABLE.slice(0, len(times)).set_column(
        0, TABLE.schema.field(0), pa.array(times, pa.int64()).view(TABLE.schema.field(0).type)
    )
    with pytest.raises(ValueError, match="symbol=BTCUSDT"):
        update_partition(lake, BTC, JANUARY, lambda _: (table, MonthFacts("rest", TimeRange(*ALL))))
    assert lake.list("funding") == []


def test_funding_is_no_series_of_bars(lake):
    fetch(lake, *ALL)
    assert partitions(lake) == []
    assert load_partition(lake, Series(Market.USD_M, "BTCUSDT", Interval.H8), JANUARY) is None
    with pytest.raises(ValueError, match="no funding"):
        FundingSeries(Market.SPOT, "BTCUSDT")
