"""Workers that say they are here, and are forgotten when they fall silent."""

import json
from dataclasses import replace

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


BUILD = {"version": "0.1.0", "code": "3f2a91bc", "libraries": {"numpy": "2.1.0"}}
WORKS_WITH = {"build": BUILD, "settings": {"lake": "/a"}, "keys": {}, "salt": ""}


def test_what_workers_work_with_is_kept_once_and_asked_for_by_id(client):
    presence = Presence(client)
    for worker in (ONE, TWO):
        told = replace(worker, build="0.1.0+aa", identity="ab12")
        presence.announce(told, WORKS_WITH)
    assert [one.identity for one in presence.here()] == ["ab12", "ab12"]
    assert presence.identities(["ab12", "", "ab12", "unknown"]) == {"ab12": WORKS_WITH}
    assert presence.builds(["0.1.0+aa", "0.1.0+bb"]) == {"0.1.0+aa": BUILD}
    assert len(client.keys("alphamill:identity:*")) == 1
    assert 0 < client.ttl("alphamill:identity:ab12") <= 60
    assert client.ttl("alphamill:build:0.1.0+aa") > 80 * 86_400


def test_the_salt_is_random_made_once_and_the_same_for_all(client):
    first, second = Presence(client), Presence(client)
    assert first.salt() == second.salt() != ""
    assert len(first.salt()) == 32
    before = first.salt()
    client.flushall()
    assert first.salt() != before


def test_a_worker_that_says_nothing_of_itself_is_read(client):
    client.sadd("alphamill:workers", ONE.name)
    old = {"name": ONE.name, "pool": "fetch", "queues": ["fetch"], "concurrency": 8, "pid": 11}
    client.set("alphamill:worker:" + ONE.name, json.dumps(old), ex=20)
    assert Presence(client).here() == [ONE]
    assert Presence(client).identities([ONE.identity]) == {}


def test_nobody_is_here_when_redis_is_gone():
    gone = redis.Redis(port=1, socket_connect_timeout=1)
    assert Presence(gone).here() == []
    assert Presence(gone).salt() == ""
    assert Presence(gone).identities(["ab12"]) == {}
    assert Presence(gone).builds(["0.1.0+aa"]) == {}
    assert Presence(gone).beat_host() is None


def test_beat_is_remembered_for_a_while(client):
    presence = Presence(client)
    assert presence.beat_host() is None
    presence.beats("box1")
    assert presence.beat_host() == "box1"
    assert 0 < client.ttl("alphamill:beat") <= 30
