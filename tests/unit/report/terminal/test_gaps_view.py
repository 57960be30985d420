"""What is missing from a series, over the range that was asked for."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pyarrow.compute as pc
import pyarrow.parquet as pq
from rich.console import Console

from alphamill.clock import ManualClock
from alphamill.frames import (
    KLINES,
    BarSpan,
    Interval,
    Market,
    Month,
    TimeRange,
    rows_within,
    times_ms,
)
from alphamill.jobs import FetchJob, ReverifyJob
from alphamill.lake import (
    Entry,
    Lake,
    Manifest,
    MonthFacts,
    Partition,
    Series,
    compared_at_ms,
    manifest,
)
from alphamill.lake.holdings import holdings_of
from alphamill.market import FakeExchange
from alphamill.report.terminal.gaps import gaps_view
from alphamill.stages import fetch, reverify
from alphamill.stages.fetch import FetchDeps

H1_MS = 3_600_000
SERIES = Series(Market.SPOT, "BTCUSDT", Interval.H1)
JAN, FEB, MAR, APR = (Month(2024, number) for number in (1, 2, 3, 4))


def entry(month, start_ms=None, end_ms=None, gaps=(), halts=(), first_ms=None):
    start_ms, end_ms = start_ms or month.start_ms, end_ms or month.end_ms
    expected = (end_ms - start_ms) // H1_MS
    rows = expected - sum(gap.bars for gap in gaps)
    facts = MonthFacts("rest", TimeRange(start_ms, end_ms), tuple(gaps), tuple(halts))
    partition = Partition(month, rows, expected, facts, first_ms or start_ms, end_ms - H1_MS, "x")
    return Entry(month, partition, 1000, 0)


def test_each_kind_of_hole_has_its_reason():
    listed_ms = JAN.start_ms + 10 * H1_MS
    before = BarSpan(JAN.start_ms, listed_ms, 10)
    absent = BarSpan(JAN.start_ms + 100 * H1_MS, JAN.start_ms + 103 * H1_MS, 3)
    halt = BarSpan(FEB.start_ms, FEB.start_ms + 2 * H1_MS, 2)
    january = entry(JAN, gaps=[before, absent], first_ms=listed_ms)
    april = entry(APR, end_ms=APR.start_ms + 5 * H1_MS)
    held = Manifest(SERIES, (january, entry(FEB, halts=[halt]), april))
    found = holdings_of(held)
    assert (found.start_ms, found.end_ms) == (JAN.start_ms, APR.start_ms + 5 * H1_MS)
    assert [(m.why, m.bars) for m in found.missing] == [
        ("before listing", 10),
        ("absent at the exchange", 3),
        ("not fetched", None),
    ]
    assert (found.missing[2].start_ms, found.missing[2].end_ms) == (MAR.start_ms, MAR.end_ms)
    assert found.halts == (halt,)
    assert found.expected == 744 + 696 + 5
    assert found.rows == found.expected - 13
    assert found.share == found.rows / found.expected
    told = found.to_dict()
    assert told["missing"][1] == {
        "start_ms": absent.start_ms,
        "end_ms": absent.end_ms,
        "bars": 3,
        "why": "absent at the exchange",
        "asked_ms": 0,
    }


def test_a_series_of_damaged_files_alone_is_missing_altogether():
    found = holdings_of(Manifest(SERIES, (Entry(JAN, None, 10, 0),)))
    assert found.share is None
    assert [m.why for m in found.missing] == ["damaged"]


def test_rows_that_were_left_out_are_shown():
    facts = MonthFacts(
        "rest", JAN.range, off_grid=tuple(JAN.start_ms + n * 60_000 for n in range(6))
    )
    partition = Partition(JAN, 744, 744, facts, JAN.start_ms, JAN.end_ms - H1_MS, "x")
    found = holdings_of(Manifest(SERIES, (Entry(JAN, partition, 1000, 0),)))
    assert found.to_dict()["off_grid_ms"] == [*facts.off_grid]
    console = Console(file=io.StringIO(), width=200, force_terminal=False, color_system=None)
    console.print(gaps_view([found], []))
    text = console.file.getvalue()
    assert "BTCUSDT 1h: 6 rows off the grid left out: 2024-01-01 00:00, " in text
    assert "00:03 and 2 more" in text


def test_the_tables_fit_80_columns():
    console = Console(file=io.StringIO(), width=80, force_terminal=False, color_system=None)
    minutes = Series(Market.USD_M, "1000SATSUSDT", Interval.M15)
    january = entry(JAN, gaps=[BarSpan(JAN.start_ms, JAN.start_ms + 44 * H1_MS, 44)])
    held = Manifest(minutes, (january, Entry(MAR, None, 1, 0)))
    console.print(gaps_view([holdings_of(held)], ["X"]))
    text = console.file.getvalue()
    assert "…" not in text
    assert "44+" in text  # and the stretches whose bars are not known
    assert "not in the lake at all: X" in text
    assert max(len(line) for line in text.splitlines()) <= 80


def test_the_outage_of_2023_03_24_shows_both_ways(shared_data, tmp_path):
    """Real bars: 72 flat ones without a trade, then 80 that the exchange does not have."""
    march = Month(2023, 3)
    bars = pq.read_table(shared_data / "klines/spot/BTCUSDT-1m.parquet")
    closes = pc.add(bars["open_time"], 59_999)  # the recording leaves them out
    bars = bars.append_column("close_time", closes).select(KLINES.names).cast(KLINES)
    bars = rows_within(bars, march.range)
    exchange = FakeExchange(ManualClock(march.end_ms + 86_400_000))
    exchange.add("BTCUSDT", Interval.M1, bars)
    lake = Lake(str(tmp_path))
    where = (Market.SPOT, "BTCUSDT", Interval.M1)
    first, last = (int(times_ms(bars)[at]) for at in (0, -1))
    fetch.run(FetchJob(*where, first, last + 60_000), FetchDeps(exchange, lake))
    reverify.run(ReverifyJob(*where, first, last + 60_000), FetchDeps(exchange, lake))
    compared = compared_at_ms(lake, Series(*where))
    found = holdings_of(manifest(lake, *where), compared)
    noon = datetime(2023, 3, 24, 12, 40, tzinfo=UTC)
    hole = [(m.start_ms, m.bars, m.why) for m in found.missing]
    assert hole == [(int(noon.timestamp() * 1000), 80, "absent at the exchange")]
    halts = [h for h in found.halts if h.end_ms == found.missing[0].start_ms]
    assert [h.bars for h in halts] == [72]
    assert found.last_asked_ms(first) >= compared[march] == march.end_ms + 86_400_000
    console = Console(file=io.StringIO(), width=80, force_terminal=False, color_system=None)
    console.print(gaps_view([found], []))
    text = console.file.getvalue()
    assert "2023-03-24 12:40 14:00" in text
    assert "flat bars, no trade" in text
    assert max(len(line) for line in text.splitlines()) <= 80
