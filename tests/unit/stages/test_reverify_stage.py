"""reverify: bar by bar against the exchange; every change recorded once, nothing thrown away."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp, RetryLater
from alphamill.flow import plan
from alphamill.frames import KLINES, Interval, Market, Month
from alphamill.jobs import FetchJob, ReverifyJob, RunKind
from alphamill.lake import (
    CORRECTIONS,
    Lake,
    Series,
    compared_at_ms,
    read_corrections,
    read_klines,
    read_partition,
)
from alphamill.market import Damaged, FakeArchive, FakeExchange
from alphamill.stages import fetch, reverify
from alphamill.stages.fetch import FetchDeps
from alphamill.stages.reverify import ReverifyFacts
from alphamill.testing import klines_at, spec_of

HOUR = 3_600_000
APRIL, MAY = Month(2021, 4), Month(2021, 5)
LATER = Month(2023, 12).start_ms
SERIES = Series(Market.SPOT, "BTCUSDT", Interval.H1)
FIX = APRIL.start_ms + 529 * HOUR  # 2021-04-23 01:00, the bar that Binance did correct


def hours(*numbers):
    return klines_at([APRIL.start_ms + HOUR * number for number in numbers])


def corrected(table, column, value, at_ms=FIX):
    times = table["open_time"].cast(pa.int64())
    new = pc.if_else(pc.equal(times, at_ms), pa.scalar(value, table[column].type), table[column])
    return table.set_column(table.schema.get_field_index(column), KLINES.field(column), new)


@pytest.fixture
def exchange():
    fake = FakeExchange(ManualClock(LATER))
    fake.add("BTCUSDT", Interval.H1, hours(*range(720), *range(720, 1464)))
    return fake


@pytest.fixture
def lake(exchange, lake):
    for month in (APRIL, MAY):
        fetch.run(
            FetchJob(Market.SPOT, "BTCUSDT", Interval.H1, month.start_ms, month.end_ms),
            FetchDeps(exchange, lake),
        )
    return lake


def verify(lake, exchange, start_ms=APRIL.start_ms, end_ms=APRIL.end_ms, archive=None):
    job = ReverifyJob(Market.SPOT, "BTCUSDT", Interval.H1, start_ms, end_ms)
    return reverify.run(job, FetchDeps(exchange, lake, archive, exchange.clock))


def archive_of(*tables):
    return FakeArchive({("BTCUSDT", Interval.H1): pa.concat_tables(tables)})


def stored(lake):
    return read_klines(lake, Market.SPOT, "BTCUSDT", Interval.H1, APRIL.start_ms, APRIL.end_ms)


def rows(lake):
    return [
        (row["column"], row["old"], row["new"])
        for row in read_corrections(lake, SERIES).to_pylist()
    ]


def now_has(exchange, table):
    exchange.tables["BTCUSDT", Interval.H1] = table


def test_equal_bars_leave_the_file_and_a_note_that_they_were_compared(lake, exchange):
    before = lake.stat(SERIES.key("klines", APRIL))
    facts = verify(lake, exchange)
    assert facts == ReverifyFacts(720, 0, 0, 0, 1, SERIES.key("corrections", APRIL))
    assert lake.stat(SERIES.key("klines", APRIL)) == before
    assert compared_at_ms(lake, SERIES) == {APRIL: LATER}
    assert read_corrections(lake, SERIES).equals(CORRECTIONS.empty_table())


def test_a_corrected_bar_is_replaced_and_the_change_recorded(lake, exchange):
    now = corrected(corrected(hours(*range(720)), "close", 123.5), "trades", 42)
    now_has(exchange, now)
    old = stored(lake).filter(pc.equal(stored(lake)["open_time"].cast(pa.int64()), FIX)).to_pylist()
    facts = verify(lake, exchange)
    assert (facts.compared, facts.corrected) == (720, 1)
    assert stored(lake).equals(now)
    assert rows(lake) == [
        ("close", old[0]["close"], 123.5),
        ("trades", float(old[0]["trades"]), 42.0),
    ]
    record = read_corrections(lake, SERIES).to_pylist()[0]
    assert record["open_time"].timestamp() * 1000 == FIX
    assert record["seen_at"].timestamp() * 1000 == LATER
    assert record["source"] == "rest"
    partition = read_partition(lake, SERIES, APRIL)
    assert partition.complete
    assert partition.rows == 720


def test_both_sources_are_read_and_the_api_is_believed(lake, exchange):
    archive = archive_of(corrected(hours(*range(720)), "close", 9.5))
    facts = verify(lake, exchange, archive=archive)
    assert (facts.compared, facts.corrected, facts.files, facts.requests) == (720, 0, 1, 1)
    assert facts.archive_note == "the archive differs from the API in 1 bars; the API's count"
    assert rows(lake) == []


def test_a_bar_that_only_the_archive_has_appears(lake, exchange):
    now_has(exchange, hours(*range(720)).filter(np.arange(720) != 100))
    lake.delete(SERIES.key("klines", APRIL))
    fetch.run(
        FetchJob(Market.SPOT, "BTCUSDT", Interval.H1, APRIL.start_ms, APRIL.end_ms),
        FetchDeps(exchange, lake),
    )
    facts = verify(lake, exchange, archive=archive_of(hours(*range(720))))
    assert (facts.appeared, facts.archive_note) == (1, "")
    assert stored(lake).equals(hours(*range(720)))
    assert read_partition(lake, SERIES, APRIL).facts.source == "archive-monthly+rest"


def test_where_the_api_refuses_the_archive_stands_alone(lake, exchange):
    """What it corrects counts; a bar that it lacks says nothing."""
    archive = archive_of(corrected(hours(*range(720)), "close", 9.5).filter(np.arange(720) != 100))
    exchange.failures.append(GiveUp("HTTP 451"))
    facts = verify(lake, exchange, archive=archive)
    assert (facts.corrected, facts.vanished, facts.requests) == (1, 0, 0)
    assert facts.archive_note == "compared with the archive alone: HTTP 451"
    assert [(column, new) for column, _, new in rows(lake)] == [("close", 9.5)]
    exchange.failures.append(GiveUp("HTTP 451"))
    with pytest.raises(GiveUp, match="451"):
        verify(lake, exchange)


def test_a_damaged_file_is_put_aside_and_the_api_compared(lake, exchange):
    archive = archive_of(hours(*range(720)))
    archive.failures["BTCUSDT-1h-2021-04"] = Damaged("BTCUSDT-1h-2021-04", "bad", b"bytes")
    facts = verify(lake, exchange, archive=archive)
    assert (facts.compared, facts.files) == (720, 0)
    assert facts.archive_note == "quarantined BTCUSDT-1h-2021-04: bad"
    assert lake.read_bytes(f"{SERIES.folder('quarantine')}/BTCUSDT-1h-2021-04.zip") == b"bytes"


def test_done_again_it_records_nothing_twice(lake, exchange):
    now_has(exchange, corrected(hours(*range(720)), "close", 123.5))
    verify(lake, exchange)
    assert verify(lake, exchange).corrected == 0
    assert len(rows(lake)) == 1
    now_has(exchange, corrected(hours(*range(720)), "close", 99.0))
    assert verify(lake, exchange).corrected == 1
    assert [new for _, _, new in rows(lake)] == [123.5, 99.0]


def test_a_bar_that_vanished_is_recorded_once_and_kept(lake, exchange):
    now_has(exchange, hours(*range(100), *range(101, 720)))
    gone = APRIL.start_ms + 100 * HOUR
    for _ in range(2):
        assert verify(lake, exchange).vanished == 1
    assert stored(lake).num_rows == 720
    assert rows(lake) == [("open_time", float(gone), None)]


def test_a_bar_that_appeared_fills_its_gap(lake, exchange, tmp_path):
    now_has(exchange, hours(*range(100), *range(101, 720)))
    holey = Lake(str(tmp_path / "other"))
    job = FetchJob(Market.SPOT, "BTCUSDT", Interval.H1, APRIL.start_ms, APRIL.end_ms)
    fetch.run(job, FetchDeps(exchange, holey))
    assert read_partition(holey, SERIES, APRIL).facts.gaps
    now_has(exchange, hours(*range(720)))
    assert verify(holey, exchange).appeared == 1
    assert stored(holey).equals(hours(*range(720)))
    assert read_partition(holey, SERIES, APRIL).facts.gaps == ()
    assert rows(holey) == [("open_time", None, float(APRIL.start_ms + 100 * HOUR))]


def test_only_what_the_lake_has_is_asked_for(lake, exchange):
    exchange.asked.clear()
    start, end = Month(2021, 3).start_ms, Month(2021, 8).start_ms
    assert verify(lake, exchange, start, end).compared == 1464
    assert [(a.start_ms, a.end_ms) for a in exchange.asked] == [
        (APRIL.start_ms, APRIL.end_ms),
        (MAY.start_ms, MAY.end_ms),
    ]
    nothing = verify(lake, exchange, Month(2020, 1).start_ms, Month(2020, 2).start_ms)
    assert (nothing.compared, nothing.note) == (0, "the lake has no such bars; fetch them first")


def test_an_exchange_that_fails_changes_nothing(lake, exchange):
    exchange.failures.append(RetryLater("no answer"))
    with pytest.raises(RetryLater):
        verify(lake, exchange)
    assert lake.list("corrections") == []


def test_a_death_between_record_and_replacement_is_made_good(lake, exchange, monkeypatch):
    now_has(exchange, corrected(hours(*range(720)), "close", 123.5))
    with monkeypatch.context() as patch:
        patch.setattr(reverify, "update_partition", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            verify(lake, exchange)
    assert len(rows(lake)) == 1
    assert verify(lake, exchange).corrected == 1
    assert len(rows(lake)) == 1
    assert stored(lake).equals(corrected(hours(*range(720)), "close", 123.5))


def spec(frac, salt=""):
    start, end = Month(2020, 1).start_ms, Month(2023, 5).start_ms
    symbols = [f"A{n}USDT" for n in range(10, 35)]
    drawn = {"verify_frac": frac, "salt": salt}
    return spec_of(*symbols, kind=RunKind.FETCH, start_ms=start, end_ms=end, **drawn)


def test_the_plan_draws_its_share_the_same_every_time():
    whole = plan(spec(1.0))
    assert len(whole) == 25 * 40
    assert {job.stage for job in whole} == {"reverify"}
    tenth = plan(spec(0.1))
    assert 60 <= len(tenth) <= 140
    assert plan(spec(0.1)) == tenth
    assert {job.id for job in tenth} < {job.id for job in whole}
    assert plan(spec(0.1, salt="another day")) != tenth
    assert len(plan(spec(1e-9))) == 1
