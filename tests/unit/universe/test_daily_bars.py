"""The lake's daily bars of many symbols: what was asked for, coins of one name, the copy."""

import numpy as np
import pytest

from alphamill.frames import BarSpan, Interval, Market, Month, TimeRange
from alphamill.lake import Lake, MonthFacts, Series, write_klines
from alphamill.testing import klines_at, put_klines
from alphamill.universe.daily import measured, read_daily

DAY = 86_400_000
MARCH, APRIL, MAY = (Month(2022, month) for month in (3, 4, 5))
YEAR_FILE = "universe/market=spot/daily/year=2022/bars.parquet"


def days(first_ms, last_ms):
    return np.arange(first_ms, last_ms, DAY)


def put(lake, symbol, opens, close=1.0, **columns):
    prices = dict.fromkeys(("open", "high", "low", "close"), close)
    columns = {"volume": 1.0, "trades": 1, "quote_volume": opens // DAY, **prices} | columns
    put_klines(lake, symbol, klines_at(opens, Interval.D1, **columns), interval=Interval.D1)


@pytest.fixture
def lake(tmp_path):
    made = Lake(str(tmp_path))
    for symbol in ("AAAUSDT", "BBBUSDT"):
        put(made, symbol, days(MARCH.start_ms, MAY.end_ms))
    return made


def read(lake, *symbols, start=MARCH.start_ms, end=MAY.end_ms):
    return read_daily(lake, Market.SPOT, symbols, start, end)


def test_a_field_is_a_matrix_of_days(lake):
    start = MARCH.start_ms + 5 * DAY
    found = measured(read(lake, "BBBUSDT", "AAAUSDT", "CCCUSDT", start=start), "quote_volume")
    assert found.names == ("AAAUSDT", "BBBUSDT")
    assert found.start_ms == start
    assert found.values[:, 1].tolist() == (days(start, MAY.end_ms) // DAY).tolist()
    nothing = measured(read(lake), "volume")
    assert nothing.values.shape == (92, 0)


def test_what_was_asked_for_is_told_also_where_only_the_archive_could_be_asked(lake):
    month = TimeRange(APRIL.start_ms, APRIL.end_ms)
    empty = klines_at([], Interval.D1)
    facts = MonthFacts("rest", month)
    write_klines(lake, Market.SPOT, "CCCUSDT", Interval.D1, APRIL, empty, facts)
    doubt = BarSpan(APRIL.start_ms + 10 * DAY, APRIL.end_ms, 0)
    facts = MonthFacts("archive-monthly", month, unverified=(doubt,))
    write_klines(lake, Market.SPOT, "DDDUSDT", Interval.D1, APRIL, empty, facts)
    for _ in range(2):  # from the months' files, then from the year's
        asked = read(lake, "AAAUSDT", "CCCUSDT", "DDDUSDT").asked
        assert asked["CCCUSDT"] == (month,)
        assert asked["DDDUSDT"] == (month,)
        assert asked["AAAUSDT"] == (TimeRange(MARCH.start_ms, MAY.end_ms),)


def test_two_coins_of_one_name_are_two_columns(lake):
    old, new = days(MARCH.start_ms, MAY.start_ms), days(MAY.start_ms + 10 * DAY, MAY.end_ms)
    close = np.where(np.concatenate([old, new]) < MAY.start_ms, 1.0, 9000.0)
    put(lake, "LUNAUSDT", np.concatenate([old, new]), close)
    flat = days(MAY.start_ms, MAY.end_ms)  # the exchange goes on giving bars of one that ended
    opens = np.concatenate([old, flat])
    put(lake, "DEADUSDT", opens, volume=(opens < MAY.start_ms) * 1.0, trades=0)
    found = measured(read(lake, "LUNAUSDT", "DEADUSDT"), "volume")
    assert found.names == ("DEADUSDT", "LUNAUSDT", "LUNAUSDT@2022-05-11")
    assert np.isfinite(found.values).sum(axis=0).tolist() == [61, 61, 21]


def test_the_years_file_is_read_in_place_of_the_months(lake, monkeypatch):
    first = read(lake, "AAAUSDT", "BBBUSDT").table
    assert lake.exists(YEAR_FILE)
    loads = []
    load = lake.load
    monkeypatch.setattr(lake, "load", lambda *how: loads.append(how[0]) or load(*how))
    assert read(lake, "AAAUSDT", "BBBUSDT").table.equals(first)
    assert loads == [YEAR_FILE]


def test_a_month_that_changed_is_read_anew_and_the_rest_is_not(lake, monkeypatch):
    read(lake, "AAAUSDT", "BBBUSDT")
    put(lake, "AAAUSDT", days(APRIL.start_ms, APRIL.end_ms), quote_volume=7.0)
    loads = []
    load = lake.load
    monkeypatch.setattr(lake, "load", lambda *how: loads.append(how[0]) or load(*how))
    found = measured(read(lake, "AAAUSDT"), "quote_volume")
    assert (found.values[31:61, 0] == 7).all()
    assert sorted(loads)[:3] == [
        Series(Market.SPOT, "AAAUSDT", Interval.D1).key("klines", month)
        for month in (MARCH, APRIL, MAY)
    ]
    loads.clear()
    both = measured(read(lake, "AAAUSDT", "BBBUSDT"), "quote_volume")
    assert loads == [YEAR_FILE]  # what was read of BBBUSDT before is in it still
    assert (both.values[31:61, 0] == 7).all()
    assert both.values[31, 1] == APRIL.start_ms // DAY


def test_a_damaged_years_file_is_made_anew(lake):
    first = read(lake, "AAAUSDT").table
    lake.write_bytes(YEAR_FILE, b"PAR1 no parquet")
    assert read(lake, "AAAUSDT").table.equals(first)
    assert lake.read(YEAR_FILE).num_rows == first.num_rows
