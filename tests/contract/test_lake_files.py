"""One suite over every implementation of `Files`, through `Lake`."""

import time

import numpy as np
import pyarrow as pa
import pytest

from alphamill.errors import GiveUp, RetryLater
from alphamill.lake import Lake, Unreadable
from alphamill.lake.s3 import S3Files

TABLE = pa.table({"n": pa.array([1, 2, 3]), "x": [0.1, None, 0.3], "name": ["a", "b", None]})


@pytest.fixture(params=["local", "s3"])
def lake(request, tmp_path):
    if request.param == "local":
        return Lake(str(tmp_path / "lake"))
    uri = request.getfixturevalue("s3_uri")
    return Lake(uri, S3Files(uri, page_keys=2))  # every listing takes several pages


def test_a_table_and_its_metadata_come_back(lake):
    lake.write("a/b.parquet", TABLE, {"why": "because", "ünï": "çödé"})
    assert lake.read("a/b.parquet").equals(TABLE)
    assert lake.read("a/b.parquet", ["x"]).equals(TABLE.select(["x"]))
    assert lake.metadata("a/b.parquet") == {"why": "because", "ünï": "çödé"}
    assert lake.load("a/b.parquet") == (TABLE, {"why": "because", "ünï": "çödé"})


def test_what_is_read_lies_in_memory_of_arrows_own(lake):
    """Else Arrow's threads want the interpreter's lock for it when the interpreter has ended."""
    wide = pa.table({f"x{at}": np.random.default_rng(at).random(20_000) for at in range(8)})
    lake.write("wide.parquet", wide, {})
    before = pa.total_allocated_bytes()
    data = lake._files.read("wide.parquet")
    assert pa.total_allocated_bytes() - before >= data.size > 1_000_000
    assert data.to_pybytes() == lake.read_bytes("wide.parquet")
    lake.write_bytes("empty", b"")
    assert lake.read_bytes("empty") == b""


def test_a_key_of_any_script(lake):
    lake.write("symbol=币安人生USDT/é.parquet", TABLE, {"v": "1"})
    assert list(lake.list("symbol=币安人生USDT")) == ["symbol=币安人生USDT/é.parquet"]
    assert lake.load("symbol=币安人生USDT/é.parquet") == (TABLE, {"v": "1"})
    lake.update("symbol=币安人生USDT/é.parquet", lambda stored: (stored[0].slice(0, 1), {"v": "2"}))
    assert lake.read("symbol=币安人生USDT/é.parquet").num_rows == 1
    lake.delete("symbol=币安人生USDT/é.parquet")
    assert not lake.exists("symbol=币安人生USDT/é.parquet")


def test_equal_content_is_equal_bytes(lake):
    lake.write("one.parquet", TABLE, {"a": "1", "b": "2"})
    chunks = pa.concat_tables([TABLE.slice(0, 1), TABLE.slice(1)])
    lake.write("two.parquet", chunks, {"b": "2", "a": "1"})
    assert lake.read_bytes("one.parquet") == lake.read_bytes("two.parquet")


def test_a_second_write_replaces_the_first(lake):
    lake.write("t.parquet", TABLE, {"v": "1"})
    lake.write("t.parquet", TABLE.slice(0, 1), {})
    assert lake.read("t.parquet").num_rows == 1
    assert lake.metadata("t.parquet") == {}


def test_a_missing_key(lake):
    assert not lake.exists("no.parquet")
    assert lake.stat("no.parquet") is None
    assert lake.list("nowhere") == []
    for ask in (lake.read, lake.metadata, lake.read_bytes):
        with pytest.raises(FileNotFoundError):
            ask("no.parquet")
    lake.delete("no.parquet")


def test_listing_is_deep_sorted_and_below_its_prefix(lake):
    for key in ("b/2.json", "b/1.json", "b/c/3.json", "bb/4.json", "5.json"):
        lake.write_bytes(key, key.encode())
    assert lake.list("b") == ["b/1.json", "b/2.json", "b/c/3.json"]
    assert lake.list("") == ["5.json", "b/1.json", "b/2.json", "b/c/3.json", "bb/4.json"]
    assert lake.read_bytes("b/c/3.json") == b"b/c/3.json"
    assert lake.versions("bb")["bb/4.json"].size_bytes == len("bb/4.json")
    lake.delete("b/1.json")
    assert lake.list("b") == ["b/2.json", "b/c/3.json"]


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"hello"])
def test_a_damaged_file_says_so(lake, damage):
    lake.write("t.parquet", TABLE, {})
    lake.write_bytes("t.parquet", damage(lake.read_bytes("t.parquet")))
    with pytest.raises(Unreadable, match=r"t\.parquet is damaged"):
        lake.read("t.parquet")
    with pytest.raises(GiveUp, match=r"t\.parquet is damaged"):
        lake.metadata("t.parquet")


def test_a_flipped_bit_in_the_data_is_seen(lake):
    numbers = pa.table({"x": pa.array([i / 7 for i in range(500)])})
    lake.write("t.parquet", numbers, {})
    data = bytearray(lake.read_bytes("t.parquet"))
    data[200] ^= 1
    lake.write_bytes("t.parquet", bytes(data))
    with pytest.raises(Unreadable):
        lake.read("t.parquet")


@pytest.mark.parametrize(
    "key",
    [
        *("", "/etc/passwd", "a/../b", "..", "a//b", ".hidden", "a/.b", "a\\b", "a b", "a/"),
        *("e\u0301", "币/../b", ".币", "币\u202eb", "币\u3000b", "币\ud800", "币" * 73),
    ],
)
def test_no_key_leaves_the_lake(lake, key):
    for use in (lake.read, lake.exists, lake.metadata, lake.read_bytes):
        with pytest.raises(ValueError, match="not a key"):
            use(key)
    with pytest.raises(ValueError, match="not a key"):
        lake.write_bytes(key, b"")
    with pytest.raises(ValueError, match="not a key"):
        lake.write(key, TABLE, {})


def test_check_writable_leaves_nothing(lake):
    lake.check_writable()
    assert lake.list("") == []


def test_an_update_sees_what_is_there(lake):
    seen = []

    def more(stored):
        seen.append(None if stored is None else (stored[0].num_rows, stored[1]))
        table = TABLE if stored is None else pa.concat_tables([stored[0], TABLE])
        return table, {"rows": str(table.num_rows)}

    lake.update("a/b.parquet", more)
    lake.update("a/b.parquet", more)
    assert lake.load("a/b.parquet") == (pa.concat_tables([TABLE, TABLE]), {"rows": "6"})
    before = lake.stat("a/b.parquet")
    lake.update("a/b.parquet", lambda stored: None)
    lake.update("a/b.parquet", lambda stored: stored)
    assert lake.stat("a/b.parquet") == before
    lake.write_bytes("a/b.parquet", b"damaged")
    lake.update("a/b.parquet", more)
    assert seen == [None, (3, {"rows": "3"}), None]


def test_an_update_that_fails_changes_nothing(lake):
    lake.write("t.parquet", TABLE, {})

    def fails(stored):
        raise RetryLater("not now")

    with pytest.raises(RetryLater, match="not now"):
        lake.update("t.parquet", fails)
    assert lake.read("t.parquet").equals(TABLE)


def test_a_version_is_known_by_its_stat(lake):
    lake.write_bytes("a.json", b"one")
    first = lake.stat("a.json")
    assert lake.versions("") == {"a.json": first}
    assert first.size_bytes == 3
    assert abs(first.written_ms / 1000 - time.time()) < 60
    lake.write_bytes("a.json", b"two")
    assert lake.stat("a.json") != first


def test_metadata_behind_a_long_footer(lake):
    long = {"gaps": "x" * 200_000}  # longer than what is read at first
    lake.write("t.parquet", pa.table({"x": np.random.default_rng(1).random(30_000)}), long)
    assert lake.metadata("t.parquet") == long
