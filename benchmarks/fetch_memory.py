"""What a fetch worker needs of memory while it fetches 1m bars of 20 symbols from the archive.

A real Celery worker (threads, 8 of them) with Redis and a control worker; a static server with
monthly zips of 44,640 random bars, 2 MB each, the same for every symbol. Read from the kernel: the
worker's resident memory as the run goes on, and its peak (VmHWM). By default twelve months of each
symbol; `--months 60` is the five years of the target, 1,200 files and 52 million bars (measured
once on two shared cores: 62 s, 350 MB at its peak, 332, 335, 334 and 313 MB after each quarter).
Target: 400 MB, and flat.

Run: python benchmarks/fetch_memory.py [--months 60] [--symbols 20]
"""

from __future__ import annotations

import argparse
import hashlib
import http.server
import multiprocessing
import re
import struct
import tempfile
import time
import zlib
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import redis
from exchange_limit import stack, submit

from alphamill.frames import Interval, Market, Month
from alphamill.jobs import RunKind, RunSpec
from alphamill.lake import Lake, manifest
from alphamill.ledger.presence import Presence
from alphamill.settings import load_settings

TARGET_MB = 400
FIRST = Month(2015, 12)  # five years before the months that are taken from daily files
PATH = re.compile(r"/data/spot/monthly/klines/\w+/1m/((\w+)-1m-(\d{4}-\d\d))\.zip(\.CHECKSUM)?")
MINUTE_MS = 60_000


def csv_of(month: Month) -> bytes:
    """Random bars with the digits of BTCUSDT's."""
    opens = np.arange(month.start_ms, month.end_ms, MINUTE_MS, dtype=np.int64)
    rng = np.random.Generator(np.random.PCG64(month.year * 12 + month.month))
    price = np.round(40_000 + np.cumsum(rng.normal(0, 10, opens.size)), 2)
    high, lows = price + np.round(rng.random(opens.size) * 20, 2), price - 7.25
    base = np.round(rng.lognormal(3, 1, opens.size), 5)
    rows = zip(opens, price, high, lows, price, base, opens + MINUTE_MS - 1, strict=True)
    return "".join(
        f"{t},{o:.8f},{h:.8f},{low:.8f},{c:.8f},{v:.8f},{end},{v * o:.8f},77,{v / 2:.8f},"
        f"{v * o / 2:.8f},0\n"
        for t, o, h, low, c, v, end in rows
    ).encode()


class Zips:
    """A month is written and packed once; a symbol's zip differs by the name of its member."""

    def __init__(self, months: list[Month]) -> None:
        self._months = {str(month): self._packed(csv_of(month)) for month in months}

    @staticmethod
    def _packed(text: bytes) -> tuple[bytes, int, int]:
        packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        return packer.compress(text) + packer.flush(), zlib.crc32(text), len(text)

    def zip(self, stem: str, month: str) -> bytes | None:
        if month not in self._months:
            return None
        packed, crc, size = self._months[month]
        name = f"{stem}.csv".encode()
        common = struct.pack("<5H3I2H", 20, 0, 8, 0, 33, crc, len(packed), size, len(name), 0)
        local = b"PK\x03\x04" + common + name + packed
        entry = b"PK\x01\x02\x14\x00" + common + struct.pack("<3H2I", 0, 0, 0, 0, 0) + name
        end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(local), 0)
        return local + entry + end


class Handler(http.server.BaseHTTPRequestHandler):
    """The archive's two files of every month that there is."""

    protocol_version = "HTTP/1.1"
    zips: Zips

    def do_GET(self) -> None:
        match = PATH.fullmatch(self.path)
        body = self.zips.zip(match[1], match[3]) if match else None
        if body is not None and match is not None and match[4]:
            body = f"{hashlib.sha256(body).hexdigest()}  {match[1]}.zip\n".encode()
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_args: object) -> None:
        pass


def serve(months: list[Month], ready: Connection) -> None:
    Handler.zips = Zips(months)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        ready.send(server.server_port)
        server.serve_forever()


def memory_mb(pid: int, name: str) -> float:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(rf"{name}:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) / 1024


def measure(symbols: int, months: list[Month], archive_url: str) -> None:
    end_ms = months[-1].end_ms
    with tempfile.TemporaryDirectory() as folder:
        more = {"ALPHAMILL_ARCHIVE_URL": archive_url}
        with stack(Path(folder), archive_url, 60.0, 1, more) as ledger:
            spec = RunSpec(
                kind=RunKind.FETCH,
                lake=load_settings().lake_uri,
                market=Market.SPOT,
                symbols=tuple(f"SIM{number:02d}USDT" for number in range(symbols)),
                intervals=(Interval.M1,),
                start_ms=FIRST.start_ms,
                end_ms=end_ms,
            )
            client = redis.Redis.from_url(load_settings().redis_url)
            [pid] = [w.pid for w in Presence(client).here() if w.name.startswith("fetch-")]
            began_s, idle_mb = time.monotonic(), memory_mb(pid, "VmRSS")
            submit([spec], ledger)
            shares: list[float] = []
            total, done = symbols * len(months), 0
            while done < total:
                time.sleep(0.2)
                run = ledger.run(spec.run_id)
                assert run is not None
                states = run.counts["fetch"]
                assert not states.get("dead"), states
                done = states.get("done", 0)
                if done * 4 >= total * (len(shares) + 1):
                    shares.append(memory_mb(pid, "VmRSS"))
            peak_mb, spent_s = memory_mb(pid, "VmHWM"), time.monotonic() - began_s
        rows = sum(
            manifest(Lake(spec.lake), Market.SPOT, symbol, Interval.M1).rows
            for symbol in spec.symbols
        )
        assert rows == symbols * (end_ms - FIRST.start_ms) // MINUTE_MS, rows
    print(
        f"{total} files, {rows:,} bars of {symbols} symbols in {spent_s:.0f} s: a fetch worker of "
        f"8 threads takes {idle_mb:.0f} MB idle, "
        f"{', '.join(f'{mb:.0f}' for mb in shares)} MB after each quarter, {peak_mb:.0f} MB at its "
        f"peak; target {TARGET_MB}: {'met' if peak_mb < TARGET_MB else 'MISSED'}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--months", type=int, default=12)
    parser.add_argument("--symbols", type=int, default=20)
    told = parser.parse_args()
    months = [FIRST]
    while len(months) < told.months:
        months.append(months[-1].next())
    receive, send = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.Process(target=serve, args=(months, send), daemon=True)
    server.start()
    try:
        measure(told.symbols, months, f"http://127.0.0.1:{receive.recv()}")
    finally:
        server.terminate()
        server.join()


if __name__ == "__main__":
    main()
