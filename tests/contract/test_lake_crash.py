"""kill -9 in the middle of writing: the file is always one whole version."""

import random
import signal
import subprocess
import sys
import time

import pyarrow as pa

from alphamill.lake import Lake
from tests.deadlines import wait_for

# A big file, so that nearly all of the time goes into writing and syncing it.
WRITER = """
import sys
from alphamill.lake import Lake
lake = Lake(sys.argv[1])
n = 0
def again(before):
    global n
    while True:
        n = n % 250 + 1
        lake.write_bytes("a/big.bin", bytes([n]) * 30_000_000)
lake.update("a/u.parquet", again)  # holds the folder's lock until it is killed
"""


def wait_for_change(lake, before):
    def written():
        return lake.stat("a/big.bin") != before

    wait_for(written, "a write", lambda: lake.list(""), poll_s=0.002)


def test_kill_9_leaves_one_whole_file_and_no_lock(tmp_path):
    lake = Lake(str(tmp_path))
    seed = random.Random(7)
    caught_writing = 0
    for _ in range(6):
        before = lake.stat("a/big.bin")
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
        wait_for_change(lake, before)
        time.sleep(seed.uniform(0.05, 0.25))  # somewhere within a later write
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        data = lake.read_bytes("a/big.bin")
        assert len(data) == 30_000_000
        assert data.count(data[:1]) == len(data)
        assert lake.list("") == ["a/big.bin"]
        for half in (tmp_path / ".aside").glob(".*.tmp"):
            caught_writing += 1
            half.unlink()
    lake.update("a/u.parquet", lambda _: (pa.table({"n": [1]}), {}))  # the dead hold no lock
    assert lake.read("a/u.parquet").num_rows == 1
    assert caught_writing, "no kill hit a write: the test has shown nothing"
