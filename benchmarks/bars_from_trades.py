"""A day of trades to 1m bars: alphamill beside polars and DuckDB, one core each.

Recorded USD-M trades of BTCUSDT (synthetic ones where the recording is not here) are drawn anew in
stretches of 500 into a day of three million rows, printed as the archive prints them. Every engine
makes the same nine columns; prices and counts are compared to the bit first, sums to 12 digits,
since peers add doubles. CPU seconds, engines in turns, the best of five rounds. Targets: from the
plain CSV 2.5 times polars' lazy scan and group_by, and 3 times DuckDB; from the zip 1.8 times
either, whose users unpack with Python's zipfile. Then a day-file of 300 MB zipped in a process of
its own. Target: under 250 MB of memory, all that is imported included. Last the same file through a
fetch worker's stage into a lake, in a process that has loaded what such a worker has.
"""

from __future__ import annotations

import gzip
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ["POLARS_MAX_THREADS"] = "1"  # read when polars is loaded

from typing import TYPE_CHECKING

import numpy as np

from alphamill.bars import Layout, TradeSource, build_day, parse_rule, read_trades
from alphamill.frames import Market
from alphamill.market.archive_zip import csv_pieces

if TYPE_CHECKING:
    from alphamill.market.archive import PutAside
    from alphamill.market.trades.archive_file import TradeFile

ROWS, ROUNDS = 3_000_000, 5
ZIP_BYTES, MOST_MB = 300_000_000, 250
TARGETS = {"polars": 2.5, "duckdb": 3.0}
TARGET_ZIPPED = 1.8
PIECE = 1 << 20
RECORDED = Path(__file__).resolve().parents[2] / "shared" / "data" / "ticks_2024"
START_MS, DAY_MS = 1_723_075_200_000, 86_400_000
LAYOUT = Layout(Market.USD_M, TradeSource.TRADES)
HEAD = "id,price,qty,quote_qty,time,is_buyer_maker\n"
NAME = "BTCUSDT-trades-2024-08-08.csv"
COLUMNS = ("open_time", "open", "high", "low", "close", "volume", "quote_volume", "trades")
COLUMNS += ("taker_buy_base", "taker_buy_quote")
Figures = dict[str, np.ndarray]


def source() -> tuple[list[tuple[str, str]], np.ndarray, str]:
    """Text before and behind the time of each trade, milliseconds between them, what they are."""
    path = RECORDED / "usdm_btcusdt_20240808.trades.csv.gz"
    if path.exists():
        lines = gzip.decompress(path.read_bytes()).decode().splitlines()[1:]
        cells = [line.split(",") for line in lines]
        times = np.array([int(row[2]) for row in cells])
        trades = [(float(row[4]), float(row[5]), row[6]) for row in cells]
        kind = "recorded"
    else:
        rng = np.random.default_rng(5)
        n = 20_000
        times = np.cumsum(rng.geometric(0.06, n) - 1)
        prices = np.round(61_800 + np.cumsum(rng.normal(0, 0.3, n)), 1).tolist()
        sizes = np.round(rng.lognormal(-4, 1.5, n) + 0.001, 3).tolist()
        sides = np.where(rng.random(n) < 0.5, "true", "false").tolist()
        trades, kind = list(zip(prices, sizes, sides, strict=True)), "synthetic"
    texts = [
        (f",{price},{size},{round(price * size, 7)},", f",{side}\n") for price, size, side in trades
    ]
    return texts, np.maximum(np.diff(times), 0), kind


def day(n: int, first: int = 0, part_of_long: bool = False) -> str:
    """`n` rows of the day from its row `first` on, without a header."""
    texts, gaps, _ = source()
    rng = np.random.default_rng(first + 1)
    starts = rng.integers(0, gaps.size - 500, n // 500)
    chosen = (starts[:, None] + np.arange(500)).ravel()
    passed_ms = np.cumsum(gaps[chosen])
    span_ms = max(passed_ms[-1], 1)
    begin = START_MS + (DAY_MS * first) // (40 * ROWS)
    if part_of_long or passed_ms[-1] > DAY_MS - 1000:  # or a slow recording
        passed_ms = passed_ms * min(1.0, DAY_MS * n / (40 * ROWS) / span_ms)
    times = (begin + passed_ms).astype(np.int64).tolist()
    ids = range(5_266_583_936 + first, 5_266_583_936 + first + n)
    rows = zip(ids, chosen.tolist(), times, strict=True)
    return "".join(f"{i}{texts[k][0]}{t}{texts[k][1]}" for i, k, t in rows)


def with_alphamill(pieces: Callable[[], Iterator[bytes]]) -> Figures:
    rule = parse_rule("1m")
    bars = build_day(lambda: read_trades(pieces(), LAYOUT), rule, LAYOUT, START_MS * 1000).bars
    bars = bars[bars.first_id >= 0]  # group_by makes no bars without trades
    return {"open_time": bars.open_time_us // 1000} | {
        name: getattr(bars, name) for name in COLUMNS[1:]
    }


def plain_pieces(path: Path) -> Iterator[bytes]:
    room = bytearray(PIECE)
    view = memoryview(room)
    with path.open("rb", buffering=0) as file:
        while n := file.readinto(room):
            yield view[:n]  # type: ignore[misc]


def zipped_pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from csv_pieces(file, NAME)


def with_polars(text: Path | io.BytesIO) -> Figures:
    import polars as pl

    schema = {"id": pl.Int64, "price": pl.Float64, "qty": pl.Float64, "quote_qty": pl.Float64}
    schema |= {"time": pl.Int64, "is_buyer_maker": pl.Boolean}
    price, qty, quote = pl.col("price"), pl.col("qty"), pl.col("quote_qty")
    bought = ~pl.col("is_buyer_maker")
    frame = (
        pl.scan_csv(text, schema=schema)
        .group_by((pl.col("time") // 60_000 * 60_000).alias("open_time"), maintain_order=True)
        .agg(
            price.first().alias("open"),
            price.max().alias("high"),
            price.min().alias("low"),
            price.last().alias("close"),
            qty.sum().alias("volume"),
            quote.sum().alias("quote_volume"),
            pl.len().alias("trades"),
            qty.filter(bought).sum().alias("taker_buy_base"),
            quote.filter(bought).sum().alias("taker_buy_quote"),
        )
        .collect()
    )
    return {name: frame[name].to_numpy() for name in COLUMNS}


def with_duckdb(text: Path) -> Figures:
    import duckdb

    kinds = "{'id': 'BIGINT', 'price': 'DOUBLE', 'qty': 'DOUBLE', 'quote_qty': 'DOUBLE', "
    kinds += "'time': 'BIGINT', 'is_buyer_maker': 'BOOLEAN'}"
    query = f"""
        select time // 60000 * 60000 open_time, arg_min(price, id) open, max(price) high,
            min(price) low, arg_max(price, id) "close", sum(qty) volume,
            sum(quote_qty) quote_volume, count(*) trades,
            sum(qty) filter (not is_buyer_maker) taker_buy_base,
            sum(quote_qty) filter (not is_buyer_maker) taker_buy_quote
        from read_csv('{text}', header = true, columns = {kinds}) group by 1 order by 1"""  # noqa: S608  our own file
    with duckdb.connect(config={"threads": 1}) as connection:
        found = connection.sql(query).fetchnumpy()
    return {name: np.ma.filled(found[name], 0.0) for name in COLUMNS}


def unzipped(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(NAME)


def polars_zipped(path: Path) -> Figures:
    return with_polars(io.BytesIO(unzipped(path)))


def duckdb_zipped(path: Path) -> Figures:
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        text = Path(folder) / NAME
        text.write_bytes(unzipped(path))
        return with_duckdb(text)


def check(ours: Figures, theirs: Figures, name: str) -> None:
    for column in COLUMNS:
        if column in ("open_time", "open", "high", "low", "close", "trades"):
            assert np.array_equal(ours[column], theirs[column]), (name, column)
        else:
            assert np.allclose(ours[column], theirs[column], rtol=1e-12, atol=1e-9), (name, column)


def race(engines: dict[str, Callable[[], Figures]], targets: dict[str, float]) -> bool:
    ours = engines["alphamill"]()
    for name in list(engines)[1:]:
        try:
            check(ours, engines[name](), name)
        except ImportError:
            print(f"  {name}: not installed, left out")
            del engines[name]
    best = dict.fromkeys(engines, float("inf"))
    for _ in range(ROUNDS):
        for name, engine in engines.items():
            start_s = time.process_time()
            engine()
            best[name] = min(best[name], time.process_time() - start_s)
    met = True
    for name, cpu_s in best.items():
        ratio = cpu_s / best["alphamill"]
        target = targets.get(name, 0.0)
        met &= ratio >= target
        said = "" if name == "alphamill" else f"  {ratio:4.1f} times  (target {target})"
        print(f"  {name:10} {cpu_s:6.3f} s{said}{'' if ratio >= target else '  MISSED'}")
    return met


def write_long_zip(path: Path) -> None:
    """A zip of `ZIP_BYTES` that unpacks to one day of trades in order."""
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    crc, size, packed, first = 0, 0, 0, 0
    with path.open("wb") as file:
        file.write(b"\0" * (30 + len(NAME)))
        text = HEAD.encode()
        while packed < ZIP_BYTES:
            text += day(ROWS // 3, first, part_of_long=True).encode()
            first += ROWS // 3
            crc, size = zlib.crc32(text, crc), size + len(text)
            packed += file.write(packer.compress(text))
            text = b""
        packed += file.write(packer.flush())
        fields = (8).to_bytes(2, "little") + b"\0" * 4 + crc.to_bytes(4, "little")
        fields += packed.to_bytes(4, "little") + size.to_bytes(4, "little")
        fields += len(NAME).to_bytes(2, "little") + b"\0\0"
        directory = file.tell()
        file.write(b"PK\1\2" + b"\x14\0" * 2 + b"\0\0" + fields + b"\0" * 14 + NAME.encode())
        length = file.tell() - directory
        file.write(b"PK\5\6" + b"\0" * 4 + b"\1\0" * 2 + length.to_bytes(4, "little"))
        file.write(directory.to_bytes(4, "little") + b"\0\0")
        file.seek(0)
        file.write(b"PK\3\4" + b"\x14\0" + b"\0\0" + fields + NAME.encode())


class OneFile:
    """An archive that has the day's file and no other."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @contextmanager
    def put_aside(self, file: TradeFile) -> Iterator[PutAside | None]:
        with self._path.open("rb") as content:
            from alphamill.market.archive import PutAside

            yield PutAside(file.stem, content, True, "") if file.day else None


def long_file_in_a_worker(path: Path, rule: str) -> None:
    """Run in a process of its own: the stage's job, and what all of it takes at most."""
    import workers.app
    import workers.memory

    workers.app.app.loader.import_default_modules()
    workers.memory.give_back_freed_memory()
    workers.memory.leave_libraries_out()
    from alphamill.clock import SystemClock
    from alphamill.jobs import BarsJob
    from alphamill.lake import Lake
    from alphamill.market import FakeExchange
    from alphamill.market.trades.memory import FakeTrades
    from alphamill.stages import bars as stage

    clock = SystemClock()
    job = BarsJob(LAYOUT.market, "BTCUSDT", rule, "trades", START_MS, START_MS + DAY_MS)
    start_s = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        lake, archive = Lake(folder), OneFile(path)
        deps = stage.BarsDeps(FakeTrades(clock), FakeExchange(clock), lake, archive, clock)
        facts = stage.run(job, deps)
    print(f"{peak_mb()} {time.process_time() - start_s} {facts.trades}")


def long_file(path: Path) -> None:
    """Run in a process of its own: what it takes at most."""
    start_s = time.process_time()
    bars = with_alphamill(lambda: zipped_pieces(path))
    cpu_s = time.process_time() - start_s
    print(f"{peak_mb()} {cpu_s} {int(bars['trades'].sum())}")


def peak_mb() -> float:
    """Of this process; ru_maxrss begins with what its parent had."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS: in bytes
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def main() -> int:
    if len(sys.argv) > 2:
        long_file_in_a_worker(Path(sys.argv[1]), sys.argv[2])
        return 0
    if len(sys.argv) > 1:
        long_file(Path(sys.argv[1]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        text, packed = Path(folder) / NAME, Path(folder) / "day.zip"
        text.write_text(HEAD + day(ROWS))
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.write(text, NAME)
        megabytes = text.stat().st_size / 1e6
        print(f"{ROWS:,} trades, drawn from {source()[2]} ones, {megabytes:.0f} MB; bars are equal")
        met = race(
            {
                "alphamill": lambda: with_alphamill(lambda: plain_pieces(text)),
                "polars": lambda: with_polars(text),
                "duckdb": lambda: with_duckdb(text),
            },
            TARGETS,
        )
        print(f"the same from a zip of {packed.stat().st_size / 1e6:.0f} MB")
        met &= race(
            {
                "alphamill": lambda: with_alphamill(lambda: zipped_pieces(packed)),
                "polars": lambda: polars_zipped(packed),
                "duckdb": lambda: duckdb_zipped(packed),
            },
            dict.fromkeys(TARGETS, TARGET_ZIPPED),
        )
        text.unlink()
        write_long_zip(packed)
        for rule in ("", "1000t", "1m"):
            command = [sys.executable, __file__, str(packed), *filter(None, [rule])]
            ran = subprocess.run(command, check=True, capture_output=True, text=True)
            most_mb, cpu_s, trades = map(float, ran.stdout.split())
            print(
                f"a zip of {packed.stat().st_size / 1e6:.0f} MB, {trades:,.0f} trades,"
                f" {f'a worker to {rule}' if rule else 'the core to 1m'}: {cpu_s:.1f} s"
            )
            missed = "" if most_mb < MOST_MB else "  MISSED"
            print(f"  {most_mb:.0f} MB of memory at most  (target {MOST_MB}){missed}")
            met &= not missed
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
