"""One page of 1,000 klines, JSON to checked columns: alphamill against what people write.

Peers: `json` with `pandas.to_numeric` (the usual notebook), and `json` with `float()` a value, the
fastest that needs no further package. Every engine ends with the same eleven columns, compared bit
for bit first; ours also checks order, grid and finiteness. Engines take turns of twenty pages; the
best page counts. Target: 4x `json` with `pandas.to_numeric`. `json` alone, which gives no numbers,
is printed beside them. Then the CPU time of the whole client, page by page from a
server in another process: request, reply, parsing, checks. Target: one core keeps up with ten times
what the exchange allows, which is 3,000 pages a minute (6,000 weight, 2 a page).

Run: python benchmarks/page_parsing.py [--short]
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from figures import Figures, options

from alphamill.clock import SystemClock
from alphamill.frames import KLINES, Interval, Market
from alphamill.limits import OpenGate
from alphamill.market import Binance, parse_klines
from alphamill.sim.exchange.print_rows import print_rows
from alphamill.sim.market import Bars, ReplaySource, SyntheticMarket, SyntheticSource, coins_named

TARGET = 4.0
ROUNDS, PAGES = 20, 20
ROWS = 1000
CLIENT_PAGES, CLIENT_PAGES_SHORT = 400, 20
TARGET_TIMES, LIMIT_PAGES_A_SECOND = 10.0, 50.0
REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "klines"
WHOLE = ("open_time", "close_time", "trades")


def bars() -> tuple[Bars, str]:
    if (REAL / "spot" / "BTCUSDT-1m.parquet").exists():
        found, kind = ReplaySource(REAL).bars(Market.SPOT, "BTCUSDT", Interval.M1), "real"
    else:
        market = SyntheticMarket(
            coins=coins_named(["BTCUSDT"]),
            interval=Interval.M1,
            planted=(),
            start_ms=1_704_067_200_000,
            end_ms=1_704_240_000_000,
        )
        source = SyntheticSource(market)
        found, kind = source.bars(Market.SPOT, "BTCUSDT", Interval.M1), "synthetic"
    assert found is not None
    return found.rows(0, ROWS), kind


def with_pandas(body: bytes) -> dict[str, np.ndarray]:
    frame = pd.DataFrame(json.loads(body), columns=[*KLINES.names, "ignore"])
    return {name: pd.to_numeric(frame[name]).to_numpy() for name in KLINES.names}


def with_float(body: bytes) -> dict[str, np.ndarray]:
    columns = zip(*json.loads(body), strict=True)
    return {
        name: np.array(values if name in WHOLE else [float(value) for value in values])
        for name, values in zip(KLINES.names, columns, strict=False)
    }


def with_alphamill(body: bytes) -> pa.Table:
    return parse_klines(body, "BTCUSDT", Interval.M1)


def check(body: bytes) -> None:
    ours = with_alphamill(body)
    for peer in (with_pandas, with_float):
        theirs = peer(body)
        for field in KLINES:
            kind = pa.int64() if field.name in WHOLE else pa.float64()
            values = ours[field.name].cast(kind).to_numpy()
            assert np.array_equal(values, theirs[field.name]), (peer.__name__, field.name)
            assert values.dtype == theirs[field.name].dtype


def main() -> int:
    given = options(__doc__).parse_args()
    figures = Figures(given)
    page, kind = bars()
    body = f"[{','.join(print_rows(page, Interval.M1))}]".encode()
    check(body)
    engines: dict[str, Callable[[bytes], object]] = {
        "alphamill": with_alphamill,
        "json + float()": with_float,
        "json + pandas.to_numeric": with_pandas,
        "json alone": json.loads,
    }
    best = dict.fromkeys(engines, float("inf"))
    for _ in range(1 if given.short else ROUNDS):
        for name, engine in engines.items():
            for _ in range(PAGES):
                start_s = time.perf_counter()
                engine(body)
                best[name] = min(best[name], time.perf_counter() - start_s)
    print(f"a page of {ROWS} {kind} BTCUSDT 1m bars, {len(body) / 1e3:.0f} kB; outputs are equal")
    ours_s = best["alphamill"]
    for name, seconds in best.items():
        if name != "alphamill":
            figures.add(
                f"parsing a page, beside {name}",
                seconds / ours_s,
                "times as fast",
                at_least=TARGET if "pandas" in name else None,
                beside={"ms": 1e3 * seconds, "our ms": 1e3 * ours_s},
            )
    costs_s = whole_client(
        body, int(page.open_ms[0]), CLIENT_PAGES_SHORT if given.short else CLIENT_PAGES
    )
    cost_s, median_s, _ = statistics.quantiles(costs_s, n=4)
    figures.add(
        "pages of one core by the whole client, the faster quarter",
        1 / cost_s / LIMIT_PAGES_A_SECOND,
        "times the exchange's limit",
        at_least=TARGET_TIMES,
        beside={"ms a page": 1e3 * cost_s, "median ms": 1e3 * median_s},
    )
    return figures.exit_code


class Stub(BaseHTTPRequestHandler):
    """Answers every klines request with one page."""

    protocol_version = "HTTP/1.1"
    page = b""

    def do_GET(self) -> None:
        info = {
            "symbols": [],
            "rateLimits": [
                {
                    "rateLimitType": "REQUEST_WEIGHT",
                    "interval": "MINUTE",
                    "intervalNum": 1,
                    "limit": 6000,
                }
            ],
        }
        bodies = {
            "/api/v3/exchangeInfo": json.dumps(info).encode(),
            "/api/v3/time": json.dumps({"serverTime": SystemClock().now_ms()}).encode(),
        }
        body = bodies.get(self.path, self.page)
        head = f"HTTP/1.1 200 OK\r\nX-MBX-USED-WEIGHT-1M: 2\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *_args: object) -> None:
        pass


def serve(body: bytes, ready: Connection) -> None:
    Stub.page = body
    with ThreadingHTTPServer(("127.0.0.1", 0), Stub) as server:
        ready.send(server.server_port)
        server.serve_forever()


def whole_client(body: bytes, start_ms: int, pages: int) -> list[float]:
    """Processor seconds of each page."""
    end_ms = start_ms + ROWS * Interval.M1.ms
    receive, send = multiprocessing.Pipe(duplex=False)
    server = multiprocessing.Process(target=serve, args=(body, send), daemon=True)
    server.start()
    try:
        url = f"http://127.0.0.1:{receive.recv()}"
        with closing(Binance(Market.SPOT, url, OpenGate(), SystemClock())) as exchange:
            where = "BTCUSDT", Interval.M1, start_ms, end_ms
            assert exchange.klines(*where).table.num_rows == ROWS
            costs_s = []
            for _ in range(pages):
                cpu_s = time.process_time()
                exchange.klines(*where)
                costs_s.append(time.process_time() - cpu_s)
    finally:
        server.terminate()
        server.join()
    return costs_s


if __name__ == "__main__":
    sys.exit(main())
