"""From the last symbol's closed bar to its rows in a Redis stream: twenty factors a bar, also such
as five are of indicators.

Each bar's frames are websocket texts as spot pushes them. Timed is the last one: its parsing, the
release, the newest row of every factor, the hashes, the file in the lake with its fsyncs and then
the entries in a real Redis, all in one thread; the socket, and the follower's queue before it, are
left out. Wall milliseconds and, beside them, processor time of this process; the limits are of the
wall's 99th percentile. The first five bars, which load kernels, are not counted. In the end the
stream must hold every row of the chain.
Run: python benchmarks/live_latency.py [--bars 500]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import redis

from alphamill.frames import Interval, Market
from alphamill.lake import Lake
from alphamill.language import read_given
from alphamill.live import Followed, Journal, LiveSpec
from alphamill.live.engine import history_bars
from alphamill.live.following import Following
from alphamill.live.stream import SignalStream
from alphamill.market.stream import StreamBar, read_message
from alphamill.redis_address import open_client
from alphamill.stack.embedded_redis import EmbeddedRedis

LIMITS_MS = {50: 25.0, 500: 100.0}
FIRST_MS = 29_000_000 * 60_000
WARM_UP = 5  # bars, in which kernels are loaded
FACTORS = [
    f"rank(ts_{function}({field}, {window}))"
    for function in ("mean", "std", "max", "rank")
    for field, window in (
        ("close", 20),
        ("volume", 30),
        ("high", 50),
        ("returns", 60),
        ("vwap", 48),
    )
]


INDICATORS = [f"rank({name})" for name in ("rsi_14", "adx_14", "mfi_14", "psar_gap", "natr_14")]
CASES = ((50, FACTORS), (500, FACTORS), (500, FACTORS[:15] + INDICATORS))


def values_of(close: float, volume: float) -> tuple[float, ...]:
    """A bar's, in the order of KLINE_FIELDS."""
    quote = volume * close
    high, low = close * 1.001, close * 0.999
    return close, high, low, close, volume, quote, 100.0, volume / 2, quote / 2


def frame(symbol: str, bar_ms: int, close: float, volume: float) -> str:
    """A closed 1m bar as spot pushes it over a combined stream."""
    kline = {
        "t": bar_ms,
        "T": bar_ms + 59_999,
        "s": symbol,
        "i": "1m",
        "f": 100,
        "L": 199,
        "o": f"{close:.8f}",
        "c": f"{close:.8f}",
        "h": f"{close * 1.001:.8f}",
        "l": f"{close * 0.999:.8f}",
        "n": 100,
        "x": True,
        "v": f"{volume:.8f}",
        "q": f"{volume * close:.8f}",
        "V": f"{volume / 2:.8f}",
        "Q": f"{volume * close / 2:.8f}",
        "B": "0",
    }
    event = {"e": "kline", "E": bar_ms + 60_010, "s": symbol, "k": kline}
    return json.dumps({"stream": f"{symbol.lower()}@kline_1m", "data": event})


def read(text: str) -> StreamBar:
    bar = read_message(text)
    assert isinstance(bar, StreamBar), bar
    return bar


def times_ms(
    client: redis.Redis, folder: Path, n_symbols: int, texts_of_factors: list[str], bars: int
) -> tuple[list[float], list[float]]:
    """Wall and processor milliseconds of each bar."""
    symbols = tuple(f"S{number}USDT" for number in range(n_symbols))
    followed = tuple(Followed(str(one), one.hash) for one in map(read_given, texts_of_factors))
    spec = LiveSpec(Market.SPOT, Interval.M1, symbols, followed)
    history = history_bars(spec) + 10
    rng = np.random.default_rng(1)
    close = 100 * np.exp(rng.normal(0, 0.001, (history + bars, n_symbols)).cumsum(axis=0))
    volume = rng.lognormal(3, 1, close.shape)

    def texts(row: int) -> list[str]:
        at_ms = FIRST_MS + row * 60_000
        return [frame(s, at_ms, close[row, n], volume[row, n]) for n, s in enumerate(symbols)]

    journal = Journal(Lake(str(folder)), spec.id, FIRST_MS)
    stream = SignalStream(client, spec.id)
    pushed: list[bool] = []
    start_ms = FIRST_MS + history * 60_000 + 1
    following = Following(spec, journal, start_ms, lambda links: pushed.append(stream.push(links)))
    before = (
        (symbol, FIRST_MS + row * 60_000, values_of(close[row, n], volume[row, n]))
        for row in range(history)
        for n, symbol in enumerate(symbols)
    )
    following.recover(before, start_ms)
    wall, processor = [], []
    for row in range(history, history + bars):
        *others, last = texts(row)
        now_ms = FIRST_MS + (row + 1) * 60_000 + 50
        for bar in map(read, others):
            following.arrived(bar.symbol, bar.open_ms, bar.values, now_ms)
        sent = len(pushed)
        began, began_cpu = time.perf_counter(), time.process_time()
        bar = read(last)
        following.arrived(bar.symbol, bar.open_ms, bar.values, now_ms)
        wall.append((time.perf_counter() - began) * 1000)
        processor.append((time.process_time() - began_cpu) * 1000)
        assert pushed[sent:] == [True], "a bar was not published once"
    assert stream.rows() == journal.reload().rows == bars * len(texts_of_factors)
    return wall[WARM_UP:], processor[WARM_UP:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bars", type=int, default=500)
    bars = parser.parse_args().bars
    missed = False
    with tempfile.TemporaryDirectory() as home:
        server = EmbeddedRedis(Path(home))
        client = open_client(server.start())
        try:
            for number, (n_symbols, texts) in enumerate(CASES):
                folder, limit = Path(home) / f"lake-{number}", LIMITS_MS[n_symbols]
                wall, processor = times_ms(client, folder, n_symbols, texts, bars + WARM_UP)
                most = float(np.quantile(wall, 0.99))
                missed |= most > limit
                print(
                    f"{n_symbols} symbols x {len(texts)} factors, {len({*texts} & {*INDICATORS})} "
                    f"of them indicators, {bars} bars: median "
                    f"{np.median(wall):.1f} ms, p99 {most:.1f} ms (limit {limit:.0f}); processor "
                    f"median {np.median(processor):.1f} ms, p99 {np.quantile(processor, 0.99):.1f}",
                    flush=True,
                )
        finally:
            server.stop()
    if missed:
        raise SystemExit("slower than the limit")


if __name__ == "__main__":
    main()
