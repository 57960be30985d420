"""The local disk: faults, crashes and leftovers."""

import errno
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from alphamill.errors import Misconfigured, RetryLater
from alphamill.lake import Lake
from tests.deadlines import wait_for

TABLE = pa.table({"x": [float(i) / 3 for i in range(1000)]})


@pytest.fixture
def lake(tmp_path):
    return Lake(str(tmp_path / "lake"))


def files_of(lake):
    """All but the note that the lake is in today's order."""
    files = [path for path in Path(lake.uri).rglob("*") if path.is_file()]
    return [path for path in files if path.name != ".layout"]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "free or add space"),
        (errno.EDQUOT, "free or add space"),
        (errno.EROFS, "may write to"),
        (errno.EACCES, "may write to"),
    ],
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_fault_in_writing_names_the_setting_and_leaves_the_old_file(
    lake, monkeypatch, number, words, step
):
    lake.write("t.parquet", TABLE, {"v": "1"})

    def fail(*_):
        raise OSError(number, os.strerror(number))

    owner = os if step == "fsync" else Path
    monkeypatch.setattr(owner, step, fail)
    with pytest.raises(Misconfigured, match=words) as caught:
        lake.write("t.parquet", TABLE.slice(0, 1), {"v": "2"})
    monkeypatch.undo()
    assert caught.value.setting == "ALPHAMILL_LAKE"
    assert os.strerror(number) in caught.value.problem
    assert lake.metadata("t.parquet") == {"v": "1"}
    assert len(files_of(lake)) == 1


def test_a_fault_that_may_pass_is_retried(lake, monkeypatch):
    def fail(*_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RetryLater, match="Input/output error"):
        lake.write("t.parquet", TABLE, {})
    assert files_of(lake) == []


def test_a_real_file_size_limit_is_a_full_disk(lake):
    """The kernel itself cuts the write short, in a child process."""
    lake.write_bytes("t.bin", b"old")
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            lake.write_bytes("t.bin", b"x" * 5000)
        except Misconfigured:
            os._exit(42)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 42
    assert lake.read_bytes("t.bin") == b"old"
    assert len(files_of(lake)) == 1


def test_a_lake_that_is_a_file(tmp_path):
    (tmp_path / "lake").write_text("I am not a folder")
    with pytest.raises(Misconfigured, match="ALPHAMILL_LAKE"):
        Lake(str(tmp_path / "lake")).check_writable()
    with pytest.raises(Misconfigured, match="ALPHAMILL_LAKE"):
        Lake(str(tmp_path / "lake" / "deeper")).check_writable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_lake_without_permission(tmp_path):
    (tmp_path / "lake").mkdir(mode=0o500)
    with pytest.raises(Misconfigured, match="may write to"):
        Lake(str(tmp_path / "lake")).check_writable()


def test_to_ask_whether_a_lake_can_be_made_makes_none(tmp_path):
    Lake(str(tmp_path / "new" / "lake")).check_writable()
    assert list(tmp_path.iterdir()) == []


def test_a_lake_that_cannot_be_made_is_told_beforehand(tmp_path, monkeypatch):
    def refuse(path, *_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("alphamill.lake.local._write_synced", refuse)
    with pytest.raises(Misconfigured, match="free or add space"):
        Lake(str(tmp_path / "new" / "lake")).check_writable()
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_dead_writers_are_unseen_and_swept(lake):
    lake.write_bytes("a/t.json", b"1")
    folder = Path(lake.uri) / "a"
    old, young = folder / ".t.json.0123.tmp", folder / ".t.json.4567.tmp"
    old.write_bytes(b"half")
    young.write_bytes(b"half")
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    assert lake.list("") == ["a/t.json"]
    lake.write_bytes("a/u.json", b"2")
    assert not old.exists()
    assert young.exists()  # its writer may be alive


def test_what_is_being_written_and_locked_lies_apart_from_the_data(lake, monkeypatch):
    """A reader that scans a folder meets parquet only, at any moment."""
    seen, fsync, root = [], os.fsync, Path(lake.uri)

    def looked(descriptor):
        seen.append(sorted(str(path.relative_to(root)) for path in files_of(lake)))
        fsync(descriptor)

    lake.write("a/b=1/t.parquet", TABLE, {})
    monkeypatch.setattr(os, "fsync", looked)
    lake.update("a/b=1/t.parquet", lambda _: (TABLE.slice(1), {}))
    (writing, renamed) = seen
    assert renamed == [".locks/a/b=1.lock", "a/b=1/t.parquet"]
    (half,) = set(writing) - set(renamed)
    assert half.startswith(".aside/.t.parquet.")
    assert lake.list("") == ["a/b=1/t.parquet"]


def test_a_folder_that_is_a_file_system_of_its_own(lake, monkeypatch):
    """No rename crosses to it: its files are written aside in itself."""
    replace = Path.replace

    def within(path, target):
        if path.parent != target.parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", within)
    lake.write("a/t.parquet", TABLE, {})
    assert lake.read("a/t.parquet").equals(TABLE)
    assert len(files_of(lake)) == 1


def test_a_reader_sees_whole_files_while_writers_replace_them(lake):
    tables = [pa.table({"x": [float(n)] * (100 + n)}) for n in range(4)]
    lake.write("t.parquet", tables[0], {"n": "0"})
    stop = threading.Event()

    def write():
        n = 0
        while not stop.is_set():
            n = (n + 1) % 4
            lake.write("t.parquet", tables[n], {"n": str(n)})

    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    seen = Counter()

    def read():
        table, metadata = lake.load("t.parquet")
        assert table.equals(tables[int(metadata["n"])])
        seen[metadata["n"]] += 1
        return seen.total() >= 200 and len(seen) > 1

    try:
        wait_for(read, "a second version among 200 reads", lambda: seen, poll_s=0)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert len(files_of(lake)) == 1


ELSEWHERE = """
import sys
import pyarrow as pa
from alphamill.lake import Lake
assert sys.getfilesystemencoding() == "ascii", sys.getfilesystemencoding()
lake, key = Lake(sys.argv[1]), "klines/symbol=\\u5e01\\u5b89USDT/2024-01.parquet"
assert lake.read(key)["x"].to_pylist() == [1.0]
lake.update(key, lambda stored: (pa.table({"x": [1.0, 2.0]}), {"v": "2"}))
assert lake.metadata(key) == {"v": "2"}
assert list(lake.list("klines")) == [key]
lake.write("klines/symbol=\\u5e01\\u5b89USDT/2024-02.parquet", pa.table({"x": [3.0]}), {})
"""


def test_names_are_utf8_on_the_disk_whatever_the_locale(lake):
    """A worker under another locale than the producer's finds and makes the same files."""
    folder = "klines/symbol=币安USDT"
    lake.write(f"{folder}/2024-01.parquet", pa.table({"x": [1.0]}), {"v": "1"})
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    subprocess.run([sys.executable, "-c", ELSEWHERE, lake.uri], env=os.environ | plain, check=True)
    assert list(lake.list("klines")) == [f"{folder}/2024-01.parquet", f"{folder}/2024-02.parquet"]
    assert lake.read(f"{folder}/2024-01.parquet")["x"].to_pylist() == [1.0, 2.0]
    (named,) = Path(lake.uri, "klines").iterdir()
    assert bytes(named).endswith("/symbol=币安USDT".encode())


def test_the_longest_name_of_a_key_can_be_written(lake):
    for name in ("A" * 217, "币" * 72 + "A", "A" * 209 + ".parquet"):
        lake.write(name, TABLE, {})
        assert lake.metadata(name) == {}
    with pytest.raises(ValueError, match="not a key"):
        lake.write("A" * 218, TABLE, {})
