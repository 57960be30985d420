"""36 indicator columns against TA-Lib called directly and against pandas.

Run: python benchmarks/indicators_speed.py [rows ...] (default 1000 100000 2600000). Values are
compared first (with pandas up to 100,000 rows), then engines take turns; figures are CPU
milliseconds, system time included. pandas has one turn at 2.6 million rows, which takes a minute.
Ours is the public call: a frame in, validation, holes, ranges, a frame out.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import talib

from alphamill.frames import Interval
from alphamill.indicators import compute_indicators

Array = np.ndarray
Columns = dict[str, Array]
Engine = Callable[[pd.DataFrame], object]
CHECK_PANDAS_UP_TO = 100_000
WARM_UP_BARS = 50


def klines_of(n: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.001, n)))
    open_ = close * np.exp(rng.normal(0, 0.0005, n))
    return pd.DataFrame(
        {
            "open_time": 60_000 * np.arange(n),
            "open": open_,
            "close": close,
            "high": np.maximum(open_, close) * (1 + 0.001 * rng.random(n)),
            "low": np.minimum(open_, close) * (1 - 0.001 * rng.random(n)),
            "volume": rng.lognormal(3, 1, n),
        }
    )


def by_talib(k: pd.DataFrame) -> Columns:
    """The 36 columns by TA-Lib's own functions, shared results called once."""
    o, h, l, c, v = (k[f].to_numpy() for f in ("open", "high", "low", "close", "volume"))  # noqa: E741  the field's own letters
    ma_20 = talib.SMA(c, 20)
    ema_12, ema_26 = talib.EMA(c, 12), talib.EMA(c, 26)
    macd, macd_signal, macd_hist = talib.MACD(c, 12, 26, 9)
    stoch_k, stoch_d = talib.STOCH(h, l, c, 14, 3, 0, 3, 0)
    upper, middle, lower = talib.BBANDS(c, 20)
    atr_14 = talib.ATR(h, l, c, 14)
    top, bottom = talib.MAX(h, 20), talib.MIN(l, 20)
    returns = np.full(len(c), np.nan)
    returns[1:] = c[1:] / c[:-1] - 1
    corr = np.full(len(c), np.nan)
    corr[1:] = talib.CORREL(returns[1:], v[1:], 20)
    return {
        "ma_5": talib.SMA(c, 5),
        "ma_20": ma_20,
        "ma_gap_20": c / ma_20 - 1,
        "ema_gap_12": c / ema_12 - 1,
        "ema_gap_26": c / ema_26 - 1,
        "ema_gap_50": c / talib.EMA(c, 50) - 1,
        "macd": macd,
        "macd_signal": macd_signal,
        "macd_hist": macd_hist,
        "ppo": talib.PPO(c, 12, 26, 1),
        "rsi_6": talib.RSI(c, 6),
        "rsi_14": talib.RSI(c, 14),
        "stoch_k_14": stoch_k,
        "stoch_d_14": stoch_d,
        "williams_r_14": talib.WILLR(h, l, c, 14),
        "cci_20": talib.CCI(h, l, c, 20),
        "cmo_14": talib.CMO(c, 14),
        "ultimate_osc": talib.ULTOSC(h, l, c, 7, 14, 28),
        "roc_10": talib.ROC(c, 10),
        "adx_14": talib.ADX(h, l, c, 14),
        "plus_di_14": talib.PLUS_DI(h, l, c, 14),
        "minus_di_14": talib.MINUS_DI(h, l, c, 14),
        "aroon_osc_14": talib.AROONOSC(h, l, 14),
        "trix_15": talib.TRIX(c, 15),
        "slope_14": talib.LINEARREG_SLOPE(c, 14) / c,
        "atr_14": atr_14,
        "natr_14": talib.NATR(h, l, c, 14),
        "bb_width": (upper - lower) / middle,
        "bb_position": (c - lower) / (upper - lower),
        "keltner_position_20": (c - talib.EMA(c, 20)) / (4 * talib.ATR(h, l, c, 10)) + 0.5,
        "donchian_position_20": (c - bottom) / (top - bottom),
        "mfi_14": talib.MFI(h, l, c, v, 14),
        "cmf_20": talib.CMF(h, l, c, v, 20),
        "volume_ratio": v / talib.SMA(v, 20),
        "price_volume_corr_20": corr,
        "bop": talib.BOP(o, h, l, c),
    }


NAMES = tuple(by_talib(klines_of(100)))


def by_alphamill(k: pd.DataFrame) -> pd.DataFrame:
    return compute_indicators(k, NAMES, Interval.M1)


def by_pandas(k: pd.DataFrame) -> Columns:
    """The 36 columns as pandas users write them; EMAs start from their first value."""
    o, h, l, c, v = (k[f] for f in ("open", "high", "low", "close", "volume"))  # noqa: E741  the field's own letters

    def ema(x: pd.Series, n: int) -> pd.Series:
        return x.ewm(span=n, adjust=False).mean()

    def rma(x: pd.Series, n: int) -> pd.Series:
        return x.ewm(alpha=1 / n, adjust=False).mean()

    def strength(n: int) -> pd.Series:
        up, down = rma(change.clip(lower=0), n), rma(-change.clip(upper=0), n)
        return 100 * up / (up + down)

    def pressure(n: int) -> pd.Series:
        return buying.rolling(n).sum() / true_range.rolling(n).sum()

    before, change = c.shift(), c.diff()
    ma_20, dev = c.rolling(20).mean(), c.rolling(20).std(ddof=0)
    macd = ema(c, 12) - ema(c, 26)
    signal = ema(macd, 9)
    span_14 = h.rolling(14).max() - l.rolling(14).min()
    stoch_k = (100 * (c - l.rolling(14).min()) / span_14).rolling(3).mean()
    typical = (h + l + c) / 3
    true_range = pd.concat([h - l, (h - before).abs(), (l - before).abs()], axis=1).max(axis=1)
    atr_14 = rma(true_range, 14)
    up, down = h.diff(), -l.diff()
    plus = 100 * rma(up.where((up > down) & (up > 0), 0.0), 14) / atr_14
    minus = 100 * rma(down.where((down > up) & (down > 0), 0.0), 14) / atr_14
    low_or_close = np.minimum(l, before)
    buying = c - low_or_close
    triple = ema(ema(ema(c, 15), 15), 15)
    flow, moved = typical * v, typical.diff()
    gained = flow.where(moved > 0, 0.0).rolling(14).sum()
    lost = flow.where(moved < 0, 0.0).rolling(14).sum()
    money = ((2 * c - h - l) / (h - l) * v).rolling(20).sum() / v.rolling(20).sum()
    up_14, down_14 = rma(change.clip(lower=0), 14), rma(-change.clip(upper=0), 14)
    weights = (np.arange(14) - 6.5) / 227.5
    top, bottom = h.rolling(20).max(), l.rolling(20).min()
    deviation = typical.rolling(20).apply(lambda x: np.abs(x - x.mean()).mean(), raw=True)
    top_age = h.rolling(15).apply(np.argmax, raw=True)
    bottom_age = l.rolling(15).apply(np.argmin, raw=True)
    columns = {
        "ma_5": c.rolling(5).mean(),
        "ma_20": ma_20,
        "ma_gap_20": c / ma_20 - 1,
        "ema_gap_12": c / ema(c, 12) - 1,
        "ema_gap_26": c / ema(c, 26) - 1,
        "ema_gap_50": c / ema(c, 50) - 1,
        "macd": macd,
        "macd_signal": signal,
        "macd_hist": macd - signal,
        "ppo": 100 * (ema(c, 12) / ema(c, 26) - 1),
        "rsi_6": strength(6),
        "rsi_14": strength(14),
        "stoch_k_14": stoch_k,
        "stoch_d_14": stoch_k.rolling(3).mean(),
        "williams_r_14": -100 * (h.rolling(14).max() - c) / span_14,
        "cci_20": (typical - typical.rolling(20).mean()) / (0.015 * deviation),
        "cmo_14": 100 * (up_14 - down_14) / (up_14 + down_14),
        "ultimate_osc": 100 * (4 * pressure(7) + 2 * pressure(14) + pressure(28)) / 7,
        "roc_10": 100 * c.pct_change(10),
        "adx_14": rma(100 * (plus - minus).abs() / (plus + minus), 14),
        "plus_di_14": plus,
        "minus_di_14": minus,
        "aroon_osc_14": (top_age - bottom_age) / 14 * 100,
        "trix_15": 100 * triple.pct_change(),
        "slope_14": c.rolling(14).apply(lambda x: x @ weights, raw=True) / c,
        "atr_14": atr_14,
        "natr_14": 100 * atr_14 / c,
        "bb_width": 4 * dev / ma_20,
        "bb_position": (c - ma_20 + 2 * dev) / (4 * dev),
        "keltner_position_20": (c - ema(c, 20)) / (4 * rma(true_range, 10)) + 0.5,
        "donchian_position_20": (c - bottom) / (top - bottom),
        "mfi_14": 100 * gained / (gained + lost),
        "cmf_20": money,
        "volume_ratio": v / v.rolling(20).mean(),
        "price_volume_corr_20": c.pct_change().rolling(20).corr(v),
        "bop": (c - o) / (h - l),
    }
    return {name: column.to_numpy() for name, column in columns.items()}


ENGINES: dict[str, Engine] = {"alphamill": by_alphamill, "talib": by_talib, "pandas": by_pandas}


def check_equal(ours: pd.DataFrame, theirs: Columns, peer: str, first: int) -> None:
    """Rows from `first`: where the peers' ways of starting an EMA are forgotten."""
    for name in NAMES:
        left, right = ours[name].to_numpy()[first:], theirs[name][first:]
        scale = np.nanmax(np.abs(right))
        known = np.isfinite(left) & np.isfinite(right)
        assert known.sum() >= len(known) - WARM_UP_BARS, (peer, name)
        np.testing.assert_allclose(
            left[known], right[known], rtol=1e-6, atol=1e-6 * scale, err_msg=f"{peer} {name}"
        )


def cpu_ms(run: Engine, k: pd.DataFrame, repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        run(k)
    return (time.process_time() - start) * 1000 / repeats


def rounds_of(n: int, engine: str) -> tuple[int, int]:
    """Rounds, and calls a round."""
    if n <= 10_000:
        return (5, 1) if engine == "pandas" else (25, 20)
    if n <= 1_000_000:
        return (3, 1) if engine == "pandas" else (11, 1)
    return (1, 1) if engine == "pandas" else (7, 1)


def measure(n: int) -> None:
    k = klines_of(n)
    ours, by_peer = by_alphamill(k), by_talib(k)
    check_equal(ours, by_peer, "talib", 0)
    if n <= CHECK_PANDAS_UP_TO:
        check_equal(ours, by_pandas(k), "pandas", n // 2)
    del ours, by_peer
    times: dict[str, list[float]] = {name: [] for name in ENGINES}
    for turn in range(rounds_of(n, "alphamill")[0]):
        for name, run in ENGINES.items():
            rounds, calls = rounds_of(n, name)
            if turn < rounds:
                gc.collect()
                times[name].append(cpu_ms(run, k, calls))
    median = {name: float(np.median(values)) for name, values in times.items()}
    least = {name: min(values) for name, values in times.items()}
    cells = "  ".join(f"{name} {median[name]:9.2f} ({least[name]:9.2f})" for name in ENGINES)
    print(
        f"{n:9,} rows  {cells}  alphamill / talib {median['alphamill'] / median['talib']:.2f} "
        f"({least['alphamill'] / least['talib']:.2f}), at most 1.15 wanted  "
        f"pandas / alphamill {median['pandas'] / median['alphamill']:.0f}, at least 40 wanted",
        flush=True,
    )


def main() -> None:
    print(f"{len(NAMES)} columns, median (least) CPU ms")
    for n in map(int, sys.argv[1:] or ("1000", "100000", "2600000")):
        measure(n)


if __name__ == "__main__":
    main()
