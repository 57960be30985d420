"""`alphamill combine` over fifty formulas as a user runs it: real workers, Redis and bars.

    python benchmarks/combine_command.py [--factors 50] [--symbols 100] [--bars 26280] [--pool 500]
        [--draws 200]

`alphamill up` over a simulated exchange on this machine; the command fetches the bars and waits.
Prints each stage's time from its first start to its last end, what the whole command took, and the
most of one process of the evaluate pool: processor time, and memory in pages of its own and in
those of files, which the system may take back.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from alphamill.controls.markets import ControlMarket
from alphamill.frames import TimeRange
from alphamill.grid import DAY_MS
from alphamill.ledger import RedisLedger
from alphamill.redis_address import open_client
from alphamill.settings import load_settings
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer, Limits
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named
from alphamill.stack.processes import die_with_parent

REPOSITORY = Path(__file__).resolve().parents[1]
CONFIG = "[binance]\nrequests_per_minute = 100000\n"
AMPLE = Limits(weight=10_000_000, requests=None)
TEXTS = [
    form.format(column, window)
    for form in (
        "-ts_zscore({0}, {1})",
        "ts_rank({0}, {1})",
        "{0} / ts_mean({0}, {1})",
        "-ts_std({0}, {1}) / ts_mean({0}, {1})",
        "delta({0}, {1}) / {0}",
    )
    for column in ("close", "high", "volume", "trades", "vwap")
    for window in (24, 120, 12, 72)
]
UP_S, RUN_S = 120.0, 3600.0


class Watch:
    """The most of one evaluate process: GB of its own and of files, seconds of processor."""

    def __init__(self) -> None:
        self.own = self.of_files = self.cpu_s = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._ended.wait(0.5):
            for folder in Path("/proc").glob("[0-9]*"):
                with suppress(OSError, AttributeError):
                    if b"evaluate-" not in (folder / "cmdline").read_bytes():
                        continue
                    status = (folder / "status").read_text()
                    held = [
                        int(re.search(rf"{name}:\s+(\d+)", status)[1]) / 2**20  # type: ignore[index]
                        for name in ("RssAnon", "RssFile")
                    ]
                    ticks = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
                    self.cpu_s = max(self.cpu_s, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"))
                    self.own, self.of_files = max(self.own, held[0]), max(self.of_files, held[1])

    def close(self) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def stack(home: Path, exchange: str) -> Iterator[dict[str, str]]:
    """`alphamill up`; what its commands are started with."""
    (home / "alphamill.toml").write_text(CONFIG, encoding="utf-8")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("ALPHAMILL", "CELERY"))}
    environment = clean | {
        "PYTHONPATH": str(REPOSITORY),
        "ALPHAMILL_HOME": str(home),
        "ALPHAMILL_CONFIG": str(home / "alphamill.toml"),
        "ALPHAMILL_BINANCE_URL": exchange,
        "ALPHAMILL_ARCHIVE_URL": "",
    }
    with (home / "up.log").open("wb") as log:
        up = subprocess.Popen(
            [sys.executable, "-m", "producers.cli", "up", "--flower-port", "0"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,
            env=environment,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - only ctypes runs there
        )
    try:
        until = time.monotonic() + UP_S
        while (
            b"evaluate" not in (home / "up.log").read_bytes() or not (home / "redis.url").exists()
        ):
            if up.poll() is not None or time.monotonic() > until:
                raise SystemExit((home / "up.log").read_text())
            time.sleep(0.2)
        yield environment
    finally:
        up.terminate()
        up.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (
        ("factors", 50),
        ("symbols", 100),
        ("bars", 26_280),
        ("pool", 500),
        ("draws", 200),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    shape = ControlMarket(1, given.symbols, given.bars)
    start_ms = shape.start_ms // DAY_MS * DAY_MS
    asked = TimeRange(start_ms, start_ms + given.bars // 24 * DAY_MS)
    market = SyntheticMarket(
        coins=coins_named(shape.symbols),
        interval=shape.interval,
        start_ms=asked.start_ms,
        end_ms=asked.end_ms,
        planted=(),
    )
    print(f"load {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        config = ExchangeConfig(spot_limits=AMPLE, futures_limits=AMPLE)
        with (
            ExchangeServer(config, SyntheticSource(market)) as exchange,
            stack(home, exchange.url) as environment,
        ):
            measure(given, asked, shape.symbols, environment)
    print(f"load {os.getloadavg()[0]:.2f}")


def measure(
    given: argparse.Namespace,
    asked: TimeRange,
    symbols: tuple[str, ...],
    environment: dict[str, str],
) -> None:
    days = (
        time.strftime("%Y-%m-%d", time.gmtime(ms / 1000)) for ms in (asked.start_ms, asked.end_ms)
    )
    start, end = days
    command = [
        *(
            sys.executable,
            "-m",
            "producers.cli",
            "combine",
            *(f"({one})" for one in TEXTS[: given.factors]),
        ),
        *("--symbols", ",".join(symbols), "--interval", "1h", "--start", start, "--end", end),
        *("--control", str(given.draws), "--pool", str(given.pool), "--wait"),
    ]
    watch, began = Watch(), time.perf_counter()
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=RUN_S, check=False
    )
    wall = time.perf_counter() - began
    watch.close()
    print(ended.stdout[-4000:], ended.stderr[-2000:], sep="\n")
    if ended.returncode:
        raise SystemExit(ended.returncode)
    settings = load_settings(environment)
    ledger = RedisLedger(open_client(settings.redis_url), settings.ledger)
    [run] = ledger.runs()
    spans: dict[str, list[tuple[int, int]]] = {}
    for job in ledger.jobs(run.id):
        if job.started_ms and job.finished_ms:
            spans.setdefault(job.stage, []).append((job.started_ms, job.finished_ms))
    for stage, times in spans.items():
        took = max(end for _, end in times) - min(start for start, _ in times)
        print(f"{stage:10} {len(times):5} jobs {took / 1000:8.1f} s")
    print(f"the command {wall:.1f} s; {run.state.value}")
    print(f"an evaluate process: {watch.cpu_s:.0f} s of processor, {watch.own:.2f} GB of its own, ")
    print(f"{watch.of_files:.2f} GB of files")


if __name__ == "__main__":
    main()
