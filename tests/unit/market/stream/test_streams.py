"""The core that follows streams, against the simulated exchange's, without a socket."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market
from alphamill.market.stream import KlineStreams, NoticeKind, Standing
from alphamill.sim.exchange import FUTURES_STREAMS, SPOT_STREAMS
from alphamill.sim.exchange.streams import in_microseconds
from tests.unit.market.stream.exchange import HOST, MINUTE, START, Scene, minutes

M1, M5 = Interval.M1, Interval.M5
BTC, ETH = ("BTCUSDT", M1), ("ETHUSDT", M1)


def test_bars_close_once_with_the_exchanges_values_and_their_lag():
    scene = Scene([BTC, ("BTCUSDT", M5)])
    scene.go(11 * 60)
    assert scene.said("BTCUSDT") == (list(range(11)), [])
    assert scene.said("BTCUSDT", M5) == ([0, 1], [])
    bars = minutes(400)
    for one in scene.closed:
        if one.bar.interval is M1:
            at = (one.bar.open_ms - START) // MINUTE
            assert (one.bar.close, one.bar.trades) == (bars.close[at], bars.trades[at])
    assert all(2 <= one.lag_ms <= 60 for one in scene.closed)
    assert {one.standing for one in scene.closed} == {Standing.IN_TIME}
    assert scene.kinds() == [NoticeKind.UP]
    stats = scene.streams.stats()
    assert (stats["connections"], stats["up"], stats["streams"]) == (1, 1, 2)
    assert stats["messages"]["closed bars"] == 13


@pytest.mark.parametrize("market", [Market.USD_M, Market.COIN_M])
def test_futures_are_asked_by_their_route_and_quiet_bars_wait_for_their_timer(market):
    scene = Scene([BTC], market=market)
    scene.go(30 * 60)
    assert scene.said("BTCUSDT") == (list(range(30)), [])
    assert ("/market/stream?" in scene.opened[0][1]) == (market is Market.USD_M)
    assert max(one.lag_ms for one in scene.closed) < 2_020


def test_futures_bars_without_a_trade_are_absent_and_not_invented():
    quiet = minutes(100, quiet=0.4)
    scene = Scene([BTC], {"BTCUSDT": quiet}, Market.USD_M)
    scene.go(60 * 60)
    closed, absent = scene.said("BTCUSDT")
    assert sorted(closed + absent) == list(range(60))
    assert all(quiet.trades[at] for at in closed)
    assert not any(quiet.trades[at] for at in absent)
    assert {one.reason for one in scene.absent} <= {
        "its close was not told",
        "nothing was told since its end",
    }


# Faults: of every bar that one thing is said, once


FAULTS = {
    "late": ["close_late=0.2-2:0.5"],
    "later": ["close_late=3-90:0.3"],
    "lost": ["close_lost:0.2"],
    "twice": ["close_twice=0.2-200:0.5"],
    "stale": ["stale:0.5"],
    "dropped": ["drop:0.1"],
    "cut": ["cut_frame:0.1", "cut_json:0.1"],
    "silent": ["silent:0.03"],
    "shutdown": ["shutdown:0.05", "shutdown=5:0.1"],
    "all": [
        "close_late=3-90:0.1", "close_lost:0.1", "close_twice=0.2-200:0.1", "stale:0.1",
        "drop:0.05", "cut_frame:0.03", "cut_json:0.05", "silent:0.02", "shutdown=4:0.05",
    ],
}  # fmt: skip


@pytest.mark.parametrize("market", [Market.SPOT, Market.USD_M])
@pytest.mark.parametrize("faults", FAULTS)
def test_of_every_bar_one_thing_is_said_once_whatever_goes_wrong(faults, market):
    series = [BTC, ETH, ("SOLUSDT", M1), ("BTCUSDT", M5)]
    scene = Scene(series, market=market, faults=FAULTS[faults], seed=3, streams=2)
    scene.go(60 * 60)
    assert scene.exchange.stats()["faults"] or faults == "lost"
    for symbol, interval in series:
        closed, absent = scene.said(symbol, interval)
        assert sorted(closed + absent) == list(range(60 if interval is M1 else 12))
        late = [
            (one.bar.open_ms - START) // interval.ms
            for one in scene.closed
            if (one.bar.symbol, one.bar.interval) == (symbol, interval)
            and one.standing is Standing.LATE
        ]
        assert sorted(set(late)) == sorted(late)
        assert set(late) <= set(absent)
    assert not [one for one in scene.closed if one.standing is Standing.CHANGED]
    bars = {symbol: minutes(400, at) for at, symbol in enumerate(["BTCUSDT", "ETHUSDT", "SOLUSDT"])}
    for one in scene.closed:
        if one.bar.interval is M1:
            at = (one.bar.open_ms - START) // MINUTE
            assert one.bar.close == bars[one.bar.symbol].close[at]
    if faults in ("twice", "stale") or (faults, market) == ("late", Market.SPOT):
        assert scene.absent == []
    if faults == "later":
        assert any(one.standing is Standing.LATE for one in scene.closed)


def test_a_bar_that_is_told_again_with_other_numbers_is_changed():
    scene = Scene([BTC])
    scene.go(31)
    (one,) = scene.closed
    k = {
        "t": START, "T": START + MINUTE - 1, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 2, "o": "5",
        "c": "6", "h": "7", "l": "4", "v": "2", "n": 2, "x": True, "q": "10", "V": "1", "Q": "5",
    }  # fmt: skip
    text = json.dumps({"e": "kline", "E": START + MINUTE + 900, "s": "BTCUSDT", "k": k})
    scene.told(1, text)
    assert (scene.closed[1].standing, scene.closed[1].bar.close) == (Standing.CHANGED, 6.0)
    scene.told(1, text)
    assert len(scene.closed) == 2
    assert one.connection == 1


# Connections


def test_a_lost_connection_is_made_again_at_once_and_then_ever_more_slowly():
    scene = Scene([BTC], refuses=lambda attempt: attempt > 1, faults=["drop:@3"])
    scene.go(40 * 60)
    times = [at_ms for at_ms, _ in scene.opened]
    waits = [(b - a) / 1000 for a, b in pairwise(times[1:])]
    assert 0.25 <= (times[1] - START - 3 * MINUTE) / 1000 <= 1.6
    for at, wait_s in enumerate(waits):
        most = min(60.0, 0.5 * 2.0 ** (at + 1))
        assert most / 2 - 0.01 <= wait_s <= most + 1.1
    closed, absent = scene.said("BTCUSDT")
    assert (closed, absent) == ([0, 1], list(range(2, 40)))
    # Of the bar during whose end it was cut, another connection might have told.
    assert {one.reason for one in scene.absent} == {"not connected"}


def test_connections_that_are_cut_right_away_are_not_made_without_end():
    scene = Scene([BTC])
    scene.go(1)
    for _ in range(2000):
        for line in list(scene.lines.values()):
            line.drop()
        scene.go(0.3)
    assert 8 < len(scene.opened) < 25  # in ten minutes


def test_attempts_of_all_connections_together_are_half_of_what_an_address_may():
    series = [(f"C{at}USDT", M1) for at in range(50)]
    scene = Scene(series, streams=1, refuses=lambda _: True)
    scene.go(300)
    assert len(scene.opened) == 150


def test_before_its_day_is_over_a_connection_is_replaced_without_a_hole():
    rules = replace(SPOT_STREAMS, life_s=1_800, push_s=15)
    scene = Scene([BTC], rules=rules, life_s=1_800)
    scene.go(90 * 60)
    times = [(at_ms - START) / 1000 - 30 for at_ms, _ in scene.opened]
    assert len(times) == 4
    for before, after in pairwise(times):
        assert 1_800 - 181 <= after - before <= 1_800 - 89
    assert scene.exchange.stats()["ended"] == {}
    closed, absent = scene.said("BTCUSDT")
    assert (sorted(closed), absent) == (list(range(90)), [])
    assert len(scene.lines) == 1
    assert scene.steps < 90 * 60  # nobody looks without end while the next one is awaited


def test_a_shutdown_that_is_announced_costs_no_bar():
    scene = Scene([BTC], faults=["shutdown=5:/7"])
    scene.go(60 * 60)
    assert scene.said("BTCUSDT") == (list(range(60)), [])
    assert len(scene.opened) == 9
    # The next is opened when it is told, five seconds before the end.
    assert all((at_ms - START) % (7 * MINUTE) < 1_000 for at_ms, _ in scene.opened[1:])
    assert scene.kinds().count(NoticeKind.RENEWED) == 8


def test_a_silent_connection_is_found_by_its_bars_and_replaced():
    scene = Scene([BTC, ETH], faults=["silent:@5"])
    scene.go(20 * 60)
    assert len(scene.opened) == 2
    at_s = (scene.opened[1][0] - START) / 1000 - 5 * 60
    assert 10 <= at_s <= 16
    closed, absent = scene.said("ETHUSDT")
    assert (len(closed), len(absent)) == (19, 1)
    assert NoticeKind.SILENT in scene.kinds()


def test_a_wrong_route_is_silent_and_named_after_the_second_connection():
    scene = Scene([BTC], market=Market.USD_M)
    scene.act()
    (line,) = scene.lines.values()
    line.route = None
    original = scene.act

    def unrouted():
        original()
        for one in scene.lines.values():
            if one.route is not None:
                one.route = None
                scene.exchange.resubscribe()

    scene.act = unrouted
    scene.exchange.resubscribe()
    scene.go(2 * 3_600)
    assert scene.closed == []
    assert len(scene.absent) == 120
    texts = [one.text for one in scene.notices if one.kind is NoticeKind.SILENT]
    assert "ALPHAMILL_UM_STREAM_URL" not in texts[0]
    assert all("ALPHAMILL_UM_STREAM_URL" in text for text in texts[1:])
    assert 4 <= len(scene.opened) <= 20  # ever more patiently


def test_one_quiet_stream_beside_others_is_named_once():
    bars = {"BTCUSDT": minutes(60), "ETHUSDT": minutes(2)}
    scene = Scene([BTC, ETH], bars)
    scene.go(30 * 60)
    (quiet,) = [one for one in scene.notices if one.kind is NoticeKind.QUIET]
    assert "ETHUSDT 1m" in quiet.text
    assert len(scene.opened) == 1
    assert scene.said("BTCUSDT") == (list(range(30)), [])


def test_many_streams_are_subscribed_within_the_limits_of_messages():
    series = [(f"COIN{at}USDT", M1) for at in range(700)]
    bars = dict.fromkeys((symbol for symbol, _ in series), minutes(4))
    rules = replace(SPOT_STREAMS, push_s=30)
    scene = Scene(series, bars, streams=500, rules=rules, start_s=50)
    scene.go(15)
    assert len(scene.opened) == 2
    assert all(len(text.encode()) <= 4_088 for _, _, text in scene.sent)
    by_line = {}
    for at_ms, number, text in scene.sent:
        by_line.setdefault(number, []).append(at_ms)
        assert json.loads(text)["method"] == "SUBSCRIBE"
    assert len(by_line) == 2
    for times in by_line.values():
        assert all(
            sum(at <= other < at + 1_000 for other in times) <= SPOT_STREAMS.messages_per_s - 1
            for at in times
        )
    assert len(scene.closed) == 700
    assert scene.absent == []


def test_symbols_come_and_go_while_connected():
    scene = Scene([BTC, ETH], {one: minutes(60, 1) for one in ("BTCUSDT", "ETHUSDT", "SOLUSDT")})
    scene.go(60)
    scene.streams.follow([BTC, ("SOLUSDT", M1)])
    scene.go(120)
    assert scene.said("ETHUSDT") == ([0], [])
    assert scene.said("SOLUSDT") == ([1, 2], [])
    assert scene.said("BTCUSDT") == ([0, 1, 2], [])
    assert len(scene.opened) == 1
    (line,) = scene.lines.values()
    assert list(line.names) == ["btcusdt@kline_1m", "solusdt@kline_1m"]
    scene.streams.follow([])
    scene.go(60)
    assert scene.lines == {}
    assert scene.streams.stats()["streams"] == 0


def test_a_refused_subscription_is_told_and_the_connection_made_anew():
    rules = replace(FUTURES_STREAMS, streams=200)
    series = [(f"COIN{at}USDT", M1) for at in range(500)]
    bars = dict.fromkeys((symbol for symbol, _ in series), minutes(4))
    scene = Scene(series, bars, Market.USD_M, rules=rules)
    scene.go(5)
    refused = [one for one in scene.notices if one.kind is NoticeKind.REFUSED]
    assert "4 Too many subscriptions" in refused[0].text


def test_who_gets_no_answer_connects_anew():
    scene = Scene([BTC])
    scene.act = lambda: None
    actions = scene.streams.actions()
    assert len(actions) == 1
    scene.clock.advance(10), scene.own_clock.advance(10)
    (close,) = scene.streams.actions()
    assert "handshake" in close.fault
    scene.clock.advance(1), scene.own_clock.advance(1)
    assert [action.connection for action in scene.streams.actions()] == [2]


# Clocks


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("off_ms", [-1_270, 95_000, -3_600_000])
def test_a_clock_that_is_off_changes_neither_bars_nor_lags(off_ms, asked):
    """Whether the exchange was asked for its time before or frames alone tell."""
    faults = ["close_lost:@4"]
    scene = Scene([BTC], market=Market.USD_M, faults=faults, clock_off_ms=off_ms, asked=asked)
    scene.go(10 * 60)
    assert scene.said("BTCUSDT") == ([0, 1, 2, 4, 5, 6, 7, 8, 9], [3])
    assert all(0 <= one.lag_ms <= 2_020 for one in scene.closed)
    assert all(abs(one.skew_ms - off_ms) <= 5 for one in scene.closed)
    (absent,) = scene.absent
    assert 2_490 <= absent.at_ms - absent.end_ms <= 2_520


def test_bars_are_absent_also_where_nothing_was_ever_heard():
    scene = Scene([BTC], refuses=lambda _: True, start_s=50)
    scene.go(5 * 60)
    assert scene.said("BTCUSDT") == ([], [0, 1, 2, 3, 4])


def test_a_bar_of_the_future_is_not_believed_and_moves_no_clock():
    scene = Scene([BTC])
    scene.go(31)
    later = START + 10**9 * 60
    k = {
        "t": later, "T": later + MINUTE - 1, "s": "BTCUSDT", "i": "1m", "f": 1, "L": 2, "o": "5",
        "c": "6", "h": "7", "l": "4", "v": "2", "n": 2, "x": True, "q": "10", "V": "1", "Q": "5",
    }  # fmt: skip
    scene.told(1, json.dumps({"e": "kline", "E": later + MINUTE, "s": "BTCUSDT", "k": k}))
    assert "future" in scene.notices[-1].text
    scene.go(60)
    assert scene.said("BTCUSDT") == ([0, 1], [])
    assert scene.absent == []


def test_microseconds_are_the_same_bars():
    plain, fine = Scene([BTC]), Scene([BTC])
    told = fine.told

    def finer(number, text):
        message = json.loads(text)
        if "data" in message:
            message["data"] = in_microseconds(message["data"])
        told(number, json.dumps(message))

    fine.told = finer
    for scene in (plain, fine):
        scene.go(3 * 60)
    assert [one.bar for one in fine.closed] == [one.bar for one in plain.closed]


# What cannot be followed


@pytest.mark.parametrize(
    ("market", "series", "why"),
    [
        (Market.USD_M, [("BTCUSDT", Interval.S1)], "um has no streams of 1s; it has 1m, 3m"),
        (Market.SPOT, [("btcusdt", M1)], "'btcusdt' is no symbol"),
        (Market.SPOT, [(f"C{at}USDT", M1) for at in range(51)], "51 streams are more than 50 conn"),
    ],
)
def test_what_has_no_stream_is_refused_by_name(market, series, why):
    clock = Scene([BTC]).clock
    with pytest.raises(GiveUp, match=why):
        KlineStreams(market, HOST, series, clock, streams=1)
