"""A follower whose disk, exchange, coin, webhook or rival fails it: what it says, what stays."""

import threading
from dataclasses import replace

import fakeredis
import pytest

from alphamill.errors import Misconfigured, RetryLater
from alphamill.frames import KLINE_FIELDS, Interval, Market
from alphamill.lake import Lake
from alphamill.live import Register, State, follow_chain
from alphamill.live import follower as followers
from alphamill.live.arrival_log import read_heard
from alphamill.live.feed import ClosedBar, RestFiller
from alphamill.live.followers import Followers
from alphamill.live.stream import SignalStream
from alphamill.market.stream import Closed, Standing, StreamBar
from tests.unit.live.test_engine import BAR, SYMBOLS, values_at
from tests.unit.live.test_follower import SPEC, World, asked_for, wait
from tests.unit.live.test_following import check


class FullDisk(Lake):
    """A lake that takes nothing beneath these folders while `full`."""

    full = ()

    def _room(self, key):
        if key.startswith(tuple(self.full)):
            raise Misconfigured("ALPHAMILL_LAKE", "cannot write: No space left", "free space")

    def write(self, key, table, metadata):
        self._room(key)
        return super().write(key, table, metadata)

    def update(self, key, change):
        self._room(key)
        return super().update(key, change)


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(followers, "_SLICE_S", 0.001)
    made = World(tmp_path)
    yield made
    made.close()


def told(world, server=None):
    """What the one follower told of itself last."""
    (condition,) = Followers(fakeredis.FakeRedis(server=server or world.server)).told()
    return condition


def look(world, follower):
    world.clock.advance(2.0)
    follower.step()


def test_it_tells_what_it_follows_and_what_is_the_matter(world):
    follower = world.follower()
    world.begin(follower)
    world.bar(follower, 40)
    look(world, follower)
    state = told(world)
    assert (state.market, state.problems) == ("spot", ())
    (live,) = state.lives
    assert (live.live, live.rows, live.waiting) == (SPEC.id, len(SPEC.factors), 0)
    assert live.next_bar_ms == world.panel.times_ms[41]
    follower._streams.problem = "too many streams; follow fewer symbols"
    look(world, follower)
    since_ms = world.clock.now_ms()
    look(world, follower)
    (problem,) = told(world).problems
    assert (problem.of, problem.text) == ("streams", "too many streams")
    assert (problem.cure, problem.since_ms) == ("follow fewer symbols", since_ms)
    follower._streams.problem = ""
    look(world, follower)
    assert told(world).problems == ()
    follower.close()
    assert Followers(fakeredis.FakeRedis(server=world.server)).told() == []


def test_what_cannot_begin_is_tried_less_and_less_often(world, caplog):
    follower = world.follower()
    world.exchange.failures = [RetryLater("banned until 12:00", 5.0)] * 1_000

    def tried():
        return len(world.exchange.asked)

    world.clock.advance(1)
    follower.step()
    wait(lambda: (follower.step(), SPEC.id in follower.problems)[1], "the problem", follower)
    begun_s = world.clock.monotonic_s()
    while world.clock.monotonic_s() - begun_s < 240:
        before = tried()
        look(world, follower)
        if follower._beginning:
            wait(lambda: (follower.step(), not follower._beginning)[1], "a try", follower)
            assert tried() == before + 1
    assert tried() <= 13  # 2, 4, 8, 15 s, then every 30 s
    warned = [one for one in caplog.records if "banned until" in one.getMessage()]
    assert 3 <= len(warned) <= 5  # once, and once a minute
    assert "it cannot be followed yet: banned until" in told(world).problems[0].text
    world.exchange.failures.clear()
    world.clock.advance(30)
    world.begin(follower)
    look(world, follower)
    assert told(world).problems == ()


def stream_bar(world, row, column):
    """A closed bar as a stream tells it, and as the follower hears it."""
    open_ms, values = int(world.panel.times_ms[row]), tuple(values_at(world.panel, row, column))
    now_ms = world.clock.now_ms()
    figures = dict(zip(KLINE_FIELDS, values, strict=True))
    end_ms = open_ms + BAR - 1
    bar = StreamBar(
        SYMBOLS[column], Interval.M1, open_ms, end_ms, **figures, closed=True, event_ms=now_ms
    )
    event = Closed(bar, Standing.IN_TIME, now_ms, 0, 1)
    return ClosedBar(SYMBOLS[column], Interval.M1, open_ms, values, now_ms, "stream", 0, event)


def test_a_full_disk_holds_rows_and_arrivals_back_and_loses_none(world):
    lake = FullDisk(world.lake.uri)
    follower = world.follower(lake)
    world.begin(follower)
    lake.full = ("signals/", "arrivals/")
    for row in range(40, 44):
        end_ms = int(world.panel.times_ms[row]) + BAR + 20
        world.clock.advance(max(0.0, (end_ms - world.clock.now_ms()) / 1000))
        for column in range(len(SYMBOLS)):
            follower.heard.put(stream_bar(world, row, column))
        follower.step()
        look(world, follower)
    assert world.rows() == []
    wait(lambda: (look(world, follower), "arrivals" in follower.problems)[1], "both", follower)
    by = {one.of: one for one in told(world).problems}
    assert by[SPEC.id].text.endswith("No space left")
    assert (
        by["arrivals"].text.startswith("9 arrivals wait") or "arrivals wait" in by["arrivals"].text
    )
    assert {one.cure for one in by.values()} == {"free space"}
    assert told(world).lives[0].waiting >= 4
    lake.full = ()
    look(world, follower)
    rows = check(world.lake, world.panel)
    assert {row.bar_time for row in rows} >= set(world.panel.times_ms[40:44].tolist())
    follower.close()
    start_ms = int(world.panel.times_ms[40])
    found = read_heard(world.lake, Market.SPOT, Interval.M1, start_ms, start_ms + 4 * BAR)
    assert len({one.key for one, taken_ms, _ in found if taken_ms}) == 4 * len(SYMBOLS)


def test_a_coin_that_is_delisted_while_followed_is_named_and_waited_for_no_more(world):
    world.exchange.tables["CUSDT", Interval.M1] = world.klines(2).slice(0, 40)
    follower = world.follower()
    world.begin(follower)
    world.bar(follower, 40, absent=("CUSDT",))
    assert world.rows() == []  # it is waited for
    world.exchange.listed["CUSDT"] = replace(world.exchange.listed["CUSDT"], status="BREAK")
    look(world, follower)
    wait(lambda: (look(world, follower), told(world).lives[0].idle)[1], "the status", follower)
    assert told(world).lives[0].idle == {"CUSDT": "BREAK"}
    world.bar(follower, 41, absent=("CUSDT",))
    newest = [row for row in world.rows() if row.bar_time == world.panel.times_ms[41]]
    assert {row.absent for row in newest} == {("CUSDT",)}
    assert asked_for(world, 41) == []
    world.exchange.listed["CUSDT"] = replace(world.exchange.listed["CUSDT"], status="TRADING")
    world.clock.advance(300)
    wait(lambda: (look(world, follower), not told(world).lives[0].idle)[1], "trading", follower)


def test_a_market_that_halts_is_told_bar_by_bar_and_asked_no_more_than_it_must(world):
    for column, symbol in enumerate(SYMBOLS):
        world.exchange.tables[symbol, Interval.M1] = world.klines(column).slice(0, 41)
    follower = world.follower()
    world.begin(follower)
    world.bar(follower, 40)
    asked = len(world.exchange.asked)
    for _ in range(10 * 60 // 4):  # ten minutes in which no bar closes
        world.clock.advance(4.0)
        follower.step()
    silent = [row for row in world.rows() if row.bar_time > world.panel.times_ms[40]]
    assert {row.state for row in silent} == {State.NO_SIGNAL}
    assert len({row.bar_time for row in silent}) >= 9
    assert f"0 of {len(SYMBOLS)} symbols" in silent[-1].reason
    # Each bar may be corrected for two minutes: it is asked for at most eight times.
    assert len(world.exchange.asked) - asked <= 10 * 8 * len(SYMBOLS)
    assert follow_chain(world.journal.read())[2] is None


@pytest.mark.parametrize(("off_ms", "side"), [(300_000, "ahead of"), (-300_000, "behind")])
def test_a_clock_that_is_off_is_told_and_the_exchanges_taken(world, off_ms, side):
    world.skew_ms = off_ms
    follower = world.follower()
    world.clock.advance(off_ms / 1000)  # of the machine; the exchange's stays
    world.begin(follower)
    look(world, follower)
    (problem,) = told(world).problems
    assert (problem.of, problem.text) == (
        "clock",
        f"this machine's clock is 300 s {side} the exchange's",
    )
    assert told(world).skew_ms == off_ms
    world.skew_ms = 4_000
    look(world, follower)
    assert told(world).problems == ()


class Hanging:
    """An exchange whose first answer is awaited until `go`."""

    def __init__(self):
        self.go, self.asked = threading.Event(), []

    def klines(self, symbol, interval, start_ms, end_ms):
        self.asked.append((symbol, start_ms, end_ms))
        self.go.wait(30)
        raise RetryLater("no answer", 5.0)


def test_questions_do_not_pile_up_while_the_exchange_hangs(world):
    exchange = Hanging()
    filler = RestFiller(exchange, world.clock, world.clock.now_ms, None)
    first = int(world.panel.times_ms[0])
    filler.want([("AUSDT", Interval.M1, first)])
    wait(lambda: exchange.asked, "the first question", world.follower())
    for number in range(500):  # bars come and go, three are missing at a time
        missing = [first + one * BAR for one in range(number, number + 3)]
        filler.want([(symbol, Interval.M1, bar) for symbol in SYMBOLS for bar in missing])
        world.clock.advance(60.0)
    exchange.go.set()
    wait(lambda: len(exchange.asked) == 1 + len(SYMBOLS), "what is missing now", world.follower())
    filler.close()
    assert len(exchange.asked) == 1 + len(SYMBOLS)
    asked = {(symbol, start) for symbol, start, _ in exchange.asked[1:]}
    assert asked == {(symbol, first + 499 * BAR) for symbol in SYMBOLS}


def test_two_stacks_over_one_lake_publish_once_and_both_tell_all(world):
    other = fakeredis.FakeServer()
    first, second = world.follower(), world.follower(server=other)
    world.begin(first)
    world.begin(second)
    assert (first.leads, second.leads) == (True, True)
    for row in range(40, 46):
        one, two = (first, second) if row % 3 else (second, first)
        world.bar(one, row)
        world.bar(two, row)
    for one in (first, second):
        look(world, one)
        look(world, one)
    rows = check(world.lake, world.panel)
    assert len(rows) == 6 * len(SPEC.factors)
    for server in (world.server, other):
        stream = SignalStream(fakeredis.FakeRedis(server=server), SPEC.id)
        assert stream.rows() == len(rows)
        (problem,) = told(world, server).problems
        assert "another follower publishes it too" in problem.text
        assert "give both one Redis" in problem.cure
    for row in range(46, 49):  # the other stack has stopped
        world.bar(first, row)
    look(world, first)
    assert told(world).problems == ()


def test_another_webhook_is_taken_up_while_the_live_is_followed(world):
    follower = world.follower()
    world.begin(follower)
    world.bar(follower, 40)
    Register(world.lake).start(SPEC, world.clock.now_ms(), "http://127.0.0.1:9/hook")
    look(world, follower)
    world.bar(follower, 41)
    wait(lambda: (look(world, follower), told(world).problems)[1], "a refusal", follower)
    (problem,) = told(world).problems
    assert "the webhook does not take rows: ConnectionError" in problem.text
    assert world.journal.delivered() == len(
        SPEC.factors
    )  # from what was published after it was given
