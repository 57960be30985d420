"""Threads whose commands are pipelined get the replies, and the errors, that each would alone."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from alphamill.redis_pipelining import PipelinedRedis
from tests.deadlines import ANSWER_S

COUNT = "return redis.call('HINCRBY', KEYS[1], ARGV[1], 1)"


@pytest.fixture
def client(redis_url: str) -> Iterator[PipelinedRedis]:
    with PipelinedRedis.from_url(redis_url) as made:
        made.flushall()
        yield made


def test_each_thread_gets_its_own_answers_in_its_own_order(client: PipelinedRedis) -> None:
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


class Stopped(BaseException):
    pass


class Held(redis.Connection):
    """A connection whose first send waits for a word, and which can be made to fail."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.go = threading.Event()
        self.sent: list[int] = []  # commands of each round trip
        self.failure: BaseException | None = None

    def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        packed = b"".join(command)
        if commands := packed.count(b"HGET\r\n") + packed.count(b"EVALSHA\r\n"):
            self.sent.append(commands)
            self.go.wait(ANSWER_S)
            if self.failure is not None:
                raise self.failure
        super().send_packed_command(command, check_health)


class Line:
    """A client, its connection that holds the first round trip, and threads that follow."""

    def __init__(self, client: PipelinedRedis, connection: Held, pool: ThreadPoolExecutor) -> None:
        self.client, self.connection, self.pool = client, connection, pool

    def ask(self, key: str = "h", waiting: int = 0) -> Future[Any]:
        """HGET from a thread of its own, sent, or waiting as the last of so many."""
        asked = self.pool.submit(self.client.hget, key, "f")
        while self.client.waiting < waiting or not self.connection.sent:
            threading.Event().wait(0.001)
        return asked


@pytest.fixture
def line(redis_url: str) -> Iterator[Line]:
    options = {"connection_class": Held, "retry": Retry(NoBackoff(), 0)}
    with PipelinedRedis.from_url(redis_url, **options) as client, ThreadPoolExecutor(8) as pool:
        client.flushall()
        connection = client.connection_pool.get_connection()
        client.connection_pool.release(connection)
        yield Line(client, connection, pool)


def test_an_error_is_only_its_own_commands(line: Line) -> None:
    line.client.set("text", "x")
    first = line.ask()
    keys = ["text", "h", "h"] * 2
    rest = [line.ask(key, waiting=n) for n, key in enumerate(keys, 1)]
    line.connection.go.set()
    assert first.result() is None
    for key, asked in zip(keys, rest, strict=True):
        if key == "text":
            with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
                asked.result()
        else:
            assert asked.result() is None
    assert line.connection.sent == [1, 6]


def test_all_are_told_when_redis_is_gone(line: Line) -> None:
    asked = [line.ask(waiting=n) for n in range(5)]
    line.connection.failure = redis.ConnectionError("gone")
    line.connection.go.set()
    for one in asked:
        with pytest.raises(redis.ConnectionError, match="gone"):
            one.result()
    line.connection.failure = None
    assert line.client.hget("h", "f") is None  # and the next one finds the way free


def test_a_leader_that_is_stopped_leaves_nobody_waiting(line: Line) -> None:
    line.connection.failure = Stopped()
    line.connection.go.set()
    with pytest.raises(Stopped):
        line.client.hget("h", "f")
    line.connection.failure = None
    assert line.client.hget("h", "f") is None


def test_one_who_waits_and_is_stopped_leaves_nobody_waiting(line: Line) -> None:
    """Stopped when its turn has come, before it could take anybody along."""
    first = line.ask()
    threads: list[int] = []
    second = line.pool.submit(
        lambda: (threads.append(threading.get_ident()), line.client.hget("h", "f"))
    )
    while line.client.waiting < 1:
        threading.Event().wait(0.001)
    third = line.ask(waiting=2)
    stop = ctypes.pythonapi.PyThreadState_SetAsyncExc  # is raised when its wait is over
    assert stop(ctypes.c_ulong(threads[0]), ctypes.py_object(Stopped)) == 1
    line.connection.go.set()
    with pytest.raises(Stopped):
        second.result(10)
    assert (first.result(10), third.result(10)) == (None, None)
    assert line.client.hget("h", "f") is None


def test_a_connection_that_breaks_costs_nobody_an_answer(client: PipelinedRedis) -> None:
    count = client.register_script(COUNT)

    count(keys=["h"], args=["warm"])
    url = client_url(client)
    for round_ in range(1, 6):
        with redis.Redis.from_url(url) as other:
            assert other.client_kill_filter(_type="normal", skipme=True) >= 1
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(lambda n: count(keys=["h"], args=[n]), range(8))) == [round_] * 8


def client_url(client: PipelinedRedis) -> str:
    known = client.connection_pool.connection_kwargs
    return f"redis://{known['host']}:{known['port']}/{known.get('db', 0)}"


def test_who_is_stopped_while_reading_leaves_no_answer_for_others(
    client: PipelinedRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Stopped

    client.hset("h", mapping={"f": "mine", "g": "yours"})
    monkeypatch.setattr(client, "parse_response", stop)
    with pytest.raises(Stopped):
        client.hget("h", "f")
    monkeypatch.undo()
    assert client.hget("h", "g") == b"yours"


LOG = "return redis.call('RPUSH', KEYS[1], ARGV[1])"


def test_what_rides_behind_goes_in_the_same_round_trip_and_heals_a_lost_script(line: Line) -> None:
    client = line.client
    line.connection.go.set()
    note, other = client.register_script(LOG), client.register_script(LOG + " -- another")
    note(keys=["log"], args=["warm"])
    client.script_flush()
    other(keys=["log"], args=["also warm"])
    line.connection.sent.clear()

    def write() -> None:
        assert note(keys=["log"], args=["second"]) is None
        assert other(keys=["log"], args=["third"]) is None

    with client.after_next(write):
        assert other(keys=["log"], args=["first"]) == 3
    assert line.connection.sent == [3]
    said = [text.decode() for text in client.lrange("log", 0, -1)]
    assert said[:3] == ["warm", "also warm", "first"]
    assert sorted(said[3:]) == ["second", "third"]


def test_what_rides_behind_keeps_its_order(client: PipelinedRedis) -> None:
    note = client.register_script(LOG)
    note(keys=["log"], args=["0"])
    with client.after_next(lambda: [note(keys=["log"], args=[name]) for name in "23"]):
        note(keys=["log"], args=["1"])
        note(keys=["log"], args=["4"])
    assert client.lrange("log", 0, -1) == [b"0", b"1", b"2", b"3", b"4"]


def test_a_piggybacked_error_is_logged_and_what_was_not_sent_is_forgotten(
    client: PipelinedRedis, caplog: pytest.LogCaptureFixture
) -> None:
    client.set("text", "x")
    with client.after_next(lambda: client.hget("text", "f")):
        assert client.hget("h", "f") is None
    assert "a piggybacked HGET failed: WRONGTYPE" in caplog.text
    caplog.clear()
    with client.after_next(lambda: client.hget("text", "f")):
        pass
    assert client.hget("h", "f") is None
    assert not caplog.text
