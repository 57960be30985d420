"""Months of bars: exact, described, and readable by anybody's tools."""

import os
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from alphamill.frames import KLINES, BarSpan, Interval, Market, Month, TimeRange
from alphamill.lake import (
    Lake,
    MonthFacts,
    Series,
    Unreadable,
    manifest,
    partitions,
    read_klines,
    read_partition,
    write_klines,
)
from alphamill.lake.months import content_hash
from alphamill.lake.upgrade import manifest_key

DATA = Path(__file__).parents[4] / "shared" / "data"
HOUR = 3_600_000
APRIL, MAY, JUNE = (Month(2021, m) for m in (4, 5, 6))
WHERE = (Market.SPOT, "BTCUSDT", Interval.H1)


def bars(month, hours, close=1.5):
    times = np.array([month.start_ms + h * HOUR for h in hours], dtype=np.int64)
    stamp = pa.timestamp("ms", tz="UTC")
    columns = {f.name: pa.array(np.full(len(times), close)) for f in KLINES}
    columns["trades"] = pa.array(np.arange(len(times)), pa.int64())
    columns["open_time"] = pa.array(times).cast(stamp)
    columns["close_time"] = pa.array(times + HOUR - 1).cast(stamp)
    return pa.Table.from_pydict(columns, schema=KLINES)


def facts(month, hours, gaps=()):
    asked = TimeRange(month.start_ms, month.start_ms + hours * HOUR)
    return MonthFacts("rest", asked, gaps=tuple(gaps))


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def put(lake, month, hours, asked=None, gaps=(), where=WHERE):
    table = bars(month, hours)
    asked = len(hours) if asked is None else asked
    return write_klines(lake, *where, month, table, facts(month, asked, gaps))


def test_a_month_comes_back_as_it_went_in(lake):
    key = put(lake, APRIL, range(10))
    assert key == Series(*WHERE).key("klines", APRIL)
    table = read_klines(lake, *WHERE, APRIL.start_ms, APRIL.end_ms)
    assert table.schema.equals(KLINES)
    assert table.equals(bars(APRIL, range(10)))


def test_ranges_cross_months_and_skip_what_is_not_there(lake):
    put(lake, APRIL, [718, 719])
    put(lake, JUNE, [0, 1])
    start, end = APRIL.start_ms + 719 * HOUR, JUNE.start_ms + HOUR
    closes = read_klines(lake, *WHERE, start, end, ["close", "open_time"])
    assert closes.column_names == ["close", "open_time"]
    assert closes["open_time"].cast(pa.int64()).to_pylist() == [start, JUNE.start_ms]
    assert read_klines(lake, *WHERE, start, end, ["close"]).column_names == ["close"]
    assert read_klines(lake, *WHERE, MAY.start_ms, MAY.end_ms).num_rows == 0
    assert read_klines(lake, *WHERE, end, start).num_rows == 0


def test_the_file_says_what_it_is(lake):
    gap = BarSpan(APRIL.start_ms + 2 * HOUR, APRIL.start_ms + 4 * HOUR, 2)
    put(lake, APRIL, [0, 1, 4], asked=5, gaps=[gap])
    partition = read_partition(lake, Series(*WHERE), APRIL)
    assert (partition.rows, partition.expected) == (3, 5)
    assert partition.facts == facts(APRIL, 5, [gap])
    assert partition.first_ms == APRIL.start_ms
    assert partition.last_ms == APRIL.start_ms + 4 * HOUR
    assert partition.content_hash == content_hash(bars(APRIL, [0, 1, 4]))
    assert read_partition(lake, Series(*WHERE), MAY) is None


def test_equal_months_are_equal_files_and_another_value_is_another_hash(lake):
    key = put(lake, APRIL, range(5))
    first = lake.read_bytes(key)
    put(lake, APRIL, range(5))
    assert lake.read_bytes(key) == first
    a, b = bars(APRIL, range(5)), bars(APRIL, range(5), close=1.6)
    assert content_hash(a) != content_hash(b)
    assert content_hash(a) == content_hash(pa.concat_tables([a.slice(0, 2), a.slice(2)]))


def test_nulls_change_the_hash():
    table = pa.table({"x": pa.array([0.0, 1.0])})
    with_null = pa.table({"x": pa.array([None, 1.0])})
    assert content_hash(table) != content_hash(with_null)


@pytest.mark.parametrize("hours", [[0, 0], [1, 0], [-1], [720]])
def test_wrong_bars_are_refused(lake, hours):
    with pytest.raises(ValueError, match="symbol=BTCUSDT"):
        put(lake, APRIL, hours)
    assert lake.list("") == []


def test_a_stranger_file_is_unreadable_as_a_partition(lake):
    lake.write(Series(*WHERE).key("klines", APRIL), bars(APRIL, [0]), {})
    with pytest.raises(Unreadable, match="does not say what it holds"):
        read_partition(lake, Series(*WHERE), APRIL)


def test_pandas_and_duckdb_and_datasets_read_it_unaided(lake):
    put(lake, APRIL, range(3))
    put(lake, MAY, range(2), where=(Market.SPOT, "1INCHUSDT", Interval.H1))
    put(lake, MAY, [], asked=5, where=(Market.SPOT, "NEWUSDT", Interval.H1))
    manifest(lake, *WHERE)  # leaves its cache elsewhere
    frame = pd.read_parquet(Path(lake.uri) / Series(*WHERE).key("klines", APRIL))
    assert frame["close"].tolist() == [1.5] * 3
    assert frame["open_time"].iloc[0] == pd.Timestamp("2021-04-01", tz="UTC")
    whole = pd.read_parquet(Path(lake.uri) / "klines")
    assert sorted(whole["symbol"].astype(str)) == ["1INCHUSDT"] * 2 + ["BTCUSDT"] * 3
    found = duckdb.read_parquet(f"{lake.uri}/klines/**/*.parquet", hive_partitioning=True)
    rows = found.query(
        "k", "select market, interval, symbol, count(*), sum(close) from k group by all order by 3"
    ).fetchall()
    assert rows == [("spot", "1h", "1INCHUSDT", 2, 3.0), ("spot", "1h", "BTCUSDT", 3, 4.5)]
    found = pads.dataset(f"{lake.uri}/klines", partitioning="hive").to_table(
        filter=pads.field("symbol") == "BTCUSDT"
    )
    assert found.num_rows == 3


def test_the_manifest_tells_what_is_missing_and_why(lake):
    put(lake, APRIL, [], asked=720, gaps=[BarSpan(APRIL.start_ms, APRIL.end_ms, 720)])
    listed = BarSpan(MAY.start_ms, MAY.start_ms + 3 * HOUR, 3)
    outage = BarSpan(MAY.start_ms + 5 * HOUR, MAY.start_ms + 6 * HOUR, 1)
    put(lake, MAY, [3, 4, 6, 7], asked=8, gaps=[listed, outage])
    found = manifest(lake, *WHERE)
    assert [entry.month for entry in found.entries] == [APRIL, MAY]
    assert (found.rows, found.expected) == (4, 728)
    missing = found.missing(APRIL.start_ms, JUNE.end_ms)
    assert [(m.start_ms, m.end_ms, m.bars, m.why) for m in missing] == [
        (APRIL.start_ms, listed.end_ms, 723, "before listing"),
        (outage.start_ms, outage.end_ms, 1, "absent at the exchange"),
        (MAY.start_ms + 8 * HOUR, JUNE.end_ms, None, "not fetched"),
    ]
    assert found.missing(MAY.start_ms + 6 * HOUR, MAY.start_ms + 8 * HOUR) == []


def test_a_damaged_month_is_in_the_manifest(lake):
    lake.write_bytes(put(lake, APRIL, range(3)), b"PAR1")
    found = manifest(lake, *WHERE)
    assert found.entries[0].partition is None
    assert [m.why for m in found.missing(APRIL.start_ms, APRIL.end_ms)] == ["damaged"]


class CountingLake(Lake):
    footers = 0

    def metadata(self, key):
        self.footers += 1
        return super().metadata(key)


def age(lake, key, seconds=3600):
    path = Path(lake.uri) / key
    stamp = path.stat().st_mtime_ns - seconds * 10**9
    os.utime(path, ns=(stamp, stamp))


def test_settled_files_are_remembered_and_fresh_ones_are_read_again(tmp_path):
    lake = CountingLake(str(tmp_path))
    age(lake, put(lake, APRIL, range(3)))
    put(lake, MAY, range(2))
    first = manifest(lake, *WHERE)
    assert lake.footers == 2
    assert manifest(lake, *WHERE) == first
    assert lake.footers == 3  # April is remembered, May is too young
    age(lake, put(lake, APRIL, range(9)))
    assert manifest(lake, *WHERE).entries[0].partition.rows == 9


def test_a_replacement_of_equal_size_and_time_is_seen(tmp_path):
    lake = CountingLake(str(tmp_path))
    key = put(lake, APRIL, [0])
    age(lake, key)
    before = lake.stat(key)
    assert manifest(lake, *WHERE).entries[0].partition.first_ms == APRIL.start_ms
    put(lake, APRIL, [1], asked=2)
    path = Path(lake.uri) / key
    os.utime(path, ns=(before.written_ns, before.written_ns))
    again = manifest(lake, *WHERE).entries[0].partition
    assert again.first_ms == APRIL.start_ms + HOUR


@pytest.mark.parametrize("junk", [b"", b"{", b"[]", b'{"version": 1}', b'{"version":1,"files":[]}'])
def test_a_broken_cache_is_only_slow(lake, junk):
    put(lake, APRIL, range(3))
    lake.write_bytes(manifest_key(Series(*WHERE).folder("klines")), junk)
    assert manifest(lake, *WHERE).rows == 3


def test_a_cache_of_deleted_files_tells_nothing(lake):
    key = put(lake, APRIL, range(3))
    age(lake, key)
    assert manifest(lake, *WHERE).rows == 3
    lake.delete(key)
    assert manifest(lake, *WHERE).entries == ()


def test_partitions_lists_every_series_once(lake):
    put(lake, APRIL, [0])
    put(lake, MAY, [0])
    put(lake, MAY, [0], where=(Market.USD_M, "ETHUSDT", Interval.M1))
    put(lake, MAY, [0], where=(Market.USD_M, "ETHUSDT", Interval.MO1))
    assert partitions(lake) == [
        Series(Market.SPOT, "BTCUSDT", Interval.H1),
        Series(Market.USD_M, "ETHUSDT", Interval.MO1),
        Series(Market.USD_M, "ETHUSDT", Interval.M1),
    ]


@pytest.mark.skipif(not DATA.exists(), reason="recorded data is not here")
def test_a_month_of_real_minutes_is_exact_and_small(lake):
    source = pq.read_table(DATA / "klines/spot/BTCUSDT-1m.parquet")
    month = Month(2023, 2)
    opens = source["open_time"].to_numpy()
    source = source.filter(pa.array((opens >= month.start_ms) & (opens < month.end_ms)))
    stamp = pa.timestamp("ms", tz="UTC")
    opens = source["open_time"]
    table = (
        source.set_column(0, "open_time", opens.cast(stamp))
        .append_column("close_time", pa.array(opens.to_numpy() + 59_999).cast(stamp))
        .select(KLINES.names)
        .cast(KLINES)
    )
    where = (Market.SPOT, "BTCUSDT", Interval.M1)
    facts = MonthFacts("rest", month.range)
    key = write_klines(lake, *where, month, table, facts)
    back = read_klines(lake, *where, month.start_ms, month.end_ms)
    assert back.equals(table.combine_chunks())
    assert datetime.fromtimestamp(month.start_ms / 1000, UTC) == back["open_time"][0].as_py()
    assert lake.stat(key).size_bytes / table.num_rows < 41  # 11 columns; defaults take 63.7
