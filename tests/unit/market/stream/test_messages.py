"""What frames say: every recorded one is read, and what cannot be true is not believed."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from alphamill.frames import KLINE_FIELDS, KLINES, Interval
from alphamill.market import parse_klines
from alphamill.market.stream import StreamBar, klines_of, read_message, stream_name
from alphamill.market.stream.messages import Farewell, NotBelieved, Other, Reply

RECORDED = Path(__file__).parents[5] / "shared" / "data"
MINUTE = 60_000
START = 1_704_067_200_000  # 2024-01-01
needs_recordings = pytest.mark.skipif(not RECORDED.exists(), reason="no recordings here")


def kline(**changed):
    """A closed minute as spot tells it."""
    k = {
        "t": START,
        "T": START + MINUTE - 1,
        "s": "BTCUSDT",
        "i": "1m",
        "f": 100,
        "L": 129,
        "o": "42283.58000000",
        "c": "42298.62000000",
        "h": "42298.62000000",
        "l": "42261.02000000",
        "v": "35.92724000",
        "n": 30,
        "x": True,
        "q": "1519032.15418040",
        "V": "14.35070000",
        "Q": "606853.91364120",
        "B": "0",
        **{name: value for name, value in changed.items() if len(name) == 1},
    }
    event = {"e": "kline", "E": k["T"] + 7, "s": "BTCUSDT", "k": k}
    return event | {name: value for name, value in changed.items() if len(name) > 1}


def read(event, stream=None):
    return read_message(json.dumps(event if stream is None else {"stream": stream, "data": event}))


def recorded(name):
    path = RECORDED / name
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = [json.loads(line) for line in text.splitlines()]
    return [line.get("message", line) for line in lines]


FILES = {
    "ws_2021/um.jsonl.gz": (67, 4),
    "ws_2021/spot.jsonl.gz": (2, 0),
    "exchange_2026/frames.jsonl": (1, 0),
    "exchange_2026/closed_bar_without_a_trade.jsonl": (1, 1),
}


@needs_recordings
@pytest.mark.parametrize("name", FILES)
def test_every_recorded_frame_is_read(name):
    frames = recorded(name)
    messages = [read_message(json.dumps(frame)) for frame in frames]
    assert not [one for one in messages if not isinstance(one, StreamBar | Other)]
    bars = [one for one in messages if isinstance(one, StreamBar)]
    assert (len(bars), sum(bar.closed for bar in bars)) == FILES[name]
    events = [frame.get("data", frame) for frame in frames]
    klines = [one["k"] for one in events if isinstance(one, dict) and one.get("e") == "kline"]
    for bar, k in zip(bars, klines, strict=True):
        # As REST prints the same bar, so a row of the API's page.
        page = json.dumps([[k[name] for name in "tohlcvTqnVQB"]]).encode()
        (row,) = parse_klines(page, bar.symbol, bar.interval).to_pylist()
        assert dict(zip(KLINE_FIELDS, bar.values, strict=True)).items() <= row.items()
        assert (bar.first_id, bar.last_id) == (k["f"], k["L"])
    others = {one.kind for one in messages if isinstance(one, Other)}
    assert others <= {"aggTrade", "bookTicker", "markPriceUpdate", "unnamed"}


@needs_recordings
def test_the_four_recorded_closes_of_futures_have_their_lags():
    bars = [read_message(json.dumps(frame)) for frame in recorded("ws_2021/um.jsonl.gz")]
    closes = [bar for bar in bars if isinstance(bar, StreamBar) and bar.closed]
    assert sorted(bar.event_ms - bar.end_ms for bar in closes) == [203, 791, 2003, 2004]


def test_a_bar_is_the_row_that_rest_gives_to_the_bit():
    awkward = {"o": "0.1", "l": "0.00000001", "h": "33333333333.33333333", "c": "1.005"}
    bar = read(kline(**awkward), "btcusdt@kline_1m")
    assert bar.closed
    k = kline(**awkward)["k"]
    page = json.dumps([[k[name] for name in "tohlcvTqnVQB"]]).encode()
    assert klines_of([bar]).equals(parse_klines(page, "BTCUSDT", Interval.M1))
    assert klines_of([]).schema.equals(KLINES)


def test_tables_are_in_order_and_hold_a_bar_once():
    def at(minute, **changed):
        open_ms = START + minute * MINUTE
        return read(kline(t=open_ms, T=open_ms + MINUTE - 1, **changed, E=open_ms + 2 * MINUTE))

    table = klines_of([at(2), at(0), at(1), at(0, v="99.5")])
    assert np.diff(table["open_time"].cast("int64").to_numpy()).tolist() == [MINUTE, MINUTE]
    assert table["volume"].to_pylist()[0] == 99.5
    with pytest.raises(ValueError, match="running"):
        klines_of([at(0), at(1, x=False)])


def test_combined_and_raw_frames_and_microseconds_are_one_bar():
    raw = read(kline())
    assert raw == read(kline(), "btcusdt@kline_1m")
    micros = kline(t=START * 1000, T=(START + MINUTE) * 1000 - 1)
    micros["E"] = raw.event_ms * 1000 + 123
    assert read(micros) == raw
    assert raw.end_ms == START + MINUTE
    chinese = kline(s="币安人生USDT")
    chinese["s"] = "币安人生USDT"
    assert read(chinese, "币安人生usdt@kline_1m").symbol == "币安人生USDT"


def test_continuous_klines_of_perpetuals_are_bars_of_their_symbol():
    def continuous(pair, contract):
        event = kline()
        del event["s"], event["k"]["s"]
        return read({**event, "e": "continuous_kline", "ps": pair, "ct": contract})

    assert continuous("BTCUSDT", "PERPETUAL").symbol == "BTCUSDT"
    assert continuous("BTCUSD", "PERPETUAL").symbol == "BTCUSD_PERP"
    assert continuous("BTCUSDT", "CURRENT_QUARTER") == Other("continuous_kline", START + MINUTE + 6)


def test_an_empty_closed_bar_is_a_bar():
    flat = dict.fromkeys("ohlc", "5.80") | dict.fromkeys("vqVQ", "0.00")
    bar = read(kline(**flat, f=-1, L=-1, n=0))
    assert (bar.closed, bar.trades, bar.volume, bar.first_id) == (True, 0, 0.0, -1)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"o": "NaN"}, ""),
        ({"h": "Infinity"}, ""),
        ({"c": None}, ""),
        ({"v": "many"}, ""),
        ({"x": "perhaps"}, ""),
        ({"h": "1e999"}, ""),
        ({"l": "0"}, "above 0"),
        ({"l": "-1"}, "above 0"),
        ({"c": "42299"}, "outside"),
        ({"o": "42261"}, "outside"),
        ({"h": "42290"}, "outside"),
        ({"v": "-1", "V": "-2"}, "below 0"),
        ({"n": -1}, "below 0"),
        ({"V": "35.92725"}, "bought more"),
        ({"Q": "1519032.2"}, "paid more"),
        ({"t": START + 1}, "no bar opens"),
        ({"t": -MINUTE}, "no bar opens"),
        ({"T": START + MINUTE}, "its end"),
        ({"T": START + 2 * MINUTE - 1}, "its end"),
        ({"i": "7m"}, "interval"),
        ({"i": "1M"}, "its end"),
        ({"s": "ETHUSDT"}, "ETHUSDT"),
    ],
)
def test_what_cannot_be_true_is_not_believed(wrong, why):
    message = read(kline(**wrong))
    assert isinstance(message, NotBelieved)
    assert why in message.reason


def test_a_bar_that_closes_before_its_end_or_on_another_stream_is_not_believed():
    event = kline()
    event["E"] = event["k"]["T"] - 1
    assert "before its end" in read(event).reason
    event["k"]["x"] = False
    assert not read(event).closed
    for stream in ("ethusdt@kline_1m", "btcusdt@kline_5m", "btcusdt@kline_1m@+08:00"):
        assert isinstance(read(kline(), stream), NotBelieved)


def test_months_and_weeks_end_where_the_calendar_says():
    month = {"t": 1_706_745_600_000, "T": 1_709_251_199_999}  # 2024-02
    assert read(kline(i="1M", **month) | {"E": month["T"] + 5}).interval is Interval.MO1
    week = {"t": START, "T": START + 7 * 86_400_000 - 1}  # a Monday
    assert read(kline(i="1w", **week) | {"E": week["T"] + 5}).closed
    assert isinstance(read(kline(i="1M", t=2**52, T=2**52 + 5)), NotBelieved)


def test_replies_farewells_and_other_events():
    assert read({"result": None, "id": 3}) == Reply(3)
    assert read({"result": ["a@b"], "id": "x"}) == Reply(None)
    error = {"error": {"code": 4, "msg": "Too many subscriptions"}, "id": 9}
    assert read(error) == Reply(9, (4, "Too many subscriptions"))
    assert read({"code": 2, "msg": "Invalid request"}) == Reply(None, (2, "Invalid request"))
    farewell = {"e": "serverShutdown", "E": 1_784_000_000_000}
    assert read(farewell) == read(farewell, "!serverShutdown") == Farewell(1_784_000_000_000)
    assert read({"e": "aggTrade", "E": 5, "s": "X"}) == Other("aggTrade", 5)
    assert read({"e": "futureKind", "E": {"not": "a time"}, "s": 4}) == Other("futureKind")
    assert read({"u": 4, "s": "BTCUSDT", "b": "1.0"}) == Other("unnamed")
    assert read([{"e": "24hrTicker"}, {"e": "24hrTicker"}], "!ticker@arr") == Other("24hrTicker")


@pytest.mark.parametrize(
    "text", ["", "nonsense", '{"e":"kline"', "[]", "1", '{"e":"kline","E":1}', b"\xff{}", "null"]
)
def test_what_is_no_message_is_not_believed(text):
    assert isinstance(read_message(text), NotBelieved)


def test_every_cut_of_a_frame_is_not_believed():
    text = json.dumps({"stream": "btcusdt@kline_1m", "data": kline()})
    assert all(isinstance(read_message(text[:at]), NotBelieved) for at in range(len(text)))


def test_names_are_lower_case_but_for_the_month():
    assert stream_name("BTCUSDT", Interval.MO1) == "btcusdt@kline_1M"
    assert stream_name("币安人生USDT", Interval.M1) == "币安人生usdt@kline_1m"
