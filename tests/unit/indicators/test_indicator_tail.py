"""The newest bar's indicators are those that the whole history gives, to the bit."""

import numpy as np
import pandas as pd
import pytest

from alphamill.frames import Interval
from alphamill.grid import open_ms
from alphamill.indicators import IndicatorTail, compute_indicators, history_bars, indicator_names

FIRST = 438_291


def klines_with_holes(interval: Interval, n: int, seed: int) -> pd.DataFrame:
    """Decimal prices, bars that are missing, without trades or at rest."""
    rng = np.random.default_rng(seed)
    close = np.round(30 * np.exp(np.cumsum(rng.normal(0, 0.01, n))), 2)
    open_ = np.r_[30.0, close[:-1]]
    rest = slice(n // 3, n // 3 + 40)
    open_[rest] = close[rest] = close[n // 3]
    volume = np.round(rng.lognormal(2, 1, n), 3)
    volume[rest] = 0.0
    quote = volume * (open_ + close) / 2
    frame = pd.DataFrame(
        {
            "open_time": [open_ms(interval, FIRST + bar) for bar in range(n)],
            "open": open_,
            "high": np.maximum(open_, close) + np.round(rng.exponential(0.1, n), 2),
            "low": np.minimum(open_, close) - np.round(rng.exponential(0.1, n), 2),
            "close": close,
            "volume": volume,
            "quote_volume": quote,
            "trades": rng.integers(1, 99, n),
            "taker_buy_base": volume * 0.4,
            "taker_buy_quote": quote * 0.4,
        }
    )
    frame.loc[rest, ["high", "low"]] = close[n // 3]
    return frame.drop(index=[n // 4, n - 700, n - 699]).reset_index(drop=True)


@pytest.mark.parametrize("interval", [Interval.H1, Interval.M15, Interval.D1])
def test_every_indicator(interval):
    back = history_bars(interval)
    klines = klines_with_holes(interval, 2 * back + 500, seed=back)
    names = indicator_names(interval)
    tail = IndicatorTail(names, interval)
    assert tail.lookback_bars == back
    whole = compute_indicators(klines, names, interval).to_numpy()
    for row in (back + 1, back + 60, back + 333, len(klines) - 650, len(klines) - 1):
        given = klines.iloc[max(0, row - back - 40) : row + 3]  # and later bars
        newest = tail.newest(given, int(klines["open_time"].iloc[row]))
        assert np.array_equal(newest, whole[row], equal_nan=True)


def test_a_short_history_is_taken_as_it_is_and_a_bar_that_is_not_there_has_no_value():
    klines = klines_with_holes(Interval.H1, 1_000, seed=1)
    tail = IndicatorTail(("rsi_14", "returns"), Interval.H1)
    young = klines.iloc[:30]
    whole = compute_indicators(young, tail.names, Interval.H1).to_numpy()
    assert np.isfinite(whole[-1]).all()
    newest = int(young["open_time"].iloc[-1])
    assert np.array_equal(tail.newest(young, newest), whole[-1])
    assert np.isnan(tail.newest(young, newest + Interval.H1.ms)).all()
    assert np.isnan(tail.newest(young.iloc[:0], newest)).all()
