"""The demo over recordings, with a worker killed; and stopped half way, in every way."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pyarrow.parquet as pq
import pytest

from tests.deadlines import end_s, stack_s, start_s, work_s

pytestmark = [pytest.mark.slow, pytest.mark.stack]

REPLAYED = ("BTCUSDT", "ETHUSDT", "XRPUSDT")
RECORDED = ("open", "high", "low", "close", "volume")


def worker(home: Path, pool: str) -> psutil.Process:
    """The main process of this home's worker of a pool."""
    for process in psutil.process_iter(["cmdline", "ppid"]):
        words = process.info["cmdline"] or []
        if "worker" in words and any(word.startswith(f"{pool}-") for word in words):
            parent = psutil.Process(process.info["ppid"])
            if str(home) in " ".join(parent.cmdline()):
                return process
    raise AssertionError(f"no {pool} worker of {home}")


@pytest.fixture(scope="module")
def replayed(launch, shared_data, tmp_path_factory):
    """A demo over real recordings whose evaluate worker is killed -9 while it works."""
    home = tmp_path_factory.mktemp("replay") / "home"
    recordings = ("--replay", str(shared_data / "klines" / "spot"), "--interval", "1h")
    symbols = ("--symbols", ",".join(REPLAYED))
    command = launch(home, "demo", "--home", str(home), *recordings, *symbols)
    command.until(lambda: command.reached("evaluate"), "an evaluation", work_s())
    victim = worker(home, "evaluate")
    os.kill(victim.pid, signal.SIGKILL)
    return command, command.wait()


def test_a_killed_worker_is_replaced_and_the_demo_ends_well(replayed):
    command, code = replayed
    assert code == 0, command.err
    assert "worker-evaluate ended with -9; starting it again" in command.err
    command.expect_nothing_left()
    (run,) = (command.home / "lake" / "runs").iterdir()
    assert len(pd.read_parquet(run / "factors.parquet", columns=["verdict"])) > 0
    assert pd.read_parquet(run / "trials.parquet")["hash"].notna().any()


@pytest.mark.parametrize("symbol", REPLAYED)
def test_the_lake_holds_the_recording_and_the_stated_stand_ins(replayed, shared_data, symbol):
    command, _ = replayed
    recorded = pq.read_table(shared_data / "klines" / "spot" / f"{symbol}-1h.parquet")
    recorded = recorded.to_pandas().sort_values("open_time")
    folder = command.home / "lake" / "klines" / "market=spot" / "interval=1h" / f"symbol={symbol}"
    stored = pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))])
    assert np.array_equal(
        stored["open_time"].astype("int64"), recorded["open_time"].astype("int64")
    )
    for name in RECORDED:
        assert np.array_equal(stored[name], recorded[name].astype("float64")), name
    typical = (recorded["high"] + recorded["low"] + recorded["close"]) / 3
    stand_ins = dict.fromkeys(("trades", "taker_buy_base", "taker_buy_quote"), 0.0)
    stand_ins["quote_volume"] = (recorded["volume"] * typical).round(8)
    for name, stand_in in stand_ins.items():
        expected = np.asarray(recorded.get(name, stand_in), dtype=np.float64)
        assert (stored[name].to_numpy() == expected).all(), name


def interrupt(command, which, stage):
    """Signal the demo while a job of the stage runs: it stops all that it started, and says so."""
    command.until(lambda: command.reached(stage), stage, work_s())
    assert command.send(which) == 130
    assert command.err.strip().splitlines()[-2:] == ["stopping ...", "interrupted"]
    assert "\nworker-evaluate is up\n" in command.err
    assert "Traceback" not in command.out + command.err
    command.expect_nothing_left()


@pytest.mark.parametrize(
    ("which", "stage"),
    [(signal.SIGINT, "fetch"), (signal.SIGTERM, "features")],
    ids=["Ctrl-C while fetching", "SIGTERM while computing"],
)
def test_it_can_be_interrupted_and_leaves_nothing(launch, small_market, tmp_path, which, stage):
    home = tmp_path / "home"
    interrupt(
        launch(home, "demo", "--home", str(home), "--replay", str(small_market)), which, stage
    )


def test_a_second_interrupt_does_not_cut_the_stopping_short(launch, small_market, tmp_path):
    home = tmp_path / "home"
    command = launch(home, "demo", "--home", str(home), "--replay", str(small_market))
    command.until((home / "redis.url").exists, "Redis", start_s())
    command.look()
    for _ in range(3):
        command.process.send_signal(signal.SIGINT)
    assert command.wait(end_s()) == 130
    command.expect_nothing_left()


def test_a_killed_demo_takes_everything_along_and_the_next_runs_until_ctrl_c_while_evaluating(
    launch, small_market, tmp_path
):
    home = tmp_path / "home"
    words = ("demo", "--home", str(home), "--replay", str(small_market))
    if sys.platform == "linux":  # where children die with their parent
        command = launch(home, *words)
        command.until(lambda: command.reached("features"), "features", work_s())
        assert command.send(signal.SIGKILL) == -signal.SIGKILL
        command.until_gone(end_s())
    interrupt(launch(home, *words), signal.SIGINT, "evaluate")


def test_a_service_that_fails_is_named_with_its_log(launch, tmp_path):
    recordings, home = tmp_path / "recordings", tmp_path / "home"
    recordings.mkdir()
    (recordings / "BTCUSDT-1h.parquet").write_text("this is no parquet")
    command = launch(home, "demo", "--home", str(home), "--replay", str(recordings))
    assert command.wait(stack_s()) == 1
    last = command.err.strip().splitlines()[-1]
    assert last.startswith("the exchange cannot read its recordings")
    assert last.endswith("exchange.log")
    assert "Traceback" not in command.err
    command.expect_nothing_left()


def test_a_folder_without_recordings_is_refused_before_anything_starts(launch, tmp_path):
    (tmp_path / "empty").mkdir()
    home = tmp_path / "home"
    command = launch(home, "demo", "--home", str(home), "--replay", str(tmp_path / "empty"))
    assert command.wait(start_s()) == 3
    assert "no SYMBOL-INTERVAL.parquet; name a folder of recordings" in command.err
    assert not home.exists()


def test_somebody_elses_folder_is_not_emptied(launch, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    (home / "thesis.txt").write_text("years of work")
    command = launch(home, "demo", "--home", str(home))
    assert command.wait(start_s()) == 3
    assert "is not empty and not a demo's" in command.err
    assert (home / "thesis.txt").read_text() == "years of work"
