"""kill -9 in the middle of writing: the file is always one whole version."""

import contextlib
import signal
import subprocess
import sys

import pyarrow as pa

from alphamill.lake import Lake
from tests.deadlines import wait_for

SIZE = 30_000_000
# A big file, so that nearly all of the time goes into writing and syncing it.
WRITER = f"""
import sys
from alphamill.lake import Lake
lake = Lake(sys.argv[1])
n = 0
def again(before):
    global n
    while True:
        n = n % 250 + 1
        lake.write_bytes("a/big.bin", bytes([n]) * {SIZE})
lake.update("a/u.parquet", again)  # holds the folder's lock until it is killed
"""


def wait_for_change(lake, before):
    def written():
        return lake.stat("a/big.bin") != before

    wait_for(written, "a write", lambda: lake.list(""), poll_s=0.002)


def wait_for_share(folder, share):
    """Until this share of a later version has been written aside."""

    def sizes():
        found = []
        for half in folder.glob(".*.tmp"):
            with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
                found.append(half.stat().st_size)
        return found

    wait_for(
        lambda: any(size >= share * SIZE for size in sizes()),
        f"{share:.0%} of a write",
        sizes,
        poll_s=0.0005,
    )


def test_kill_9_leaves_one_whole_file_and_no_lock(tmp_path):
    lake = Lake(str(tmp_path))
    caught_writing = 0
    # Just after a write took its name (None), as one begins, amid it, and as it is synced.
    for share in (None, 0.0, 0.2, 0.5, 0.8, 1.0):
        before = lake.stat("a/big.bin")
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
        wait_for_change(lake, before)
        if share is not None:
            wait_for_share(tmp_path / ".aside", share)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        data = lake.read_bytes("a/big.bin")
        assert len(data) == SIZE
        assert data.count(data[:1]) == len(data)
        assert lake.list("") == ["a/big.bin"]
        for half in (tmp_path / ".aside").glob(".*.tmp"):
            caught_writing += 1
            half.unlink()
    lake.update("a/u.parquet", lambda _: (pa.table({"n": [1]}), {}))  # the dead hold no lock
    assert lake.read("a/u.parquet").num_rows == 1
    assert caught_writing, "no kill hit a write: the test has shown nothing"
