"""What followers tell is read as it was told; what is silent is gone."""

import json
import logging
from dataclasses import asdict

import fakeredis
import pytest

from alphamill.clock import ManualClock
from alphamill.errors import RetryLater
from alphamill.live.complaints import Complaints
from alphamill.live.condition import (
    Condition,
    DeadLetter,
    LiveState,
    ParityResult,
    Problem,
    standing,
)
from alphamill.live.followers import SILENCE_S, Followers, letters_key
from tests.unit.live.test_journal import SPEC, START

BAR = 60_000


def live_state(unexplained=0, **changed):
    parity = ParityResult(START, 7, {"equal": 50, "unexplained": unexplained})
    figures = {"rows": 12, "next_bar_ms": START + BAR, "next_end_ms": START + 2 * BAR}
    return LiveState(SPEC.id, "spot", "1m", 3, 1, parity=parity, **{**figures, **changed})


def letter_text(first, last):
    return json.dumps(asdict(DeadLetter(first, last, "HTTP 404", START)))


@pytest.fixture
def server():
    return fakeredis.FakeServer()


@pytest.fixture
def followers(server):
    return Followers(fakeredis.FakeRedis(server=server))


def test_what_is_told_is_read_and_forgotten_when_nothing_more_is(followers, server):
    client = fakeredis.FakeRedis(server=server)
    problems = (Problem.named("rest", "no answer", 5), Problem.named("streams", "cut; wait", 6))
    told = Condition("spot", "host:1", START, 40, (live_state(idle={"A": "BREAK"}),), problems)
    followers.tell("spot:default", told)
    followers.tell("um:default", Condition("um", "host:1", START, 40))
    client.lpush(letters_key(SPEC.id), letter_text(1, 2), letter_text(3, 4))
    spot, um = followers.told()
    assert um == Condition("um", "host:1", START, 40)
    (live,) = spot.lives
    assert (live.letters, live.letter) == (2, DeadLetter(3, 4, "HTTP 404", START))
    assert spot.problems == problems
    assert live.parity == live_state().parity
    assert client.ttl("alphamill:follower:spot:default:condition") == SILENCE_S
    followers.leave("um:default")
    client.delete("alphamill:follower:spot:default:condition")  # its time is over
    assert followers.told() == []
    server.connected = False
    with pytest.raises(RetryLater):
        followers.told()


def test_newer_code_may_say_more(followers, server):
    client = fakeredis.FakeRedis(server=server)
    said = asdict(Condition("spot", "host:1", 1, 0, (live_state(),)))
    said["more"] = said["lives"][0]["more"] = 5
    client.set("alphamill:follower:spot:condition", json.dumps(said))
    client.sadd("alphamill:followers", "spot")
    assert followers.told() == [Condition("spot", "host:1", 1, 0, (live_state(),))]


def test_a_cure_ends_an_error_and_each_kind_has_one():
    told = Problem.named("live-1", "a: no space; or so; free space", 1)
    assert (told.text, told.cure) == ("a: no space; or so", "free space")
    for of in ("redis", "rest", "streams", "register", "arrivals", "listing", "clock", "live-1"):
        assert Problem.named(of, "gone", 1).cure


def test_a_live_stands_as_its_own_market_tells():
    rest, other = Problem.named("rest", "banned", 1), Problem.named("live-2", "no history", 1)
    spot = Condition("spot", "host:1", 1, 0, (live_state(),), (rest, other))
    um = Condition("um", "host:1", 1, 0, (), (Problem.named("streams", "cut", 1),))
    how = standing(SPEC.id, "spot", True, [um, spot])
    assert (how.state, how.by, how.problems) == ("followed", "host:1", (rest,))
    assert standing("live-2", "spot", True, [um, spot]).problems == (rest, other)
    assert standing("live-2", "spot", True, [um, spot]).state == "not followed"
    assert standing(SPEC.id, "spot", True, None).state == "unknown"
    assert standing(SPEC.id, "spot", False, [spot]).state == "stopped"


def test_how_far_behind_it_is():
    state = live_state()
    assert state.behind_s(START + 2 * BAR) == 0
    assert state.behind_s(START + 2 * BAR + 1_500) == 1.5


def test_a_warning_is_told_when_it_changes_and_then_once_a_minute(caplog):
    clock = ManualClock()
    told = Complaints(logging.getLogger("follower"), clock)
    with caplog.at_level(logging.WARNING):
        for seconds in range(0, 121, 2):
            told.warn("live-1", f"no answer; again in {120 - seconds} s")
            clock.advance(2)
        assert len(caplog.records) == 3  # at 0, 60 and 120 s
        told.warn("live-1", "the disk is full")
        told.warn("live-2", "the disk is full")
        assert len(caplog.records) == 5
        told.over("live-1")
        told.warn("live-1", "the disk is full")
        assert len(caplog.records) == 6
