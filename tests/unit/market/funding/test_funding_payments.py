"""Several payments at one instant, and rows that came twice: what is owed, however it was cut."""

import itertools
import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from alphamill.clock import ManualClock
from alphamill.errors import RetryLater
from alphamill.frames import FUNDING, Market, Month, TimeRange, rows_within, times_ms
from alphamill.market import FakeFunding, FundingHistory
from alphamill.market.funding.archive_file import FUNDING_FILE, parse_funding_csv
from alphamill.market.funding.parse import (
    as_funding,
    funding_rows,
    funding_table,
    merge_funding,
    parse_funding,
    settled_ms,
)

HOUR = 3_600_000
INSTANT = 1_785_801_600_000  # 2026-08-04 00:00
REGULAR, SPECIAL = "Regular", "Special"


def row(rate, kind=None, late_ms=0, at_ms=INSTANT):
    told = {"symbol": "KOUSDT", "fundingTime": at_ms + late_ms, "fundingRate": rate}
    return told | ({} if kind is None else {"rateType": kind})


def paid(*rows):
    table = parse_funding(json.dumps(rows).encode(), "KOUSDT")
    return list(zip(table["rate_type"].to_pylist(), table["funding_rate"].to_pylist(), strict=True))


def test_a_dividend_is_paid_beside_the_regular_rate():
    both = [(REGULAR, 0.0001), (SPECIAL, -0.0065)]
    regular, special = row("0.00010000", REGULAR), row("-0.00650000", SPECIAL)
    assert paid(regular, special) == paid(special, regular) == both
    assert paid(row("0.0001", REGULAR), row("-0.0065", SPECIAL, late_ms=4)) == both


def test_equal_rates_of_two_kinds_are_two_payments():
    assert paid(row("0.0001", REGULAR), row("0.0001", SPECIAL)) == [
        (REGULAR, 0.0001),
        (SPECIAL, 0.0001),
    ]


@pytest.mark.parametrize("kind", [REGULAR, SPECIAL, None])
def test_a_row_that_came_twice_is_one_payment(kind):
    assert paid(row("0.0001", kind), row("0.0001", kind, late_ms=5)) == [(kind, 0.0001)]


@pytest.mark.parametrize("kind", [SPECIAL, "", None])
def test_rates_of_one_kind_that_differ_are_added_up(kind):
    assert paid(row("0.25", kind), row("-0.5", kind), row("0.25", kind)) == [(kind or None, -0.25)]


def test_two_regular_rates_of_one_instant_cannot_be():
    with pytest.raises(RetryLater, match="2 Regular rates"):
        paid(row("0.0001", REGULAR), row("0.0002", REGULAR))


def table_of(*rows):
    return funding_table(*zip(*rows, strict=True))


def rows_of(table):
    return list(
        zip(
            times_ms(table).tolist(),
            table["funding_rate"].to_pylist(),
            table["rate_type"].to_pylist(),
            strict=True,
        )
    )


def test_a_later_answer_corrects_its_own_kind_alone():
    first = table_of((INSTANT, 0.1, REGULAR), (INSTANT, -0.6, SPECIAL))
    later = table_of((INSTANT + 3, 0.2, REGULAR))
    assert rows_of(merge_funding([first, later])) == [
        (INSTANT, -0.6, SPECIAL),
        (INSTANT + 3, 0.2, REGULAR),
    ]


@pytest.mark.parametrize("filed", [0.1, -0.6, -0.5])  # one of the two, or their sum
def test_what_states_no_kind_gives_way_to_what_does(filed):
    archive = table_of((INSTANT, filed, None), (INSTANT + 8 * HOUR, 0.3, None))
    told = table_of((INSTANT + 2, 0.1, REGULAR), (INSTANT + 2, -0.6, SPECIAL))
    both = [(INSTANT + 2, 0.1, REGULAR), (INSTANT + 2, -0.6, SPECIAL)]
    for tables in ([archive, told], [told, archive]):
        assert rows_of(merge_funding(tables)) == [*both, (INSTANT + 8 * HOUR, 0.3, None)]


def test_a_table_of_before_is_read_as_without_kinds():
    old = table_of((INSTANT, 0.1, None)).drop_columns("rate_type")
    assert as_funding(old).schema.equals(FUNDING)
    assert rows_of(merge_funding([old])) == [(INSTANT, 0.1, None)]


MONTHS = [Month(2026, 5), Month(2026, 6), Month(2026, 7), Month(2026, 8)]
WHOLE = TimeRange(MONTHS[0].start_ms, MONTHS[-1].end_ms)
SPECIAL_MS = MONTHS[2].start_ms + 27 * 24 * HOUR


def settlements(rng):
    """Irregular ones of four months, with Special ones here and there since the first was paid."""
    hours = np.cumsum(rng.choice([1, 4, 8], 2000, p=[0.8, 0.1, 0.1]))
    at = WHOLE.start_ms + hours[hours < WHOLE.length_ms // HOUR] * HOUR
    late = rng.integers(0, 20, at.size)
    rates = rng.integers(-30, 30, at.size) / 1e5
    rows = [(int(a + b), c, REGULAR) for a, b, c in zip(at, late, rates, strict=True)]
    rows += [
        (stamp + int(rng.integers(-5, 20)), float(rng.choice([rate, -0.0065])), SPECIAL)
        for stamp, rate, _ in rows
        if stamp > SPECIAL_MS and rng.random() < 0.2
    ]
    return funding_rows(*zip(*sorted(rows), strict=True))


def filed(month, table, rng):
    """The archive's month: without kinds, here and there a row lost or twice."""
    rows = rows_within(table, month.range)
    times = rng.choice([0, 1, 1, 1, 1, 1, 1, 2], rows.num_rows)
    rows = rows.take(np.repeat(np.arange(rows.num_rows), times))
    silent = rows.set_column(2, FUNDING.field("rate_type"), pa.nulls(rows.num_rows, pa.string()))
    hours = pa.array([1] * rows.num_rows, pa.int64())
    return silent.append_column(FUNDING_FILE.field("interval_hours"), hours)


def instants(table):
    minutes = settled_ms(times_ms(table)).tolist()
    return sorted(zip(minutes, table["funding_rate"].to_pylist(), strict=True))


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    page_rows=st.sampled_from([100, 200, 500, 1000]),
    cuts=st.lists(st.integers(WHOLE.start_ms, WHOLE.end_ms), max_size=6),
    at_instants=st.booleans(),
)
@example(seed=20, page_rows=100, cuts=[], at_instants=False)  # a file that lacks its first row
def test_any_cut_into_pages_and_files_pays_the_same(seed, page_rows, cuts, at_instants):
    rng = np.random.default_rng(seed)
    table = settlements(rng)
    files = {f"KOUSDT-fundingRate-{month}": filed(month, table, rng) for month in MONTHS}
    kept = {name: file for name, file in files.items() if rng.random() < 0.7}
    fake = FakeFunding(
        ManualClock(Month(2026, 11).start_ms), {"KOUSDT": table}, kept, page_rows=page_rows
    )
    history = FundingHistory(Market.USD_M, fake, fake, fake.clock)
    if at_instants:  # in the middle of the rows of one
        cuts = [int(times_ms(table)[cut % table.num_rows]) + cut % 3 for cut in cuts]
    edges = [WHOLE.start_ms, *sorted(cuts), WHOLE.end_ms]
    asked = [TimeRange(a, b) for a, b in itertools.pairwise(edges) if a < b]
    rng.shuffle(asked)
    found = merge_funding([part.table for one in asked for part in history.parts("KOUSDT", one)])
    assert instants(found) == instants(table)
    total = math.fsum(table["funding_rate"].to_pylist())
    assert math.fsum(found["funding_rate"].to_pylist()) == total


def test_recorded_rows_are_read(shared_data):
    folder = shared_data / "exchange_2026"
    lines = (folder / "um_fundingRate_rows.jsonl").read_bytes().splitlines()
    for line in lines:
        told = json.loads(line)
        (read,) = rows_of(parse_funding(b"[" + line + b"]", told["symbol"]))
        assert read == (told["fundingTime"], float(told["fundingRate"]), told["rateType"])
    text = (folder / "archive_rows" / "um_fundingRate_rows.csv").read_bytes()
    assert rows_of(parse_funding_csv(text)) == [(1751328000007, 0.00008191, None)]
