"""A day of the API's pages is gone on with where an earlier attempt at it ended."""

import pytest

from alphamill.errors import RetryLater
from alphamill.frames import Interval, Market
from alphamill.jobs import BarsJob
from alphamill.lake import Lake
from alphamill.lake.days import DaySeries, read_day
from alphamill.market import FakeExchange
from alphamill.market.klines.parse import empty_klines
from alphamill.stages import kept_pages
from alphamill.stages.bars import BarsDeps, run
from tests.trade_sources import DAY, START, SimTrades, small_market

SOURCE = small_market()
LATER = START + 60 * DAY
SYMBOL = "TRXUSDT"
PAGE = 50  # rows, of the thousand that the exchange sends


class Killed(BaseException):
    """What no code catches."""


class Day:
    """One of spot that only the API has, made in a lake."""

    def __init__(self, folder, source="aggTrades", keep_trades=False, now_ms=LATER):
        self.lake, self.source, self.keep_trades = Lake(str(folder)), source, keep_trades
        self.sim = SimTrades(SOURCE, Market.SPOT, now_ms, ("missing",))
        self.dies_at, self.dies_of = 0, Killed()
        page = self.sim.page

        def page_or_die(*query):
            if self.dies_at and len(self.sim.queries) >= self.dies_at:
                raise self.dies_of
            return page(*query)[:PAGE]

        self.sim.page = page_or_die

    def make(self, end_ms=None):
        self.sim.queries.clear()
        klines = FakeExchange(self.sim.clock)
        klines.add(SYMBOL, Interval.M1, empty_klines())
        deps = BarsDeps(self.sim, klines, self.lake, self.sim, self.sim.clock)
        start = START + DAY
        return run(
            BarsJob(
                Market.SPOT,
                SYMBOL,
                "1h",
                self.source,
                start,
                end_ms or start + DAY,
                self.keep_trades,
            ),
            deps,
        )

    def bars(self):
        return read_day(self.lake, DaySeries.bars(Market.SPOT, "1h", SYMBOL), START + DAY)[0]

    def flow(self):
        series = DaySeries.flow(Market.SPOT, Interval.H1, SYMBOL)
        return read_day(self.lake, series, START + DAY)[0]

    def pages(self):
        return self.lake.list("pages")


@pytest.fixture
def day(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_pages, "_ROWS", 3 * PAGE)
    return lambda name="day", **more: Day(tmp_path / name, **more)


@pytest.fixture
def whole(day, request):
    """The day in one go."""
    made = day("whole", source=getattr(request, "param", "aggTrades"))
    made.facts = made.make()
    assert made.facts.requests > 12
    assert made.facts.lacking == 0
    assert made.pages() == []
    return made


@pytest.mark.parametrize("whole", ["aggTrades", "trades"], indirect=True)
def test_an_attempt_goes_on_where_the_one_before_was_killed(day, whole):
    made = day(source=whole.source)
    made.dies_at = 8
    with pytest.raises(Killed):
        made.make()
    assert len(made.pages()) == 2
    assert made.lake.list("bars") == made.lake.list("flow") == []
    made.dies_at = 0
    facts = made.make()
    assert facts.trades == whole.facts.trades
    assert facts.lacking == 0
    assert facts.requests == whole.facts.requests - 6  # two files of three pages
    assert made.bars().equals(whole.bars())
    assert made.flow().equals(whole.flow())
    assert made.pages() == []


def test_a_limit_that_sends_the_job_back_costs_no_page(day, whole):
    """Of a source whose pages are dear a limit may come before a file is full, each time."""
    made, attempts = day(source=whole.source), 0
    made.dies_of = RetryLater("binance: no weight left", 20.0, counts=False)
    made.dies_at = 3  # where the day begins, and two pages: fewer than a file has
    facts = None
    while facts is None:
        attempts += 1
        assert attempts < 50
        try:
            facts = made.make()
        except RetryLater as later:
            assert later is made.dies_of  # noqa: PT017  none of its own
    assert attempts == -(-(whole.facts.requests - 1) // 2)
    assert made.bars().equals(whole.bars())
    assert made.pages() == []


def test_an_attempt_that_lasts_makes_room_and_costs_none(day, whole, monkeypatch):
    monkeypatch.setattr(kept_pages, "_LONGEST_S", 0.0)
    made, facts, requests, told = day(source=whole.source), None, 0, []
    while facts is None:
        try:
            facts = made.make()
        except RetryLater as later:
            told.append((later.after_s, later.counts))
        requests += len(made.sim.queries)
    assert len(told) > 3
    assert {*told} == {(0.0, False)}
    # Each attempt asks where the day begins.
    assert requests == whole.facts.requests + len(told)
    assert made.bars().equals(whole.bars())
    assert made.pages() == []


def test_pages_that_cannot_be_read_are_asked_for_again(day, whole):
    made = day(source=whole.source)
    made.dies_at = 12
    with pytest.raises(Killed):
        made.make()
    first, second, *_ = made.pages()
    made.lake.write_bytes(second, b"PAR1 and then nothing")
    made.dies_at = 0
    facts = made.make()
    assert facts.requests == whole.facts.requests - 3
    assert first
    assert made.bars().equals(whole.bars())
    assert made.pages() == []


def test_trades_that_are_kept_beside_are_whole_too(day):
    once = day("once", keep_trades=True)
    once.make()
    made = day(keep_trades=True)
    made.dies_at = 8
    with pytest.raises(Killed):
        made.make()
    made.dies_at = 0
    made.make()
    (key,) = made.lake.list("trades")
    assert made.lake.read(key).equals(once.lake.read(key))


def test_a_day_that_went_on_is_gone_on_with(day, whole, monkeypatch):
    """The attempt before was at what had passed of the day, and had read nearly all of it."""
    monkeypatch.setattr(kept_pages, "_ROWS", 1)
    now = START + DAY + 12 * 3_600_000
    made = day(source=whole.source, now_ms=now)
    made.dies_at = 6
    with pytest.raises(Killed):
        made.make(end_ms=now)
    kept = len(made.pages())
    assert kept == 5
    later = day(source=whole.source)
    assert later.make().requests == whole.facts.requests - kept
    assert later.bars().equals(whole.bars())
    assert later.pages() == []
