"""Months of 1m bars a second of one core, from the archive's zips to parquet in the lake.

A static HTTP server in another process serves real months of BTCUSDT (synthetic ones without
../shared) under several names; the fetch stage brings each into a lake: two requests, sha256,
unzip, CSV, checks, parquet, read-back. Counted is the CPU time of this process, file by file: the
fastest quarter of the files judges the code, the median tells what this machine makes of it (fresh
memory costs a virtual machine half as much again while its host takes pages back). Every file's
bars are compared with the recording first. Target: 20 files a second of one core. The least time of
each step is printed with it: splitting 6 MB of CSV in pyarrow, inflating and compressing are 80 %.
"""

from __future__ import annotations

import functools
import hashlib
import multiprocessing
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from contextlib import closing
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from alphamill.clock import ManualClock, SystemClock
from alphamill.frames import Interval, Market, Month
from alphamill.jobs import FetchJob
from alphamill.lake import Lake, MonthFacts, read_klines, write_klines
from alphamill.market import Archive, FakeExchange, KlineFile
from alphamill.market.archive_zip import only_csv
from alphamill.market.klines.archive_file import parse_csv, parse_zip
from alphamill.sim.exchange.archive import SimulatedArchive
from alphamill.sim.market import (
    BarSource,
    ReplaySource,
    SyntheticMarket,
    SyntheticSource,
    coins_named,
)
from alphamill.stages import fetch
from alphamill.stages.fetch import FetchDeps

TARGET_FILES_A_CORE_SECOND = 20.0
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "klines"
FILES = 80
AUGUST_MS = Month(2025, 8).start_ms


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        jobs = [*bitcoin(root), *others(root)]
        receive, send = multiprocessing.Pipe(duplex=False)
        server = multiprocessing.Process(target=serve, args=(root / "www", send), daemon=True)
        server.start()
        try:
            url = f"http://127.0.0.1:{receive.recv()}"
            for name, files in groups(jobs).items():
                report(name, files, url, root)
        finally:
            server.terminate()
            server.join()


def bitcoin(root: Path) -> list[KlineFile]:
    if (REAL / "spot" / "BTCUSDT-1m.parquet").exists():
        months = [Month(2023, 2), Month(2023, 4), Month(2023, 5)]
        return publish(root, ReplaySource(REAL), Market.SPOT, "BTCUSDT", months)
    market = SyntheticMarket(
        coins=coins_named(["BTCUSDT"]),
        interval=Interval.M1,
        start_ms=Month(2024, 1).start_ms,
        end_ms=Month(2024, 3).start_ms,
        planted=(),
    )
    months = [Month(2024, 1), Month(2024, 2)]
    return publish(root, SyntheticSource(market), Market.SPOT, "BTCUSDT", months)


def others(root: Path) -> list[KlineFile]:
    """A coin of fewer digits, where there is a recording."""
    source = ReplaySource(REAL) if REAL.is_dir() else None
    bars = source and source.bars(Market.USD_M, "NEARUSDT", Interval.M1)
    if source is None or bars is None:
        return []
    first = Month.of_ms(int(bars.open_ms[0]))
    months = [first] if int(bars.open_ms[0]) == first.start_ms else [first.next()]
    return publish(root, source, Market.USD_M, "NEARUSDT", months)


def publish(
    root: Path, source: BarSource, market: Market, symbol: str, months: list[Month]
) -> list[KlineFile]:
    """Write zips and checksums as static files."""
    archive = SimulatedArchive(source, SystemClock().now_ms)
    files = [KlineFile(market, symbol, Interval.M1, month) for month in months]
    for file in files:
        for path in (file.path, f"{file.path}.CHECKSUM"):
            body = archive.body(f"/{path}")
            assert body is not None, path
            place = root / "www" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(body)
    return files


class Quiet(SimpleHTTPRequestHandler):
    """Serves the folder and keeps quiet about it."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_args: object) -> None:
        pass


def serve(folder: Path, ready: Connection) -> None:
    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        ready.send(server.server_port)
        server.serve_forever()


def groups(files: list[KlineFile]) -> dict[str, list[KlineFile]]:
    found: dict[str, list[KlineFile]] = {}
    for file in files:
        found.setdefault(f"{file.symbol} {file.market}", []).append(file)
    return found


def report(name: str, files: list[KlineFile], url: str, root: Path) -> None:
    with closing(Archive(url, SystemClock())) as archive:
        check(files, archive, root)
        for file in files:
            bring(file, archive, Lake(str(root / "warm")))
        costs_s, began_s = [], time.perf_counter()
        for number in range(FILES):
            cpu_s = time.process_time()
            bring(files[number % len(files)], archive, Lake(str(root / name / str(number))))
            costs_s.append(time.process_time() - cpu_s)
        wall_s = time.perf_counter() - began_s
    quarter, _, _ = statistics.quantiles(costs_s, n=4)
    rate = 1 / quarter
    verdict = "met" if rate >= TARGET_FILES_A_CORE_SECOND else "MISSED"
    print(
        f"{name}: {rate:.1f} monthly 1m files a second of one core (median "
        f"{1 / statistics.median(costs_s):.1f}, best {1 / min(costs_s):.1f}, by the wall clock "
        f"{FILES / wall_s:.1f}); target {TARGET_FILES_A_CORE_SECOND:.0f}: {verdict}"
    )
    profile(files[0], root, 1000 * quarter)


def bring(file: KlineFile, archive: Archive, lake: Lake) -> fetch.FetchFacts:
    clock = ManualClock(AUGUST_MS)
    job = FetchJob(file.market, file.symbol, file.interval, file.range.start_ms, file.range.end_ms)
    return fetch.run(job, FetchDeps(FakeExchange(clock), lake, archive, clock))


def check(files: list[KlineFile], archive: Archive, root: Path) -> None:
    """What lands equals what was published, read by Python's own float()."""
    for file in files:
        lake = Lake(str(root / "check"))
        facts = bring(file, archive, lake)
        assert facts.source == "archive-monthly", facts
        where = file.market, file.symbol, file.interval
        table = read_klines(lake, *where, file.range.start_ms, file.range.end_ms)
        text = only_csv((root / "www" / file.path).read_bytes(), f"{file.stem}.csv")
        lines = [line.split(",") for line in text.decode().splitlines() if line[0].isdigit()]
        for column, name in enumerate(table.column_names):
            if name not in ("open_time", "close_time"):
                expected = np.array([float(line[column]) for line in lines])
                assert np.array_equal(table[name].to_numpy(), expected), (file.stem, name)


def profile(file: KlineFile, root: Path, whole_ms: float) -> None:
    content = (root / "www" / file.path).read_bytes()
    text = only_csv(content, f"{file.stem}.csv")
    table = parse_zip(content, file)
    facts = MonthFacts("archive-monthly", file.range)
    where = file.market, file.symbol, file.interval, file.month
    lake = Lake(str(root / "profile"))
    packed = zlib.compress(text)
    steps = {
        "sha256 of the zip": lambda: hashlib.sha256(content).digest(),
        "inflate (zlib itself)": lambda: zlib.decompress(packed, bufsize=len(text)),
        "unzip with its checks": lambda: only_csv(content, f"{file.stem}.csv"),
        "CSV to checked KLINES": lambda: parse_csv(text, file.symbol, file.interval),
        "parquet into the lake": lambda: write_klines(lake, *where, table, facts),
    }
    size = f"{table.num_rows} bars, zip {len(content) / 1e6:.1f} MB, CSV {len(text) / 1e6:.1f} MB"
    print(f"  a file ({size}) takes {whole_ms:.1f} ms of CPU, of which")
    for name, step in steps.items():
        print(f"    {name:24}{best_ms(step):7.1f} ms")


def best_ms(step: Callable[[], object]) -> float:
    times = []
    for _ in range(9):
        start_s = time.process_time()
        step()
        times.append(time.process_time() - start_s)
    return 1000 * min(times)


if __name__ == "__main__":
    main()
