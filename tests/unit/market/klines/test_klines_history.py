"""Which file or request each bar comes from, and that no source changes a bar."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Interval, Market, Month, TimeRange, rows_within, times_ms
from alphamill.market import Damaged, FakeArchive, FakeExchange, KlineHistory
from alphamill.market.klines.parse import merge_klines
from alphamill.testing import klines_at

DAY, HOUR = 86_400_000, 3_600_000
MARCH, APRIL, MAY = Month(2021, 3), Month(2021, 4), Month(2021, 5)
START = MARCH.start_ms
AUGUST_MS = Month(2021, 8).start_ms


def bars(interval, first_ms, last_ms, skip=()):
    opens = np.arange(first_ms, last_ms, interval.ms, dtype=np.int64)
    opens = opens[~np.isin(opens, list(skip))]
    return klines_at(opens, interval)


class Rig:
    """The same bars at the exchange and in its archive, unless a test takes some away."""

    def __init__(self, interval=Interval.M15, now_ms=AUGUST_MS, **gone):
        self.interval = interval
        self.table = bars(interval, START, Month(2021, 7).start_ms, **gone)
        self.exchange = FakeExchange(ManualClock(now_ms))
        self.exchange.add("BTCUSDT", interval, self.table)
        self.archive = FakeArchive({("BTCUSDT", interval): self.table})
        self.history = KlineHistory(Market.SPOT, self.exchange, self.archive, ManualClock(now_ms))

    def fetch(self, start_ms, end_ms):
        """All parts, after a look at whether they adjoin and hold what the exchange holds."""
        parts = list(self.history.parts("BTCUSDT", self.interval, TimeRange(start_ms, end_ms)))
        *edges, last_ms = [start_ms, *[part.range.end_ms for part in parts]]
        assert edges == [part.range.start_ms for part in parts]
        # A bar that closed within the last two minutes may still appear.
        settled_ms = self.exchange.clock.now_ms() - 120_000 - self.interval.ms
        assert last_ms == end_ms or settled_ms < last_ms < end_ms
        whole = merge_klines([part.table for part in parts])
        assert whole.equals(self.exchange.klines("BTCUSDT", self.interval, start_ms, end_ms).table)
        self.exchange.asked.pop()
        return parts


def sources(parts):
    return [part.source for part in parts]


def stems(rig):
    return [stem.removeprefix("BTCUSDT-15m-") for stem in rig.archive.asked]


def test_whole_past_months_come_from_monthly_files_and_no_request():
    rig = Rig()
    parts = rig.fetch(MARCH.start_ms, MAY.start_ms)
    assert sources(parts) == ["archive-monthly"] * 2
    assert stems(rig) == ["2021-03", "2021-04"]
    assert rig.exchange.asked == []
    assert [part.files for part in parts] == [1, 1]


def test_the_running_month_is_days_and_then_the_api():
    now = MAY.start_ms + 20 * DAY + 5 * HOUR  # 21 May, 05:00: the 19th is the last safe day
    rig = Rig(now_ms=now)
    [part] = rig.fetch(MAY.start_ms, now)
    assert part.source == "archive-daily+rest"
    assert stems(rig) == [f"2021-05-{day:02d}" for day in range(19, 0, -1)]
    asked = [((a.start_ms - MAY.start_ms) / DAY, a.end_ms) for a in rig.exchange.asked]
    assert asked == [(19, now)]
    assert part.server_time_ms == now


def test_a_month_is_not_looked_for_before_two_days_have_passed():
    early = Rig(now_ms=MAY.start_ms + DAY - 1)
    early.fetch(APRIL.start_ms, MAY.start_ms)
    assert "2021-04" not in stems(early)
    assert max(stems(early)) == "2021-04-29"
    late = Rig(now_ms=MAY.start_ms + DAY)
    late.fetch(APRIL.start_ms, MAY.start_ms)
    assert stems(late) == ["2021-04"]


def test_a_month_without_a_file_comes_from_days():
    rig = Rig()
    rig.archive.absent.add("BTCUSDT-15m-2021-04")
    assert sources(rig.fetch(MARCH.start_ms, MAY.start_ms)) == ["archive-monthly", "archive-daily"]
    assert rig.exchange.asked == []
    assert len(stems(rig)) == 32


def test_months_whose_file_is_known_to_be_wrong_come_from_days():
    for wrong in (Month(2020, 12), Month(2021, 9)):
        rig = Rig(now_ms=Month(2022, 1).start_ms)
        rig.table = bars(Interval.M15, wrong.start_ms, wrong.end_ms)
        rig.exchange.add("BTCUSDT", Interval.M15, rig.table)
        rig.archive.tables["BTCUSDT", Interval.M15] = rig.table
        assert sources(rig.fetch(wrong.start_ms, wrong.end_ms)) == ["archive-daily"]
        assert str(wrong) not in stems(rig)


def test_bars_that_the_archive_lost_are_the_apis():
    rig = Rig()
    rig.archive.tables["BTCUSDT", Interval.M15] = rows_within(
        rig.table, TimeRange(APRIL.start_ms + 3 * DAY, APRIL.end_ms)
    ).filter(np.arange(27 * 96) % 1000 != 500)
    [part] = rig.fetch(APRIL.start_ms, APRIL.end_ms)
    assert part.source == "archive-monthly+rest"
    spans = [(a.end_ms - a.start_ms) // Interval.M15.ms for a in rig.exchange.asked]
    assert spans == [3 * 96, 1, 1, 1]


def test_a_bar_that_neither_has_does_not_make_the_source_mixed():
    rig = Rig(skip=[APRIL.start_ms + 7 * HOUR])
    [part] = rig.fetch(APRIL.start_ms, APRIL.end_ms)
    assert part.source == "archive-monthly"
    assert len(rig.exchange.asked) == 2  # absence is asked for twice


@pytest.mark.parametrize("restricted", [True, False])
def test_holes_that_the_api_refuses_to_answer_for_are_said(restricted):
    rig = Rig()
    keep = ~np.isin((times_ms(rig.table) - APRIL.start_ms) // HOUR, [7, 50, 51])
    rig.archive.tables["BTCUSDT", Interval.M15] = rig.table.filter(pa.array(keep))
    if restricted:
        rig.exchange.failures += [GiveUp("HTTP 451")]
    [part] = rig.history.parts("BTCUSDT", Interval.M15, APRIL.range)
    assert part.table.num_rows == 30 * 96 - (12 if restricted else 0)
    holes = [(7, 8), (50, 52)] if restricted else []
    assert part.unverified == tuple(
        TimeRange(APRIL.start_ms + a * HOUR, APRIL.start_ms + b * HOUR) for a, b in holes
    )
    assert [note for note in part.notes if "HTTP 451" in note] == list(part.notes)
    assert len(rig.exchange.asked) == (1 if restricted else 2)  # refused once, it is not pressed


def test_a_stretch_that_only_the_api_has_still_fails_where_it_refuses():
    rig = Rig(now_ms=APRIL.start_ms + 10 * HOUR)
    rig.exchange.failures.append(GiveUp("HTTP 451"))
    with pytest.raises(GiveUp, match="451"):
        list(rig.history.parts("BTCUSDT", Interval.M15, APRIL.range))


def test_a_file_that_should_be_there_and_is_not_is_named():
    rig = Rig()
    rig.archive.absent |= {"BTCUSDT-15m-2021-04", "BTCUSDT-15m-2021-04-10"}
    [part] = rig.fetch(APRIL.start_ms, APRIL.end_ms)
    assert part.notes == ("the archive has no BTCUSDT-15m-2021-04.zip and 1 more",)
    rig.archive.tables.clear()
    [part] = rig.fetch(APRIL.start_ms, APRIL.end_ms)
    assert part.notes == ("the archive has no BTCUSDT-15m-2021-04.zip and 2 more",)


def test_no_file_is_missed_of_a_month_without_bars():
    rig = Rig(now_ms=AUGUST_MS)
    [part] = rig.fetch(Month(2021, 1).start_ms, MARCH.start_ms)
    assert part.notes == ()


def test_very_many_holes_are_one_question():
    rig = Rig()
    table = rows_within(rig.table, APRIL.range)
    rig.archive.tables["BTCUSDT", Interval.M15] = table.filter(np.arange(30 * 96) % 10 != 5)
    [part] = rig.fetch(APRIL.start_ms, APRIL.end_ms)
    assert part.source == "archive-monthly+rest"
    assert len(rig.exchange.asked) == 1


def test_a_damaged_month_is_the_apis_and_named():
    rig = Rig()
    broken = Damaged("BTCUSDT-15m-2021-04", "bad", b"bytes")
    rig.archive.failures["BTCUSDT-15m-2021-04"] = broken
    parts = rig.fetch(MARCH.start_ms, Month(2021, 6).start_ms)
    assert sources(parts) == ["archive-monthly", "rest", "archive-monthly"]
    assert [len(part.damaged) for part in parts] == [0, 1, 0]
    assert parts[1].damaged == (broken,)
    assert stems(rig) == ["2021-03", "2021-04", "2021-05"]


def test_a_damaged_day_is_the_apis_and_the_others_are_files():
    rig = Rig()
    rig.archive.absent.add("BTCUSDT-15m-2021-04")
    rig.archive.failures["BTCUSDT-15m-2021-04-10"] = Damaged("BTCUSDT-15m-2021-04-10", "bad", b"")
    [part] = rig.fetch(APRIL.start_ms, APRIL.end_ms)
    assert part.source == "archive-daily+rest"
    assert (part.files, len(part.damaged), part.requests) == (29, 1, 1)


def test_an_archive_out_of_reach_is_noted_once_and_the_api_stands_in():
    rig = Rig()
    for month in (MARCH, APRIL):
        rig.archive.failures[f"BTCUSDT-15m-{month}"] = RetryLater("no answer")
    [part] = rig.fetch(MARCH.start_ms, MAY.start_ms)
    assert (part.source, part.notes) == ("rest", ("archive: no answer",))
    assert stems(rig) == ["2021-03", "2021-04"]


def test_a_coin_that_is_not_listed_yet_costs_three_looks_a_month():
    rig = Rig()
    rig.archive.tables.clear()
    assert sources(rig.fetch(MARCH.start_ms, APRIL.start_ms)) == ["rest"]
    assert stems(rig) == ["2021-03", "2021-03-31", "2021-03-30"]


@pytest.mark.parametrize(
    ("interval", "days", "asked"),
    [
        (Interval.D1, 61, []),  # a REST page has years of them
        (Interval.H1, 5, []),  # one page
        (Interval.M1, 5, ["05", "04", "03", "02", "01"]),
        (Interval.S1, 1, ["01"]),
    ],
)
def test_what_is_not_worth_a_months_file(interval, days, asked):
    rig = Rig(Interval.M1)
    rig.interval = interval
    rig.table = bars(interval, START, START + days * DAY)
    rig.exchange.add("BTCUSDT", interval, rig.table)
    rig.archive.tables["BTCUSDT", interval] = rig.table
    rig.fetch(START, START + days * DAY)
    assert [stem[-2:] for stem in rig.archive.asked] == asked


def test_seconds_are_never_read_by_the_month():
    rig = Rig()
    rig.archive.tables.clear()
    list(rig.history.parts("BTCUSDT", Interval.S1, TimeRange(START, START + 10 * DAY)))
    assert rig.archive.asked == ["BTCUSDT-1s-2021-03-10", "BTCUSDT-1s-2021-03-09"]
    list(rig.history.parts("BTCUSDT", Interval.S1, TimeRange(START, MARCH.end_ms)))
    assert "BTCUSDT-1s-2021-03" not in rig.archive.asked


def test_rows_off_the_grid_hide_no_hole_and_are_noted():
    """An outage's odd row, in the file and at the API, in the place of the bar of its time."""
    lost, odd = APRIL.start_ms + 100 * 900_000, APRIL.start_ms + 100 * 900_000 + 120_000
    rig = Rig(skip=[lost])
    with_odd = merge_klines([rig.table, klines_at([odd], Interval.M15)])
    rig.exchange.add("BTCUSDT", Interval.M15, with_odd)
    rig.archive.tables["BTCUSDT", Interval.M15] = with_odd
    first, second = rig.fetch(MARCH.start_ms, MAY.start_ms)
    assert (first.off_grid, first.notes) == ((), ())
    assert second.off_grid == (odd,)
    assert second.notes == ("left out 1 bar, at 2021-04-02 01:02 UTC, off the grid of 15m",)
    # The hole is asked for, and a second time, as an empty answer is before it is believed.
    assert [(a.start_ms, a.end_ms) for a in rig.exchange.asked] == [(lost, lost + 900_000)] * 2


def test_more_rows_off_the_grid_than_on_it_are_no_bars_of_the_interval():
    rig = Rig()
    shifted = klines_at(times_ms(rig.table) + 60_000, Interval.M15)
    rig.exchange.add("BTCUSDT", Interval.M15, shifted)
    rig.archive.tables["BTCUSDT", Interval.M15] = shifted
    with pytest.raises(GiveUp, match="2976 bars, the first at 2021-03-01 00:01 UTC, off the grid"):
        list(rig.history.parts("BTCUSDT", Interval.M15, MARCH.range))


def test_without_an_archive_all_is_one_call():
    rig = Rig()
    alone = KlineHistory(Market.SPOT, rig.exchange, None, ManualClock(AUGUST_MS))
    [part] = alone.parts("BTCUSDT", Interval.M15, TimeRange(MARCH.start_ms, MAY.start_ms))
    assert (part.source, len(rig.exchange.asked)) == ("rest", 1)


@settings(max_examples=80, deadline=None)
@given(
    span=st.tuples(st.integers(0, 2000), st.integers(0, 2000)).map(sorted),
    now_hours=st.integers(100, 2300),
    lost=st.sets(st.integers(0, 2000), max_size=30),
    gone=st.sets(st.integers(0, 2000), max_size=5),
    absent=st.sets(st.sampled_from(["03", "04", "03-30", "04-02", "04-03", "04-20"])),
    damaged=st.sets(st.sampled_from(["03", "04", "04-15"])),
)
def test_whatever_the_archive_lacks_the_bars_are_the_exchanges(
    span, now_hours, lost, gone, absent, damaged
):
    rig = Rig(Interval.H1, START + now_hours * HOUR, skip=[START + n * HOUR for n in gone])
    keep = ~np.isin((times_ms(rig.table) - START) // HOUR, list(lost))
    rig.archive.tables["BTCUSDT", Interval.H1] = rig.table.filter(pa.array(keep))
    rig.archive.absent = {f"BTCUSDT-1h-2021-{name}" for name in absent}
    rig.archive.failures = {
        stem: Damaged(stem, "bad", b"") for stem in (f"BTCUSDT-1h-2021-{name}" for name in damaged)
    }
    if span[0] < span[1]:
        rig.fetch(START + span[0] * HOUR, START + span[1] * HOUR)


def test_days_come_from_the_archive_where_the_exchange_has_forgotten_a_coin():
    rig = Rig(Interval.D1)
    asked = TimeRange(MARCH.start_ms, MAY.end_ms)
    assert sources(rig.history.parts("BTCUSDT", Interval.D1, asked)) == ["rest"]
    assert rig.archive.asked == []  # one page holds years
    del rig.exchange.listed["BTCUSDT"]
    parts = list(replace(rig.history, archived_days=True).parts("BTCUSDT", Interval.D1, asked))
    assert sources(parts) == ["archive-monthly"] * 3
    assert merge_klines([part.table for part in parts]).equals(rows_within(rig.table, asked))
