"""Files a second of one core: metrics, premium and mark klines from the archive's zips to the lake.

A static HTTP server in another process serves the simulated exchange's files of some contracts; the
wide stage brings each month into a lake: two requests a file, sha256, unzip, CSV, labels, checks,
parquet. Metrics are daily files alone, so that a month of them is 28 to 31 files and one write.
What lands is compared with the market first. Counted is the processor time of this process, by the
mix that a year of 50 contracts has: 365 files of metrics to 12 of each kind of klines. Target: 15
files a second of one core. By default some months stand for the year; --whole does all of it, which
is 19,450 files.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import tempfile
import time
from contextlib import closing
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from alphamill.clock import ManualClock
from alphamill.frames import Interval, Market, Month, Wide, months_between, times_ms
from alphamill.jobs import WideJob
from alphamill.lake import Lake, MetricsSeries, read_series
from alphamill.market import Archive, FakeExchange, FakeMetrics, KlineFile, MetricsFile
from alphamill.market.klines.of import PRICES_OF
from alphamill.sim.exchange.archive import SimulatedArchive
from alphamill.sim.market import SyntheticMarket, SyntheticSource, coins_named
from alphamill.stages import wide
from alphamill.stages.wide import WideDeps

TARGET_FILES_A_CORE_SECOND = 15.0
KINDS = (Wide.METRICS, Wide.PREMIUM, Wide.MARK)
YEAR = months_between(Month(2025, 1).start_ms, Month(2025, 12).end_ms)
NOW_MS = Month(2026, 6).start_ms
DAY_MS = 86_400_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole", action="store_true", help="all of a year of 50 contracts")
    whole = parser.parse_args().whole
    symbols = [f"C{number}USDT" for number in range(50 if whole else 2)]
    months = YEAR if whole else YEAR[:3]
    market = SyntheticMarket(
        coins=coins_named(symbols),
        interval=Interval.H1,
        start_ms=months[0].start_ms - DAY_MS,
        end_ms=months[-1].end_ms,
        planted=(),
    )
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = SyntheticSource(market)
        published = publish(root / "www", source, symbols, months)
        receive, send = multiprocessing.Pipe(duplex=False)
        server = multiprocessing.Process(target=serve, args=(root / "www", send), daemon=True)
        server.start()
        try:
            url = f"http://127.0.0.1:{receive.recv()}"
            check(url, root / "check", source, symbols[0], months[0])
            report(url, root / "lake", symbols, months, published)
        finally:
            server.terminate()
            server.join()


def publish(
    root: Path, source: SyntheticSource, symbols: list[str], months: list[Month]
) -> dict[Wide, int]:
    """Write zips and checksums as static files; how many of each kind."""
    archive = SimulatedArchive(source, lambda: NOW_MS)
    files: dict[Wide, list[MetricsFile | KlineFile]] = {kind: [] for kind in KINDS}
    for symbol in symbols:
        for month in months:
            days = month.range.length_ms // DAY_MS
            files[Wide.METRICS] += [
                MetricsFile(Market.USD_M, symbol, month, day) for day in range(1, days + 1)
            ]
            for kind in KINDS[1:]:
                of = PRICES_OF[kind].name
                files[kind].append(KlineFile(Market.USD_M, symbol, Interval.H1, month, folder=of))
    counts = dict.fromkeys(KINDS, 0)
    for kind, named in files.items():
        for file in named:
            for path in (file.path, f"{file.path}.CHECKSUM"):
                body = archive.body(f"/{path}")
                if body is None:
                    break  # a day that the archive has lost
                place = root / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(body)
            else:
                counts[kind] += 1
    return counts


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


def bring(kind: Wide, symbol: str, month: Month, archive: Archive, lake: Lake) -> wide.WideFacts:
    clock = ManualClock(NOW_MS)
    prices, metrics = FakeExchange(clock), FakeMetrics(clock)
    deps = WideDeps(lake, lambda _: prices, metrics, archive, archive, clock)
    interval = None if kind is Wide.METRICS else Interval.H1
    job = WideJob(kind, Market.USD_M, symbol, interval, month.start_ms, month.end_ms)
    return wide.run(job, deps)


def check(url: str, folder: Path, source: SyntheticSource, symbol: str, month: Month) -> None:
    """What lands is what the market has, in every figure."""
    with closing(Archive(url, ManualClock(NOW_MS))) as archive:
        lake = Lake(str(folder))
        for kind in KINDS:
            facts = bring(kind, symbol, month, archive, lake)
            assert facts.rows, facts
    series = MetricsSeries(Market.USD_M, symbol)
    table = read_series(lake, series, month.start_ms, month.end_ms)
    known = source.metrics(Market.USD_M, symbol)
    assert known is not None
    here = known.filed & (known.open_ms >= month.start_ms) & (known.open_ms < month.end_ms)
    assert np.array_equal(times_ms(table), known.open_ms[here])
    for name, values in known.values.items():
        assert np.array_equal(table[name].to_numpy(), values[here]), name


def report(
    url: str, folder: Path, symbols: list[str], months: list[Month], published: dict[Wide, int]
) -> None:
    spent_s = dict.fromkeys(KINDS, 0.0)
    files = dict.fromkeys(KINDS, 0)
    began_s = time.perf_counter()
    with closing(Archive(url, ManualClock(NOW_MS))) as archive:
        lake = Lake(str(folder))
        for symbol in symbols:
            for month in months:
                for kind in KINDS:
                    cpu_s = time.process_time()
                    files[kind] += bring(kind, symbol, month, archive, lake).files
                    spent_s[kind] += time.process_time() - cpu_s
    wall_s = time.perf_counter() - began_s
    assert files == published, (files, published)
    each_s = {kind: spent_s[kind] / files[kind] for kind in KINDS}
    year_s = 365 * each_s[Wide.METRICS] + 12 * sum(each_s[kind] for kind in KINDS[1:])
    rate = (365 + 12 * len(KINDS[1:])) / year_s
    verdict = "met" if rate >= TARGET_FILES_A_CORE_SECOND else "MISSED"
    told = ", ".join(f"{kind} {1000 * each_s[kind]:.1f} ms" for kind in KINDS)
    print(
        f"{rate:.0f} files a second of one core over a contract's year (a file: {told}; "
        f"{sum(files.values())} files, {sum(files.values()) / wall_s:.0f} a second by the wall "
        f"clock); target {TARGET_FILES_A_CORE_SECOND:.0f}: {verdict}"
    )
    if rate < TARGET_FILES_A_CORE_SECOND:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
