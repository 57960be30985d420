"""Funding: rows of the API and of the archive's files, read strictly; what a file may lack."""

import io
import json
import zipfile

import numpy as np
import pytest

from alphamill.errors import RetryLater
from alphamill.frames import FUNDING, Market, Month, TimeRange, times_ms
from alphamill.market.funding.archive_file import FundingFile, holes, parse_funding_csv
from alphamill.market.funding.parse import funding_table, merge_funding, parse_funding, settled_ms

HOUR = 3_600_000
JANUARY = Month(2023, 1)
# The two rows of the exchange's documentation.
TOLD = [
    {
        "symbol": "BTCUSDT",
        "fundingRate": "-0.03750000",
        "fundingTime": 1570608000000,
        "markPrice": "34287.54619963",
    },
    {
        "symbol": "BTCUSDT",
        "fundingRate": "0.00010000",
        "fundingTime": 1570636800000,
        "markPrice": "34287.54619963",
    },
]


def body(rows):
    return json.dumps(rows).encode()


def pairs(table):
    rates = table["funding_rate"].to_pylist()
    return list(zip(times_ms(table).tolist(), rates, strict=True))


def test_the_documented_rows():
    table = parse_funding(body(TOLD), "BTCUSDT")
    assert table.schema.equals(FUNDING)
    assert pairs(table) == [(1570608000000, -0.0375), (1570636800000, 0.0001)]
    assert parse_funding(b"[]", "BTCUSDT").num_rows == 0


def test_order_repeats_and_more_columns_do_not_matter():
    rows = [{**row, "extra": [1]} for row in reversed(TOLD)] + TOLD[:1]
    assert pairs(parse_funding(body(rows), "BTCUSDT")) == pairs(
        parse_funding(body(TOLD), "BTCUSDT")
    )


@pytest.mark.parametrize(
    "spoiled",
    [
        b"",
        b"{}",
        b'{"code":-1000,"msg":"x"}',
        body(TOLD)[:-40],
        body([{**TOLD[0], "fundingRate": None}]),
        body([{**TOLD[0], "fundingRate": ""}]),
        body([{**TOLD[0], "fundingRate": "nan"}]),
        body([{**TOLD[0], "fundingRate": "1e999"}]),
        body([{**TOLD[0], "fundingTime": "soon"}]),
        body([{**TOLD[0], "fundingTime": 0}]),
        body([{**TOLD[0], "fundingTime": 2**70}]),
        body([{**TOLD[0], "symbol": "ETHUSDT"}]),
        body([{"symbol": "BTCUSDT", "fundingTime": 1570608000000}]),
        body([list(TOLD[0].values())]),
    ],
)
def test_malformed_rows_are_asked_for_again(spoiled):
    with pytest.raises(RetryLater, match="BTCUSDT: malformed funding"):
        parse_funding(spoiled, "BTCUSDT")


def test_numbers_equal_pythons_own():
    rates = ["0.00010001", "-0.00374999", "1e-08", "0.1", "-0"]
    rows = [
        {**TOLD[0], "fundingRate": rate, "fundingTime": (n + 1) * HOUR}
        for n, rate in enumerate(rates)
    ]
    table = parse_funding(body(rows), "BTCUSDT")
    assert table["funding_rate"].to_pylist() == [float(rate) for rate in rates]


def test_a_stamp_is_the_minute_it_is_nearest_to():
    hour = 400_000 * HOUR
    stamps = np.array([hour - 9, hour, hour + 2, hour + 29_999, hour + 45_000])
    assert (settled_ms(stamps) - hour).tolist() == [0, 0, 0, 0, 60_000]


def test_one_settlement_stamped_twice_is_one_and_the_later_table_wins():
    hour = 400_000 * HOUR
    filed = funding_table([hour, hour + 8 * HOUR], [0.1, 0.2])
    told = funding_table([hour + 8 * HOUR + 3], [0.25])
    assert pairs(merge_funding([filed, told])) == [(hour, 0.1), (hour + 8 * HOUR + 3, 0.25)]
    assert pairs(merge_funding([told, filed])) == [(hour, 0.1), (hour + 8 * HOUR, 0.2)]
    assert merge_funding([]).schema.equals(FUNDING)


def csv(*rows, header=True):
    lines = ["calc_time,funding_interval_hours,last_funding_rate"] if header else []
    return "".join(f"{line}\n" for line in [*lines, *rows]).encode()


def at(hours, late_ms=0):
    return JANUARY.start_ms + hours * HOUR + late_ms


def zipped(text, name="BTCUSDT-fundingRate-2023-01.csv"):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr(name, text)
    return sink.getvalue()


FILE = FundingFile(Market.USD_M, "BTCUSDT", JANUARY)


@pytest.mark.parametrize("header", [True, False])
def test_a_file_with_or_without_a_header(header):
    text = csv(f"{at(0)},8,0.0001", f"{at(8, 4)},8,-0.0002", header=header)
    table = FILE.parse(zipped(text))
    assert pairs(table) == [(at(0), 0.0001), (at(8, 4), -0.0002)]
    assert table["interval_hours"].to_pylist() == [8, 8]


def test_hours_stay_with_their_rows():
    table = parse_funding_csv(csv(f"{at(12)},4,0.3", f"{at(8)},8,0.2", f"{at(0)},8,0.1"))
    assert table["interval_hours"].to_pylist() == [8, 8, 4]
    assert table["funding_rate"].to_pylist() == [0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    "text",
    [
        csv("1,2"),
        csv(f"{at(0)},8,high"),
        csv(f"{at(0)},eight,0.1"),
        csv(f"{at(0)},8,nan"),
        csv(f"{at(0)},-8,0.1"),
        csv(f"{2**70},8,0.1"),
        csv(f"{at(-1)},8,0.1"),
        csv(f"{JANUARY.end_ms},8,0.1"),
        "calc_tïme\n1,8,0.1\n".encode(),
    ],
)
def test_a_file_that_is_not_what_it_should_be(text):
    with pytest.raises(ValueError, match=r"\w"):
        FILE.parse(zipped(text))


@pytest.mark.parametrize("second", [f"{at(8, 5)},8,0.1", f"{at(8)},8,-0.0065"])
def test_an_instant_twice_in_a_file_is_kept_and_only_the_api_says_what_was_paid(second):
    text = csv(f"{at(0)},8,0.1", f"{at(8)},8,0.1", second, f"{at(16)},8,0.1")
    table = FILE.parse(zipped(text))
    assert table.num_rows == 4
    (doubted,) = holes(table, TimeRange(at(0), at(24)))
    assert doubted == TimeRange(at(8, -30_000), at(8, 30_000))


def test_the_first_settlement_of_a_month_may_be_stamped_before_it():
    assert FILE.parse(zipped(csv(f"{at(0, -3)},8,0.1"))).num_rows == 1


def test_names_of_files():
    assert FILE.path == (
        "data/futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2023-01.zip"
    )
    assert "/cm/" in FundingFile(Market.COIN_M, "BTCUSD_PERP", JANUARY).path
    with pytest.raises(ValueError, match="no funding"):
        FundingFile(Market.SPOT, "BTCUSDT", JANUARY)
    with pytest.raises(ValueError, match="no funding"):
        FundingFile(Market.USD_M, "../BTC", JANUARY)


def filed(*hours_and_intervals):
    return parse_funding_csv(csv(*(f"{at(h)},{every},0.1" for h, every in hours_and_intervals)))


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([(0, 8), (8, 8), (16, 8)], []),
        ([(0, 8), (16, 8)], [(0, 16)]),  # one is lost
        ([(0, 8), (8, 8), (12, 4), (16, 4), (20, 4)], []),  # the interval became shorter
        ([(0, 4), (4, 4), (12, 8), (20, 8)], []),  # and longer
        ([(0, 4), (4, 4), (12, 4), (16, 4), (20, 4)], [(4, 12)]),  # four hours of four are lost
        ([(8, 8), (16, 8)], [(None, 8)]),  # the first states that there was one 8 hours before
        ([(7, 8), (15, 8), (23, 8)], []),
        ([(16, 8)], [(None, 16)]),  # listed then, or lost
        ([(0, 8)], [(0, None)]),
        ([(0, 0), (8, 0), (16, 0)], []),  # no interval stated: the longest that there is
    ],
)
def test_what_a_file_may_lack(rows, expected):
    found = holes(filed(*rows), TimeRange(at(0), at(24)))
    assert found == [
        TimeRange(at(0) if a is None else at(a, 1), at(24) if b is None else at(b))
        for a, b in expected
    ]
