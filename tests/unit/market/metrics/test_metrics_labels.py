"""Which five minutes a row of metrics is of: before and after the labels moved, and in doubt."""

import io
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from alphamill.frames import METRICS, Market, Month, times_ms
from alphamill.market import MetricsFile
from alphamill.market.metrics.archive_file import parse_metrics_csv
from alphamill.market.metrics.labels import opens_of_reply

MINUTE = 60_000
STEP = 5 * MINUTE
JUNE = Month(2026, 6)
RECORDED = Path(__file__).parents[5] / "shared/data/exchange_2026/archive_rows/um_metrics_rows.csv"
HEADER = (
    "create_time,symbol,sum_open_interest,sum_open_interest_value,"
    "count_toptrader_long_short_ratio,sum_toptrader_long_short_ratio,count_long_short_ratio,"
    "sum_taker_long_short_vol_ratio\n"
)


def ms(text):
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def file_of(day, market=Market.USD_M, symbol="ETHUSDT"):
    return MetricsFile(market, symbol, JUNE, day)


def csv_of(labels, symbol="ETHUSDT", values="5,50,1.5,2.5,1.25,0.75"):
    return (HEADER + "".join(f"{label},{symbol},{values}\n" for label in labels)).encode()


def parsed(day, labels, market=Market.USD_M):
    return parse_metrics_csv(csv_of(labels), file_of(day, market))


def moments(table):
    """When the rows' five minutes end, as texts."""
    return [
        f"{datetime.fromtimestamp((t + STEP) / 1000, UTC):%m-%d %H:%M}"
        for t in times_ms(table).tolist()
    ]


def test_one_label_stands_in_two_files_and_means_two_things():
    last = parsed(24, ["2026-06-24 00:05:00", "2026-06-25 00:00:00"])
    first = parsed(25, ["2026-06-25 00:00:00", "2026-06-25 23:55:00"])
    assert moments(last) == ["06-24 00:05", "06-25 00:00"]
    assert moments(first) == ["06-25 00:05", "06-26 00:00"]


def test_coin_margined_labels_are_starts_on_both_sides():
    assert moments(parsed(24, ["2026-06-24 00:00:00"], Market.COIN_M)) == ["06-24 00:05"]
    assert moments(parsed(25, ["2026-06-25 00:00:00"], Market.COIN_M)) == ["06-25 00:05"]


@pytest.mark.parametrize("day", [24, 25])
def test_no_value_is_available_before_its_five_minutes_are_over(day):
    table = parsed(day, [f"2026-06-{day} 12:00:00"])
    taken_ms = ms(f"2026-06-{day}T12:{'00' if day == 24 else '05'}")
    assert times_ms(table, "available_time").tolist() == [taken_ms + MINUTE]


def test_what_is_not_surely_an_end_is_a_start():
    # A day of starts before its time, with the day's 00:00 and without the next.
    early = parsed(20, ["2026-06-20 00:00:00", "2026-06-20 00:05:00"])
    assert moments(early) == ["06-20 00:05", "06-20 00:10"]
    # Both midnights: ends, whose first belongs to the file before.
    both = parsed(20, ["2026-06-20 00:00:00", "2026-06-20 00:05:00", "2026-06-21 00:00:00"])
    assert moments(both) == ["06-20 00:05", "06-21 00:00"]
    # Both midnights after the change: starts, whose last belongs to the file after.
    later = parsed(27, ["2026-06-27 00:00:00", "2026-06-28 00:00:00"])
    assert moments(later) == ["06-27 00:05"]
    # Off the grid: known at the end of the five minutes that it falls in.
    assert moments(parsed(20, ["2026-06-20 00:07:03"])) == ["06-20 00:10"]


def test_the_apis_rows_are_read_by_their_own_time():
    change = ms("2026-06-25")
    labels = np.array([change - STEP, change, change + STEP])
    assert opens_of_reply(labels, Market.USD_M).tolist() == [change - 2 * STEP, *labels[1:]]
    assert opens_of_reply(labels, Market.COIN_M).tolist() == labels.tolist()


def test_a_five_minutes_that_comes_twice_is_there_once_with_its_later_row():
    text = (
        csv_of(["2026-06-24 00:05:00"])
        + csv_of(["2026-06-24 00:05:00"], values="6,60,1,1,1,1").split(b"\n", 1)[1]
    )
    table = parse_metrics_csv(text, file_of(24))
    assert table["open_interest"].to_pylist() == [6.0]


def test_holes_within_a_row_are_null_and_an_open_interest_of_zero_is_one():
    text = csv_of(["2026-06-24 00:05:00"], values="0,0,1.5,,1.25,0")
    assert parse_metrics_csv(text, file_of(24)).drop_columns(
        ["open_time", "available_time"]
    ).to_pylist() == [
        {
            "open_interest": None,
            "open_interest_value": None,
            "toptrader_account_ratio": 1.5,
            "toptrader_position_ratio": None,
            "long_short_account_ratio": 1.25,
            "taker_long_short_ratio": 0.0,
        }
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (csv_of(["2026-06-24"]), "malformed"),  # a day's figure of before 2023: of which moment?
        (csv_of(["2026-06-20 00:05:00"]), "outside its day"),
        (csv_of(["2026-06-24 00:05:00"], symbol="BTCUSDT"), "rows of 'BTCUSDT'"),
        (b"time,open_interest\n2026-06-24 00:05:00,5\n", "columns are not those of metrics"),
        (csv_of(["2026-06-24 00:05:00"], values="x,1,1,1,1,1"), "malformed"),
    ],
)
def test_what_cannot_be_metrics_is_refused_in_words(text, says):
    with pytest.raises(ValueError, match=says):
        parse_metrics_csv(text, file_of(24))


def test_a_day_without_a_row_is_empty():
    assert parse_metrics_csv(HEADER.encode(), file_of(24)).equals(METRICS.empty_table())


def test_a_file_is_named_as_the_exchange_names_it():
    file = file_of(5)
    assert file.path == "data/futures/um/daily/metrics/ETHUSDT/ETHUSDT-metrics-2026-06-05.zip"
    assert file.range.length_ms == 86_400_000
    with pytest.raises(ValueError, match="no metrics"):
        MetricsFile(Market.SPOT, "ETHUSDT", JUNE, 5)


@pytest.mark.skipif(not RECORDED.exists(), reason="needs the recordings beside the repository")
def test_a_recorded_row_of_2025_is_an_end():
    file = MetricsFile(Market.USD_M, "ETHUSDT", Month(2025, 7), 1)
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr(f"{file.stem}.csv", RECORDED.read_bytes())
    (row,) = file.parse(sink.getvalue()).to_pylist()
    assert row["open_time"] == datetime(2025, 7, 1, tzinfo=UTC)
    assert row["open_interest"] == 1893129.089
    assert row["taker_long_short_ratio"] == 1.087358
