"""What is read of a frame does not depend on how pandas keeps it or how large it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from alphamill.indicators.columns import read_columns, read_times_ms

FIELDS = ("open", "close", "trades")


def klines_of(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "open_time": 1_700_000_000_000 + 60_000 * np.arange(n),
            "open": rng.random(n),
            "trades": rng.integers(1, 1 << 60, n),
            "close": rng.random(n).astype(np.float32),
        }
    )


def assert_read(klines: pd.DataFrame) -> None:
    """Each column as it is in the frame, in the one kind of array that kernels are compiled for."""
    columns = read_columns(klines, FIELDS)
    assert tuple(columns) == FIELDS
    for field, values in columns.items():
        assert values.flags.carray, field
        assert values.dtype == np.float64
        expected = klines[field].to_numpy(dtype=np.float64, na_value=np.nan)
        assert_array_equal(values, expected)


def with_text(klines: pd.DataFrame) -> pd.DataFrame:
    return klines.assign(symbol="BTCUSDT")


def with_unknown_trades(klines: pd.DataFrame) -> pd.DataFrame:
    trades = klines["trades"].astype("Int64")
    trades.iloc[3] = pd.NA
    return klines.assign(trades=trades)


def with_stamps(klines: pd.DataFrame) -> pd.DataFrame:
    stamps = pd.to_datetime(klines["open_time"], unit="ms", utc=True)
    return klines.assign(open_time=stamps, close_time=pd.NaT)


def with_a_name_twice(klines: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([klines, klines[["open_time"]]], axis=1)


def of_floats_alone(klines: pd.DataFrame) -> pd.DataFrame:
    return klines.drop(columns="open_time").astype(np.float64)


def with_a_number_beyond_floats(klines: pd.DataFrame) -> pd.DataFrame:
    return klines.assign(note=pd.Series([10**400] * len(klines), dtype=object))


def with_what_is_not_known(klines: pd.DataFrame) -> pd.DataFrame:
    return klines.assign(note=pd.Series([pd.NA] * len(klines), dtype=object))


@pytest.mark.parametrize("n", [0, 5, 20_000])
@pytest.mark.parametrize(
    "change",
    [
        with_text,
        with_unknown_trades,
        with_stamps,
        with_a_name_twice,
        of_floats_alone,
        with_a_number_beyond_floats,
        with_what_is_not_known,
    ],
)
def test_columns_are_read_whatever_lies_beside_them(
    n: int, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    klines = klines_of(n)
    assert_read(change(klines) if n else change(klines_of(5)).iloc[:0])


def test_a_column_that_is_not_there_is_nan() -> None:
    for n in (5, 20_000):
        columns = read_columns(klines_of(n).drop(columns="trades"), FIELDS)
        assert np.isnan(columns["trades"]).all()
        assert len(columns["trades"]) == n


def test_times_are_milliseconds_whatever_the_stamps_unit() -> None:
    open_time = klines_of(9)["open_time"]
    for unit in ("ms", "us", "ns"):
        for zone in ("UTC", "Asia/Tokyo", None):
            stamps = pd.to_datetime(open_time, unit="ms", utc=zone is not None).dt.as_unit(unit)
            if zone:
                stamps = stamps.dt.tz_convert(zone)
            assert_array_equal(read_times_ms(stamps), open_time)
    assert_array_equal(read_times_ms(open_time), open_time)
