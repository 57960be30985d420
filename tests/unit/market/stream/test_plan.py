"""Streams over connections, and the messages that ask for them."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from alphamill.market.stream.plan import MESSAGE_BYTES, URL_BYTES, address, assign, commands

SPOT = "wss://stream.binance.com:9443"


def names(n, first=0):
    return [f"coin{at}usdt@kline_1m" for at in range(first, first + n)]


def test_as_few_connections_as_can_carry_them_about_equally_full():
    assert assign([], 1024) == []
    assert assign(names(1024), 1024) == [tuple(names(1024))]
    held = assign(names(1500), 1024)
    assert [len(one) for one in held] == [750, 750]
    assert sorted(name for one in held for name in one) == sorted(names(1500))
    assert assign(["a", "a", "b"], 5) == [("a", "b")]
    with pytest.raises(ValueError, match="at least one"):
        assign(["a"], 0)


def test_streams_stay_on_their_connection():
    before = assign(names(6), 3)
    fewer = assign(names(6)[:-1], 3, before)
    assert [set(new) <= set(old) for new, old in zip(fewer, before, strict=True)] == [True, True]
    more = assign(names(9), 3, before)
    assert more[:2] == before
    assert set(more[2]) == set(names(3, 6))
    filled = assign([*names(5), "new@kline_1m"], 3, fewer)
    assert len(filled) == 2
    assert [set(old) <= set(new) for new, old in zip(filled, fewer, strict=True)] == [True, True]
    assert assign([], 3, before) == [(), ()]
    assert [len(one) for one in assign(names(6), 2, before)] == [2, 2, 2]


def test_an_address_has_as_many_names_as_fit():
    url, rest = address(f"{SPOT}/", "/stream", names(3))
    assert (url, rest) == (f"{SPOT}/stream?streams={'/'.join(names(3))}", [])
    url, rest = address(SPOT, "/stream", names(1024))
    assert URL_BYTES - 30 < len(url) <= URL_BYTES
    (carried,) = parse_qs(urlsplit(url).query)["streams"]
    assert [*carried.split("/"), *rest] == names(1024)
    assert address(SPOT, "/stream", []) == (f"{SPOT}/stream", [])


def test_a_route_is_added_once_and_other_scripts_are_encoded():
    future = "wss://fstream.binance.com"
    for base in (future, f"{future}/", f"{future}/market", f"{future}/market/"):
        url, _ = address(base, "/market/stream", ["币安usdt@kline_1m"])
        assert url == f"{future}/market/stream?streams=%E5%B8%81%E5%AE%89usdt@kline_1m"


@pytest.mark.parametrize("symbol", ["coin{}usdt", "币安人生{}usdt"])
def test_messages_are_as_long_as_the_exchange_still_answers(symbol):
    many = [f"{symbol.format(at)}@kline_15m" for at in range(1000)]
    sent = list(commands("SUBSCRIBE", many, 7))
    messages = [json.loads(text) for _, text in sent]
    assert [ident for ident, _ in sent] == [one["id"] for one in messages]
    assert [ident for ident, _ in sent] == list(range(7, 7 + len(sent)))
    assert [name for one in messages for name in one["params"]] == many
    lengths = [len(text.encode()) for _, text in sent]
    assert all(MESSAGE_BYTES - 40 < length <= MESSAGE_BYTES for length in lengths[:-1])
    assert lengths[-1] <= MESSAGE_BYTES
    assert {one["method"] for one in messages} == {"SUBSCRIBE"}
    assert list(commands("UNSUBSCRIBE", [], 1)) == []
