"""What a follower needs of memory for 500 symbols at 1m, 5m and 1h.

One process as `alphamill worker stream` has it: the modules of that worker, KlineStreams and the
Follower with its threads, three lives of 20 factors each, a real Redis beside it and a lake on
disk; with `--cold` where no kernel has been compiled before. Every closed bar is a websocket text
as spot pushes it, read and handed on as by the stream client; time is moved by hand, so that a week
takes minutes. Left out are the sockets, and frames of bars that have not closed, which are read and
forgotten. Read from the kernel: resident memory after each seventh of the time, and the peak. With
`--indicators` each live names five of them too.

By default 42 hours, a quarter of a week: what is kept longest is kept for ten minutes, or is a
number of bars, which all of it has had by the second seventh. `--hours 168` is the week, 6.1
million bars; `--hours 1 --symbols 50` shows in seconds that all rows are published. Target: 300 MB,
and flat: the last seventh at most 3 % above the second.
Run: python benchmarks/live_memory.py [--hours 168] [--symbols 500] [--indicators] [--cold]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import redis

import workers.stream  # noqa: F401  all that the worker loads
from alphamill.clock import ManualClock
from alphamill.frames import KLINE_FIELDS, KLINES, Interval, Market
from alphamill.grid import index_at
from alphamill.lake import Lake
from alphamill.language import read_given
from alphamill.live import Followed, Journal, LiveSpec, Register
from alphamill.live.feed import ClosedBar, Heard
from alphamill.live.follower import Follower
from alphamill.market.exchange import Klines, SymbolInfo
from alphamill.market.stream import Absent, Closed, KlineStreams
from alphamill.market.stream.connection import Open, Send
from alphamill.redis_address import open_client
from alphamill.stack.pools import STREAM_ENVIRONMENT
from workers.kernels import compile_aside
from workers.memory import leave_libraries_out

Array = np.ndarray
TARGET_MB, FLAT = 300, 1.03
INTERVALS = (Interval.M1, Interval.M5, Interval.H1)
DAY_MS = 86_400_000
FIRST_MS = 20_000 * DAY_MS
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
INDICATORS = [f"rank({name})" for name in ("rsi_14", "adx_14", "mfi_14", "psar_gap", "atr_14")]


def memory_mb(*names: str) -> list[float]:
    """Of the kernel's figures, by default resident now, and at most so far."""
    status = Path("/proc/self/status").read_text()
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return [int(lines[name].split()[0]) / 1024 for name in names or ("VmRSS", "VmHWM")]


class SteadyMarket:
    """An `Exchange` whose bars are a function of their number and symbol, kept nowhere."""

    def __init__(self, clock: ManualClock, n_symbols: int) -> None:
        self._numbers = {f"S{number}USDT": number for number in range(n_symbols)}
        self._clock = clock

    def bars(self, number: Array, symbol: Array) -> dict[str, Array]:
        """KLINE_FIELDS of bars, the numbers and the symbols' broadcast."""

        def noise(seed: float) -> Array:
            return np.modf(np.abs(np.sin(number * 12.9898 + symbol * 78.233 + seed)) * 43758.5453)[
                0
            ]

        level = 5.0 + symbol % 97 + np.sin(number / 50 + symbol)
        close, open_ = np.round(level + noise(1), 4), np.round(level + noise(2), 4)
        volume = np.round(1 + 1000 * noise(3), 3)
        quote = np.round(volume * close, 4)
        return {
            "open": open_,
            "high": np.round(np.maximum(open_, close) + noise(4), 4),
            "low": np.round(np.minimum(open_, close) - noise(5), 4),
            "close": close,
            "volume": volume,
            "quote_volume": quote,
            "trades": np.ceil(volume),
            "taker_buy_base": np.round(volume / 2, 3),
            "taker_buy_quote": np.round(quote / 2, 4),
        }

    def server_time_ms(self) -> int:
        return self._clock.now_ms()

    def symbols(self) -> Mapping[str, SymbolInfo]:
        return {name: SymbolInfo(name, "TRADING", name[:-4], "USDT") for name in self._numbers}

    def weight_limit(self) -> int:
        return 6000

    def klines(self, symbol: str, interval: Interval, start_ms: int, end_ms: int) -> Klines:
        now_ms = self._clock.now_ms()
        first = index_at(interval, start_ms + interval.ms - 1)
        end = min(index_at(interval, end_ms + interval.ms - 1), index_at(interval, now_ms))
        numbers = np.arange(first, max(first, end))
        times = numbers * interval.ms
        made = self.bars(numbers, np.int64(self._numbers[symbol]))
        made |= {"open_time": times, "close_time": times + interval.ms - 1}
        arrays = [
            pa.array(np.asarray(made[one.name]).astype(np.int64), pa.int64()).cast(one.type)
            if one.name in ("open_time", "close_time", "trades")
            else pa.array(made[one.name], one.type)
            for one in KLINES
        ]
        return Klines(pa.table(arrays, schema=KLINES), now_ms, 1)

    def frames(self, interval: Interval, number: int) -> Iterator[str]:
        """The websocket texts in which spot pushes the closed bars of that number."""
        names = list(self._numbers)
        bars = self.bars(np.int64(number), np.arange(len(names)))
        rows = zip(names, *(bars[name].tolist() for name in KLINE_FIELDS), strict=True)
        start, text = number * interval.ms, interval.value
        end = start + interval.ms
        for name, o, h, low, c, v, q, n, taker, taker_quote in rows:
            yield (
                f'{{"stream":"{name.lower()}@kline_{text}","data":{{"e":"kline","E":{end + 10},'
                f'"s":"{name}","k":{{"t":{start},"T":{end - 1},"s":"{name}","i":"{text}",'
                f'"f":100,"L":199,"o":"{o:.8f}","c":"{c:.8f}","h":"{h:.8f}","l":"{low:.8f}",'
                f'"v":"{v:.8f}","n":{int(n)},"x":true,"q":"{q:.8f}","V":"{taker:.8f}",'
                f'"Q":"{taker_quote:.8f}","B":"0"}}}}}}'
            )


class Pushed:
    """`Streams` without sockets: what they would bring is told to the core that reads it."""

    def __init__(self, clock: ManualClock, heard: Heard) -> None:
        self.problem = ""
        self._heard = heard
        self.streams = KlineStreams(Market.SPOT, "wss://stream.binance.com:9443", (), clock)
        self._of: dict[str, int] = {}

    def learn_time(self) -> None:
        """It is this machine's."""

    def follow(self, wanted: Iterable[tuple[str, Interval]]) -> None:
        self.streams.follow(wanted)

    def close(self) -> None:
        """Nothing is open."""

    def connect(self) -> None:
        """Open what is to be opened, and answer what is subscribed to."""
        while actions := self.streams.actions():
            for action in actions:
                if isinstance(action, Open):
                    self.streams.opened(action.connection)
                elif isinstance(action, Send):
                    asked = json.loads(action.text)
                    self.tell(action.connection, f'{{"result":null,"id":{asked["id"]}}}')

    def tell(self, connection: int, text: str) -> None:
        for event in self.streams.received(connection, text):
            if isinstance(event, Closed):
                bar, at_ms = event.bar, event.received_ms - event.skew_ms
                self._heard.put(
                    ClosedBar(
                        bar.symbol,
                        bar.interval,
                        bar.open_ms,
                        bar.values,
                        at_ms,
                        "stream",
                        event.skew_ms,
                        event,
                    )
                )


def spec_of(interval: Interval, n_symbols: int, texts: list[str]) -> LiveSpec:
    symbols = tuple(f"S{number}USDT" for number in range(n_symbols))
    followed = tuple(Followed(str(one), one.hash) for one in map(read_given, texts))
    return LiveSpec(Market.SPOT, interval, symbols, followed)


def follow(home: Path, client: redis.Redis, asked: argparse.Namespace) -> list[float]:
    """Resident MB after each seventh of the hours, printed as it comes."""
    clock = ManualClock(FIRST_MS + 30_000)
    market, heard = SteadyMarket(clock, asked.symbols), Heard()
    lake, pushed = Lake(str(home / "lake")), Pushed(clock, heard)
    texts = [*FACTORS, *(INDICATORS if asked.indicators else ())]
    entries = [
        Register(lake).start(spec_of(interval, asked.symbols, texts), clock.now_ms())
        for interval in INTERVALS
    ]
    follower = Follower(
        Market.SPOT,
        lake,
        client,
        market,
        pushed,
        heard,
        clock,
        pushed.streams.exchange_ms,
        compiled_for=compile_aside,
    )
    while len(follower.following) < len(INTERVALS):
        clock.advance(0.01)
        follower.step()
        time.sleep(0.01)
    print(f"begun: {memory_mb()[0]:.0f} MB", flush=True)
    resident, minutes = [], asked.hours * 60
    for minute in range(1, minutes + 1):
        end_ms = FIRST_MS + minute * 60_000
        clock.advance((end_ms + 50 - clock.now_ms()) / 1000)
        pushed.connect()
        for interval in INTERVALS:
            if end_ms % interval.ms == 0:
                for text in market.frames(interval, end_ms // interval.ms - 1):
                    pushed.tell(1, text)
        absent = [event for event in pushed.streams.due() if isinstance(event, Absent)]
        assert not absent, absent
        follower.step()
        follower._aside.submit(bool).result()  # noqa: SLF001  what is written is not to pile up: time flies
        if minute * 7 % minutes < 7:
            resident.append(memory_mb()[0])
            print(
                f"after {minute / 60:.1f} h: {resident[-1]:.0f} MB, peak {memory_mb()[1]:.0f}; "
                f"{time.process_time():.0f} s of processor time",
                flush=True,
            )
    for entry in entries:
        bars = minutes * 60_000 // entry.spec.interval.ms
        rows = Journal(lake, entry.id, entry.started_ms).reload().rows
        assert rows == bars * len(texts), (entry.spec.interval, rows)
    assert not follower.problems, follower.problems
    follower.close()
    return resident


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=int, default=42)
    parser.add_argument("--symbols", type=int, default=500)
    parser.add_argument("--indicators", action="store_true")
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--redis", help="the server of a run that has begun")
    asked = parser.parse_args()
    if not asked.redis:  # as another process, which also takes the environment as it begins
        with tempfile.TemporaryDirectory() as home:
            from alphamill.stack.embedded_redis import EmbeddedRedis  # a follower has none
            from alphamill.stack.processes import die_with_parent

            server = EmbeddedRedis(Path(home))
            command = [sys.executable, *sys.argv, "--redis", server.start()]
            try:
                kernels = {"NUMBA_CACHE_DIR": home} if asked.cold else {}
                environment = STREAM_ENVIRONMENT | os.environ | kernels
                follower = subprocess.run(
                    command, env=environment, preexec_fn=die_with_parent, check=False
                )
                raise SystemExit(follower.returncode)
            finally:
                server.stop()
    leave_libraries_out()
    with tempfile.TemporaryDirectory() as home:
        resident = follow(Path(home), open_client(asked.redis), asked)
    slope = np.polyfit(np.arange(len(resident[1:])), resident[1:], 1)[0]
    (peak, libraries) = memory_mb("VmHWM", "RssFile")
    print(
        f"{asked.symbols} symbols x {len(INTERVALS)} intervals, {asked.hours} h: peak {peak:.0f} "
        f"MB (target {TARGET_MB}), of which {libraries:.0f} are pages of libraries that other "
        f"processes share; {resident[-1] / resident[1]:.3f} times the second seventh's in "
        f"the last, {slope:+.2f} MB a seventh"
    )
    if peak > TARGET_MB or resident[-1] > resident[1] * FLAT:
        raise SystemExit("above the target, or growing")


if __name__ == "__main__":
    main()
