"""Every Limiter keeps the same promises: in memory, and in Lua on fakeredis and a real server."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import fakeredis
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp, RetryLater
from alphamill.limits import (
    Concurrent,
    FixedWindow,
    Limiter,
    MemoryLimiter,
    Pool,
    RedisLimiter,
    SteadyRate,
)

WINDOW_MS = 6_000
MANY = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
Make = Callable[[ManualClock], Limiter]


@pytest.fixture(params=["memory", "fakeredis", "server"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """Makes limiters with a state of their own, on a clock moved by hand."""
    if request.param == "memory":
        yield MemoryLimiter
        return
    if request.param == "fakeredis":
        client = fakeredis.FakeRedis()
    else:
        client = redis.Redis.from_url(request.getfixturevalue("redis_url"), decode_responses=True)

    def build(clock: ManualClock) -> Limiter:
        client.flushall()
        return RedisLimiter(client, clock, server_now_ms=clock.now_ms)

    yield build
    client.close()


def fixed(limit: float = 100, pace: float = 1.05) -> Pool:
    return Pool("host", (FixedWindow("weight", limit, WINDOW_MS, 100, pace),))


def steady(limit: float = 60, burst: float = 3) -> Pool:
    return Pool("tier", (SteadyRate("requests", limit, 60_000, burst),))


def at_window_start(offset_ms: int = 0) -> ManualClock:
    return ManualClock(1_700_000_000_000 // WINDOW_MS * WINDOW_MS + offset_ms)


class Exchange:
    """Counts what arrives in each window of a clock that is `offset_ms` ahead of ours."""

    def __init__(self, offset_ms: int = 0) -> None:
        self.offset_ms = offset_ms
        self.arrived: Counter[int] = Counter()

    def take(self, sent_ms: float, latency_ms: int, cost: float) -> tuple[float, int]:
        """The used header and the server's clock."""
        server_ms = sent_ms + latency_ms + self.offset_ms
        window = int(server_ms // WINDOW_MS)
        self.arrived[window] += cost
        return self.arrived[window], int(server_ms)


def test_grants_at_once_when_there_is_room(make: Make) -> None:
    limiter = make(at_window_start(1000))
    slot = limiter.reserve(fixed(), {"weight": 5})
    assert slot.waited_s == 0
    assert slot.costs == {"weight": 5}


def test_a_full_window_is_waited_out(make: Make) -> None:
    clock = at_window_start(1000)
    limiter, pool = make(clock), fixed(limit=10)
    first = limiter.reserve(pool, {"weight": 10})
    second = limiter.reserve(pool, {"weight": 1})
    assert second.windows["weight"] == first.windows["weight"] + 1
    assert clock.now_ms() % WINDOW_MS >= 100


def test_a_light_request_takes_the_room_that_a_heavy_one_cannot(make: Make) -> None:
    clock = at_window_start(1000)
    limiter, pool = make(clock), fixed(limit=10, pace=100)
    first = limiter.reserve(pool, {"weight": 9})
    with pytest.raises(RetryLater):
        limiter.reserve(pool, {"weight": 5}, max_wait_s=1)
    light = limiter.reserve(pool, {"weight": 1}, max_wait_s=1)
    assert light.windows == first.windows


def test_a_wait_beyond_the_patience_goes_back_to_the_queue(make: Make) -> None:
    clock = at_window_start(1000)
    limiter, pool = make(clock), fixed(limit=10)
    limiter.reserve(pool, {"weight": 10})
    before_ms = clock.now_ms()
    with pytest.raises(RetryLater) as raised:
        limiter.reserve(pool, {"weight": 1}, max_wait_s=2)
    assert raised.value.counts is False
    assert raised.value.after_s == pytest.approx(5.1, abs=0.01)
    assert clock.now_ms() == before_ms


def test_what_can_never_fit_is_refused_at_once(make: Make) -> None:
    limiter = make(at_window_start())
    with pytest.raises(GiveUp, match="weight can never fit"):
        limiter.reserve(fixed(limit=10), {"weight": 10.5})
    with pytest.raises(GiveUp, match="requests can never fit"):
        limiter.reserve(steady(limit=60), {"requests": 61})


@pytest.mark.parametrize("costs", [{"weigth": 1}, {"weight": -1}, {"weight": float("nan")}])
def test_costs_must_be_the_pools(make: Make, costs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="not costs of this pool"):
        make(at_window_start()).reserve(fixed(), costs)


def test_dimensions_are_booked_together_or_not_at_all(make: Make) -> None:
    clock = at_window_start(1000)
    limiter = make(clock)
    weight = FixedWindow("weight", 100, WINDOW_MS, 100, pace=100)
    pool = Pool("host", (weight, FixedWindow("requests", 2, WINDOW_MS, 100, pace=100)))
    for _ in range(2):
        limiter.reserve(pool, {"weight": 10, "requests": 1})
    with pytest.raises(RetryLater):
        limiter.reserve(pool, {"weight": 10, "requests": 1}, max_wait_s=1)
    assert [d.issued for d in limiter.state(pool).dimensions] == [20, 2]


def test_the_pace_spreads_a_window_and_still_fills_it(make: Make) -> None:
    clock = at_window_start(100)
    limiter, pool = make(clock), fixed(limit=100)
    moments = []
    for _ in range(100):
        assert limiter.reserve(pool, {"weight": 1}).windows["weight"] == clock.now_ms() // WINDOW_MS
        moments.append(clock.now_ms() % WINDOW_MS)
    assert moments[-1] < WINDOW_MS - 125
    assert sum(ms < WINDOW_MS / 2 for ms in moments) < 62


def test_pools_of_other_names_do_not_share(make: Make) -> None:
    limiter = make(at_window_start(1000))
    limiter.reserve(Pool("one", fixed(limit=10).dimensions), {"weight": 10})
    other = limiter.reserve(Pool("two", fixed(limit=10).dimensions), {"weight": 10})
    assert other.waited_s == 0


# --- pauses


def test_a_pause_is_waited_out_or_sent_back(make: Make) -> None:
    clock = at_window_start(100)
    limiter, pool = make(clock), fixed()
    limiter.pause(pool, 4, "429 from the exchange")
    with pytest.raises(RetryLater, match="429 from the exchange") as raised:
        limiter.reserve(pool, {"weight": 1}, max_wait_s=3)
    assert raised.value.after_s == pytest.approx(4, abs=0.01)
    started_ms = clock.now_ms()
    limiter.reserve(pool, {"weight": 1}, max_wait_s=5)
    assert clock.now_ms() - started_ms >= 4000


def test_a_later_shorter_pause_never_shortens(make: Make) -> None:
    clock = at_window_start()
    limiter, pool = make(clock), fixed()
    limiter.pause(pool, 120, "banned")
    limiter.pause(pool, 1, "slow down")
    state = limiter.state(pool)
    assert state.paused_until_ms == clock.now_ms() + 120_000
    assert state.pause_reason == "banned"


def test_a_pause_survives_days_and_ends_by_itself(make: Make) -> None:
    clock = at_window_start()
    limiter, pool = make(clock), fixed()
    limiter.pause(pool, 3 * 86_400, "banned")
    clock.advance(3 * 86_400 - 1)
    assert limiter.state(pool).pause_reason == "banned"
    clock.advance(1.001)
    assert limiter.state(pool).paused_until_ms is None
    assert limiter.reserve(pool, {"weight": 1}, max_wait_s=0.5)


def test_an_operator_may_end_a_pause(make: Make) -> None:
    limiter, pool = make(at_window_start(1000)), fixed()
    limiter.pause(pool, 3600, "banned")
    limiter.unpause(pool)
    assert limiter.reserve(pool, {"weight": 1}).waited_s == 0


class InterruptedClock(ManualClock):
    """Runs `interrupt` in the middle of the first sleep."""

    interrupt: Callable[[], None] | None = None

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds / 2)
        interrupt, self.interrupt = self.interrupt, None
        if interrupt is not None:
            interrupt()
        super().sleep(seconds / 2)


def test_a_pause_reaches_those_who_already_sleep_on_a_slot(make: Make) -> None:
    clock = InterruptedClock(at_window_start(1000).now_ms())
    limiter, pool = make(clock), fixed(limit=100)
    limiter.reserve(pool, {"weight": 15})
    clock.interrupt = lambda: limiter.pause(pool, 9, "418")
    started_ms = clock.now_ms()
    assert limiter.reserve(pool, {"weight": 1}).waited_s >= 9
    assert clock.now_ms() >= started_ms + 9000


def test_a_slot_overslept_past_its_window_is_booked_again(make: Make) -> None:
    clock = InterruptedClock(at_window_start(1000).now_ms())
    limiter, pool = make(clock), fixed(limit=100)
    limiter.reserve(pool, {"weight": 15})
    clock.interrupt = lambda: clock.advance(7)
    slot = limiter.reserve(pool, {"weight": 1})
    assert slot.windows["weight"] == clock.now_ms() // WINDOW_MS


# --- corrections


def test_others_on_the_same_address_are_allowed_for_now_and_in_the_next_window(make: Make) -> None:
    clock = at_window_start(3000)
    limiter, pool = make(clock), fixed(limit=100, pace=100)
    slot = limiter.reserve(pool, {"weight": 10})
    limiter.observe(slot, used=50)
    now = limiter.state(pool).dimensions[0]
    assert (now.issued, now.external, now.used) == (10, 40, 50)
    assert now.forecast == pytest.approx(80, abs=1)
    clock.advance(WINDOW_MS / 1000)
    assert limiter.state(pool).dimensions[0].forecast == pytest.approx(40)
    booked = 0
    while limiter.reserve(pool, {"weight": 1}).windows["weight"] == slot.windows["weight"] + 1:
        booked += 1
    assert booked == 58  # 100 - 1.05 * 40


def test_our_own_slots_not_yet_due_are_no_evidence_of_others(make: Make) -> None:
    clock = at_window_start(1000)
    limiter, pool = make(clock), fixed()
    slot = limiter.reserve(pool, {"weight": 10})
    limiter.observe(slot, used=10)
    assert limiter.state(pool).dimensions[0].external == 0
    limiter.book(pool, {"weight": 3.0}, 1.0)  # type: ignore[attr-defined]
    limiter.observe(slot, used=12)
    assert limiter.state(pool).dimensions[0].external == 2


def test_a_reply_from_another_window_says_nothing_about_this_one(make: Make) -> None:
    clock = at_window_start(1000)
    limiter, pool = make(clock), fixed()
    slot = limiter.reserve(pool, {"weight": 1})
    limiter.observe(slot, used=90, server_time_ms=clock.now_ms() - WINDOW_MS)
    assert limiter.state(pool).dimensions[0].external == 0


def test_the_exchanges_clock_is_bounded_by_what_replies_show(make: Make) -> None:
    clock = at_window_start(1000)
    limiter, pool = make(clock), fixed()
    slot = limiter.reserve(pool, {"weight": 1})
    clock.advance(0.06)
    limiter.observe(slot, used=1, server_time_ms=clock.now_ms() - 30 + 1700)
    state = limiter.state(pool)
    assert state.offset_ms == pytest.approx(1700.5)
    assert state.offset_error_ms == pytest.approx(30.5)


def test_truncated_date_headers_narrow_the_offset_together(make: Make) -> None:
    clock = at_window_start(137)
    limiter, pool = make(clock), fixed(limit=1000)
    for _ in range(30):
        slot = limiter.reserve(pool, {"weight": 1})
        clock.advance(0.04)
        server_ms = (clock.now_ms() - 20 - 1234) // 1000 * 1000
        limiter.observe(slot, None, server_ms, resolution_ms=1000)
        clock.advance(0.173)
    state = limiter.state(pool)
    assert state.offset_error_ms < 60
    assert state.offset_ms is not None
    assert abs(state.offset_ms + 1234) <= state.offset_error_ms


def test_a_clock_that_was_set_is_believed(make: Make) -> None:
    clock = at_window_start(1000)
    limiter, pool = make(clock), fixed()
    for offset_ms in (500, -900):
        slot = limiter.reserve(pool, {"weight": 1})
        limiter.observe(slot, None, server_time_ms=clock.now_ms() + offset_ms)
    assert limiter.state(pool).offset_ms == pytest.approx(-899.5)


def test_only_fixed_windows_can_be_observed(make: Make) -> None:
    limiter = make(at_window_start())
    slot = limiter.reserve(steady(), {"requests": 1})
    with pytest.raises(ValueError, match="no fixed window"):
        limiter.observe(slot, used=1)


# --- steady rates


def test_a_refund_is_given_once_and_a_surcharge_is_owed(make: Make) -> None:
    clock = at_window_start()
    limiter = make(clock)
    pool = Pool("tier", (SteadyRate("tokens", 6000, 60_000, 1000),))  # 100 a second
    slot = limiter.reserve(pool, {"tokens": 1000})
    assert limiter.state(pool).dimensions[0].issued == pytest.approx(1000)
    for _ in range(2):
        limiter.settle(slot, {"tokens": 400})
        assert limiter.state(pool).dimensions[0].issued == pytest.approx(400)
    second = limiter.reserve(pool, {"tokens": 600})
    assert second.waited_s == 0
    limiter.settle(second, {"tokens": 900})
    assert limiter.state(pool).dimensions[0].issued == pytest.approx(1300)
    assert limiter.reserve(pool, {"tokens": 100}).waited_s == pytest.approx(4, abs=0.5)


def test_a_refund_after_idling_saves_nothing_up(make: Make) -> None:
    clock = at_window_start()
    limiter = make(clock)
    pool = Pool("tier", (SteadyRate("tokens", 6000, 60_000, 1000),))
    slot = limiter.reserve(pool, {"tokens": 1000})
    clock.advance(600)
    limiter.settle(slot, {"tokens": 0})
    assert limiter.reserve(pool, {"tokens": 1000}).waited_s == 0
    assert limiter.reserve(pool, {"tokens": 1000}).waited_s == pytest.approx(10, abs=0.5)


def test_settling_leaves_fixed_windows_as_booked(make: Make) -> None:
    limiter, pool = make(at_window_start(1000)), fixed()
    slot = limiter.reserve(pool, {"weight": 10})
    limiter.settle(slot, {"weight": 1})
    assert limiter.state(pool).dimensions[0].issued == 10


# --- properties

calls = st.lists(
    st.tuples(
        st.sampled_from([1, 2, 5, 10, 20]),  # weight
        st.integers(0, 80),  # latency_ms
        st.sampled_from([0, 0, 0, 3, 50, 700, 4000]),  # idle_ms before
    ),
    min_size=1,
    max_size=60,
)


@MANY
@given(calls, st.integers(-2000, 2000), st.integers(0, WINDOW_MS), st.integers(40, 120))
def test_no_window_of_the_exchange_ever_sees_more_than_its_limit(
    make: Make, calls: list[tuple[int, int, int]], offset_ms: int, start_ms: int, limit: int
) -> None:
    clock = at_window_start(start_ms)
    limiter, pool, exchange = make(clock), fixed(limit), Exchange(offset_ms)
    first = limiter.reserve(pool, {"weight": 1})
    _, server_ms = exchange.take(clock.now_ms(), 40, 0)  # GET /time, before anything counts
    clock.advance(0.08)
    limiter.observe(first, None, server_ms)
    for weight, latency_ms, idle_ms in calls:
        clock.advance(idle_ms / 1000)
        slot = limiter.reserve(pool, {"weight": weight})
        used, server_ms = exchange.take(clock.now_ms(), latency_ms, weight)
        assert used <= limit
        assert server_ms // WINDOW_MS == slot.windows["weight"]
        limiter.observe(slot, used, server_ms)


@MANY
@given(
    st.lists(
        st.tuples(st.floats(0.1, 50), st.sampled_from([0, 0, 10, 900, 20_000])),
        min_size=1,
        max_size=50,
    ),
    st.floats(50, 1000),
)
def test_any_span_of_a_steady_rate_stays_within_rate_and_burst(
    make: Make, calls: list[tuple[float, int]], limit: float
) -> None:
    clock = at_window_start()
    limiter = make(clock)
    pool = Pool("tier", (SteadyRate("tokens", limit, 60_000, 50),))
    booked: list[tuple[float, float]] = []
    for cost, idle_ms in calls:
        clock.advance(idle_ms / 1000)
        slot = limiter.reserve(pool, {"tokens": cost}, max_wait_s=120)
        assert clock.now_ms() >= slot.at_ms - 1  # the clock rounds to a millisecond
        booked.append((slot.at_ms, cost))
        total = 0.0
        for at_ms, earlier in reversed(booked):
            total += earlier
            assert total <= limit * (slot.at_ms - at_ms) / 60_000 + 50 + 0.01


@MANY
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("pause"), st.floats(0, 40)),
            st.tuples(st.just("reserve"), st.floats(0.5, 20)),
            st.tuples(st.just("idle"), st.floats(0, 10)),
        ),
        max_size=30,
    )
)
def test_pauses_are_always_obeyed(make: Make, steps: list[tuple[str, float]]) -> None:
    clock = at_window_start()
    limiter, pool = make(clock), fixed()
    paused_until_ms = 0.0
    for what, amount in steps:
        if what == "pause":
            limiter.pause(pool, amount, "told to")
            paused_until_ms = max(paused_until_ms, clock.now_ms() + amount * 1000)
        elif what == "idle":
            clock.advance(amount)
        else:
            try:
                limiter.reserve(pool, {"weight": amount}, max_wait_s=amount)
            except RetryLater:
                continue
            assert clock.now_ms() >= paused_until_ms - 1  # the clock rounds to a millisecond


def few_at_once(limit: float = 2, lease_ms: int = 90_000) -> Pool:
    rate = SteadyRate("requests", 6000, 60_000, 100)
    return Pool("tier", (rate, Concurrent("calls", limit, lease_ms)))


def test_no_more_slots_at_a_time_than_allowed_and_a_settled_one_makes_room(make: Make) -> None:
    limiter, pool = make(ManualClock()), few_at_once()
    first, _ = (limiter.reserve(pool, {"requests": 1}) for _ in range(2))
    with pytest.raises(RetryLater) as refused:
        limiter.reserve(pool, {"requests": 1}, max_wait_s=3)
    assert (refused.value.counts, refused.value.after_s) == (False, 1.0)
    assert limiter.state(pool).dimensions[1].issued == 2
    limiter.settle(first, {})
    limiter.settle(first, {})
    limiter.reserve(pool, {"requests": 1}, max_wait_s=0)
    assert limiter.state(pool).dimensions[1].issued == 2


def test_a_dead_workers_slot_is_free_when_its_lease_ends(make: Make) -> None:
    clock = ManualClock()
    limiter, pool = make(clock), few_at_once(1)
    lost = limiter.reserve(pool, {"requests": 1})
    clock.advance(89)
    with pytest.raises(RetryLater):
        limiter.reserve(pool, {"requests": 1}, max_wait_s=0)
    clock.advance(2)
    limiter.reserve(pool, {"requests": 1}, max_wait_s=0)
    limiter.settle(lost, {})  # it lived after all: the other's slot is not its to give
    assert limiter.state(pool).dimensions[1].issued == 1


def test_a_slot_voided_by_a_pause_holds_nothing(make: Make) -> None:
    clock = ManualClock()
    limiter, pool = make(clock), few_at_once(1)
    token = limiter.book(pool, {"requests": 1, "calls": 0}, 1.0).token  # type: ignore[attr-defined]
    limiter.give_back(pool, token)  # type: ignore[attr-defined]
    assert limiter.state(pool).dimensions[1].issued == 0


def test_one_limit_of_slots_a_pool() -> None:
    with pytest.raises(ValueError, match="only one"):
        Pool("tier", (Concurrent("a", 1, 1), Concurrent("b", 1, 1)))
