"""Every column against TA-Lib called directly, or against its formula written out plainly."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
import talib

from alphamill.frames import Interval
from alphamill.indicators import INDICATORS, compute_indicators
from alphamill.indicators.bars import Bars

N = 400


def make_klines(n: int = N, seed: int = 7, step_ms: int = 3_600_000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    open_ = np.r_[100.0, close[:-1]] * np.exp(rng.normal(0, 0.001, n))
    high = np.maximum(open_, close) * (1 + rng.random(n) * 0.005)
    low = np.minimum(open_, close) * (1 - rng.random(n) * 0.005)
    volume = rng.lognormal(3, 1, n)
    quote = volume * (low + (high - low) * rng.random(n))
    return pd.DataFrame(
        {
            "open_time": 1_600_000_200_000 // step_ms * step_ms + step_ms * np.arange(n),
            "open": open_,
            "high": high,
            "low": low,
            "close": close,
            "volume": volume,
            "quote_volume": quote,
            "trades": rng.integers(1, 500, n),
            "taker_buy_base": volume * rng.random(n),
            "taker_buy_quote": quote * rng.random(n),
        }
    )


K = make_klines()
FIRST, H, L, C, V, Q, T, B = (
    K[c].to_numpy(dtype=float)
    for c in ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_base")
)
R = np.r_[np.nan, C[1:] / C[:-1] - 1]
TYPICAL = (H + L + C) / 3


def window(length: int, formula: Callable[[slice], float]) -> np.ndarray:
    """The formula on each window of `length` rows, by brute force; NaN before."""
    rows = [math.nan] * (length - 1)
    rows += [formula(slice(i - length + 1, i + 1)) for i in range(length - 1, N)]
    return np.array(rows)


def after_first(length: int, formula: Callable[[slice], float]) -> np.ndarray:
    """As `window`, for series whose first value is not defined."""
    values = window(length, formula)
    values[length - 1] = math.nan
    return values


def true_range(i: int) -> float:
    return max(H[i] - L[i], abs(H[i] - C[i - 1]), abs(L[i] - C[i - 1]))


TR = np.array([math.nan, *(true_range(i) for i in range(1, N))])


def span_position(length: int) -> np.ndarray:
    return window(length, lambda w: (C[w][-1] - L[w].min()) / (H[w].max() - L[w].min()))


def choppiness(w: slice) -> float:
    before = C[w.start - 1 : w.stop - 1]
    top, bottom = max(H[w].max(), before.max()), min(L[w].min(), before.min())
    return 100 * math.log10(TR[w].sum() / (top - bottom)) / math.log10(14)


def choppiness_column() -> np.ndarray:
    return np.array([math.nan] * 14 + [choppiness(slice(i - 13, i + 1)) for i in range(14, N)])


def vortex(w: slice) -> float:
    lagged = slice(w.start - 1, w.stop - 1)
    up, down = np.abs(H[w] - L[lagged]).sum(), np.abs(L[w] - H[lagged]).sum()
    return (up - down) / TR[w].sum()


def vortex_column() -> np.ndarray:
    return np.array([math.nan] * 14 + [vortex(slice(i - 13, i + 1)) for i in range(14, N)])


def bollinger() -> tuple[np.ndarray, np.ndarray]:
    mid, dev = window(20, lambda w: C[w].mean()), window(20, lambda w: C[w].std())
    return mid, dev


def money_position() -> np.ndarray:
    return (2 * C - H - L) / (H - L)


def session_vwap_gap() -> np.ndarray:
    """TA-Lib's VWAP, which begins with its input, of each day by itself."""
    day = K["open_time"] // 86_400_000
    parts = [
        C[w] / talib.VWAP(H[w], L[w], C[w], V[w]) - 1
        for w in (np.flatnonzero(day == d) for d in day.unique())
    ]
    return np.r_[[np.nan] * 24, np.concatenate(parts)[24:]]


IMBALANCE = 2 * B / V - 1

ORACLES: dict[str, Callable[[], np.ndarray]] = {
    # TA-Lib, called with the parameters spelt out
    "rsi_6": lambda: talib.RSI(C, timeperiod=6),
    "rsi_14": lambda: talib.RSI(C, timeperiod=14),
    "roc_10": lambda: talib.ROC(C, timeperiod=10),
    "stoch_k_14": lambda: np.r_[
        [np.nan] * 15,
        talib.STOCH(
            H, L, C, fastk_period=14, slowk_period=3, slowk_matype=0, slowd_period=1, slowd_matype=0
        )[0][15:],
    ],
    "stoch_d_14": lambda: talib.STOCH(
        H, L, C, fastk_period=14, slowk_period=3, slowk_matype=0, slowd_period=3, slowd_matype=0
    )[1],
    "williams_r_14": lambda: talib.WILLR(H, L, C, timeperiod=14),
    "cci_20": lambda: talib.CCI(H, L, C, timeperiod=20),
    "mom_10": lambda: talib.MOM(C, timeperiod=10),
    "cmo_14": lambda: talib.CMO(C, timeperiod=14),
    "ultimate_osc": lambda: talib.ULTOSC(H, L, C, timeperiod1=7, timeperiod2=14, timeperiod3=28),
    "bop": lambda: talib.BOP(FIRST, H, L, C),
    "macd": lambda: talib.MACD(C, fastperiod=12, slowperiod=26, signalperiod=9)[0],
    "macd_signal": lambda: talib.MACD(C, fastperiod=12, slowperiod=26, signalperiod=9)[1],
    "macd_hist": lambda: talib.MACD(C, fastperiod=12, slowperiod=26, signalperiod=9)[2],
    "ppo": lambda: 100 * (talib.EMA(C, 12) / talib.EMA(C, 26) - 1),
    "adx_14": lambda: talib.ADX(H, L, C, timeperiod=14),
    "plus_di_14": lambda: talib.PLUS_DI(H, L, C, timeperiod=14),
    "minus_di_14": lambda: talib.MINUS_DI(H, L, C, timeperiod=14),
    "aroon_osc_14": lambda: talib.AROONOSC(H, L, timeperiod=14),
    "trix_15": lambda: talib.TRIX(C, timeperiod=15),
    "atr_14": lambda: talib.ATR(H, L, C, timeperiod=14),
    "natr_14": lambda: talib.NATR(H, L, C, timeperiod=14),
    "ema_gap_12": lambda: C / talib.EMA(C, timeperiod=12) - 1,
    "ema_gap_26": lambda: C / talib.EMA(C, timeperiod=26) - 1,
    "ema_gap_50": lambda: C / talib.EMA(C, timeperiod=50) - 1,
    "keltner_position_20": lambda: (C - talib.EMA(C, 20)) / (4 * talib.ATR(H, L, C, 10)) + 0.5,
    "mfi_14": lambda: talib.MFI(H, L, C, V, timeperiod=14),
    "wma_gap_20": lambda: C / talib.WMA(C, timeperiod=20) - 1,
    "hma_gap_20": lambda: C / talib.HMA(C, timeperiod=20) - 1,
    "rma_gap_14": lambda: C / talib.RMA(C, timeperiod=14) - 1,
    "dema_gap_20": lambda: C / talib.DEMA(C, timeperiod=20) - 1,
    "tema_gap_20": lambda: C / talib.TEMA(C, timeperiod=20) - 1,
    "forecast_gap_14": lambda: C / talib.TSF(C, timeperiod=14) - 1,
    "stoch_rsi_14": lambda: talib.STOCHRSI(
        C, timeperiod=14, fastk_period=14, fastd_period=1, fastd_matype=0
    )[0],
    "psar_gap": lambda: C / talib.SAR(H, L, acceleration=0.02, maximum=0.2) - 1,
    "supertrend_gap": lambda: 1 - talib.SUPERTREND(H, L, C, timeperiod=10, multiplier=3)[0] / C,
    "kama_gap_10": lambda: C / talib.KAMA(C, timeperiod=10) - 1,
    "vwap_session_gap": session_vwap_gap,
    "force_13": lambda: talib.EFI(C, V, timeperiod=13) / C / window(20, lambda w: V[w].mean()),
    "chaikin_osc": lambda: (
        talib.ADOSC(H, L, C, V, fastperiod=3, slowperiod=10) / window(20, lambda w: V[w].mean())
    ),
    # plain formulas
    "log_volatility_20": lambda: after_first(20, lambda w: np.log(1 + R[w]).std(ddof=1)),
    "pvt_flow_20": lambda: after_first(20, lambda w: (R[w] * V[w]).sum() / V[w].sum()),
    "returns": lambda: R,
    "returns_1h": lambda: R,
    "returns_1d": lambda: np.r_[[np.nan] * 24, C[24:] / C[:-24] - 1],
    "ma_5": lambda: window(5, lambda w: C[w].mean()),
    "ma_20": lambda: window(20, lambda w: C[w].mean()),
    "ma_gap_20": lambda: window(20, lambda w: C[w][-1] / C[w].mean() - 1),
    "slope_14": lambda: window(14, lambda w: np.polyfit(np.arange(14), C[w], 1)[0] / C[w][-1]),
    "vortex_14": vortex_column,
    "choppiness_14": choppiness_column,
    "efficiency_ratio_10": lambda: window(
        11, lambda w: abs(C[w][-1] - C[w][0]) / np.abs(np.diff(C[w])).sum()
    ),
    "volatility_20": lambda: after_first(20, lambda w: R[w].std(ddof=1)),
    "volatility_1d": lambda: after_first(24, lambda w: R[w].std(ddof=1)),
    "bb_width": lambda: 4 * bollinger()[1] / bollinger()[0],
    "bb_position": lambda: (C - bollinger()[0] + 2 * bollinger()[1]) / (4 * bollinger()[1]),
    "donchian_position_20": lambda: span_position(20),
    "parkinson_20": lambda: window(
        20, lambda w: math.sqrt((np.log(H[w] / L[w]) ** 2).mean() / (4 * math.log(2)))
    ),
    "garman_klass_20": lambda: window(
        20,
        lambda w: math.sqrt(
            (
                0.5 * np.log(H[w] / L[w]) ** 2
                - (2 * math.log(2) - 1) * np.log(C[w] / FIRST[w]) ** 2
            ).mean()
        ),
    ),
    "rogers_satchell_20": lambda: window(
        20,
        lambda w: math.sqrt(
            (
                np.log(H[w] / C[w]) * np.log(H[w] / FIRST[w])
                + np.log(L[w] / C[w]) * np.log(L[w] / FIRST[w])
            ).mean()
        ),
    ),
    "downside_20": lambda: after_first(
        20, lambda w: math.sqrt((np.where(R[w] < 0, R[w], 0) ** 2).mean())
    ),
    "bar_range": lambda: (H - L) / C,
    "volume_ratio": lambda: window(20, lambda w: V[w][-1] / V[w].mean()),
    "volume_zscore_20": lambda: window(20, lambda w: (V[w][-1] - V[w].mean()) / V[w].std(ddof=1)),
    "obv_flow_20": lambda: after_first(20, lambda w: (np.sign(R[w]) * V[w]).sum() / V[w].sum()),
    "cmf_20": lambda: window(20, lambda w: (money_position()[w] * V[w]).sum() / V[w].sum()),
    "vwma_gap_20": lambda: window(20, lambda w: C[w][-1] / np.average(C[w], weights=V[w]) - 1),
    "price_volume_corr_20": lambda: after_first(20, lambda w: np.corrcoef(R[w], V[w])[0, 1]),
    "amihud_20": lambda: after_first(20, lambda w: (np.abs(R[w]) / Q[w]).mean()),
    "vwap_gap": lambda: C * V / Q - 1,
    "taker_buy_ratio": lambda: B / V,
    "taker_imbalance": lambda: (B - (V - B)) / V,
    "taker_imbalance_20": lambda: window(20, lambda w: (2 * B[w] - V[w]).sum() / V[w].sum()),
    "taker_imbalance_z_20": lambda: window(
        20, lambda w: (IMBALANCE[w][-1] - IMBALANCE[w].mean()) / IMBALANCE[w].std(ddof=1)
    ),
    "trade_size": lambda: Q / T,
    "trade_size_ratio_20": lambda: window(
        20, lambda w: Q[w][-1] / T[w][-1] / (Q[w].sum() / T[w].sum())
    ),
    "trades_ratio_20": lambda: window(20, lambda w: T[w][-1] / T[w].mean()),
}


@pytest.fixture(scope="module")
def computed() -> pd.DataFrame:
    return compute_indicators(K, interval=Interval.H1)


def test_every_indicator_has_an_oracle() -> None:
    assert set(ORACLES) == set(INDICATORS)


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_equals_its_oracle(name: str, computed: pd.DataFrame) -> None:
    with np.errstate(invalid="ignore"):
        expected = ORACLES[name]()
    scale = np.nanmax(np.abs(expected))
    np.testing.assert_allclose(
        computed[name].to_numpy(), expected, rtol=1e-9, atol=1e-11 * scale, equal_nan=True
    )


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_warm_up_is_as_recorded(name: str, computed: pd.DataFrame) -> None:
    valid = np.flatnonzero(computed[name].notna())
    assert valid[0] == INDICATORS[name].warmup_bars(Interval.H1)
    assert len(valid) == N - valid[0]


def test_figures_small_enough_to_check_by_hand() -> None:
    klines = K.head(21).assign(
        open=10.0,
        high=12.0,
        low=9.0,
        close=[10.0] * 20 + [11.0],
        volume=[2.0] * 20 + [4.0],
        taker_buy_base=[1.0] * 20 + [3.0],
    )
    last = compute_indicators(klines, interval=Interval.H1).iloc[-1]
    assert last["returns"] == pytest.approx(0.1)
    assert last["ma_5"] == pytest.approx(10.2)
    assert last["volume_ratio"] == pytest.approx(4 / 2.1)  # (19 * 2 + 4) / 20 = 2.1
    assert last["taker_buy_ratio"] == pytest.approx(0.75)
    assert last["taker_imbalance_20"] == pytest.approx(2 / 42)
    assert last["donchian_position_20"] == pytest.approx(2 / 3)
    assert last["obv_flow_20"] == pytest.approx(4 / 42)
    assert last["bb_width"] == pytest.approx(4 * math.sqrt(0.0475) / 10.05)  # var 1/20 - 1/400
    assert last["parkinson_20"] == pytest.approx(math.log(4 / 3) / math.sqrt(4 * math.log(2)))


@pytest.mark.parametrize(
    ("interval", "hour", "day"),
    [
        (Interval.M5, 12, 288),
        (Interval.M15, 4, 96),
        (Interval.H1, 1, 24),
        (Interval.H4, 0, 6),
        (Interval.D1, 0, 1),
    ],
)
def test_spans_of_time_are_as_many_bars_at_each_interval(
    interval: Interval, hour: int, day: int
) -> None:
    klines = make_klines(step_ms=interval.ms)
    close = klines["close"]
    frame = compute_indicators(klines)
    returns = close / close.shift(1) - 1
    expected = {"returns_1d": close / close.shift(day) - 1}
    if hour:
        expected["returns_1h"] = close / close.shift(hour) - 1
    if day > 1:
        expected["volatility_1d"] = returns.rolling(day).std()
        typical = (klines["high"] + klines["low"] + close) / 3
        today = klines["open_time"] // 86_400_000
        sums = [s.groupby(today).cumsum() for s in (typical * klines["volume"], klines["volume"])]
        expected["vwap_session_gap"] = (close * sums[1] / sums[0] - 1).where(klines.index >= day)
    spans = [name for name in frame if INDICATORS[str(name)].span_ms]
    assert set(spans) == set(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(frame[name], values, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("scale", [1e-9, 1e9])
def test_no_price_is_too_small_to_move(scale: float) -> None:
    """TA-Lib takes movements below 1e-14 and money flows below 1 for none."""
    prices = ["open", "high", "low", "close"]
    tiny = K.assign(**{price: K[price] * scale for price in prices})
    names = ["rsi_14", "cmo_14", "plus_di_14", "minus_di_14", "adx_14", "mfi_14", "cci_20"]
    here, there = (compute_indicators(k, names, Interval.H1) for k in (K, tiny))
    pd.testing.assert_frame_equal(here, there, rtol=1e-9)


def test_prices_in_read_only_memory_are_read() -> None:
    locked = {name: np.frombuffer(K[name].to_numpy(dtype=float).tobytes()) for name in K.columns}
    klines = pd.DataFrame({**locked, "open_time": K["open_time"]}, copy=False)
    names = ["rsi_14", "volume_ratio"]
    got, expected = (compute_indicators(k, names, Interval.H1) for k in (klines, K))
    pd.testing.assert_frame_equal(got, expected, check_exact=True)


@pytest.mark.parametrize("part_bars", [1, 61, 399])
def test_long_histories_are_worked_on_in_parts(
    part_bars: int, computed: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What remembers more than a window is made over the whole stretch, the rest part by part."""
    monkeypatch.setattr("alphamill.indicators.columns.LONG_BARS", N)
    monkeypatch.setattr("alphamill.indicators.compute._PART_BARS", part_bars)
    again = compute_indicators(K, interval=Interval.H1)
    assert again.to_numpy().tobytes() == computed.to_numpy().tobytes()


def test_nothing_is_kept_of_a_call() -> None:
    """Intermediates go when it returns, not when the garbage collector comes to it."""
    compute_indicators(K, interval=Interval.H1)
    gc.collect()
    gc.disable()
    try:
        compute_indicators(K, interval=Interval.H1)
        assert not [thing for thing in gc.get_objects() if isinstance(thing, Bars)]
    finally:
        gc.enable()


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_a_column_alone_is_the_one_among_all(name: str, computed: pd.DataFrame) -> None:
    alone = compute_indicators(K, [name], Interval.H1)
    assert alone[name].to_numpy().tobytes() == computed[name].to_numpy().tobytes()


@pytest.mark.parametrize("seed", range(5))
def test_wilders_columns_equal_talib_on_a_market_that_halts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    moves = rng.random(N) < 0.2 * (seed + 1)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, N) * moves))
    klines = K.assign(
        open=close, close=close, high=close * (1 + 0.005 * moves), low=close * (1 - 0.005 * moves)
    )
    high, low = klines["high"].to_numpy(), klines["low"].to_numpy()
    expected = {
        "plus_di_14": talib.PLUS_DI(high, low, close, 14),
        "minus_di_14": talib.MINUS_DI(high, low, close, 14),
        "adx_14": talib.ADX(high, low, close, 14),
        "atr_14": talib.ATR(high, low, close, 14),
        "aroon_osc_14": talib.AROONOSC(high, low, 14),
    }
    frame = compute_indicators(klines, list(expected), Interval.H1)
    for name, values in expected.items():
        np.testing.assert_allclose(frame[name], values, rtol=1e-9, atol=1e-9)
