"""Binance's client against a real HTTP server that plays recorded errors and broken replies."""

import json
import socket
import threading
from collections import deque
from contextlib import closing
from email.utils import formatdate
from pathlib import Path

import pytest

from alphamill.clock import ManualClock, SystemClock
from alphamill.errors import GiveUp, Misconfigured, RetryLater
from alphamill.frames import Interval, Market
from alphamill.market import Binance
from tests.deadlines import ANSWER_S, slowness
from tests.loopback import Handler, serving

RECORDED = Path(__file__).parents[3] / "shared" / "data" / "binance_responses"
START = 1_617_235_200_000
HOUR = 3_600_000
TRIES = 3
NOW = 1_660_090_400_000  # 23 s before the recorded ban of 2022 ends
recorded_data = pytest.mark.skipif(not RECORDED.exists(), reason="recorded data is not here")

INFO = {
    "rateLimits": [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 1200}
    ],
    "symbols": [
        {"symbol": s, "status": "TRADING", "baseAsset": s[:-4], "quoteAsset": "USDT"}
        for s in ("BTCUSDT", "LTCUSDT", "ETHUSDT")
    ],
}
ROW = [START, "1", "2", "0.5", "1.5", "9", START + HOUR - 1, "13", 4, "5", "6", "0"]


class Gate:
    def __init__(self):
        self.pauses, self.observed, self.limits, self.weights = [], [], [], []

    def reserve(self, weight):
        self.weights.append(weight)
        return len(self.weights)

    def observe(self, slot, used_weight, server_time_ms):
        self.observed.append((slot, used_weight, server_time_ms))

    def pause(self, for_s, reason):
        self.pauses.append((for_s, reason))

    def configure(self, weight_limit):
        self.limits.append(weight_limit)


class Exchange(Handler):
    def setup(self):
        super().setup()
        self.server.connections += 1

    def do_GET(self):
        self.server.paths.append(self.path)
        if self.path.startswith("/api/v3/klines") and self.server.script:
            self.server.script.popleft()(self)
        elif self.path.endswith("/exchangeInfo"):
            self.reply(200, INFO)
        elif self.path.endswith("/time"):
            self.reply(200, {"serverTime": NOW})
        else:
            self.reply(200, [ROW], {"X-MBX-USED-WEIGHT-1M": "37"})

    def date_time_string(self, timestamp=None):
        date_ms = NOW if self.server.date_ms is None else self.server.date_ms
        return formatdate(date_ms / 1000, usegmt=True)


def recorded(name):
    data = json.loads((RECORDED / f"{name}.json").read_text())
    return lambda handler: handler.reply(data["status"], data["body"])


@pytest.fixture
def server():
    with serving(Exchange) as (httpd, url):
        httpd.script, httpd.paths, httpd.connections = deque(), [], 0
        httpd.date_ms, httpd.hung, httpd.url = None, threading.Event(), url
        yield httpd


@pytest.fixture
def gate():
    return Gate()


def client_of(server, gate, patience_s=ANSWER_S):
    return closing(Binance(Market.SPOT, server.url, gate, ManualClock(NOW), patience_s))


@pytest.fixture
def client(server, gate):
    with client_of(server, gate) as client:
        yield client


def ask(client, symbol="BTCUSDT"):
    return client.klines(symbol, Interval.H1, START, START + HOUR)


def fails(client, server, script, error):
    server.script.extend([script] * TRIES)
    with pytest.raises(error) as caught:
        ask(client)
    assert type(caught.value)(*caught.value.args).args == caught.value.args
    tried = TRIES - len(server.script)
    soon = isinstance(caught.value, RetryLater) and caught.value.counts
    assert tried == (TRIES if soon and caught.value.after_s <= 5 else 1)
    server.script.clear()
    return caught.value


def test_a_good_reply_over_one_kept_connection(client, server, gate):
    for _ in range(3):
        assert ask(client).table["close"].to_pylist() == [1.5]
    assert server.connections == 1
    assert gate.observed[-1][1:] == (37.0, None)
    assert gate.limits == [1200]
    assert "limit=1" in server.paths[-1]
    assert f"endTime={START + HOUR - 1}" in server.paths[-1]


@recorded_data
def test_the_recorded_ban_pauses_everybody_until_it_ends(client, server, gate):
    error = fails(client, server, recorded("error_418_ip_banned_2022"), RetryLater)
    assert gate.pauses[0][0] == pytest.approx(23.228)
    assert "banned this address (HTTP 418)" in gate.pauses[0][1]
    assert (error.counts, error.after_s) == (False, pytest.approx(23.228))


@recorded_data
@pytest.mark.parametrize("name", ["error_429_weight_2022", "error_429_requests_2019"])
def test_recorded_refusals_without_retry_after_pause_a_minute(client, server, gate, name):
    error = fails(client, server, recorded(name), RetryLater)
    assert gate.pauses[0][0] == 60.0
    assert error.counts is False


@pytest.mark.parametrize(
    ("status", "header", "for_s"),
    [
        (429, "35", 35.0),
        (418, "120", 120.0),
        (429, "0", 1.0),
        (418, "99999999", 259_200.0),
        (429, "soon", 60.0),
        (418, "", 120.0),
        (429, "Wed, 10 Aug 2022 00:14:10 GMT", 50.0),
    ],
)
def test_retry_after_is_obeyed(client, server, gate, status, header, for_s):
    used = {"Retry-After": header, "X-MBX-USED-WEIGHT-1M": "1201"}
    body = {"code": -1003, "msg": "banned until 1660090423228"} if header == "120" else {}
    fails(client, server, lambda h: h.reply(status, body, used), RetryLater)
    assert gate.pauses[0][0] == for_s
    assert gate.observed[-1][1] == 1201.0


@recorded_data
def test_the_recorded_lower_case_symbol(client, server):
    server.script.append(recorded("error_400_1100_lowercase_symbol_2020"))
    with pytest.raises(GiveUp, match=r"no symbol 'ltcusdt'; did you mean LTCUSDT\?"):
        ask(client, "ltcusdt")


@recorded_data
def test_the_recorded_bad_parameter_is_given_up(client, server):
    error = fails(client, server, recorded("error_400_1100_endTime_None_2019"), GiveUp)
    assert "rejects the request (HTTP 400, -1100" in str(error)


@recorded_data
def test_the_recorded_restricted_place_names_the_cure(client, server, gate):
    error = fails(client, server, recorded("error_451_restricted_2022"), GiveUp)
    assert "ALPHAMILL_BINANCE_URL" in str(error)
    assert "https://data-api.binance.vision" in str(error)
    assert gate.pauses == []


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (400, {"code": -1121, "msg": "Invalid symbol."}, GiveUp, "did you mean BTCUSDT"),
        (400, {"code": -1120, "msg": "Invalid interval."}, GiveUp, "no 1h klines"),
        (400, {"code": -1130, "msg": "Bad."}, GiveUp, "-1130 Bad."),
        (400, {"code": -1003, "msg": "Too many"}, RetryLater, "refused for its limit"),
        (400, {"code": -1001, "msg": "Disconnected"}, RetryLater, "-1001"),
        (200, {"code": -1008, "msg": "Busy"}, RetryLater, "-1008"),
        (200, b"<html>maintenance</html>", RetryLater, "malformed klines"),
        (200, b'[[1617235200000,"1","2"', RetryLater, "malformed klines"),
        (403, b"<html>Request blocked</html>", RetryLater, "firewall"),
        (500, b"", RetryLater, "not well"),
        (503, {"code": -1008, "msg": "busy"}, RetryLater, "-1008 busy"),
        (502, b"<html>Bad gateway</html>", RetryLater, "HTTP 502"),
        (404, b"<html>no</html>", Misconfigured, "ALPHAMILL_BINANCE_URL"),
        (302, b"", Misconfigured, "ALPHAMILL_BINANCE_URL"),
    ],
)
def test_each_reply_is_one_kind_of_error(client, server, status, body, kind, words):
    error = fails(client, server, lambda h: h.reply(status, body), kind)
    assert words in str(error)
    assert (status == 403) == (getattr(error, "after_s", 0) >= 300)
    assert ask(client).table.num_rows == 1  # and the client works on


@pytest.mark.parametrize("body", [b"<html>maintenance</html>", b"[[1617235200000", b"[[null]]"])
def test_what_passes_at_once_is_not_noticed(client, server, body):
    server.script.extend([lambda h: h.reply(200, body)] * (TRIES - 1))
    assert ask(client).table["close"].to_pylist() == [1.5]


@pytest.mark.parametrize("off_s", [-60, 60])
def test_a_time_that_the_replys_own_date_denies_is_not_believed(client, server, gate, off_s):
    server.date_ms = NOW - 1000 * off_s
    with pytest.raises(RetryLater, match="has a clock that is off"):
        client.server_time_ms()
    assert sum(path.endswith("/time") for path in server.paths) == TRIES
    assert [at for *_, at in gate.observed if at is not None] == []


def test_the_earlier_of_time_and_date_is_now(client, server):
    server.date_ms = NOW - 5000
    assert client.server_time_ms() == NOW - 5000 + 999
    server.date_ms = NOW + 5000
    assert client.server_time_ms() == NOW


def cut(handler):
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    handler.wfile.write(b'[[1617235200000,"1"')
    handler.wfile.flush()
    handler.close_connection = True


def hang(handler):
    handler.server.hung.wait(ANSWER_S)
    handler.close_connection = True


def vanish(handler):
    handler.connection.shutdown(socket.SHUT_RDWR)
    handler.close_connection = True


def garbage(handler):
    handler.reply(200, b"not gzip", {"Content-Encoding": "gzip"})


@pytest.mark.parametrize("fault", [cut, vanish, garbage])
def test_a_broken_connection_is_retried_and_says_where(client, server, fault):
    error = fails(client, server, fault, RetryLater)
    assert server.url in str(error)
    assert "ALPHAMILL_BINANCE_URL" in str(error)
    assert ask(client).table.num_rows == 1


def test_silence_is_not_waited_for_and_says_where(server, gate):
    with client_of(server, gate, 0.3 * slowness()) as client:
        client.weight_limit()
        error = fails(client, server, hang, RetryLater)
    server.hung.set()
    assert server.url in str(error)
    assert "ALPHAMILL_BINANCE_URL" in str(error)
    with client_of(server, gate) as client:
        assert ask(client).table.num_rows == 1


def test_nobody_listens(gate):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    client = Binance(Market.USD_M, f"http://127.0.0.1:{port}", gate, SystemClock(), ANSWER_S)
    with pytest.raises(RetryLater, match=rf"127\.0\.0\.1:{port}.*ALPHAMILL_BINANCE_UM_URL"):
        ask(client)


def test_a_host_that_does_not_exist(gate):
    client = Binance(Market.COIN_M, "http://no-such-host.invalid", gate, SystemClock(), ANSWER_S)
    with pytest.raises(RetryLater, match=r"no-such-host\.invalid.*ALPHAMILL_BINANCE_CM_URL"):
        client.server_time_ms()


@pytest.mark.parametrize("url", ["", "api.binance.com", "localhost:1", "ftp://x", "http://"])
def test_a_url_that_is_none(gate, url):
    with pytest.raises(Misconfigured, match="ALPHAMILL_BINANCE_URL"):
        Binance(Market.SPOT, url, gate, SystemClock()).weight_limit()


def test_a_server_that_ignores_the_range_does_not_loop(client, server):
    old = [START - HOUR, *ROW[1:]]
    server.script.append(lambda h: h.reply(200, [old]))
    with pytest.raises(RetryLater) as error:
        ask(client)
    assert "before the range" in str(error)


def test_threads_share_one_client(client, server, gate):
    tables = []
    threads = [
        threading.Thread(target=lambda: tables.extend(ask(client).table for _ in range(20)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tables) == 160
    assert all(table.equals(tables[0]) for table in tables)
    assert gate.limits == [1200]  # exchangeInfo was read once
    assert server.connections <= 9


@recorded_data
def test_the_recorded_exchange_info(client, server):
    data = json.loads((RECORDED / "exchangeInfo_us_2021-09-08.json").read_text())
    INFO_OF_2021 = data["body"]  # noqa: N806

    def do_get(handler):
        handler.reply(200, INFO_OF_2021)

    server.RequestHandlerClass = type("Recorded", (Exchange,), {"do_GET": do_get})
    assert client.weight_limit() == 1200
    assert all(info.symbol == name for name, info in client.symbols().items())
    assert client.symbols()
