"""Lakes of older code, with locks and manifests among the data: read, and brought into order."""

import fcntl
import json
import os
import time
from importlib import import_module
from pathlib import Path

import pyarrow as pa
import pytest

from alphamill.errors import Misconfigured
from alphamill.frames import Interval, Market, Month
from alphamill.lake import Lake, Series, manifest, read_klines
from alphamill.lake.local import LocalFiles
from alphamill.lake.store import open_files
from alphamill.lake.upgrade import manifest_key, old_manifest_key, upgrade
from alphamill.testing import put_klines, random_klines

JANUARY = Month(2021, 1)
SYMBOLS = ("BTCUSDT", "1INCHUSDT", "ETHUSDT")
ALL = [Series(Market.SPOT, symbol, Interval.H1) for symbol in SYMBOLS]
FOLDERS = [series.folder("klines") for series in ALL]
OTHER = ("x/y.json", b"{}")


def reads(lake, symbols=SYMBOLS):
    """What anybody reads of the lake: rows that the manifest knows, and closes."""
    months = JANUARY.start_ms, JANUARY.next().end_ms
    return {
        one: (
            manifest(lake, one.market, one.symbol, one.interval).rows,
            read_klines(lake, one.market, one.symbol, one.interval, *months).num_rows,
        )
        for one in ALL
        if one.symbol in symbols
    }


WHOLE = dict.fromkeys(ALL, (900, 900))


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """Files are remembered at once. (`alphamill.lake.manifest` is the function of that name.)"""
    monkeypatch.setattr(import_module("alphamill.lake.manifest"), "_SETTLED_NS", -(10**12))


@pytest.fixture(params=["local", "s3"])
def old(request, tmp_path):
    """The files of a lake as the code of November 2026 left it."""
    uri = str(tmp_path / "lake") if request.param == "local" else request.getfixturevalue("s3_uri")
    return old_lake(uri)


def old_lake(uri, n_symbols=3):
    lake, files = Lake(uri), open_files(uri)
    for symbol in SYMBOLS[:n_symbols]:
        put_klines(lake, symbol, random_klines(900, JANUARY.start_ms))
    reads(lake, SYMBOLS[:n_symbols])
    for folder in FOLDERS[:n_symbols]:
        files.write(old_manifest_key(folder), files.read(manifest_key(folder)))
        files.delete(manifest_key(folder))
        if isinstance(files, LocalFiles):
            (Path(uri) / folder / ".lock").touch()
            half = Path(uri) / folder / f".2021-01.parquet.{0:032x}.tmp"
            half.write_bytes(b"PAR1")
            os.utime(half, (time.time() - 7200,) * 2)
    files.delete(".layout")
    return lake.uri


def among_data(uri):
    """Everything under the folders that others scan but parquet, hidden files too."""
    if not uri.startswith("s3://"):
        found = [one for one in (Path(uri) / "klines").rglob("*") if one.is_file()]
        return [one.name for one in found if one.suffix != ".parquet" or one.name[0] == "."]
    return [key for key in Lake(uri).list("klines") if not key.endswith(".parquet")]


def test_the_first_writer_leaves_nothing_but_parquet(old, monkeypatch):
    kept = {folder: Lake(old).read_bytes(old_manifest_key(folder)) for folder in FOLDERS}
    assert len(among_data(old)) >= len(FOLDERS)
    Lake(old).write_bytes(*OTHER)
    assert among_data(old) == []
    assert {folder: Lake(old).read_bytes(manifest_key(folder)) for folder in FOLDERS} == kept
    with monkeypatch.context() as patch:  # what was remembered is not looked up again
        patch.setattr(Lake, "metadata", lambda *_: pytest.fail("read a file again"))
        assert reads(Lake(old)) == WHOLE
    assert among_data(old) == []


def test_it_is_done_once(old, monkeypatch):
    Lake(old).write_bytes(*OTHER)
    files = open_files(old)
    for name in ("sweep", "list", "write"):
        monkeypatch.setattr(type(files), name, lambda *_: pytest.fail("did it again"))
    upgrade(files)


class Killed(BaseException):
    """In place of a process that ends."""


@pytest.mark.parametrize(("kind", "n_symbols"), [("local", 3), ("s3", 1)])
def test_killed_anywhere_it_is_whole_and_the_next_writer_ends_it(
    kind, n_symbols, request, tmp_path
):
    base = request.getfixturevalue("s3_uri") if kind == "s3" else tmp_path
    symbols, steps = SYMBOLS[:n_symbols], 0
    whole = {one: count for one, count in WHOLE.items() if one.symbol in symbols}
    while killed_after(steps, uri := old_lake(f"{base}/{steps}", n_symbols)):
        assert reads(Lake(uri), symbols) == whole
        Lake(uri).write_bytes(*OTHER)
        assert among_data(uri) == []
        assert reads(Lake(uri), symbols) == whole
        steps += 1
    assert steps == 2 + 2 * n_symbols  # the locks, each manifest's copy and old place, the note


def killed_after(steps, uri):
    """Whether the upgrade needs more steps than that."""
    files, done = open_files(uri), 0

    def counted(operation):
        def step(*arguments):
            nonlocal done
            if done == steps:
                raise Killed
            done += 1
            return operation(*arguments)

        return step

    for name in ("write", "delete", "sweep"):
        setattr(files, name, counted(getattr(files, name)))
    try:
        upgrade(files)
    except Killed:
        return True
    return False


def test_a_lake_that_may_only_be_read_is_read(old, monkeypatch):
    files = open_files(old)

    def refused(*_):
        raise Misconfigured("ALPHAMILL_LAKE", "cannot write", "name another")

    for name in ("write", "delete"):
        monkeypatch.setattr(type(files), name, refused)
    monkeypatch.setattr(Path, "unlink", refused)
    before = among_data(old)
    with monkeypatch.context() as patch:
        patch.setattr(Lake, "metadata", lambda *_: pytest.fail("read a file again"))
        assert reads(Lake(old)) == WHOLE
    assert among_data(old) == before
    with pytest.raises(Misconfigured, match="cannot write"):
        Lake(old).write_bytes(*OTHER)


def test_what_older_code_leaves_afterwards_goes_too(old):
    Lake(old).write_bytes(*OTHER)
    files, where = open_files(old), (Market.SPOT, "BTCUSDT", Interval.H1)
    files.write(old_manifest_key(FOLDERS[0]), b'{"version": 2, "files": {}}')
    assert manifest(Lake(old), *where).rows == 900
    assert among_data(old) == []
    remembered = json.loads(files.read(manifest_key(FOLDERS[0])).to_pybytes())["files"]
    assert sorted(remembered) == ["2021-01.parquet", "2021-02.parquet"]


def test_a_worker_of_older_code_is_waited_for(tmp_path, monkeypatch):
    """It holds its lock while it reads and writes a month; nothing is done in between."""
    lake, folder = Lake(str(tmp_path)), FOLDERS[0]
    put_klines(lake, "BTCUSDT", random_klines(900, JANUARY.start_ms))
    key, lock = f"{folder}/2021-01.parquet", tmp_path / folder / ".lock"
    holder = lock.open("ab")
    fcntl.flock(holder, fcntl.LOCK_EX)
    flock, said = fcntl.flock, []

    def waits(file, how):
        if file.name == str(lock) and how == fcntl.LOCK_EX:
            said.append("waits")
            holder.close()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", waits)
    lake.update(key, lambda _: said.append("reads"))
    assert said == ["waits", "reads"]
    lake.update(key, lambda _: said.append("reads"))
    assert said == ["waits", "reads", "reads"]
    assert lock.exists()  # others of that code may queue for it
    os.utime(lock, (time.time() - 2 * 86_400,) * 2)
    lake.update(key, lambda _: said.append("reads"))
    assert not lock.exists()


def test_a_worker_of_older_code_that_begins_meanwhile_is_not_undone(tmp_path):
    """What it writes under its own lock is there before we write."""
    lake, lock = Lake(str(tmp_path)), tmp_path / "a" / ".lock"
    seen = []

    def change(stored):
        seen.append(stored and stored[0]["n"].to_pylist())
        if len(seen) == 1:
            lake.write("a/t.parquet", pa.table({"n": [1]}), {})
            lock.touch()
        return pa.table({"n": [*(seen[-1] or ()), 2]}), {}

    lake.update("a/t.parquet", change)
    assert lake.read("a/t.parquet")["n"].to_pylist() == [1, 2]
    assert seen == [None, [1]]


def test_a_lock_that_older_code_holds_stays_until_it_is_free(tmp_path):
    uri = old_lake(str(tmp_path))
    with (tmp_path / FOLDERS[1] / ".lock").open("ab") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        Lake(uri).write_bytes(*OTHER)
        assert ".lock" in among_data(uri)
    Lake(uri).write_bytes(*OTHER)
    assert among_data(uri) == []
