"""Stops, adaptive mean, the day's mean price: the same to the bit wherever history starts."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import talib

from alphamill.frames import Interval
from alphamill.indicators import INDICATORS, compute_indicators, kernels
from alphamill.indicators.trailing import BLOCK_BARS

KLINES_DIR = Path(__file__).parents[4] / "shared" / "data" / "klines"
HOUR_MS = 3_600_000
ANCHORED = ("psar_gap", "supertrend_gap", "kama_gap_10")
TRAILING = (*ANCHORED, "vwap_session_gap")
FIRST_NUMBER = 400_000  # of a bar early in a block, in the middle of a day
HISTORY_BARS = 2 * BLOCK_BARS - 1


def klines_of(n: int, interval: Interval = Interval.H1) -> pd.DataFrame:
    rng = np.random.default_rng(n)
    close = 30 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    open_ = np.r_[30.0, close[:-1]]
    return pd.DataFrame(
        {
            "open_time": interval.ms * (FIRST_NUMBER + np.arange(n)),
            "open": open_,
            "close": close,
            "high": np.maximum(open_, close) * (1 + 0.01 * rng.random(n)),
            "low": np.minimum(open_, close) * (1 - 0.01 * rng.random(n)),
            "volume": rng.lognormal(2, 1, n),
        }
    )


def trailing(klines: pd.DataFrame, interval: Interval = Interval.H1) -> pd.DataFrame:
    return compute_indicators(klines, TRAILING, interval)


def talib_gaps(klines: pd.DataFrame) -> pd.DataFrame:
    """TA-Lib over all the bars at once."""
    high, low, close = (klines[c].to_numpy(dtype=float) for c in ("high", "low", "close"))
    return pd.DataFrame(
        {
            "psar_gap": close / talib.SAR(high, low, acceleration=0.02, maximum=0.2) - 1,
            "supertrend_gap": 1 - talib.SUPERTREND(high, low, close, 10, 3.0)[0] / close,
            "kama_gap_10": close / talib.KAMA(close, timeperiod=10) - 1,
        }
    )


def assert_stop_is_talibs(got: pd.DataFrame, expected: pd.DataFrame) -> None:
    """But for one rounding of the stop and one of the quotient."""
    np.testing.assert_allclose(got["psar_gap"], expected["psar_gap"], rtol=0, atol=5e-16)


def test_history_is_two_blocks() -> None:
    for name in ANCHORED:
        assert INDICATORS[name].history_bars() == HISTORY_BARS
    assert INDICATORS["vwap_session_gap"].history_bars(Interval.H1) == 24


@pytest.mark.parametrize("start", [1, 300, BLOCK_BARS, 777, 1000])
def test_two_blocks_of_history_give_the_bits_of_all(start: int) -> None:
    klines = klines_of(2600)
    whole = trailing(klines).iloc[start + HISTORY_BARS :]
    late = trailing(klines.iloc[start:]).iloc[HISTORY_BARS:]
    assert late.notna().all(axis=None)
    pd.testing.assert_frame_equal(late, whole, check_exact=True)


def test_one_bar_less_than_two_blocks_would_not_do() -> None:
    """SuperTrend's line stays where eleven calm bars put it, as long as nothing turns it."""
    n = 3 * BLOCK_BARS
    rows = np.arange(n)
    reach = np.where((rows >= BLOCK_BARS) & (rows < BLOCK_BARS + 11), 0.1, 10.0)
    klines = klines_of(n).assign(open=100.0, high=100 + reach, low=100 - reach, close=100.0)
    klines["open_time"] = HOUR_MS * rows
    last = trailing(klines).iloc[-1]
    enough = trailing(klines.iloc[-HISTORY_BARS - 1 :]).iloc[-1]
    short = trailing(klines.iloc[-HISTORY_BARS:]).iloc[-1]
    assert last["supertrend_gap"] == pytest.approx(3 * 0.2 / 100)
    pd.testing.assert_series_equal(enough, last, check_exact=True)
    assert short["supertrend_gap"] > 5 * last["supertrend_gap"]


@pytest.mark.parametrize("interval", [Interval.M5, Interval.H1, Interval.W1, Interval.MO1])
def test_bars_one_at_a_time_give_the_batch_to_the_bit(interval: Interval) -> None:
    names = [name for name in TRAILING if INDICATORS[name].exists_at(interval)]
    step = Interval.D1 if interval is Interval.MO1 else interval
    klines = klines_of(3 * BLOCK_BARS + 20, step)
    if interval is Interval.MO1:
        months = np.datetime64("1970-01", "M") + np.arange(len(klines))
        klines["open_time"] = months.astype("datetime64[ms]").astype(np.int64)
    batch = compute_indicators(klines, names, interval).to_numpy()
    ends = [*range(1, 30), *range(1000, 1030), *range(1340, 1360), *range(1530, 1557)]
    for end in ends:
        grown = compute_indicators(klines.iloc[:end], names, interval).to_numpy()
        assert grown.tobytes() == batch[:end].tobytes()


def test_the_first_two_blocks_are_talibs_own() -> None:
    klines = klines_of(700)
    expected = talib_gaps(klines)
    got = trailing(klines)[list(ANCHORED)]
    assert_stop_is_talibs(got, expected)
    pd.testing.assert_frame_equal(got, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("file", ["spot/ETHUSDT-1h", "um/XRPUSDT-4h"])
def test_on_recorded_bars_all_of_history_says_the_same(file: str) -> None:
    path = KLINES_DIR / f"{file}.parquet"
    if not path.exists():
        pytest.skip(f"no {path.name} beside the repository")
    klines = pd.read_parquet(path)
    interval = Interval(file.rpartition("-")[2])
    breaks = np.flatnonzero(np.diff(klines["open_time"]) != interval.ms) + 1
    edges = [0, *breaks, len(klines)]
    start, end = max(pairwise(edges), key=lambda run: run[1] - run[0])
    stretch = klines.iloc[start:end].reset_index(drop=True)
    assert len(stretch) > 8 * BLOCK_BARS
    expected = talib_gaps(stretch)
    got = trailing(stretch, interval)[list(ANCHORED)]
    high, low, close = (stretch[c].to_numpy() for c in ("high", "low", "close"))
    stop = np.empty(len(stretch))
    kernels.recursive.parabolic_stop(high, low, 0.02, 0.2, stop)
    assert (close / stop - 1).tobytes() == got["psar_gap"].to_numpy().tobytes()
    assert_stop_is_talibs(got, expected)
    pd.testing.assert_frame_equal(got, expected, rtol=0, atol=1e-12)


def test_a_stop_is_on_the_trends_other_side() -> None:
    close = np.r_[np.linspace(10, 20, 60), np.linspace(20, 8, 60)]
    klines = klines_of(120).assign(open=close, high=close * 1.001, low=close * 0.999, close=close)
    frame = trailing(klines)
    for name in ("psar_gap", "supertrend_gap"):
        assert (frame[name].iloc[20:59] > 0).all(), name
        assert (frame[name].iloc[90:] < 0).all(), name


def test_a_mean_that_adapts_keeps_close_to_a_straight_way() -> None:
    straight = np.linspace(10, 11, 400)
    wandering = straight * (1 + 0.05 * (np.arange(400) % 2))
    gaps = [
        compute_indicators(klines_of(400).assign(open=c, high=c, low=c, close=c), ["kama_gap_10"])
        for c in (straight, wandering)
    ]
    # An EMA lags a line by its slope times (1 - a) / a; the weight of a straight way is (2/3)**2.
    lag = (straight[1] - straight[0]) * (1 - 4 / 9) / (4 / 9)
    expected = straight[-1] / (straight[-1] - lag) - 1
    assert gaps[0]["kama_gap_10"].iloc[-1] == pytest.approx(expected)
    assert gaps[1]["kama_gap_10"].iloc[-20:].abs().max() > 10 * expected


def test_a_day_begins_at_midnight_and_without_its_first_bar_there_is_none() -> None:
    klines = klines_of(100)  # FIRST_NUMBER % 24 = 16: midnight is row 8
    klines.loc[32:34, "volume"] = 0.0  # a day that begins without a trade
    gap = trailing(klines)["vwap_session_gap"]
    assert gap.iloc[:24].isna().all()
    assert gap.isna().iloc[24:].to_numpy().nonzero()[0].tolist() == [8, 9, 10]
    typical = klines[["high", "low", "close"]].mean(axis=1)
    assert gap[56] == pytest.approx(klines["close"][56] / typical[56] - 1)
    assert gap[57] == pytest.approx(
        klines["close"][57] / np.average(typical[56:58], weights=klines["volume"][56:58]) - 1
    )
    holed = trailing(klines.drop(index=60))["vwap_session_gap"]
    assert holed.loc[61:84].isna().all()
    pd.testing.assert_series_equal(holed.loc[85:], gap.loc[85:], check_exact=True)
