"""Who follows a live's rows has each once and in order, whatever Redis does."""

import json

import fakeredis
import pytest

from alphamill.lake import Lake
from alphamill.live import Journal
from alphamill.live import reader as readers
from alphamill.live.reader import Reader
from alphamill.live.stream import SignalStream
from tests.unit.live.test_journal import LIVE, START, signal


class World:
    """A live whose rows go to the lake and, while it is there, to Redis."""

    def __init__(self, folder):
        self.server = fakeredis.FakeServer()
        self.client = fakeredis.FakeRedis(server=self.server)
        self.stream = SignalStream(self.client, LIVE)
        self.journal = Journal(Lake(str(folder / "lake")), LIVE, START)
        self.written, self.said, self.pauses = 0, [], []
        seen = Journal(Lake(str(folder / "lake")), LIVE, START)
        url = "redis://:s3cret@127.0.0.1:1/0"
        self.lines = Reader(self.client, url, seen, LIVE, 0, self.said.append).follow()

    def write(self, rows, told=True):
        for _ in range(rows):
            self.journal.append([signal(self.written)])
            self.written += 1
        if told:
            self.stream.catch_up(self.journal)

    def read(self, rows):
        return [json.loads(next(self.lines))["seq"] for _ in range(rows)]


@pytest.fixture
def world(tmp_path, monkeypatch):
    made = World(tmp_path)
    monkeypatch.setattr(readers, "_BLOCK_MS", 1)
    monkeypatch.setattr(readers.time, "sleep", made.pauses.append)
    return made


def test_redis_goes_and_comes_back(world):
    world.write(2)
    assert world.read(2) == [0, 1]
    world.write(1)
    assert world.read(1) == [2]
    world.server.connected = False
    world.write(2, told=False)
    assert world.read(2) == [3, 4]
    [gone] = world.said
    assert gone == "no Redis answers at 127.0.0.1:1/0; rows come from the lake until it answers"
    world.server.connected = True
    world.write(2)
    assert world.read(2) == [5, 6]
    assert world.said == [gone, "Redis answers again"]
    assert world.pauses


def test_redis_is_gone_from_the_beginning(world):
    world.server.connected = False
    world.write(3, told=False)
    assert world.read(3) == [0, 1, 2]


def test_redis_comes_back_empty_and_is_filled_anew(world):
    world.write(3)
    assert world.read(3) == [0, 1, 2]
    world.client.flushall()
    world.write(2)
    assert world.read(2) == [3, 4]


def test_redis_comes_back_without_its_last_rows(world):
    world.write(3)
    assert world.read(3) == [0, 1, 2]
    world.client.flushall()
    first = next(world.journal.read())
    world.stream.push([first])
    world.write(2)
    assert world.read(2) == [3, 4]


def test_rows_that_never_reach_redis_come_from_the_lake(world):
    world.write(1)
    assert world.read(1) == [0]
    world.write(2, told=False)
    assert world.read(2) == [1, 2]


def test_rows_of_another_lake_are_not_taken(world, tmp_path):
    world.write(2, told=False)
    other = Journal(Lake(str(tmp_path / "other")), LIVE, START)
    for number in range(5):
        other.append([signal(number, values=(9.0, 9.0))])
    world.stream.catch_up(other)
    assert world.read(2) == [0, 1]
    world.write(1, told=False)
    assert next(world.lines) == [link.payload for link in world.journal.read()][2]
