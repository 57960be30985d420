"""What is missing from a series, over the range that was asked for."""

from __future__ import annotations

import io

from rich.console import Console

from alphamill.frames import Interval, Market, Month
from alphamill.lake import Entry, KlineFacts, Manifest, Partition, Series, Span
from producers.gaps import _show, holdings_of

H1_MS = 3_600_000
SERIES = Series(Market.SPOT, "BTCUSDT", Interval.H1)
JAN, FEB, MAR, APR = (Month(2024, number) for number in (1, 2, 3, 4))


def entry(month, start_ms=None, end_ms=None, gaps=(), halts=(), first_ms=None):
    start_ms, end_ms = start_ms or month.start_ms, end_ms or month.end_ms
    expected = (end_ms - start_ms) // H1_MS
    rows = expected - sum(gap.bars for gap in gaps)
    facts = KlineFacts("rest", start_ms, end_ms, tuple(gaps), tuple(halts))
    partition = Partition(month, rows, expected, facts, first_ms or start_ms, end_ms - H1_MS, "x")
    return Entry(month, partition, 1000, 0)


def test_each_kind_of_hole_has_its_reason():
    listed_ms = JAN.start_ms + 10 * H1_MS
    before = Span(JAN.start_ms, listed_ms, 10)
    absent = Span(JAN.start_ms + 100 * H1_MS, JAN.start_ms + 103 * H1_MS, 3)
    halt = Span(FEB.start_ms, FEB.start_ms + 2 * H1_MS, 2)
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
    assert told["missing"][1] == {"start_ms": absent.start_ms, "end_ms": absent.end_ms, "bars": 3,
                                  "why": "absent at the exchange"}  # fmt: skip


def test_a_series_of_damaged_files_alone_is_missing_altogether():
    found = holdings_of(Manifest(SERIES, (Entry(JAN, None, 10, 0),)))
    assert found.share is None
    assert [m.why for m in found.missing] == ["damaged"]


def test_the_tables_fit_80_columns():
    console = Console(file=io.StringIO(), width=80, force_terminal=False, color_system=None)
    minutes = Series(Market.USD_M, "1000SATSUSDT", Interval.M15)
    january = entry(JAN, gaps=[Span(JAN.start_ms, JAN.start_ms + 44 * H1_MS, 44)])
    _show([holdings_of(Manifest(minutes, (january, Entry(MAR, None, 1, 0))))], ["X"], console)
    text = console.file.getvalue()
    assert "…" not in text
    assert "44+" in text  # and the stretches whose bars are not known
    assert "not in the lake at all: X" in text
    assert max(len(line) for line in text.splitlines()) <= 80
