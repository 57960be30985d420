"""Settlements from files first and REST for the rest: pages, doubts, and what is not yet known."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from alphamill.clock import ManualClock
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Market, Month, TimeRange, times_ms
from alphamill.market import Damaged, FakeFunding, FundingHistory
from alphamill.market.funding.archive_file import FUNDING_FILE
from alphamill.market.funding.parse import funding_table, merge_funding

HOUR = 3_600_000
JANUARY, FEBRUARY, MARCH = Month(2023, 1), Month(2023, 2), Month(2023, 3)
LATER = Month(2026, 6).start_ms


def every(hours, start_ms, end_ms, late_ms=3):
    times = np.arange(start_ms, end_ms, hours * HOUR) + late_ms
    return funding_table(times, (times // HOUR % 97) / 1e5)


def file_of(table, hours=8):
    return table.append_column(
        FUNDING_FILE.field("interval_hours"), pa.array([hours] * table.num_rows, pa.int64())
    )


def parts_of(fake, start_ms, end_ms, archive=True, symbol="BTCUSDT"):
    history = FundingHistory(Market.USD_M, fake, fake if archive else None, fake.clock)
    return list(history.parts(symbol, TimeRange(start_ms, end_ms)))


def fake_of(table, now_ms=LATER):
    return FakeFunding(ManualClock(now_ms), {"BTCUSDT": table})


def rows_of(parts):
    return merge_funding([part.table for part in parts])


def adjoin(parts, start_ms, end_ms):
    edges = [(part.range.start_ms, part.range.end_ms) for part in parts]
    assert [edges[0][0], edges[-1][1]] == [start_ms, end_ms]
    assert all(a[1] == b[0] for a, b in itertools.pairwise(edges))


@pytest.mark.parametrize(
    ("count", "pages"), [(1, 1), (999, 1), (1000, 2), (1001, 2), (2000, 3), (2501, 3)]
)
def test_pages_give_every_settlement_once(count, pages):
    start_ms = JANUARY.start_ms
    end_ms = start_ms + count * 8 * HOUR
    table = every(8, start_ms, end_ms)
    fake = fake_of(table)
    parts = parts_of(fake, start_ms, end_ms, archive=False)
    assert rows_of(parts).equals(table)
    adjoin(parts, start_ms, end_ms)
    assert all(part.table.num_rows <= 1000 for part in parts)
    # A full page leaves its last instant, and what may follow it, to the next one.
    assert len(fake.pages) == pages


def test_hours_of_any_kind_within_one_range():
    start_ms, middle_ms, end_ms = JANUARY.start_ms, FEBRUARY.start_ms, MARCH.start_ms
    table = merge_funding([every(8, start_ms, middle_ms), every(1, middle_ms, end_ms, 29)])
    parts = parts_of(fake_of(table), start_ms, end_ms, archive=False)
    assert rows_of(parts).equals(table)


def test_an_empty_page_is_not_believed_at_once():
    start_ms, end_ms = JANUARY.start_ms, FEBRUARY.start_ms
    fake = fake_of(every(8, start_ms, end_ms))

    class Loaded(FakeFunding):
        """Answers the first question with nothing, as an exchange under load has."""

        def page(self, *where):
            found = super().page(*where)
            return found.slice(0, 0) if len(self.pages) == 1 else found

    loaded = Loaded(fake.clock, fake.tables)
    parts = parts_of(loaded, start_ms, end_ms, archive=False)
    assert rows_of(parts).num_rows == 93
    assert sum(part.requests for part in parts) == 2


def test_before_a_listing_there_is_nothing_and_that_is_known():
    table = every(8, FEBRUARY.start_ms, MARCH.start_ms)
    fake = fake_of(table)
    parts = parts_of(fake, JANUARY.start_ms, MARCH.start_ms, archive=False)
    assert rows_of(parts).equals(table)
    adjoin(parts, JANUARY.start_ms, MARCH.start_ms)
    nothing = parts_of(fake, Month(2022, 1).start_ms, JANUARY.start_ms, archive=False)
    adjoin(nothing, Month(2022, 1).start_ms, JANUARY.start_ms)
    assert rows_of(nothing).num_rows == 0


def test_what_may_not_be_published_yet_is_not_known():
    now_ms = JANUARY.start_ms + 20 * HOUR
    fake = fake_of(every(8, JANUARY.start_ms, FEBRUARY.start_ms), now_ms)
    parts = parts_of(fake, JANUARY.start_ms, FEBRUARY.start_ms)
    assert rows_of(parts).num_rows == 3
    assert parts[-1].range.end_ms == now_ms - 120_000
    assert not parts_of(fake, FEBRUARY.start_ms, MARCH.start_ms)


def test_files_first_and_rest_for_the_months_without_one():
    table = every(8, JANUARY.start_ms, MARCH.end_ms)
    fake = fake_of(table)
    filed = every(8, FEBRUARY.start_ms, FEBRUARY.end_ms)
    fake.files = {"BTCUSDT-fundingRate-2023-02": file_of(filed)}
    parts = parts_of(fake, JANUARY.start_ms, MARCH.end_ms)
    assert [part.source for part in parts] == ["rest", "archive-monthly", "rest"]
    assert rows_of(parts).equals(table)
    adjoin(parts, JANUARY.start_ms, MARCH.end_ms)
    assert [span[1:] for span in fake.pages] == [
        (JANUARY.start_ms, JANUARY.end_ms),
        (MARCH.start_ms, MARCH.end_ms),
    ]


def test_a_file_is_not_asked_for_before_its_month_is_over_nor_for_a_few_days():
    fake = fake_of(every(8, JANUARY.start_ms, MARCH.end_ms), FEBRUARY.start_ms + 10 * 24 * HOUR)
    parts_of(fake, JANUARY.end_ms - 5 * 24 * HOUR, MARCH.end_ms)
    assert fake.stems == []


def test_rest_fills_what_a_file_lacks():
    table = every(8, JANUARY.start_ms, JANUARY.end_ms)
    keep = pa.array([n not in (10, 11, 40) for n in range(table.num_rows)])
    fake = fake_of(table)
    fake.files = {"BTCUSDT-fundingRate-2023-01": file_of(table.filter(keep))}
    (part,) = parts_of(fake, JANUARY.start_ms, JANUARY.end_ms)
    assert part.table.equals(table)
    assert (part.source, part.requests, part.files) == ("archive-monthly+rest", 2, 1)
    assert part.unverified == ()


def test_many_holes_are_one_stretch():
    table = every(8, JANUARY.start_ms, JANUARY.end_ms)
    fake = fake_of(table)
    keep = pa.array([n % 3 != 1 or n > 80 for n in range(table.num_rows)])
    fake.files = {"BTCUSDT-fundingRate-2023-01": file_of(table.filter(keep))}
    (part,) = parts_of(fake, JANUARY.start_ms, JANUARY.end_ms)
    times = times_ms(table)
    assert part.table.equals(table)
    assert fake.pages == [("BTCUSDT", times[0] + 1, times[80])]


def test_a_hole_that_rest_refuses_to_answer_for_stays_in_doubt():
    table = every(8, JANUARY.start_ms, JANUARY.end_ms)
    times = times_ms(table)
    fake = fake_of(table)
    fake.failures = [GiveUp("HTTP 451")]
    keep = pa.array([n not in (10, 40) for n in range(table.num_rows)])
    fake.files = {"BTCUSDT-fundingRate-2023-01": file_of(table.filter(keep))}
    (part,) = parts_of(fake, JANUARY.start_ms, JANUARY.end_ms)
    assert part.table.num_rows == 91
    assert part.unverified == (
        TimeRange(times[9] + 1, times[11]),
        TimeRange(times[39] + 1, times[41]),
    )
    assert "HTTP 451" in part.notes[0]


def test_a_symbol_that_rest_does_not_have_and_no_file_gives_up():
    fake = FakeFunding(ManualClock(LATER))
    with pytest.raises(GiveUp, match="no symbol 'XUSDT'"):
        parts_of(fake, JANUARY.start_ms, FEBRUARY.start_ms, symbol="XUSDT")


@pytest.mark.parametrize(
    "fault", [Damaged("BTCUSDT-fundingRate-2023-01", "no", b"zip"), RetryLater("down", 5.0)]
)
def test_an_archive_that_fails_is_said_and_rest_stands_in(fault):
    table = every(8, JANUARY.start_ms, JANUARY.end_ms)
    fake = fake_of(table)
    fake.files = {"BTCUSDT-fundingRate-2023-01": fault}
    (part,) = parts_of(fake, JANUARY.start_ms, JANUARY.end_ms)
    assert part.table.equals(table)
    assert part.source == "rest"
    said = [*map(str, part.damaged), *part.notes]
    assert said in (["BTCUSDT-fundingRate-2023-01: no"], ["archive: down"])


def test_a_months_first_settlement_that_is_stamped_early_is_not_lost():
    """It is in the file of the month at whose first instant it was settled, and in no other."""
    table = every(8, JANUARY.start_ms, MARCH.start_ms)
    first = JANUARY.range.length_ms // (8 * HOUR)
    times = times_ms(table).copy()
    times[first] = FEBRUARY.start_ms - 2
    fake = fake_of(funding_table(times, table["funding_rate"].to_numpy()))
    january, february = (fake.tables["BTCUSDT"].slice(*part) for part in ((0, first), (first,)))
    fake.files = {
        "BTCUSDT-fundingRate-2023-01": file_of(january),
        "BTCUSDT-fundingRate-2023-02": file_of(february),
    }
    found = rows_of(parts_of(fake, JANUARY.start_ms, MARCH.start_ms))
    assert fake.pages == []
    assert found["funding_rate"].equals(table["funding_rate"])
    times[first] = FEBRUARY.start_ms  # of that instant
    assert times_ms(found).tolist() == times.tolist()
