"""One websocket after the other, and what each sends."""

import json
from dataclasses import replace
from random import Random

from alphamill.frames import Market
from alphamill.market.stream import Close, Open
from alphamill.market.stream.connection import Connection, Phase
from alphamill.market.stream.messages import Reply
from alphamill.market.stream.relay import Attempts, Relay
from alphamill.market.stream.venue import STREAM_VENUES

SPOT = STREAM_VENUES[Market.SPOT]
HOST = "wss://stream.example.com"


def test_a_second_holds_one_message_less_than_the_market_allows():
    names = [f"币安人生的第{at}枚usdt@kline_15m" for at in range(1024)]
    connection = Connection.to(1, HOST, SPOT, names, 0.0)
    assert connection.sends(0.0) == []
    connection.opened(0.0)
    sent, now_s = [], 0.0
    while connection.phase is not Phase.UP:
        for send in connection.sends(now_s):
            message = json.loads(send.text)
            sent.append((now_s, message["params"]))
            connection.replied(Reply(message["id"]), now_s)
        now_s = max(now_s + 0.01, connection.send_at_s if connection.waits_to_send else 0.0)
        assert now_s < 60
    times = [at_s for at_s, _ in sent]
    assert len(times) >= 2 * SPOT.messages_per_s
    assert times[0] == 0
    for at_s in times:
        assert sum(at_s <= other < at_s + 1.2 for other in times) <= SPOT.messages_per_s - 1
    assert connection.up_s == times[-1]
    assert [name for _, params in sent for name in params] == names[-sum(len(p) for _, p in sent) :]


def relay():
    return Relay(HOST, SPOT, ("btcusdt@kline_1m",), Attempts(100), Random(1))


def test_the_old_connection_is_closed_when_the_next_is_heard_and_not_before():
    one = relay()
    (first,) = one.poll(0.0)
    assert isinstance(first, Open)
    one.of(first.connection).opened(0.1)
    one.heard(first.connection, 0.2)
    one.replace("of a whim")
    (second,) = one.poll(1.0)
    one.of(second.connection).opened(1.1)
    assert list(one.poll(1.2)) == []
    assert list(one.poll(11.0)) == []
    one.heard(second.connection, 11.05)
    assert one.next_s() <= 11.05
    assert list(one.poll(11.06)) == [Close(first.connection)]
    assert one.current.number == second.connection
    assert list(one.poll(12.0)) == []


def test_a_next_connection_that_tells_nothing_takes_over_after_a_while():
    one = relay()
    (first,) = one.poll(0.0)
    one.of(first.connection).opened(0.1)
    one.replace("of a whim")
    (second,) = one.poll(1.0)
    one.of(second.connection).opened(1.5)
    assert one.next_s() == 11.5
    assert list(one.poll(11.4)) == []
    assert list(one.poll(11.5)) == [Close(first.connection)]


def test_a_next_connection_that_fails_leaves_the_old_one_and_is_tried_again():
    one = relay()
    (first,) = one.poll(0.0)
    one.of(first.connection).opened(0.1)
    one.replace("of a whim")
    (second,) = one.poll(1.0)
    one.lost(second.connection, 2.0)
    assert one.current.number == first.connection
    assert list(one.poll(2.0)) == []
    (third,) = one.poll(one.next_s())
    assert isinstance(third, Open)
    one.lost(first.connection, 4.0)
    assert one.current.number == third.connection
    one.of(third.connection).opened(4.1)
    assert list(one.poll(4.2)) == []


def test_a_server_that_says_how_long_to_wait_is_obeyed():
    one = relay()
    (first,) = one.poll(0.0)
    one.lost(first.connection, 0.5, wait_s=120)
    assert one.next_s() == 120.5
    assert list(one.poll(120.4)) == []
    assert len(list(one.poll(120.5))) == 1


def test_a_life_shorter_than_the_lead_is_lived_nine_tenths():
    one = replace(relay(), life_s=60.0)
    (first,) = one.poll(0.0)
    one.of(first.connection).opened(0.1)
    assert 54.0 <= one.next_s() <= 57.0
