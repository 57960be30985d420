"""Threads that share trips to Redis get the answers, and the errors, that each would alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

from alphamill.redis_pipelining import SharedTrips

COUNT = "return redis.call('HINCRBY', KEYS[1], ARGV[1], 1)"


@pytest.fixture
def client(redis_url: str) -> Iterator[SharedTrips]:
    with SharedTrips.from_url(redis_url) as made:
        made.flushall()
        yield made


def test_each_thread_gets_its_own_answers_in_its_own_order(client: SharedTrips) -> None:
    count = client.register_script(COUNT)

    def work(name: int) -> list[Any]:
        return [
            (count(keys=["h"], args=[name]), client.hget("h", str(name)), client.hget("h", "none"))
            for _ in range(50)
        ]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(work, range(16)))
    assert answers == [[(n, str(n).encode(), None) for n in range(1, 51)]] * 16
    assert client.hgetall("h") == {str(n).encode(): b"50" for n in range(16)}


class Gate:
    """Holds the first trip back until everybody waits, so that the second one is shared."""

    def __init__(self, client: SharedTrips, followers: int) -> None:
        self.sizes: list[int] = []
        self._ask, self._client, self._followers = client._ask, client, followers
        client._ask = self.ask  # type: ignore[method-assign]

    def ask(self, wishes: list[Any]) -> list[Any]:
        self.sizes.append(len(wishes))
        while len(self.sizes) == 1 and len(self._client._waiting) < self._followers:
            threading.Event().wait(0.001)
        return self._ask(wishes)


def test_an_error_is_only_its_own_commands(client: SharedTrips) -> None:
    client.set("text", "x")
    gate = Gate(client, followers=6)

    def work(number: int) -> Any:
        try:
            return client.hget("text" if number % 3 == 0 else "h", "f")
        except redis.ResponseError as error:
            return type(error).__name__

    with ThreadPoolExecutor(7) as pool:
        first = pool.submit(client.hget, "h", "f")
        while not gate.sizes:
            threading.Event().wait(0.001)
        answers = list(pool.map(work, range(6)))
    assert first.result() is None
    assert gate.sizes == [1, 6]
    assert answers == ["ResponseError", None, None] * 2


def test_all_are_told_when_redis_is_gone(client: SharedTrips) -> None:
    gate = Gate(client, followers=4)

    def lost(wishes: list[Any]) -> list[Any]:
        raise redis.ConnectionError("gone")

    def work(_: int) -> str:
        try:
            return repr(client.hget("h", "f"))
        except redis.ConnectionError as error:
            return str(error)

    gate._ask = lost
    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(work, range(5))) == ["gone"] * 5
    del client._ask
    assert client.hget("h", "f") is None  # and the next one finds the way free


def test_a_leader_that_is_stopped_leaves_nobody_waiting(client: SharedTrips) -> None:
    class Stopped(BaseException):
        pass

    gate = Gate(client, followers=0)

    def stop(wishes: list[Any]) -> list[Any]:
        raise Stopped

    gate._ask = stop
    with pytest.raises(Stopped):
        client.hget("h", "f")
    del client._ask
    assert client.hget("h", "f") is None


def test_one_who_waits_and_is_stopped_leaves_nobody_waiting(client: SharedTrips) -> None:
    """Stopped when its turn has come, before it could take anybody along."""
    gate = Gate(client, followers=2)
    travel = client._travel

    class Stopped(BaseException):
        pass

    def stop_the_second(wish: Any) -> None:
        if wish.args[2] == "second":
            raise Stopped
        travel(wish)

    client._travel = stop_the_second  # type: ignore[method-assign]
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(client.hget, "h", "first")
        while not gate.sizes:
            threading.Event().wait(0.001)
        second = pool.submit(client.hget, "h", "second")
        while not client._waiting:
            threading.Event().wait(0.001)
        third = pool.submit(client.hget, "h", "third")
        with pytest.raises(Stopped):
            second.result(10)
        assert (first.result(10), third.result(10)) == (None, None)
    assert client.hget("h", "f") is None


def test_a_connection_that_breaks_costs_nobody_an_answer(client: SharedTrips) -> None:
    count = client.register_script(COUNT)

    count(keys=["h"], args=["warm"])
    url = client_url(client)
    for round_ in range(1, 6):
        with redis.Redis.from_url(url) as other:
            assert other.client_kill_filter(_type="normal", skipme=True) >= 1
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda n: count(keys=["h"], args=[n]), range(8))) == [round_] * 8


def client_url(client: SharedTrips) -> str:
    known = client.connection_pool.connection_kwargs
    return f"redis://{known['host']}:{known['port']}/{known.get('db', 0)}"


def test_who_is_stopped_while_reading_leaves_no_answer_for_others(
    client: SharedTrips, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(BaseException):
        pass

    def stop(*_: object, **__: object) -> None:
        raise Stopped

    client.hset("h", mapping={"f": "mine", "g": "yours"})
    monkeypatch.setattr(client, "parse_response", stop)
    with pytest.raises(Stopped):
        client.hget("h", "f")
    monkeypatch.undo()
    assert client.hget("h", "g") == b"yours"


LOG = "return redis.call('RPUSH', KEYS[1], ARGV[1])"


def test_what_trails_goes_in_the_same_trip_behind_and_heals_a_lost_script(
    client: SharedTrips,
) -> None:
    note, other = client.register_script(LOG), client.register_script(LOG + " -- another")
    note(keys=["log"], args=["warm"])
    client.script_flush()
    other(keys=["log"], args=["also warm"])
    gate = Gate(client, followers=0)

    def also() -> None:
        assert note(keys=["log"], args=["second"]) is None
        assert other(keys=["log"], args=["third"]) is None

    with client.trailing(also):
        assert other(keys=["log"], args=["first"]) == 3
    assert len(gate.sizes) == 1
    said = [text.decode() for text in client.lrange("log", 0, -1)]
    assert said[:3] == ["warm", "also warm", "first"]
    assert sorted(said[3:]) == ["second", "third"]


def test_what_trails_keeps_its_order(client: SharedTrips) -> None:
    note = client.register_script(LOG)
    note(keys=["log"], args=["0"])
    with client.trailing(lambda: [note(keys=["log"], args=[name]) for name in "23"]):
        note(keys=["log"], args=["1"])
        note(keys=["log"], args=["4"])
    assert client.lrange("log", 0, -1) == [b"0", b"1", b"2", b"3", b"4"]


def test_a_trailing_error_is_logged_and_what_was_not_sent_is_forgotten(
    client: SharedTrips, caplog: pytest.LogCaptureFixture
) -> None:
    client.set("text", "x")
    with client.trailing(lambda: client.hget("text", "f")):
        assert client.hget("h", "f") is None
    assert "a trailing HGET failed: WRONGTYPE" in caplog.text
    caplog.clear()
    with client.trailing(lambda: client.hget("text", "f")):
        pass
    assert client.hget("h", "f") is None
    assert not caplog.text
