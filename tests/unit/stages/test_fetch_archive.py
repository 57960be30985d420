"""The fetch stage with an archive: equal bars, named sources, damaged files put aside."""

import hashlib
import json

import pyarrow as pa
import pytest

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Interval, Market, Month
from alphamill.jobs import FetchJob
from alphamill.lake import Lake, Series, manifest, partitions, read_klines, read_partition
from alphamill.market import Damaged, FakeArchive, FakeExchange
from alphamill.stages import fetch
from alphamill.stages.bring import keep_damaged
from alphamill.stages.fetch import FetchDeps
from alphamill.testing import klines_at

APRIL = Month(2021, 4)
HOUR = 3_600_000
WHERE = (Market.SPOT, "BTCUSDT", Interval.H1)
STEM = "BTCUSDT-1h-2021-04"
FOLDER = "quarantine/market=spot/interval=1h/symbol=BTCUSDT"


@pytest.fixture
def deps(tmp_path):
    table = klines_at(range(APRIL.start_ms, APRIL.end_ms, HOUR))
    clock = ManualClock(Month(2021, 9).start_ms)
    exchange = FakeExchange(clock)
    exchange.add("BTCUSDT", Interval.H1, table)
    archive = FakeArchive({("BTCUSDT", Interval.H1): table})
    return FetchDeps(exchange, Lake(str(tmp_path / "lake")), archive, clock)


def job(first=0, last=720):
    return FetchJob(*WHERE, APRIL.start_ms + first * HOUR, APRIL.start_ms + last * HOUR)


def partition(deps):
    return read_partition(deps.lake, Series(*WHERE), APRIL)


def test_the_same_month_from_either_source_holds_the_same_bars(deps, tmp_path):
    facts = fetch.run(job(), deps)
    assert (facts.source, facts.requests, facts.files, facts.rows) == ("archive-monthly", 0, 1, 720)
    assert deps.exchange.asked == []
    plain = FetchDeps(deps.exchange, Lake(str(tmp_path / "plain")))
    assert fetch.run(job(), plain).source == "rest"
    ours, theirs = partition(deps), partition(plain)
    assert ours.content_hash == theirs.content_hash
    assert ours.complete
    assert (ours.facts.gaps, ours.facts.halts) == (theirs.facts.gaps, theirs.facts.halts)
    assert fetch.run(job(), deps).skipped
    assert len(deps.archive.asked) == 1


def test_sources_of_one_month_add_up(deps):
    fetch.run(job(0, 24), deps)
    assert partition(deps).facts.source == "rest"
    facts = fetch.run(job(), deps)
    assert facts.source == partition(deps).facts.source == "archive-monthly+rest"
    assert read_klines(deps.lake, *WHERE, APRIL.start_ms, APRIL.end_ms).num_rows == 720


def test_a_damaged_file_is_put_aside_and_said(deps):
    damaged = Damaged(STEM, "it does not have its CHECKSUM's sha256", b"broken bytes", "ab" * 32)
    deps.archive.failures[STEM] = damaged
    facts = fetch.run(job(), deps)
    assert (facts.source, facts.rows, facts.files) == ("rest", 720, 0)
    assert facts.archive_note == f"quarantined {STEM}: it does not have its CHECKSUM's sha256"
    assert facts.note == ""
    assert deps.lake.read_bytes(f"{FOLDER}/{STEM}.zip") == b"broken bytes"
    said = json.loads(deps.lake.read_bytes(f"{FOLDER}/{STEM}.json"))
    assert said == {
        "file": STEM,
        "reason": "it does not have its CHECKSUM's sha256",
        "expected_sha256": "ab" * 32,
        "sha256": hashlib.sha256(b"broken bytes").hexdigest(),
        "size_bytes": 12,
        "kept": True,
        "found_ms": deps.clock.now_ms(),
    }
    assert partitions(deps.lake) == [Series(*WHERE)]


def test_the_quarantine_is_bounded(deps):
    series = Series(*WHERE)
    for number in range(70):
        keep_damaged(deps.lake, series, [Damaged(f"BTCUSDT-1h-{number}", "bad", b"x")], 1)
    names = deps.lake.list(FOLDER)
    assert sum(name.endswith(".zip") for name in names) == 64
    assert sum(name.endswith(".json") for name in names) == 70
    assert json.loads(deps.lake.read_bytes(f"{FOLDER}/BTCUSDT-1h-69.json"))["kept"] is False
    keep_damaged(deps.lake, series, [Damaged("BTCUSDT-1h-0", "bad", b"newer")], 2)
    assert deps.lake.read_bytes(f"{FOLDER}/BTCUSDT-1h-0.zip") == b"newer"


def test_a_hole_that_the_exchange_refuses_to_answer_for(deps):
    """Where Binance is barred the archive's bars land, and its holes stay not fetched."""
    table = deps.archive.tables["BTCUSDT", Interval.H1]
    deps.archive.tables["BTCUSDT", Interval.H1] = pa.concat_tables(
        [table.slice(0, 100), table.slice(103)]
    )
    for _ in range(2):  # asked again, it is refused again, and nothing else is asked for
        deps.exchange.failures.append(GiveUp("HTTP 451"))
        facts = fetch.run(job(), deps)
        assert (facts.rows, facts.missing_bars) == (717, 3)
        assert "could not be asked for: HTTP 451" in facts.archive_note
        held = manifest(deps.lake, Market.SPOT, "BTCUSDT", Interval.H1)
        [missing] = held.missing(APRIL.start_ms, APRIL.end_ms)
        assert (missing.bars, missing.why) == (3, "not fetched")
        assert not held.partitions[0].complete
    assert deps.archive.asked == [STEM]
    facts = fetch.run(job(), deps)  # from a place that is served
    assert (facts.rows, facts.source, facts.archive_note) == (720, "archive-monthly+rest", "")
    held = manifest(deps.lake, Market.SPOT, "BTCUSDT", Interval.H1)
    assert held.missing(APRIL.start_ms, APRIL.end_ms) == []
    assert held.partitions[0].complete
    assert fetch.run(job(), deps).skipped


def test_an_archive_out_of_reach_is_said(deps):
    deps.archive.failures[STEM] = RetryLater("no answer from http://archive")
    facts = fetch.run(job(), deps)
    assert (facts.source, facts.rows) == ("rest", 720)
    assert facts.archive_note == "archive: no answer from http://archive"


def test_an_exchange_that_is_away_does_not_stop_a_month_of_the_archive(deps):
    deps.exchange.failures.append(RetryLater("busy"))
    assert fetch.run(job(), deps).rows == 720


def test_days_of_a_coin_that_the_exchange_has_forgotten_come_from_its_files(deps):
    opens = range(APRIL.start_ms, APRIL.end_ms, 24 * HOUR)
    deps.archive.tables["GONEUSDT", Interval.D1] = klines_at(opens, Interval.D1)
    gone = FetchJob(Market.SPOT, "GONEUSDT", Interval.D1, APRIL.start_ms, APRIL.end_ms)
    facts = fetch.run(gone, deps)
    assert (facts.source, facts.rows, facts.requests) == ("archive-monthly", 30, 0)
