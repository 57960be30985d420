"""A market is followed by one process at a time; what streams do not bring REST does."""

import queue
import threading
from dataclasses import replace

import fakeredis
import pyarrow as pa
import pytest

from alphamill.clock import ManualClock
from alphamill.errors import RetryLater
from alphamill.factors import Tail
from alphamill.frames import KLINE_FIELDS, KLINES, Interval, Market
from alphamill.lake import Lake
from alphamill.live import Journal, Register, State, follow_chain
from alphamill.live import follower as followers
from alphamill.live import lease as leases
from alphamill.live.arrival_log import read_heard
from alphamill.live.feed import ClosedBar
from alphamill.live.follower import Follower
from alphamill.live.lease import Renewal
from alphamill.live.stream import SignalStream
from alphamill.market.memory import FakeExchange
from alphamill.market.stream import Absent
from alphamill.market.stream.arrivals import ClosedBy, Source
from tests.deadlines import ANSWER_S, wait_for
from tests.unit.live.test_engine import BAR, SYMBOLS, market, spec, values_at
from tests.unit.live.test_following import check

SPEC = spec()


def wait(condition, what, follower):
    def seen():
        return follower.problems

    return wait_for(condition, what, seen, within_s=ANSWER_S, poll_s=0.001)


class Streams:
    problem = ""

    def __init__(self):
        self.wanted = set()

    def learn_time(self):
        pass

    def follow(self, wanted):
        self.wanted = set(wanted)

    def close(self):
        self.wanted = set()


class World:
    """A market, a clock, a Redis and a lake; followers come and go."""

    def __init__(self, tmp_path):
        self.panel = market(120)
        self.clock = ManualClock(int(self.panel.times_ms[40]) + 5)
        self.server = fakeredis.FakeServer()
        self.lake = Lake(str(tmp_path / "lake"))
        self.exchange = FakeExchange(self.clock)
        for column, symbol in enumerate(SYMBOLS):
            self.exchange.add(symbol, Interval.M1, self.klines(column))
        self.entry = Register(self.lake).start(SPEC, self.clock.now_ms())
        self.journal = Journal(self.lake, SPEC.id, self.entry.started_ms)
        self.followers = []
        self.skew_ms = 0

    def klines(self, column):
        times = self.panel.times_ms
        columns = {name: self.panel[name][:, column] for name in KLINE_FIELDS}
        columns |= {"open_time": times, "close_time": times + BAR - 1}
        return pa.table({name: columns[name] for name in KLINES.names}).cast(KLINES)

    def follower(self, lake=None, server=None):
        heard = queue.SimpleQueue()
        made = Follower(
            Market.SPOT,
            lake or self.lake,
            fakeredis.FakeRedis(server=server or self.server),
            self.exchange,
            Streams(),
            heard,
            self.clock,
            lambda: self.clock.now_ms() - self.skew_ms,
        )
        made.heard = heard
        self.followers.append(made)
        return made

    def begin(self, follower):
        """Until it follows the live, or stands by."""

        def ready():
            self.clock.advance(0.001)
            follower.step()
            return bool(follower.following) or not follower.leads

        wait(ready, "the live to be followed", follower)

    def bar(self, follower, row, absent=()):
        """The close of a bar, as streams tell it."""
        bar_ms = int(self.panel.times_ms[row])
        self.clock.advance(max(0.0, (bar_ms + BAR + 50 - self.clock.now_ms()) / 1000))
        for column, symbol in enumerate(SYMBOLS):
            if symbol not in absent:
                values = tuple(values_at(self.panel, row, column))
                at_ms = self.clock.now_ms()
                bar = ClosedBar(symbol, Interval.M1, bar_ms, values, at_ms, "stream")
                follower.heard.put(bar)
        follower.step()

    def rows(self):
        return [link.row for link in self.journal.read()]

    def close(self):
        for one in self.followers:
            one.close()


@pytest.fixture
def world(tmp_path, monkeypatch):
    monkeypatch.setattr(followers, "_SLICE_S", 0.001)
    made = World(tmp_path)
    yield made
    made.close()


def test_it_follows_what_the_register_says(world):
    follower = world.follower()
    world.begin(follower)
    assert follower.following == [SPEC.id]
    assert follower._streams.wanted == {(symbol, Interval.M1) for symbol in SYMBOLS}
    for row in range(40, 45):
        world.bar(follower, row)
    rows = check(world.lake, world.panel)
    assert len(rows) == 5 * len(SPEC.factors)
    assert {row.state for row in rows} == {State.SIGNAL}
    client = fakeredis.FakeRedis(server=world.server)
    assert SignalStream(client, SPEC.id).rows() == len(rows)
    Register(world.lake).stop(SPEC.id, world.clock.now_ms())
    world.clock.advance(3)
    follower.step()
    assert follower.following == []
    assert follower._streams.wanted == set()


def test_a_damaged_file_stops_no_live(world):
    follower = world.follower()
    world.begin(follower)
    for name in (SPEC.id, "live-0"):
        world.lake.write_bytes(f"lives/{name}.json", b"{")
        world.clock.advance(3)
        follower.step()
        assert follower.following == [SPEC.id]
        assert follower._streams.wanted == {(symbol, Interval.M1) for symbol in SYMBOLS}
        assert name in follower.problems["register"]


def test_one_follows_the_other_stands_by_and_takes_over(world):
    first, second = world.follower(), world.follower()
    world.begin(first)
    world.begin(second)
    assert (first.leads, second.leads) == (True, False)
    for row in (40, 41):
        world.bar(first, row)
        second.step()
    assert not second.leads
    world.followers.remove(first)  # killed: it says nothing more, and lets go of nothing
    world.server.connected = True
    client = fakeredis.FakeRedis(server=world.server)
    assert 0 < client.pttl("alphamill:follower:spot") <= 6_000
    client.delete("alphamill:follower:spot")  # its time is over
    world.clock.advance(10)
    world.begin(second)
    assert second.following == [SPEC.id]
    world.bar(second, 42)
    assert len(check(world.lake, world.panel)) == 3 * len(SPEC.factors)
    first.close()


def test_who_stops_is_followed_at_once(world):
    first, second = world.follower(), world.follower()
    world.begin(first)
    first.close()
    world.begin(second)
    assert second.leads


def asked_for(world, row):
    start_ms = int(world.panel.times_ms[row])
    return [one.symbol for one in world.exchange.asked if one.start_ms == start_ms]


def revised(world):
    return any(row.revision for row in world.rows())


def test_rest_brings_what_streams_did_not(world):
    follower = world.follower()
    world.begin(follower)
    world.bar(follower, 40, absent=("CUSDT",))
    follower.step()
    assert asked_for(world, 40) == []  # of a bar that may still come it is asked nothing
    world.clock.advance(2.0)
    wait(lambda: (follower.step(), revised(world))[1], "REST to bring the bar", follower)
    rows = check(world.lake, world.panel)
    assert {(row.revision, row.absent) for row in rows} == {(0, ("CUSDT",)), (1, ())}
    assert asked_for(world, 40) == ["CUSDT"]


def test_a_bar_that_the_exchange_lacks_is_asked_for_again_and_released_without(world):
    world.exchange.tables["CUSDT", Interval.M1] = world.klines(2).slice(0, 40)
    follower = world.follower()
    world.begin(follower)
    world.bar(follower, 40, absent=("CUSDT",))
    assert world.rows() == []
    world.clock.advance(2.5)
    follower.step()
    assert {row.absent for row in world.rows()} == {("CUSDT",)}

    def asked():
        world.clock.advance(1.0)
        follower.step()
        last = int(world.panel.times_ms[40])
        return sum(one.start_ms == last for one in world.exchange.asked) >= 3

    wait(asked, "another request", follower)


def test_without_redis_rows_land_and_reach_it_later(world):
    follower = world.follower()
    world.begin(follower)
    world.bar(follower, 40)
    world.server.connected = False
    for row in (41, 42, 43):
        world.bar(follower, row)
    assert follower.leads
    assert "redis" in follower.problems
    assert len(world.rows()) == 4 * len(SPEC.factors)
    world.server.connected = True
    world.clock.advance(5)
    follower.step()
    follower.step()
    client = fakeredis.FakeRedis(server=world.server)
    assert SignalStream(client, SPEC.id).rows() == 4 * len(SPEC.factors)
    assert "redis" not in follower.problems


def test_a_delisted_symbol_is_not_waited_for(world):
    info = world.exchange.listed["CUSDT"]
    world.exchange.listed["CUSDT"] = replace(info, status="BREAK")
    follower = world.follower()
    world.begin(follower)
    world.bar(follower, 40, absent=("CUSDT",))
    assert {row.bar_time for row in world.rows()} == {int(world.panel.times_ms[40])}
    world.begin(follower)


def test_an_exchange_that_does_not_answer_is_a_problem_and_passes(world):
    world.exchange.failures = [RetryLater("no answer from the exchange", 5.0)]
    follower = world.follower()

    def tried():
        follower.step()
        world.clock.advance(0.01)
        return SPEC.id in follower.problems

    wait(tried, "the problem", follower)
    assert follower.problems[SPEC.id].endswith("yet: no answer from the exchange")
    world.clock.advance(3)
    world.begin(follower)
    world.bar(follower, 41)
    assert world.rows()
    assert follow_chain(world.journal.read())[2] is None


def test_arrivals_are_on_record(world):
    follower = world.follower()
    world.begin(follower)
    world.bar(follower, 40, absent=("CUSDT",))
    absent = Absent(
        "CUSDT",
        Interval.M1,
        int(world.panel.times_ms[40]),
        world.clock.now_ms(),
        "its close was not told",
    )
    follower.heard.put(absent)
    world.clock.advance(2.0)
    wait(lambda: (follower.step(), asked_for(world, 40))[1], "REST to be asked", follower)
    wait(lambda: (follower.step(), revised(world))[1], "REST to bring the bar", follower)
    follower.close()
    start_ms = int(world.panel.times_ms[40])
    found = list(read_heard(world.lake, Market.SPOT, Interval.M1, start_ms, start_ms + BAR))
    by_symbol = {}
    for arrival, taken_ms, values in found:
        assert (taken_ms is None) == (arrival.received_ms is None)
        by_symbol.setdefault(arrival.symbol, []).append((arrival, values))
    assert by_symbol.keys() == {"CUSDT"}  # of the others no frame was given
    last, values = by_symbol["CUSDT"][-1]
    assert (last.source, last.closed_by) == (Source.REST, ClosedBy.REST)
    assert last.reason in ("its close was not told", "")
    assert values == tuple(values_at(world.panel, 40, SYMBOLS.index("CUSDT")))


def test_what_is_here_is_told_before_a_deadline_counts(world):
    follower = world.follower()
    world.begin(follower)
    for row in (40, 41, 42):
        for column, symbol in enumerate(SYMBOLS):
            values = tuple(values_at(world.panel, row, column))
            bar_ms = int(world.panel.times_ms[row])
            bar = ClosedBar(symbol, Interval.M1, bar_ms, values, bar_ms + BAR, "stream")
            follower.heard.put(bar)
    world.clock.advance(4 * BAR / 1000)  # it was busy: all deadlines are over
    follower.step()
    rows = check(world.lake, world.panel)
    assert {(row.state, row.absent, row.revision) for row in rows} == {(State.SIGNAL, (), 0)}
    assert len(rows) == 3 * len(SPEC.factors)


def test_a_step_ends_however_fast_bars_come(world):
    follower = world.follower()
    world.begin(follower)

    class Endless(queue.SimpleQueue):
        def get_nowait(self):
            self.put(bar)
            return super().get_nowait()

    values = tuple(values_at(world.panel, 40, 0))
    bar = ClosedBar(SYMBOLS[0], Interval.M1, int(world.panel.times_ms[40]), values, 0, "rest")
    follower._heard = Endless()
    follower._heard.put(bar)
    follower.step()
    assert follower.leads


def test_bars_that_close_while_it_begins_are_waited_for(world, monkeypatch):
    follower = world.follower()
    asked = FakeExchange.klines

    def slow(*args, **options):
        klines = asked(*args, **options)
        if args[1] == SYMBOLS[-1]:
            world.clock.advance(2 * BAR / 1000)  # two bars close, and their deadlines pass
        return klines

    monkeypatch.setattr(FakeExchange, "klines", slow)
    streamed = iter(range(40, 42))

    def ready():
        if not follower.following:
            for row in streamed if follower._beginning else ():
                for column, symbol in enumerate(SYMBOLS):
                    bar_ms = int(world.panel.times_ms[row])
                    values = tuple(values_at(world.panel, row, column))
                    bar = ClosedBar(symbol, Interval.M1, bar_ms, values, bar_ms + BAR, "stream")
                    follower.heard.put(bar)
        follower.step()
        return world.rows()

    wait(ready, "rows", follower)
    rows = check(world.lake, world.panel)
    assert {(row.state, row.absent, row.revision) for row in rows} == {(State.SIGNAL, (), 0)}


def test_a_lease_is_renewed_beside_work_that_takes_long(monkeypatch):
    renewals = queue.SimpleQueue()

    class Lease:
        def hold(self, who):
            renewals.put(who)
            raise RetryLater("no Redis", 1.0)

    renewal = Renewal(Lease(), "me", every_s=0.001)
    assert not renewal.due  # it is not held
    renewal.works(holds=True)
    assert [renewals.get(timeout=ANSWER_S) for _ in range(3)] == ["me"] * 3
    monkeypatch.setattr(leases, "_STUCK_S", 0.0)
    assert not renewal.due
    monkeypatch.undo()
    assert renewal.due
    renewal.close()
    assert not renewal.due


@pytest.mark.parametrize("lost", [1, 1_000])
def test_what_redis_lost_is_told_again_before_the_next_bar(world, lost):
    follower = world.follower()
    world.begin(follower)
    for row in (40, 41):
        world.bar(follower, row)
    client = fakeredis.FakeRedis(server=world.server)
    stream = SignalStream(client, SPEC.id)
    before = client.xrange(stream.key)
    client.delete(stream.key)
    for name, fields in before[:-lost]:
        client.xadd(stream.key, fields, id=name)
    world.clock.advance(2)
    follower.step()
    assert client.xrange(stream.key) == before


def test_a_live_that_is_stopped_while_redis_is_gone_reaches_it_later(world):
    follower = world.follower()
    world.begin(follower)
    world.bar(follower, 40)
    world.server.connected = False
    world.bar(follower, 41)
    Register(world.lake).stop(SPEC.id, world.clock.now_ms())
    world.clock.advance(3)
    follower.step()
    assert follower.following == []
    world.server.connected = True
    world.clock.advance(20)
    follower.step()
    client = fakeredis.FakeRedis(server=world.server)
    assert SignalStream(client, SPEC.id).rows() == len(world.rows()) == 2 * len(SPEC.factors)
    assert not follower._ending


def test_what_releases_need_is_loaded_before_the_first_and_aside(world, monkeypatch):
    newest, threads = Tail.newest, []

    def noted(self, panel):
        threads.append(threading.current_thread().name)
        return newest(self, panel)

    monkeypatch.setattr(Tail, "newest", noted)
    follower = world.follower()
    world.begin(follower)
    assert [name.startswith("follower-aside") for name in threads] == [True]
    assert world.rows() == []
    world.bar(follower, 40)
    assert len(check(world.lake, world.panel)) == len(SPEC.factors)
    assert len(threads) == 2
