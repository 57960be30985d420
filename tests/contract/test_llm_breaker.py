"""One suite over both breakers: in memory, and in Redis on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import fakeredis
import pytest
import redis
from pydantic import SecretStr

from alphamill.clock import ManualClock
from alphamill.errors import RetryLater
from alphamill.llm.breaker.memory import MemoryBreaker
from alphamill.llm.breaker.protocol import Breaker, BreakerTimes, FailureKind, host_of
from alphamill.llm.breaker.redis import RedisBreaker

TIMES = BreakerTimes(refused_factor=1)
OPEN_S = TIMES.first_open_ms / 1000
STAMPS = ("open_until", "probe_until", "down_since", "alive", "limited")


@dataclass
class Rig:
    """A breaker whose first opening lasts `open_s`, and a way to let time pass."""

    breaker: Breaker
    open_s: float
    wait: Callable[[float], None]


def rewind(client: redis.Redis, seconds: float) -> None:
    """Let time pass in Redis, whose clock cannot be moved: bring every time nearer."""
    for circuit in client.scan_iter("alphamill:llm:circuit:*"):
        for name in STAMPS:
            if client.hexists(circuit, name):
                client.hincrby(circuit, name, -round(1000 * seconds))


@pytest.fixture(params=["memory", "fakeredis", "server"])
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    clock = ManualClock()
    if request.param == "memory":
        yield Rig(MemoryBreaker(clock, TIMES), OPEN_S, clock.advance)
        return
    if request.param == "fakeredis":
        client = fakeredis.FakeRedis()
    else:
        client = redis.Redis.from_url(request.getfixturevalue("redis_url"))

    def wait(seconds: float) -> None:
        clock.advance(seconds)
        rewind(client, seconds)

    yield Rig(RedisBreaker(client, "https://user:pw@host:99/v1", clock, times=TIMES), OPEN_S, wait)
    client.close()


def lifeless(rig: Rig, model: str = "a") -> None:
    rig.breaker.failed(model, FailureKind.SILENT, took_s=0.01)


def test_a_closed_circuit_lets_everybody_through(rig: Rig) -> None:
    assert [rig.breaker.enter("a").wait_s for _ in range(3)] == [0.0, 0.0, 0.0]
    rig.breaker.alive("a")
    assert rig.breaker.enter("a").wait_s == 0


def test_one_silent_call_shuts_its_model_and_no_other(rig: Rig) -> None:
    lifeless(rig)
    assert 0 < rig.breaker.enter("a").wait_s <= rig.open_s
    assert rig.breaker.enter("b").wait_s == 0


def test_an_unreachable_endpoint_shuts_every_model(rig: Rig) -> None:
    rig.breaker.failed("a", FailureKind.UNREACHABLE, took_s=0.01)
    assert rig.breaker.enter("a").wait_s > 0
    assert rig.breaker.enter("b").wait_s > 0


def test_what_breaks_shuts_after_five_in_a_row(rig: Rig) -> None:
    for _ in range(4):
        rig.breaker.failed("a", FailureKind.BROKEN, took_s=0.01)
    rig.breaker.alive("a")
    for _ in range(4):
        rig.breaker.failed("a", FailureKind.BROKEN, took_s=0.01)
    assert rig.breaker.enter("a").wait_s == 0
    rig.breaker.failed("a", FailureKind.BROKEN, took_s=0.01)
    assert rig.breaker.enter("a").wait_s > 0


def test_a_slow_call_among_answered_ones_shuts_nothing(rig: Rig) -> None:
    rig.breaker.alive("a")
    rig.breaker.failed("a", FailureKind.SILENT, took_s=30.0)  # others were answered meanwhile
    assert rig.breaker.enter("a").wait_s == 0


def test_one_probe_goes_through_and_its_answer_opens_the_way(rig: Rig) -> None:
    lifeless(rig)
    rig.wait(rig.open_s * 1.2)
    assert rig.breaker.enter("a").wait_s == 0
    assert rig.breaker.enter("a").wait_s > 0  # a second one waits for the first
    rig.breaker.alive("a")
    assert [rig.breaker.enter("a").wait_s for _ in range(3)] == [0.0, 0.0, 0.0]


def test_a_failed_probe_shuts_for_twice_as_long_and_the_outage_grows(rig: Rig) -> None:
    lifeless(rig)
    rig.wait(rig.open_s * 1.2)
    assert rig.breaker.enter("a").wait_s == 0
    rig.breaker.failed("a", FailureKind.BROKEN, took_s=0.01)
    state = rig.breaker.enter("a")
    assert rig.open_s < state.wait_s <= 2 * rig.open_s
    assert state.down_s >= rig.open_s


def test_calls_that_were_under_way_add_nothing(rig: Rig) -> None:
    for _ in range(6):
        lifeless(rig)
    assert rig.breaker.enter("a").wait_s <= rig.open_s


def test_a_probe_that_nobody_reports_is_given_up(rig: Rig) -> None:
    lifeless(rig)
    rig.wait(rig.open_s * 1.2)
    assert rig.breaker.enter("a").wait_s == 0
    rig.wait(TIMES.probe_ms / 1000 + rig.open_s / 2)
    assert rig.breaker.enter("a").wait_s == 0


def test_workers_share_what_one_has_found(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        first, second = (RedisBreaker(client, "http://host/v1") for _ in range(2))
        first.failed("a", FailureKind.SILENT, took_s=0.01)
        assert second.enter("a").wait_s > 0
        assert RedisBreaker(client, "http://elsewhere/v1").enter("a").wait_s == 0


def test_without_redis_there_is_no_call() -> None:
    server = fakeredis.FakeServer()
    breaker = RedisBreaker(fakeredis.FakeRedis(server=server), "http://host/v1")
    server.connected = False
    with pytest.raises(RetryLater):
        breaker.enter("a")


def test_an_address_names_its_circuit_without_what_it_hides() -> None:
    assert host_of("https://user:secret@host:99/v1") == "host:99"


def test_to_look_lets_nobody_through(rig: Rig) -> None:
    lifeless(rig)
    assert rig.breaker.look("a").wait_s > 0
    rig.wait(rig.open_s * 1.2)
    assert [rig.breaker.look("a").wait_s for _ in range(3)] == [0.0, 0.0, 0.0]
    assert rig.breaker.enter("a").wait_s == 0
    assert rig.breaker.look("a").wait_s > 0


def test_an_open_circuit_says_why_until_somebody_tries_it(rig: Rig) -> None:
    rig.breaker.failed("a", FailureKind.KEY_REFUSED, 0.01, '["no"]')
    state = rig.breaker.enter("b")
    assert (state.kind, state.cause) == (FailureKind.KEY_REFUSED, '["no"]')
    rig.wait(rig.open_s * 1.2)
    assert rig.breaker.enter("b").wait_s == 0
    waiting = rig.breaker.enter("a")
    assert waiting.wait_s > 0
    assert waiting.kind is None  # the one that tries may find it mended


def test_without_quota_other_models_go_on(rig: Rig) -> None:
    rig.breaker.failed("a", FailureKind.NO_QUOTA, 0.01, "x")
    assert rig.breaker.enter("a").kind is FailureKind.NO_QUOTA
    assert rig.breaker.enter("b").wait_s == 0


def test_refusals_by_rate_are_timed_from_the_first_without_an_answer(rig: Rig) -> None:
    assert rig.breaker.limited("a") == 0
    rig.wait(0.2)
    assert rig.breaker.limited("a") >= 0.2
    assert rig.breaker.limited("b") == 0
    rig.breaker.alive("a")
    assert rig.breaker.limited("a") < 0.2


def test_a_refusal_by_rate_is_a_sign_of_life(rig: Rig) -> None:
    lifeless(rig)
    rig.wait(rig.open_s * 1.2)
    assert rig.breaker.enter("a").wait_s == 0
    rig.breaker.limited("a")
    assert [rig.breaker.enter("a").wait_s for _ in range(3)] == [0.0, 0.0, 0.0]


def test_each_kind_of_failure_is_its_own() -> None:
    assert len(set(FailureKind)) == len(
        FailureKind.__members__
    )  # equal values would be one and the same


def test_another_key_or_path_begins_with_closed_circuits() -> None:
    client = fakeredis.FakeRedis()
    keys = SecretStr("sk-old-0123456"), SecretStr("sk-new-0123456")
    old, new = (RedisBreaker(client, "http://host/v1", key=key) for key in keys)
    old.failed("a", FailureKind.KEY_REFUSED, 0.01, "x")
    assert old.enter("a").wait_s > 0
    assert new.enter("a").wait_s == 0
    assert RedisBreaker(client, "http://host/v2", key=keys[0]).enter("a").wait_s == 0
    assert not any(b"sk-" in key for key in client.scan_iter())


def test_a_probe_that_fails_at_the_other_circuit_may_be_repeated(rig: Rig) -> None:
    lifeless(rig)
    rig.wait(rig.open_s * 1.2)
    assert rig.breaker.enter("a").wait_s == 0
    rig.breaker.failed("a", FailureKind.UNREACHABLE, took_s=0.01)
    assert 0 < rig.breaker.enter("a").wait_s <= rig.open_s
    rig.wait(rig.open_s * 1.2)
    assert rig.breaker.enter("a").wait_s == 0


def test_what_a_person_must_mend_is_asked_again_less_often() -> None:
    refused, silent = (
        BreakerTimes().open_ms(k) for k in (FailureKind.NO_QUOTA, FailureKind.SILENT)
    )
    assert (silent, refused) == ((5_000, 60_000), (30_000, 360_000))
