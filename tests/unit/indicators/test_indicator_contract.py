"""What holds for every column: holes, odd bars, ranges, scales, causality, where history starts."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alphamill.factors import check, parse
from alphamill.factors.units import UNITS
from alphamill.frames import KLINE_FIELDS, Interval
from alphamill.indicators import (
    INDICATORS,
    LEFT_OUT,
    Unit,
    compute_indicators,
    history_bars,
    indicator_names,
    registry_version,
)
from alphamill.indicators.registry import ema, wilder
from tests.deadlines import start_s

KLINES_DIR = Path(__file__).parents[4] / "shared" / "data" / "klines"
HOUR_MS = 3_600_000


def klines_of(n: int, seed: int = 1, sigma: float = 0.01) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = 30 * np.exp(np.cumsum(rng.normal(0, sigma, n)))
    open_ = np.r_[30.0, close[:-1]][:n]
    volume = rng.lognormal(2, 1, n)
    quote = volume * (open_ + close) / 2
    return pd.DataFrame(
        {
            "open_time": HOUR_MS * np.arange(n),
            "open": open_,
            "close": close,
            "high": np.maximum(open_, close) * (1 + sigma * rng.random(n)),
            "low": np.minimum(open_, close) * (1 - sigma * rng.random(n)),
            "volume": volume,
            "quote_volume": quote,
            "trades": rng.integers(1, 99, n),
            "taker_buy_base": volume * rng.random(n),
            "taker_buy_quote": quote * rng.random(n),
        }
    )


def real(path: str) -> pd.DataFrame:
    file = KLINES_DIR / f"{path}.parquet"
    if not file.exists():
        pytest.skip(f"no {file.name} beside the repository")
    return pd.read_parquet(file)


# The registry


def test_names_are_identifiers_and_no_kline_field() -> None:
    for name in INDICATORS:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name), name
        assert not re.fullmatch(r"adv\d+", name)
    assert not set(INDICATORS) & {*KLINE_FIELDS, "vwap"}


def test_names_are_no_operators() -> None:
    from alphamill.factors import OPERATORS

    assert not set(INDICATORS) & set(OPERATORS)


def test_the_registry_needs_no_numerical_library() -> None:
    code = (
        "import sys; from alphamill.indicators import INDICATORS; assert len(INDICATORS) > 36;"
        "assert not {'talib', 'scipy', 'numba', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=start_s())


def test_every_record_is_complete() -> None:
    for record in INDICATORS.values():
        assert record.summary.endswith(".")
        assert record.source
        assert record.low < record.high
        assert set(record.inputs) <= set(KLINE_FIELDS)
        assert record.settle_bars >= 0


def test_version_is_stable_within_a_build() -> None:
    assert registry_version() == registry_version()
    assert re.fullmatch(r"[0-9a-f]{12}", registry_version())


@pytest.mark.parametrize(
    ("interval", "present"),
    [
        (Interval.M1, {"returns_1h", "returns_1d", "volatility_1d", "vwap_session_gap"}),
        (Interval.H1, {"returns_1h", "returns_1d", "volatility_1d", "vwap_session_gap"}),
        (Interval.H4, {"returns_1d", "volatility_1d", "vwap_session_gap"}),
        (Interval.D1, {"returns_1d"}),
        (Interval.D3, set()),
        (Interval.MO1, set()),
        (None, set()),
    ],
)
def test_spans_of_time_exist_where_the_interval_divides_them(
    interval: Interval | None, present: set[str]
) -> None:
    spans = {name for name, record in INDICATORS.items() if record.span_ms}
    assert set(indicator_names(interval)) & spans == present


def test_spans_are_counted_in_bars() -> None:
    assert INDICATORS["returns_1d"].warmup_bars(Interval.H4) == 6
    assert INDICATORS["returns_1h"].warmup_bars(Interval.M5) == 12
    with pytest.raises(ValueError, match="returns_1h"):
        INDICATORS["returns_1h"].warmup_bars(Interval.D1)


# Input and output


def test_keeps_rows_index_and_order() -> None:
    klines = klines_of(80).set_index(pd.Index(range(1000, 1080)))
    frame = compute_indicators(klines, ["rsi_14", "atr_14"])
    assert list(frame.columns) == ["rsi_14", "atr_14"]
    assert frame.index.equals(klines.index)
    assert (frame.dtypes == np.float64).all()


def test_takes_timestamps_and_milliseconds_alike() -> None:
    klines = klines_of(120)
    stamped = klines.assign(open_time=pd.to_datetime(klines["open_time"], unit="ms", utc=True))
    pd.testing.assert_frame_equal(compute_indicators(klines), compute_indicators(stamped))


def test_does_not_change_its_input() -> None:
    klines = klines_of(100)
    before = klines.copy()
    compute_indicators(klines)
    pd.testing.assert_frame_equal(klines, before)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_too_few_rows_are_nan(rows: int) -> None:
    frame = compute_indicators(klines_of(rows), ["ma_20", "rsi_14", "cci_20"], Interval.H1)
    assert frame.shape == (rows, 3)
    assert frame.isna().all(axis=None)


def test_refuses_what_it_cannot_answer() -> None:
    klines = klines_of(30)
    with pytest.raises(ValueError, match="unknown indicator 'rsi'"):
        compute_indicators(klines, ["rsi"])
    with pytest.raises(ValueError, match="returns_1h does not exist at interval 4h"):
        compute_indicators(klines, ["returns_1h"], Interval.H4)
    with pytest.raises(ValueError, match="ascending"):
        compute_indicators(klines.iloc[::-1])


def test_a_column_that_is_not_there_silences_only_what_needs_it() -> None:
    frame = compute_indicators(klines_of(60).drop(columns=["trades", "taker_buy_base"]))
    assert frame[["trade_size", "taker_imbalance"]].isna().all(axis=None)
    assert frame[["rsi_14", "volume_ratio", "amihud_20"]].iloc[-1].notna().all()


# Holes


def assert_restarts(frame: pd.DataFrame, row: int, interval: Interval) -> None:
    """Row `row` is the first after a hole: each column starts anew there."""
    for name in frame:
        warmup = INDICATORS[str(name)].warmup_bars(interval)
        assert frame[name].iloc[row : row + warmup].isna().all(), name


def test_every_indicator_starts_anew_after_a_missing_bar() -> None:
    klines = klines_of(400).drop(index=200).reset_index(drop=True)
    frame = compute_indicators(klines, interval=Interval.H1)
    assert_restarts(frame, 200, Interval.H1)
    alone = compute_indicators(klines.iloc[200:], interval=Interval.H1)
    pd.testing.assert_frame_equal(frame.iloc[200:], alone, check_exact=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
@pytest.mark.parametrize("field", ["open", "high", "low", "close"])
def test_an_unusable_price_is_a_missing_bar(field: str, bad: float) -> None:
    klines = klines_of(120)
    klines.loc[60, field] = bad
    frame = compute_indicators(klines, interval=Interval.H1)
    assert frame.iloc[60].isna().all()
    without = compute_indicators(klines.drop(index=60), interval=Interval.H1)
    pd.testing.assert_frame_equal(frame.drop(index=60), without, check_exact=True)


@pytest.mark.parametrize("bad", [np.nan, -1.0, np.inf])
def test_an_unusable_volume_spares_the_prices_indicators(bad: float) -> None:
    klines = klines_of(120)
    klines.loc[60, "volume"] = bad
    frame = compute_indicators(klines, interval=Interval.H1)
    sound = compute_indicators(klines_of(120), interval=Interval.H1)
    pd.testing.assert_series_equal(frame["rsi_14"], sound["rsi_14"], check_exact=True)
    assert frame["volume_ratio"].iloc[60:80].isna().all()
    assert frame["volume_ratio"].iloc[80:].notna().all()


def test_contradictory_bars_are_missing_bars() -> None:
    klines = klines_of(120)
    klines.loc[50, "high"] = klines.loc[50, "low"] * 0.5
    klines.loc[90, "taker_buy_base"] = klines.loc[90, "volume"] * 2
    frame = compute_indicators(klines, interval=Interval.H1)
    assert frame["bar_range"].isna().tolist() == [i == 50 for i in range(120)]
    assert frame["taker_buy_ratio"].isna().tolist() == [i in {50, 90} for i in range(120)]


def test_the_real_outage_of_march_2023_is_seen() -> None:
    klines = real("spot/BTCUSDT-1m")
    after = int(np.searchsorted(klines["open_time"], 1_679_666_400_000))  # 14:00 UTC
    assert klines["open_time"].iloc[after] - klines["open_time"].iloc[after - 1] == 81 * 60_000
    frame = compute_indicators(klines.iloc[after - 4000 : after + 4000])
    assert_restarts(frame, 4000, Interval.M1)
    assert frame["rsi_14"].iloc[4014:4100].notna().all()
    flat = frame.iloc[3970:4000]  # 72 bars without trade went before the hole
    assert (flat["volatility_20"] == 0).all()
    assert (
        flat[["volume_ratio", "taker_imbalance_20", "donchian_position_20"]].isna().all(axis=None)
    )


def test_real_hourly_holes_are_seen() -> None:
    klines = real("spot/LUNAUSDT-1h")
    frame = compute_indicators(klines)
    holes = np.flatnonzero(np.diff(klines["open_time"]) != HOUR_MS) + 1
    assert len(holes) == 6
    for row in holes:
        assert_restarts(frame, int(row), Interval.H1)
    assert np.isfinite(frame.to_numpy()[~np.isnan(frame.to_numpy())]).all()
    relaunch = frame.loc[holes[-2] : holes[-2] + 40, "returns"]
    assert relaunch.abs().max() < 2  # 0.00005 before the halt, 9 after: no return of 180,000


# Odd markets


def test_a_flat_market_is_defined_or_nan_and_never_inf() -> None:
    klines = klines_of(200).assign(open=5.0, high=5.0, low=5.0, close=5.0)
    last = compute_indicators(klines, interval=Interval.H1).iloc[-1]
    assert last["rsi_14"] == 50
    for name in ("volatility_20", "bb_width", "atr_14", "slope_14", "macd", "returns", "bop"):
        assert last[name] == 0, name
    for name in (
        "stoch_k_14",
        "williams_r_14",
        "cci_20",
        "bb_position",
        "donchian_position_20",
        "choppiness_14",
        "efficiency_ratio_10",
        "ultimate_osc",
        "mfi_14",
        "price_volume_corr_20",
    ):
        assert np.isnan(last[name]), name


def test_without_trade_ratios_are_nan() -> None:
    idle = {"volume": 0.0, "quote_volume": 0.0, "trades": 0, "taker_buy_base": 0.0}
    last = compute_indicators(klines_of(60).assign(**idle), interval=Interval.H1).iloc[-1]
    of_volume = [name for name, record in INDICATORS.items() if record.inputs]
    assert last[of_volume].isna().all()
    assert last[["rsi_14", "adx_14"]].notna().all()


def test_a_spike_leaves_no_trace_in_volume_columns() -> None:
    klines = klines_of(200)
    clean = compute_indicators(klines, interval=Interval.H1)
    klines.loc[100, "volume"] = 1e12
    klines.loc[100, "taker_buy_base"] = 5e11
    spiked = compute_indicators(klines, interval=Interval.H1)
    names = ["volume_ratio", "cmf_20", "obv_flow_20", "taker_imbalance_20", "vwma_gap_20"]
    pd.testing.assert_frame_equal(spiked[names].iloc[121:], clean[names].iloc[121:], rtol=1e-13)


bars = st.tuples(
    st.floats(-0.2, 0.2),
    st.floats(0, 0.1),
    st.floats(0, 0.1),
    st.floats(0, 1),
    st.sampled_from([0.0, 1e-8, 1.0, 1e9]),
    st.floats(0, 1),
    st.booleans(),
)


@st.composite
def wild_klines(draw: st.DrawFn) -> pd.DataFrame:
    """Random walks with flat stretches, idle bars and prices of any size."""
    rows = draw(st.lists(bars, min_size=1, max_size=120))
    price = draw(st.sampled_from([1e-8, 1.2e-5, 1.0, 1e5]))
    out = []
    for i, (move, above, below, share, volume, taker, still) in enumerate(rows):
        first, price = price, price if still else price * (1 + move)
        high = max(first, price) * (1 if still else 1 + above)
        low = min(first, price) * (1 if still else 1 - below)
        quote = volume * (low + share * (high - low))
        prices = (first, high, low, price)
        traded = (volume, quote, int(volume > 0) * 3, volume * taker, quote * taker)
        out.append((HOUR_MS * i, *prices, *traded))
    return pd.DataFrame(out, columns=["open_time", *KLINE_FIELDS])


@settings(max_examples=60, deadline=None)
@given(wild_klines())
def test_values_stay_in_their_range(klines: pd.DataFrame) -> None:
    frame = compute_indicators(klines, interval=Interval.H1)
    for name in frame:
        record, values = INDICATORS[str(name)], frame[name].dropna()
        assert np.isfinite(values).all(), name
        assert values.between(record.low, record.high).all(), (name, values.min(), values.max())
        assert frame[name].iloc[: record.warmup_bars(Interval.H1)].isna().all()


@settings(max_examples=25, deadline=None)
@given(wild_klines(), st.data())
def test_the_future_changes_nothing_in_the_past(klines: pd.DataFrame, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(klines)))
    whole = compute_indicators(klines, interval=Interval.H1).iloc[:cut]
    past = compute_indicators(klines.iloc[:cut], interval=Interval.H1)
    assert whole.to_numpy().tobytes() == past.to_numpy().tobytes()


def test_every_bar_appended_alone_gives_the_batch_to_the_bit() -> None:
    klines = klines_of(140)
    batch = compute_indicators(klines, interval=Interval.H1).to_numpy()
    for end in range(1, 141):
        grown = compute_indicators(klines.iloc[:end], interval=Interval.H1).to_numpy()
        assert grown[-1].tobytes() == batch[end - 1].tobytes()


def test_months_with_carried_history_give_the_whole() -> None:
    """As the features stage cuts them: each part from its own bars and those that settle it."""
    klines, part_bars = klines_of(3200, seed=5), 700
    whole = compute_indicators(klines, interval=Interval.H1)
    history = history_bars(Interval.H1)
    parts = []
    for start in range(0, len(klines), part_bars):
        first = max(0, start - history)
        part = compute_indicators(klines.iloc[first : start + part_bars], interval=Interval.H1)
        parts.append(part.iloc[start - first :])
    joined = pd.concat(parts)
    for name in whole:
        windowed = INDICATORS[str(name)].settle_bars == 0
        left, right = joined[name].to_numpy(), whole[name].to_numpy()
        assert np.array_equal(np.isnan(left), np.isnan(right)), name
        scale = np.nanmax(np.abs(right))
        allowed = (1e-12 if windowed else 1e-9) * np.maximum(np.abs(right), 0.1 * scale)
        assert (np.abs(left - right) <= allowed)[~np.isnan(right)].all(), name


def test_what_is_left_out_says_why_and_names_what_stands_in() -> None:
    for name, reason in LEFT_OUT.items():
        assert name not in INDICATORS
        assert len(reason) > 30
    named = {word.strip(";,") for reason in LEFT_OUT.values() for word in reason.split()}
    assert {w for w in named if re.search(r"_\d|_gap|_osc", w)} <= set(INDICATORS)


def test_a_trade_is_measured_in_quote_per_trade() -> None:
    assert INDICATORS["trade_size"].unit is Unit.PER_TRADE
    assert {record.unit.value for record in INDICATORS.values()} <= set(UNITS)
    fields = {"trade_size": "quote/trade"}
    assert parse("quote_volume / trades").unit == parse("trade_size", fields=fields).unit
    assert check(parse("rank(trade_size)", fields=fields)) == []


def distance(left: pd.Series, right: pd.Series, scale: float) -> float:
    return float((left - right).abs().max() / scale)


def test_windows_do_not_know_where_history_starts() -> None:
    klines = klines_of(700)
    batch = compute_indicators(klines, interval=Interval.H1)
    for start in (1, 333):
        late = compute_indicators(klines.iloc[start:], interval=Interval.H1)
        for name in batch:
            record = INDICATORS[str(name)]
            if record.settle_bars == 0:
                rows = slice(record.warmup_bars(Interval.H1), None)
                left, right = late[name].iloc[rows], batch[name].iloc[start:].iloc[rows]
                assert right.notna().all()
                assert distance(left, right, right.abs().max()) < 1e-12, name


def test_recursions_forget_their_start_as_fast_as_recorded() -> None:
    klines = klines_of(2400, seed=3)
    batch = compute_indicators(klines, interval=Interval.H1)
    late = compute_indicators(klines.iloc[500:], interval=Interval.H1)
    for name, record in INDICATORS.items():
        if record.settle_bars:
            settled = slice(record.history_bars(Interval.H1), None)
            left, right = late[name].iloc[settled], batch[name].iloc[500:].iloc[settled]
            scale = right.abs().max()
            if record.unit is Unit.PRICE or name in {"ppo", "trix_15"}:  # differences of prices
                scale = klines["close"].max()
            assert distance(left, right, scale) < 1e-11, name
            early = slice(record.warmup_bars(Interval.H1), record.history_bars(Interval.H1) // 3)
            assert (
                distance(late[name].iloc[early], batch[name].iloc[500:].iloc[early], scale) > 1e-9
            )


def test_settling_counts_the_chains_length() -> None:
    for stages in (1, 2, 3):
        bars = wilder(14, stages).settle_bars
        assert 0.9e-12 < bars ** (stages - 1) * (13 / 14) ** bars <= 1e-12
    assert (49 / 51) ** ema(50).settle_bars <= 1e-12


def test_history_covers_the_slowest_indicator() -> None:
    assert history_bars(Interval.H1) == INDICATORS["psar_gap"].history_bars() == 1023
    assert history_bars(Interval.M1) == 1440


def test_dimensionless_columns_ignore_the_coins_scale() -> None:
    klines = klines_of(300)
    tiny = klines.assign(**{p: klines[p] * 1e-6 for p in ("open", "high", "low", "close")})
    for field in ("volume", "taker_buy_base"):
        tiny[field] = klines[field] * 1e6
    here, there = (compute_indicators(k, interval=Interval.H1) for k in (klines, tiny))
    factor = {Unit.PRICE: 1e-6, Unit.VOLUME: 1e6}
    for name, record in INDICATORS.items():
        expected = here[name] * factor.get(record.unit, 1.0)
        scale = expected.abs().max()
        assert distance(there[name], expected, scale) < 1e-9, name
