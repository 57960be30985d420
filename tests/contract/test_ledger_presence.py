"""Workers that say they are here, and are forgotten when they fall silent."""

import fakeredis
import pytest
import redis

from alphamill.ledger.presence import Presence, Worker

ONE = Worker("fetch-1@host", "fetch", ("fetch",), 8, 11)
TWO = Worker("llm-1@host", "llm", ("llm.quick_scan", "llm.detailed_analysis"), 16, 12)


@pytest.fixture(params=["fakeredis", "server"])
def client(request):
    if request.param == "fakeredis":
        return fakeredis.FakeRedis()
    return redis.Redis.from_url(request.getfixturevalue("redis_url"))


def test_workers_are_listed_by_name_until_they_leave(client):
    presence = Presence(client)
    presence.announce(TWO)
    presence.announce(ONE)
    presence.announce(ONE)
    assert presence.here() == [ONE, TWO]
    presence.leave(ONE.name)
    assert presence.here() == [TWO]


def test_a_silent_worker_is_forgotten(client):
    presence = Presence(client)
    presence.announce(ONE)
    client.delete("alphamill:worker:" + ONE.name)  # what its expiry does
    assert presence.here() == []
    assert client.smembers("alphamill:workers") == set()


def test_nobody_is_here_when_redis_is_gone():
    gone = redis.Redis(port=1, socket_connect_timeout=1)
    assert Presence(gone).here() == []
