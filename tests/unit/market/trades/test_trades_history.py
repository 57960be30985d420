"""A day of trades from archive and API: each defect of a file, and what the API makes good."""

import numpy as np
import pytest

from alphamill.bars import OutOfOrder, TradeSource
from alphamill.errors import GiveUp, RetryLater
from alphamill.frames import Market, TimeRange
from alphamill.market.trades.history import TradeHistory
from alphamill.sim.exchange.tape import Tape
from tests.trade_sources import BURNED, DAY, START, SimTrades, Taken, small_market

SOURCE = small_market()
SPOT, UM, CM = Market
NAMES = {SPOT: "TRXUSDT", UM: "TRXUSDT", CM: "TRXUSD_PERP"}
AGGREGATES, TRADES = TradeSource.AGG_TRADES, TradeSource.TRADES
SECOND = TimeRange(START + DAY, START + 2 * DAY)
LATER = START + 60 * DAY
NEXT_DAY = SECOND.end_ms + 12 * 3_600_000
TAPES = {
    market: Tape.of(SOURCE, market, NAMES[market], BURNED.get(market, 0.0)) for market in Market
}


class Strict(Taken):
    """Refuses what a builder refuses."""

    def add(self, trades):
        ids = self.ids[-1:] + trades.id.tolist()
        if (np.diff(ids) < 0).any():
            raise OutOfOrder("ids descend")
        super().add(trades)


def read(
    market=SPOT, kind=AGGREGATES, *faults, now_ms=LATER, refuses=None, asked=SECOND, archive=True
):
    sim = SimTrades(SOURCE, market, now_ms, faults, refuses)
    kept = []
    history = TradeHistory(market, sim, sim if archive else None, sim.clock, kept.append)
    try:
        return history.read(NAMES[market], kind, asked, Strict), sim, kept
    except GiveUp as error:
        return error, sim, kept


def ids_of(market=SPOT, kind=AGGREGATES, asked=SECOND):
    first, stop = ((ms - START) // 3_600_000 for ms in (asked.start_ms, asked.end_ms))
    bars = [TAPES[market].trades(at) for at in range(first, stop)]
    return np.unique(
        np.concatenate([one.aggregate if kind is AGGREGATES else one.id for one in bars])
    ).tolist()


@pytest.mark.parametrize("kind", list(TradeSource))
@pytest.mark.parametrize("market", list(Market))
def test_the_daily_file_alone_is_read_where_it_is_sound(market, kind):
    day, sim, kept = read(market, kind)
    assert day.reader.ids == ids_of(market, kind)
    assert (day.source, day.files, day.requests, day.lacking) == ("archive-daily", 1, 0, 0)
    assert (day.range, day.notes, kept, sim.queries) == (SECOND, [], [], [])
    assert sim.stems == [f"{NAMES[market]}-{kind}-2023-01-26"]


@pytest.mark.parametrize("kind", list(TradeSource))
def test_what_the_archive_does_not_have_comes_from_spots_api(kind):
    day, sim, _ = read(SPOT, kind, "missing")
    assert day.reader.ids == ids_of(SPOT, kind)
    assert (day.source, day.files, day.lacking) == ("rest", 0, 0)
    assert day.requests == len(sim.queries)
    assert [query[0] for query in sim.queries[:1]] == ["aggTrades"]
    assert all(next(iter(query[1:]))[0] == "fromId" for query in sim.queries[1:])


def test_the_months_file_stands_in_for_a_damaged_day():
    day, _, kept = read(UM, TRADES, "corrupt_zip:*-2023-01-26")
    assert day.reader.ids == ids_of(UM, TRADES)
    assert day.source == "archive-monthly"
    assert [one.name for one in kept] == ["TRXUSDT-trades-2023-01-26"]
    assert kept[0].content
    assert "quarantined TRXUSDT-trades-2023-01-26: it is not a zip" in day.notes[0]


def test_a_month_that_is_not_over_has_no_file_yet():
    _, sim, _ = read(SPOT, AGGREGATES, "missing", now_ms=START + 5 * DAY)
    assert sim.stems == ["TRXUSDT-aggTrades-2023-01-26"]


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("corrupt_zip", "it is not a zip"),
        ("missing", "the archive has no TRXUSDT-aggTrades-2023-01-26.zip"),
    ],
)
def test_a_day_of_futures_that_nobody_has_is_one_clear_line(fault, says):
    error, sim, _ = read(UM, AGGREGATES, fault)
    assert isinstance(error, GiveUp)
    assert str(error).startswith("TRXUSDT 2023-01-26: no trades to be had: ")
    assert says in str(error)
    assert "TRXUSDT-aggTrades-2023-01" in str(error)
    assert str(error).endswith("the API of um reaches back 48 h only")
    assert "\n" not in str(error)
    assert sim.queries == []


def test_futures_of_the_last_48_hours_come_from_the_api_as_aggregates():
    day, _, _ = read(UM, AGGREGATES, "missing", now_ms=NEXT_DAY)
    assert day.reader.ids == ids_of(UM, AGGREGATES)
    assert day.source == "rest"
    error, sim, _ = read(UM, TRADES, "missing", now_ms=NEXT_DAY)
    assert str(error).endswith("; --source aggTrades has the last 48 h")
    assert sim.queries == []


def test_a_file_without_a_checksum_is_taken_on_its_own_sums_and_that_is_said():
    day, _, kept = read(UM, TRADES, "missing_checksum:*-2023-01-26")
    assert day.reader.ids == ids_of(UM, TRADES)
    assert kept == []
    assert day.notes == ["TRXUSDT-trades-2023-01-26.zip has no CHECKSUM; its own sums are right"]


@pytest.mark.parametrize("kind", list(TradeSource))
def test_rows_that_a_file_lacks_by_its_ids_come_from_the_api(kind):
    day, sim, _ = read(SPOT, kind, "lost_rows")
    assert day.reader.ids == ids_of(SPOT, kind)
    assert (day.source, day.lacking) == ("archive-daily+rest", 0)
    assert 0 < len(sim.queries) < 5
    assert day.notes == []


def test_rows_that_nobody_has_are_counted_and_said():
    wanted = ids_of(UM)
    day, sim, _ = read(UM, AGGREGATES, "lost_rows")
    assert day.lacking == len(wanted) - len(day.reader.ids) > 20
    assert day.notes == [
        f"TRXUSDT-aggTrades-2023-01-26.zip lacks {day.lacking:,} rows, by their ids: the API of um "
        "reaches back 48 h only"
    ]
    assert sim.queries == []


def test_ids_of_futures_trades_that_were_burned_are_not_missed():
    ids = ids_of(UM, TRADES)
    assert ids[-1] - ids[0] >= len(ids)
    day, _, _ = read(UM, TRADES)
    assert day.lacking == 0


@pytest.mark.parametrize("kind", list(TradeSource))
def test_a_file_that_ends_early_is_completed_from_the_api(kind):
    day, sim, _ = read(SPOT, kind, "cut_rows")
    assert day.reader.ids == ids_of(SPOT, kind)
    assert (day.source, day.lacking) == ("archive-daily+rest", 0)
    assert sim.queries[0][1][0] == "fromId"


@pytest.mark.parametrize("kind", list(TradeSource))
def test_a_file_of_futures_that_ends_early_is_said_to(kind):
    day, _, _ = read(CM, kind, "cut_rows")
    assert len(day.reader.ids) < len(ids_of(CM, kind)) / 10
    assert any(
        note.startswith(f"TRXUSD_PERP-{kind}-2023-01-26.zip has no row of the day's last 2")
        for note in day.notes
    )


def test_a_refusal_of_the_api_costs_a_day_of_the_archive_nothing():
    gone = GiveUp("the exchange has no symbol 'TRXUSDT'")
    day, _, _ = read(SPOT, AGGREGATES, "lost_rows", refuses=gone)
    assert day.source == "archive-daily"
    assert day.notes[0].endswith("rows, by their ids: the exchange has no symbol 'TRXUSDT'")
    day, _, _ = read(SPOT, AGGREGATES, "cut_rows", refuses=gone)
    assert "has no row of the day's last 2" in day.notes[0]
    error, _, _ = read(SPOT, AGGREGATES, "missing", refuses=gone)
    assert error is gone


@pytest.mark.parametrize("names", ["*-2023-01-26", "*-2023-01"])
def test_rows_out_of_order_are_put_in_order(names):
    broken = [f"interleaved:{names}"]
    broken += [] if names.endswith("-26") else ["missing:*-2023-01-26"]
    day, _, _ = read(UM, AGGREGATES, *broken)
    assert day.reader.ids == ids_of(UM)
    assert day.lacking == 0
    disordered = names.endswith("-26")  # of a month only the day where its two ends meet is
    assert day.disordered is disordered
    assert any("out of order" in note for note in day.notes) is disordered
    middle = TimeRange(START + 3 * DAY, START + 4 * DAY)
    faults = ("interleaved:*-2023-01", "missing:*-2023-01-28")
    day, _, _ = read(UM, AGGREGATES, *faults, asked=middle)
    assert day.reader.ids == ids_of(UM, asked=middle)


def test_rows_that_stand_twice_reach_the_builder_twice_which_counts_them():
    day, _, _ = read(SPOT, AGGREGATES, "repeated")
    assert day.reader.ids == sorted(ids_of() * 2)
    assert day.lacking == 0


def test_a_day_without_trades_is_a_day():
    before = TimeRange(START - DAY, START)
    day, sim, _ = read(SPOT, AGGREGATES, asked=before)
    assert (day.reader.ids, day.source, day.range) == ([], "rest", before)
    assert len(sim.queries) == 2  # the first row, which is later, and the page that begins with it
    day, _, _ = read(UM, AGGREGATES, asked=before)
    assert (day.reader.ids, day.notes) == ([], ["TRXUSDT was not listed yet"])


def test_a_day_that_is_not_over_is_answered_up_to_what_must_have_been_told():
    now = SECOND.start_ms + 7 * 3_600_000
    asked = TimeRange(SECOND.start_ms, now)
    day, sim, _ = read(SPOT, AGGREGATES, now_ms=now, asked=asked)
    assert day.range == TimeRange(SECOND.start_ms, now - 120_000)
    assert day.reader.ids == [n for n in ids_of() if n <= day.reader.ids[-1]]
    assert day.reader.pieces[-1].time_us[-1] < 1000 * day.range.end_ms
    assert len(sim.stems) == 1  # it is asked for all the same: clocks differ


def test_an_archive_that_does_not_answer_is_asked_again_where_only_it_has_the_day():
    sim = SimTrades(SOURCE, UM, LATER)

    class Unwell:
        def put_aside(self, file):
            raise RetryLater("archive is not well")

    history = TradeHistory(UM, sim, Unwell(), sim.clock)
    with pytest.raises(RetryLater, match="archive is not well"):
        history.read("TRXUSDT", TRADES, SECOND, Taken)
    sim = SimTrades(SOURCE, SPOT, LATER)
    day = TradeHistory(SPOT, sim, Unwell(), sim.clock).read("TRXUSDT", AGGREGATES, SECOND, Taken)
    assert day.reader.ids == ids_of()
    assert day.notes == ["archive: archive is not well"] * 2
