"""The fetch stage: ask for what is missing, once, and describe what is there."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill import grid
from alphamill.clock import ManualClock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Interval, Market, Month
from alphamill.jobs import FetchJob
from alphamill.lake import Lake, Series, manifest, read_klines, read_partition
from alphamill.market import FakeExchange
from alphamill.stages import fetch
from alphamill.stages.fetch import FetchDeps, FetchFacts
from alphamill.testing import klines_at

HOUR = 3_600_000
APRIL, MAY = Month(2021, 4), Month(2021, 5)
WHERE = (Market.SPOT, "BTCUSDT", Interval.H1)
KEY = Series(*WHERE).key("klines", APRIL)
LATER = Month(2021, 9).start_ms


def hours(*numbers):
    return klines_at([APRIL.start_ms + n * HOUR for n in numbers])


def job(first=0, last=720, interval=Interval.H1, symbol="BTCUSDT"):
    start = APRIL.start_ms
    return FetchJob(Market.SPOT, symbol, interval, start + first * HOUR, start + last * HOUR)


@pytest.fixture
def exchange():
    fake = FakeExchange(ManualClock(LATER))
    fake.add("BTCUSDT", Interval.H1, hours(*range(720)))
    return fake


@pytest.fixture
def deps(exchange, tmp_path):
    return FetchDeps(exchange, Lake(str(tmp_path / "lake")))


def stored(deps, interval=Interval.H1):
    start, end = Month(2020, 1).start_ms, Month(2022, 1).start_ms
    return read_klines(deps.lake, Market.SPOT, "BTCUSDT", interval, start, end)


def stored_from(deps, month, interval):
    span = month.start_ms, month.end_ms
    return read_klines(deps.lake, Market.SPOT, "BTCUSDT", interval, *span)


def asked(exchange):
    return [
        ((a.start_ms - APRIL.start_ms) // HOUR, (a.end_ms - APRIL.start_ms) // HOUR)
        for a in exchange.asked
    ]


def test_a_month_is_fetched_once_and_then_never_asked_for(deps, exchange):
    facts = fetch.run(job(), deps)
    assert facts == FetchFacts(720, 720, 0, 0, 1, "rest", KEY, skipped=False)
    assert stored(deps).equals(hours(*range(720)))
    assert read_partition(deps.lake, Series(*WHERE), APRIL).complete
    written = deps.lake.stat(KEY)
    again = fetch.run(job(), deps)
    assert again == replace(facts, requests=0, skipped=True)
    assert len(exchange.asked) == 1
    assert deps.lake.stat(KEY) == written


def test_a_part_of_what_is_there_is_not_asked_for(deps, exchange):
    fetch.run(job(0, 48), deps)
    facts = fetch.run(job(5, 10), deps)
    assert (facts.skipped, facts.rows, facts.expected) == (True, 5, 5)
    assert len(exchange.asked) == 1


def test_a_live_month_grows_from_its_last_closed_bar(deps, exchange):
    exchange.clock = ManualClock(APRIL.start_ms + 10 * HOUR + 1800_000)
    facts = fetch.run(job(), deps)
    assert (facts.rows, facts.expected, facts.gaps) == (10, 10, 0)
    assert not read_partition(deps.lake, Series(*WHERE), APRIL).complete
    exchange.clock.advance(3 * 3600)
    assert fetch.run(job(), deps).rows == 13
    assert asked(exchange) == [(0, 720), (10, 720)]
    assert stored(deps).equals(hours(*range(13)))


def test_the_last_bar_of_a_month_counts_once_it_has_closed(deps, exchange):
    exchange.clock = ManualClock(APRIL.end_ms - 1)
    fetch.run(job(), deps)
    assert not read_partition(deps.lake, Series(*WHERE), APRIL).complete
    exchange.clock.advance(0.001)
    assert fetch.run(job(), deps).rows == 720
    assert read_partition(deps.lake, Series(*WHERE), APRIL).complete


def test_a_bar_that_only_just_closed_and_is_absent_is_asked_for_again(deps, exchange):
    exchange.tables["BTCUSDT", Interval.H1] = hours(*range(10))
    exchange.clock = ManualClock(APRIL.start_ms + 11 * HOUR + 1000)  # bar 10 closed a second ago
    assert fetch.run(job(), deps).expected == 10
    exchange.tables["BTCUSDT", Interval.H1] = hours(*range(11))
    assert fetch.run(job(), deps).rows == 11


def test_an_outage_is_a_gap_that_is_not_asked_for_again(deps, exchange):
    present = [n for n in range(720) if not 100 <= n < 103 and n < 718]
    exchange.tables["BTCUSDT", Interval.H1] = hours(*present)
    facts = fetch.run(job(), deps)
    assert (facts.rows, facts.expected, facts.missing_bars, facts.gaps) == (715, 720, 5, 2)
    assert fetch.run(job(), deps).skipped
    assert asked(exchange) == [(0, 720), (718, 720)]  # the end is asked for twice
    partition = read_partition(deps.lake, Series(*WHERE), APRIL)
    assert partition.complete
    assert [(gap.start_ms, gap.bars) for gap in partition.facts.gaps] == [
        (APRIL.start_ms + 100 * HOUR, 3),
        (APRIL.start_ms + 718 * HOUR, 2),
    ]
    assert stored(deps).num_rows == 715  # nothing was filled in


def test_earlier_and_later_bars_join_what_is_there(deps, exchange):
    fetch.run(job(100, 200), deps)
    fetch.run(job(50, 300), deps)
    assert asked(exchange) == [(100, 200), (50, 100), (200, 300)]
    assert stored(deps).equals(hours(*range(50, 300)))


def test_a_range_apart_from_what_is_there_brings_what_lies_between(deps, exchange):
    fetch.run(job(100, 200), deps)
    assert fetch.run(job(300, 400), deps).rows == 100
    assert asked(exchange) == [(100, 200), (200, 400)]
    assert stored(deps).equals(hours(*range(100, 400)))


def test_before_listing_is_remembered_as_asked(deps, exchange):
    exchange.tables["BTCUSDT", Interval.H1] = hours()
    facts = fetch.run(job(), deps)
    assert (facts.rows, facts.expected, facts.missing_bars) == (0, 720, 720)
    assert facts.note == "the exchange has no bars in this range: not listed yet, or halted"
    assert fetch.run(job(), deps).skipped
    missing = manifest(deps.lake, *WHERE).missing(APRIL.start_ms, APRIL.end_ms)
    assert [(m.bars, m.why) for m in missing] == [(720, "before listing")]


def test_an_empty_answer_is_not_believed_at_once(deps, exchange, monkeypatch):
    """As the exchange under load gives it: 200 and no row, where bars are."""
    answer, empty = FakeExchange.klines, [True]

    def klines(self, *where):
        found = answer(self, *where)
        return replace(found, table=found.table.slice(0, 0)) if empty.pop() else found

    monkeypatch.setattr(FakeExchange, "klines", klines)
    empty[:] = [False, True]
    facts = fetch.run(job(), deps)
    assert (facts.rows, facts.missing_bars, facts.requests) == (720, 0, 2)


def test_a_page_that_is_cut_short_is_asked_for_again(deps, exchange, monkeypatch):
    answer, rows = FakeExchange.klines, [720, 500]

    def klines(self, *where):
        found = answer(self, *where)
        return replace(found, table=found.table.slice(0, rows.pop()))

    monkeypatch.setattr(FakeExchange, "klines", klines)
    assert fetch.run(job(), deps).rows == 720
    assert asked(exchange) == [(0, 720), (500, 720)]


def test_nothing_is_written_of_the_future(deps, exchange):
    exchange.clock = ManualClock(APRIL.start_ms)
    facts = fetch.run(job(), deps)
    assert (facts.rows, facts.expected, facts.skipped) == (0, 0, False)
    assert facts.note == "no bar of this range has closed yet"
    assert deps.lake.list("") == []


@pytest.mark.parametrize("symbol", ["BTCUSD", "btcusdt", "BTC/USDT", "../../etc"])
def test_an_unknown_symbol_writes_nothing(deps, symbol):
    with pytest.raises(GiveUp, match="has no symbol"):
        fetch.run(job(symbol=symbol), deps)
    assert deps.lake.list("") == []


def test_the_nearest_symbol_is_named(deps):
    with pytest.raises(GiveUp, match=r"did you mean BTCUSDT\?"):
        fetch.run(job(symbol="btcusdt"), deps)


def test_a_symbol_that_cannot_name_a_file(deps, exchange):
    exchange.add("币 安USDT", Interval.H1, hours())
    with pytest.raises(GiveUp, match=r"the lake \(2 to 30 upper-case letters"):
        fetch.run(job(symbol="币 安USDT"), deps)


def test_a_failed_request_changes_nothing_and_the_next_try_succeeds(deps, exchange):
    fetch.run(job(0, 10), deps)
    before = deps.lake.read_bytes(KEY)
    exchange.failures.append(RetryLater("busy", 3.0))
    with pytest.raises(RetryLater, match="busy"):
        fetch.run(job(), deps)
    assert deps.lake.read_bytes(KEY) == before
    assert fetch.run(job(), deps).rows == 720


def test_a_damaged_month_is_fetched_again(deps, exchange):
    fetch.run(job(), deps)
    deps.lake.write_bytes(KEY, deps.lake.read_bytes(KEY)[:500])
    facts = fetch.run(job(), deps)
    assert (facts.rows, facts.skipped) == (720, False)
    assert stored(deps).equals(hours(*range(720)))


def test_long_bars_of_many_months_take_one_call(deps, exchange):
    day = 24 * HOUR
    opens = range(APRIL.start_ms, Month(2021, 7).start_ms, day)
    exchange.add("BTCUSDT", Interval.D1, klines_at(opens, Interval.D1))
    end = Month(2021, 7).start_ms
    whole = FetchJob(Market.SPOT, "BTCUSDT", Interval.D1, APRIL.start_ms, end)
    facts = fetch.run(whole, deps)
    assert (facts.rows, facts.expected, len(exchange.asked)) == (91, 91, 1)
    assert facts.key == "klines/market=spot/interval=1d/symbol=BTCUSDT"
    assert [k.rsplit("/", 1)[1] for k in deps.lake.list("klines")] == [
        "2021-04.parquet",
        "2021-05.parquet",
        "2021-06.parquet",
    ]
    assert fetch.run(whole, deps).skipped


@pytest.mark.parametrize("interval", [Interval.W1, Interval.MO1, Interval.D3])
def test_weeks_months_and_three_days(deps, exchange, interval):
    start, end = Month(2021, 1).start_ms, Month(2021, 8).start_ms
    times = [grid.ceil_ms(interval, start)]
    while (following := grid.next_ms(interval, times[-1])) < end:
        times.append(following)
    exchange.add("BTCUSDT", interval, klines_at(times, interval))
    whole = FetchJob(Market.SPOT, "BTCUSDT", interval, start, end)
    facts = fetch.run(whole, deps)
    assert (facts.rows, facts.gaps) == (len(times), 0)
    assert stored(deps, interval).equals(klines_at(times, interval))
    assert fetch.run(whole, deps).skipped


def test_a_three_day_bar_is_taken_once_it_has_closed(deps, exchange):
    day = 24 * HOUR
    first = grid.ceil_ms(Interval.D3, APRIL.start_ms)
    times = [first + 3 * day * n for n in range(8)]
    exchange.add("BTCUSDT", Interval.D3, klines_at(times, Interval.D3))
    exchange.clock = ManualClock(times[4])
    whole = FetchJob(Market.SPOT, "BTCUSDT", Interval.D3, APRIL.start_ms, APRIL.end_ms)
    while exchange.clock.now_ms() < APRIL.end_ms + 9 * day:
        fetch.run(whole, deps)
        exchange.clock.advance(86_400)
    assert stored(deps, Interval.D3).equals(klines_at(times, Interval.D3))


def of_older_code(lake, key, **said):
    """Make the file one that does not say that its writer knew where 3d bars open."""
    table, metadata = lake.load(key)
    del metadata["grid"]
    lake.write(key, table, metadata | said)


@pytest.mark.parametrize("kept", [7, 0], ids=["one bar lost", "no bar left"])
def test_what_an_older_version_missed_of_three_day_bars_is_asked_for_again(deps, exchange, kept):
    """Started on a day with days % 3 == 1, it asked from two days later and lost the first bar."""
    day, march = 24 * HOUR, Month(2024, 3)  # 1 March 2024 is such a day
    times = [march.start_ms + 3 * day * n for n in range(8)]
    bars = klines_at(times, Interval.D3)
    where, end = (Market.SPOT, "BTCUSDT", Interval.D3), march.start_ms + 24 * day
    months = FetchJob(*where, march.start_ms, end)
    exchange.clock = ManualClock(end + 9 * day)
    exchange.add("BTCUSDT", Interval.D3, bars.slice(1, kept))
    assert fetch.run(months, deps).missing_bars == 8 - kept
    assert fetch.run(months, deps).skipped  # what this version was told is believed
    key = Series(*where).key("klines", march)
    of_older_code(deps.lake, key)
    held = manifest(deps.lake, *where).missing(march.start_ms, end)
    assert [(one.bars, one.why) for one in held] == [(8 - kept, "not fetched")]

    exchange.failures.append(GiveUp("no such symbol"))  # a name that is gone from the exchange
    refused = fetch.run(months, deps)
    assert (refused.rows, refused.archive_note) == (
        kept,
        "bars that the archive lacks could not be asked for: no such symbol",
    )
    exchange.add("BTCUSDT", Interval.D3, bars)
    healed = fetch.run(months, deps)
    assert (healed.rows, healed.gaps, healed.skipped) == (8, 0, False)
    assert stored_from(deps, march, Interval.D3).equals(bars)
    assert fetch.run(months, deps).skipped


def test_a_range_of_one_bar_that_an_older_version_did_not_even_miss(deps, exchange):
    """1 and 2 March 2024 hold an open time of the exchange's grid and none of the old one."""
    march = Month(2024, 3)
    bar = klines_at([march.start_ms], Interval.D3)
    where, end = (Market.SPOT, "BTCUSDT", Interval.D3), march.start_ms + 48 * HOUR
    exchange.clock = ManualClock(march.end_ms)
    exchange.add("BTCUSDT", Interval.D3, bar.slice(1))
    fetch.run(FetchJob(*where, march.start_ms, end), deps)
    key = Series(*where).key("klines", march)
    of_older_code(deps.lake, key, gaps="[]", expected="0")
    exchange.add("BTCUSDT", Interval.D3, bar)
    facts = fetch.run(FetchJob(*where, march.start_ms, end), deps)
    assert (facts.rows, facts.skipped) == (1, False)


def test_a_whole_month_of_an_older_version_is_not_asked_for_again(deps, exchange):
    march = Month(2024, 3)
    times = range(march.start_ms, march.end_ms, 72 * HOUR)
    exchange.clock = ManualClock(march.end_ms + 240 * HOUR)
    exchange.add("BTCUSDT", Interval.D3, klines_at(times, Interval.D3))
    month = FetchJob(Market.SPOT, "BTCUSDT", Interval.D3, march.start_ms, march.end_ms)
    fetch.run(month, deps)
    of_older_code(deps.lake, Series(Market.SPOT, "BTCUSDT", Interval.D3).key("klines", march))
    assert fetch.run(month, deps).skipped


def test_another_interval_of_an_older_version_is_believed(deps, exchange):
    exchange.add("BTCUSDT", Interval.H1, hours(*range(5, 720)))
    assert fetch.run(job(), deps).missing_bars == 5
    assert "grid" not in deps.lake.metadata(KEY)
    assert fetch.run(job(), deps).skipped


def test_rows_off_the_grid_cost_themselves_and_are_said(deps, exchange):
    odd = [APRIL.start_ms + 10 * HOUR + 1_680_000, APRIL.start_ms + 600 * HOUR + 60_000]
    there = [n for n in range(720) if n != 10]
    opens = sorted([*(APRIL.start_ms + n * HOUR for n in there), *odd])
    exchange.add("BTCUSDT", Interval.H1, klines_at(opens))
    facts = fetch.run(job(0, 300), deps)
    assert (facts.rows, facts.missing_bars) == (299, 1)
    assert facts.archive_note == "left out 1 bar, at 2021-04-01 10:28 UTC, off the grid of 1h"
    fetch.run(job(), deps)
    assert stored(deps).equals(hours(*there))
    assert read_partition(deps.lake, Series(*WHERE), APRIL).facts.off_grid == tuple(odd)
    assert read_partition(deps.lake, Series(*WHERE), APRIL).complete


@pytest.mark.parametrize(("interval", "shift"), [(Interval.D3, 24 * HOUR), (Interval.H4, HOUR)])
def test_bars_of_another_grid_are_refused_and_the_shorter_ones_come(
    deps, exchange, interval, shift
):
    """As a recording has them whose 3d bars were summed from its first day on."""
    opens = range(APRIL.start_ms + shift, APRIL.end_ms, interval.ms)
    exchange.add("BTCUSDT", interval, klines_at(opens, interval))
    with pytest.raises(GiveUp, match=rf"off the grid of {interval}.* fetch a shorter interval"):
        fetch.run(job(interval=interval), deps)
    assert deps.lake.list("klines") == []
    assert fetch.run(job(), deps).rows == 720


def test_workers_at_one_month_leave_everything_whole(deps):
    ranges = [(0, 720), (0, 360), (0, 100), (0, 719)] * 3
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda r: fetch.run(job(*r), deps), ranges))
    assert [facts.rows for facts in done] == [last - first for first, last in ranges]
    assert stored(deps).equals(hours(*range(720)))
    leftovers = list(Path(deps.lake.uri).rglob("*.tmp"))
    assert leftovers == []


spans = st.tuples(st.integers(0, 60), st.integers(0, 60)).map(sorted)


@settings(max_examples=60, deadline=None)
@given(
    present=st.sets(st.integers(0, 59)),
    parts=st.lists(st.tuples(spans, st.integers(0, 70)), max_size=6),
)
def test_any_parts_end_equal_to_one_whole_fetch(tmp_path_factory, present, parts):
    """Ranges in any order, at any times of a running month, against one fetch at the end."""
    table = hours(*sorted(present))

    def deps_at(hour):
        fake = FakeExchange(ManualClock(APRIL.start_ms + hour * HOUR + 5 * 60_000))
        fake.add("BTCUSDT", Interval.H1, table)
        return fake

    folder = tmp_path_factory.mktemp("lake")
    in_parts, at_once = Lake(str(folder / "parts")), Lake(str(folder / "once"))
    for (first, last), hour in sorted(parts, key=lambda part: part[1]):
        fetch.run(job(first, last), FetchDeps(deps_at(hour), in_parts))
    end = FetchDeps(deps_at(80), in_parts)
    facts = fetch.run(job(0, 60), end)
    whole = fetch.run(job(0, 60), FetchDeps(deps_at(80), at_once))
    assert facts.rows == whole.rows == len(present)
    assert facts.expected == whole.expected == 60
    assert in_parts.read_bytes(KEY) == at_once.read_bytes(KEY)
