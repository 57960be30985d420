"""The simulated exchange over real sockets: limits, bans, faults, replay, clean exit."""

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import requests

from alphamill.clock import ManualClock
from alphamill.frames import Interval, Market, Month
from alphamill.sim.exchange import ExchangeConfig, ExchangeServer, Fault, Limits
from alphamill.sim.market import DEFAULT_START_MS, ReplaySource, SyntheticMarket, SyntheticSource
from tests.deadlines import ANSWER_S, end_s

RECORDINGS = Path(__file__).parents[3] / "shared" / "data" / "klines"
needs_recordings = pytest.mark.skipif(not RECORDINGS.exists(), reason="no real bars here")
HOUR = 3_600_000


@pytest.fixture(scope="module")
def source():
    return SyntheticSource(SyntheticMarket(end_ms=DEFAULT_START_MS + 1000 * HOUR))


@pytest.fixture
def session():
    with requests.Session() as session:
        yield session


def klines(session, exchange, **query):
    query = {"symbol": "BTCUSDT", "interval": "1h", **query}
    return session.get(f"{exchange.url}/api/v3/klines", params=query, timeout=ANSWER_S)


@needs_recordings
@pytest.mark.parametrize(
    ("market", "path", "symbol", "interval"),
    [
        (Market.SPOT, "/api/v3/klines", "BTCUSDT", "1h"),
        (Market.SPOT, "/api/v3/klines", "VETUSDT", "1h"),
        (Market.USD_M, "/fapi/v1/klines", "IOSTUSDT", "4h"),
        (Market.USD_M, "/fapi/v1/klines", "NEARUSDT", "1m"),
    ],
)
def test_paging_returns_the_recording_exactly(session, market, path, symbol, interval):
    rows = []
    with ExchangeServer(source=ReplaySource(RECORDINGS)) as exchange:
        start_ms = 0
        while True:
            query = {"symbol": symbol, "interval": interval, "startTime": start_ms, "limit": 1000}
            page = session.get(exchange.url + path, params=query, timeout=ANSWER_S).json()
            if not page:
                break
            rows += page
            start_ms = page[-1][0] + 1
    table = pq.read_table(RECORDINGS / market / f"{symbol}-{interval}.parquet")
    assert [row[0] for row in rows] == table["open_time"].cast("int64").to_pylist()
    places = {name: at for at, name in enumerate(("open", "high", "low", "close", "volume"), 1)}
    places |= {"quote_volume": 7, "trades": 8, "taker_buy_base": 9, "taker_buy_quote": 10}
    recorded = set(places) & set(table.column_names)
    assert len(recorded) >= 5
    for name in recorded:
        assert [float(row[places[name]]) for row in rows] == table[name].to_pylist(), name
    step = Interval(interval).ms
    assert all(row[6] == row[0] + step - 1 for row in rows)


def test_429_then_418_then_served_again(session, source):
    clock = ManualClock(1_700_000_040_000)  # a whole minute
    limits = Limits(weight=10, tolerated=2)
    with ExchangeServer(ExchangeConfig(spot_limits=limits), source, clock) as exchange:
        replies = [klines(session, exchange, limit=1) for _ in range(8)]
        assert [r.status_code for r in replies] == [200] * 5 + [429, 429, 418]
        used = [int(r.headers["x-mbx-used-weight-1m"]) for r in replies[:6]]
        assert used == [2, 4, 6, 8, 10, 12]
        assert [r.headers["Retry-After"] for r in replies[5:]] == ["60", "60", "120"]
        clock.advance(60)  # a new window does not end a ban
        assert klines(session, exchange, limit=1).headers["Retry-After"] == "60"
        clock.advance(60)
        assert klines(session, exchange, limit=1).status_code == 200
        stats = session.get(f"{exchange.url}/__sim__/stats", timeout=ANSWER_S).json()
    assert stats["totals"]["bans"] == 1
    assert [w["weight"] for w in stats["windows"]] == [10, 0, 2]
    assert [w["refused"] for w in stats["windows"]] == [3, 1, 0]


def test_a_client_that_ignores_a_scaled_limit_never_gets_more_than_it(session, source):
    limits = Limits(weight=10, window_ms=200, tolerated=10_000)
    clock = ManualClock()
    with ExchangeServer(ExchangeConfig(spot_limits=limits), source, clock) as exchange:
        for _ in range(5):
            for _ in range(7):
                klines(session, exchange, limit=1)
            clock.advance(0.2)
        windows = exchange.stats()["windows"]
    assert [window["weight"] for window in windows] == [10] * 5
    assert [window["requests"] for window in windows] == [5] * 5
    assert [window["refused"] for window in windows] == [2] * 5
    assert all(window["start_ms"] % 200 == 0 for window in windows)


def test_many_connections_at_once_are_counted_exactly(source):
    limits = Limits(weight=100, tolerated=10_000)
    clock = ManualClock()  # stands still: one window
    with ExchangeServer(ExchangeConfig(spot_limits=limits), source, clock) as exchange:
        with ThreadPoolExecutor(16) as pool:
            url = f"{exchange.url}/api/v3/ping"
            statuses = list(pool.map(lambda _: _status(url), range(300)))
        (window,) = exchange.stats()["windows"]
    assert statuses.count(200) == 100
    assert (window["weight"], window["requests"], window["refused"]) == (100, 100, 200)


def _status(url):
    with requests.get(url, timeout=ANSWER_S) as reply:
        return reply.status_code


def test_the_servers_clock_can_be_another(session, source):
    with ExchangeServer(ExchangeConfig(clock_offset_ms=-5 * HOUR), source) as exchange:
        served = session.get(f"{exchange.url}/api/v3/time", timeout=ANSWER_S).json()["serverTime"]
    assert served == pytest.approx(time.time() * 1000 - 5 * HOUR, abs=1000 * ANSWER_S)


def test_latency_delays_a_reply(session, source):
    with ExchangeServer(ExchangeConfig(latency_ms=(80, 90)), source) as exchange:
        begun = time.monotonic()
        session.get(f"{exchange.url}/api/v3/ping", timeout=ANSWER_S)
        assert time.monotonic() - begun >= 0.08


def test_what_is_planted_is_told_and_not_counted(session, source):
    with ExchangeServer(source=source) as exchange:
        told = session.get(f"{exchange.url}/__sim__/market", timeout=ANSWER_S).json()
        assert exchange.stats()["windows"] == []
    assert told["kind"] == "synthetic"
    assert "-ts_zscore(close, 24)" in [planted["expression"] for planted in told["planted"]]


@pytest.mark.parametrize(
    ("fault", "outcome"),
    [
        ("http_500", 500),
        ("html", 502),
        ("waf", 403),
        ("truncate", requests.exceptions.ChunkedEncodingError),
        ("reset", requests.exceptions.ConnectionError),
        ("timeout", requests.exceptions.ReadTimeout),
    ],
)
def test_every_second_reply_is_broken_as_asked(source, fault, outcome):
    config = ExchangeConfig(faults=(Fault.parse(f"{fault}:/2"),))
    with ExchangeServer(config, source) as exchange:

        def ask(patience_s=ANSWER_S):
            query = {"symbol": "BTCUSDT", "interval": "1h"}
            url = f"{exchange.url}/api/v3/klines"
            with requests.get(url, params=query, timeout=patience_s) as reply:
                return reply

        assert len(ask().json()) == 500
        if isinstance(outcome, int):
            broken = ask()
            assert broken.status_code == outcome
            assert ("<html>" in broken.text) == (fault != "http_500")
            assert ("x-mbx-used-weight-1m" in broken.headers) == (fault == "http_500")
        else:
            with pytest.raises(outcome):
                ask(0.5 if fault == "timeout" else ANSWER_S)
        assert ask().status_code == 200
        stats = exchange.stats()["totals"]
    assert stats["faults"] == {fault: 1}
    assert stats["requests"] == 3  # a broken reply was counted all the same


def test_bodies_are_zipped_for_who_takes_that(session, exchange_of_hours):
    url = f"{exchange_of_hours.url}/api/v3/klines?symbol=BTCUSDT&interval=1h"
    plain = session.get(url, headers={"Accept-Encoding": "identity"}, timeout=ANSWER_S)
    zipped = session.get(url, headers={"Accept-Encoding": "gzip"}, timeout=ANSWER_S)
    assert "Content-Encoding" not in plain.headers
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert plain.headers["Vary"] == zipped.headers["Vary"] == "Accept-Encoding"
    assert int(zipped.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 2
    assert zipped.content == plain.content
    small = session.get(f"{exchange_of_hours.url}/api/v3/time", timeout=ANSWER_S)
    assert "Content-Encoding" not in small.headers


@pytest.fixture
def exchange_of_hours(source):
    with ExchangeServer(source=source) as exchange:
        yield exchange


class Slow:
    """A market whose ETHUSDT takes until it is told to go on."""

    def __init__(self, source):
        self._source, self.asked, self.go_on = source, threading.Event(), threading.Event()
        self.opened = 0
        self.symbols, self.intervals = source.symbols, source.intervals
        self.describe = source.describe

    def bars(self, market, symbol, interval):
        if symbol == "ETHUSDT":
            self.opened += 1
            self.asked.set()
            assert self.go_on.wait(ANSWER_S)
        return self._source.bars(market, symbol, interval)


def test_a_big_file_of_the_archive_delays_nobody_and_is_built_once(session, source):
    slow = Slow(source)
    month = str(Month.of_ms(DEFAULT_START_MS).next())
    with ExchangeServer(source=slow) as exchange, ThreadPoolExecutor(2) as pool:

        def file_of(symbol):
            folder = f"{exchange.url}/data/spot/monthly/klines/{symbol}/1h"
            with requests.get(f"{folder}/{symbol}-1h-{month}.zip", timeout=ANSWER_S) as reply:
                return reply

        assert file_of("BTCUSDT").status_code == 200
        waiting = [pool.submit(file_of, "ETHUSDT") for _ in range(2)]
        assert slow.asked.wait(ANSWER_S)
        assert klines(session, exchange, limit=1).status_code == 200
        assert file_of("BTCUSDT").status_code == 200
        assert not any(reply.done() for reply in waiting)
        slow.go_on.set()
        first, second = (reply.result(ANSWER_S) for reply in waiting)
    assert first.status_code == 200
    assert first.content == second.content
    assert slow.opened == 1


_PROGRAM = """
from alphamill.sim.exchange import ExchangeConfig, run_exchange
from alphamill.sim.market import SyntheticMarket
run_exchange(ExchangeConfig(synthetic=SyntheticMarket(planted=(), end_ms={end_ms})),
             lambda port: print(port, flush=True))
"""


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_exit_code_0_even_with_a_client_connected(session, name):
    program = _PROGRAM.format(end_ms=DEFAULT_START_MS + 100 * HOUR)
    command = [sys.executable, "-W", "error", "-c", program]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        try:
            port = int(run.stdout.readline())
            assert (
                session.get(f"http://127.0.0.1:{port}/api/v3/ping", timeout=ANSWER_S).json() == {}
            )
            os.kill(run.pid, name)
            _, errors = run.communicate(timeout=end_s())
        finally:
            run.kill()
    assert (run.returncode, errors) == (0, "")


def test_a_port_in_use_is_an_error(source):
    with ExchangeServer(source=source) as exchange:
        port = int(exchange.url.rsplit(":", 1)[1])
        with pytest.raises(OSError, match="in use"):
            ExchangeServer(ExchangeConfig(port=port), source).__enter__()


@needs_recordings
def test_the_outage_of_march_2023_is_replayed(session):
    missing = int(np.datetime64("2023-03-24T13:00", "ms").astype(int))
    with ExchangeServer(source=ReplaySource(RECORDINGS / "spot")) as exchange:
        rows = klines(session, exchange, startTime=missing - HOUR, endTime=missing + HOUR).json()
    assert [row[0] - missing for row in rows] == [-HOUR, HOUR]
