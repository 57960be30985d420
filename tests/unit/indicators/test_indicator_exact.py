"""What is equal as decimals is equal: columns against exact arithmetic on what was sent."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from alphamill.frames import Interval
from alphamill.indicators import INDICATORS, Unit, compute_indicators
from tests.unit.indicators.exact_oracle import Exact
from tests.unit.indicators.exact_windows import ExactWindows

KLINES_DIR = Path(__file__).parents[4] / "shared" / "data" / "klines"
PRICES = ("open", "high", "low", "close")
HOUR_MS = 3_600_000
FACTORS = (1.0, 0.001, 1e5)


def klines_of(
    high: list[float], low: list[float], close: list[float], volume: float = 1.0
) -> pd.DataFrame:
    n = len(close)
    prices = {"open": close, "high": high, "low": low, "close": close}
    return pd.DataFrame({"open_time": HOUR_MS * np.arange(n), **prices, "volume": [volume] * n})


def closes(values: list[float]) -> pd.DataFrame:
    return klines_of(values, values, values)


def moving(n: int, seed: int = 1) -> list[float]:
    """Prices of one decimal around 100."""
    steps = np.random.default_rng(seed).integers(-5, 6, n)
    return [round(100 + step / 10, 1) for step in np.cumsum(steps) % 40 - 20]


def recorded(path: str, first: int, count: int) -> pd.DataFrame:
    file = KLINES_DIR / f"{path}.parquet"
    if not file.exists():
        pytest.skip(f"no {file.name} beside the repository")
    klines = pd.read_parquet(file).iloc[first : first + count].reset_index(drop=True)
    assert len(set(np.diff(klines["open_time"]))) == 1, "a hole"
    return klines


def first_number(klines: pd.DataFrame) -> int:
    times = klines["open_time"]
    return int(times[0] // (times[1] - times[0]))


def assert_exact(klines: pd.DataFrame, expected: dict[str, np.ndarray], factor: float = 1) -> None:
    """Off by no more than 1e-9 of the column's usual size, and NaN where the decimals say so.

    factor: of the prices and what is paid in them, against those of `expected`.
    """
    frame = compute_indicators(klines, list(expected))
    units = {Unit.PRICE: factor, Unit.PER_TRADE: factor, Unit.PER_QUOTE: 1 / factor}
    for name, values in expected.items():
        wanted = values * units.get(INDICATORS[name].unit, 1)
        sizes = np.abs(wanted[~np.isnan(wanted)])
        size = (np.median(sizes) or np.max(sizes)) if sizes.size else 0
        np.testing.assert_allclose(frame[name], wanted, rtol=0, atol=1e-9 * size, err_msg=name)


def at_prices_times(factor: float, klines: pd.DataFrame) -> pd.DataFrame:
    """Which rounds each once more."""
    fields = [*PRICES, *({"quote_volume"} & set(klines.columns))]
    return klines.assign(**{field: klines[field] * factor for field in fields})


RECORDED = [
    ("um/TRXUSDT-4h", 0, 450),
    ("spot/ADAUSDT-1h", 500, 450),
    ("spot/XLMUSDT-5m", 20_000, 450),
    ("spot/BTCUSDT-1m", 73_750, 450),  # ends with 72 bars without trade
]


@pytest.mark.parametrize(("path", "first", "count"), RECORDED)
def test_recorded_bars_have_the_values_of_exact_arithmetic(
    path: str, first: int, count: int
) -> None:
    klines = recorded(path, first, count)
    expected = Exact(klines, first_number(klines)).columns() | ExactWindows(klines).columns()
    for factor in FACTORS:
        assert_exact(at_prices_times(factor, klines), expected, factor)


def test_the_two_oracles_know_every_column() -> None:
    klines = recorded("um/NEARUSDT-1m", 0, 60)
    assert {*Exact(klines, 0).columns(), *ExactWindows(klines).columns()} == set(INDICATORS)


@pytest.mark.parametrize(
    ("path", "first"),
    [
        ("spot/BTCUSDT-1m", 72_500),  # ends with 72 bars without trade
        ("um/NEARUSDT-1m", 20_000),
    ],
)
def test_windows_of_a_day_have_the_values_of_exact_arithmetic(path: str, first: int) -> None:
    klines = recorded(path, first, 1_700)
    expected = ExactWindows(klines).columns()
    assert np.isfinite(expected["vwap_session_gap"]).sum() > 200
    for factor in FACTORS:
        assert_exact(at_prices_times(factor, klines), expected, factor)


@pytest.mark.parametrize("path", ["spot/BTCUSDT-1m", "um/NEARUSDT-1m"])
@pytest.mark.parametrize("factor", [0.001, 1e5])
def test_no_column_depends_on_the_unit_of_prices(path: str, factor: float) -> None:
    """Over a whole recording; a constant column may have no other scale than what it is."""
    klines = recorded(path, 0, 43_000)
    one = compute_indicators(klines)
    assert set(one) == set(INDICATORS)
    assert_exact(
        at_prices_times(factor, klines), {str(name): one[name].to_numpy() for name in one}, factor
    )


@pytest.mark.parametrize("ticks", [12, 123, 7_919, 3_000_017])
@pytest.mark.parametrize("tick", ["0.1", "0.01", "0.00001", "1E-8"])
def test_bars_that_widen_and_narrow_evenly_go_nowhere(tick: str, ticks: int) -> None:
    """The close stays; highs and lows are 1 tick from it and 2 ticks, in turn."""

    def prices(*distances: int) -> list[float]:
        return [float((ticks + distance) * Decimal(tick)) for distance in distances] * 20

    frame = compute_indicators(klines_of(prices(1, 2), prices(-1, -2), prices(0, 0)))
    last = frame.iloc[-1]
    assert last[["adx_14", "plus_di_14", "minus_di_14"]].tolist() == [0, 0, 0]
    assert last[["mfi_14", "cci_20"]].isna().all()


@pytest.mark.parametrize(("above_ticks", "turned"), [(0, True), (1, False)])
@pytest.mark.parametrize("tick", ["0.1", "0.01", "0.00001", "1E-8"])
def test_a_low_at_the_parabolic_stop_turns_it(tick: str, above_ticks: int, turned: bool) -> None:
    """From the low of the first bar, the stop rises by 0.02 of the 50 ticks to the high: 1 tick."""
    found = []
    for ticks in range(100, 400):

        def prices(*distances: int, ticks: int = ticks) -> list[float]:
            return [float((ticks + distance) * Decimal(tick)) for distance in distances]

        klines = klines_of(
            prices(40, 50, 45), prices(0, 20, 1 + above_ticks), prices(30, 40, 20 + above_ticks)
        )
        found.append(compute_indicators(klines, ["psar_gap"])["psar_gap"].iloc[-1] < 0)
    assert found == [turned] * 300


def test_one_tick_is_a_move_at_thirteen_digits() -> None:
    tick = 1e-8
    close = [99_999.0 + tick * (i % 2) for i in range(40)]
    assert len(set(close)) == 2
    klines = closes(close)
    frame = compute_indicators(klines, ["mfi_14", "cci_20", "plus_di_14"])
    assert frame.iloc[-1]["mfi_14"] == pytest.approx(50, abs=1e-6)
    assert np.isfinite(frame.iloc[-1]["cci_20"])
    assert frame.iloc[-1]["plus_di_14"] > 40


def test_shares_of_takers_that_differ_by_rounding_alone_are_constant() -> None:
    rng = np.random.default_rng(2)
    bought = rng.integers(1, 10**6, 60) / 1000
    klines = closes(moving(60)).assign(volume=bought * 3, taker_buy_base=bought)
    klines["volume"] = [round(volume, 3) for volume in klines["volume"]]
    shares = klines["taker_buy_base"] / klines["volume"]
    assert shares.nunique() > 1  # a third each, as decimals
    frame = compute_indicators(klines, ["taker_imbalance_z_20"])
    assert frame["taker_imbalance_z_20"].isna().all()


# At rest


def test_a_price_at_rest_has_no_position_in_its_strength() -> None:
    klines = closes([100.0, 101.0, 100.5, 101.5] * 5 + [101.0] * 40)
    values = compute_indicators(klines, ["stoch_rsi_14"])["stoch_rsi_14"]
    assert values.iloc[34:].isna().all()
    assert values.iloc[27:33].notna().all()


@pytest.mark.parametrize("rest", [100, 400, 511])
def test_ratios_stay_as_they_are_while_a_price_rests(rest: int) -> None:
    klines = closes([*moving(60), *[101.0] * rest])
    expected = Exact(klines, 0).columns()
    names = ["rsi_6", "rsi_14", "plus_di_14", "minus_di_14", "adx_14", "keltner_position_20"]
    frame = compute_indicators(klines, names)
    for name in names:
        exact = expected[name][-1]
        assert frame[name].iloc[-1] == pytest.approx(exact, rel=1e-9, abs=1e-12), name
    assert -1 < frame["keltner_position_20"].iloc[-1] < 2


def test_what_moved_before_a_long_rest_is_forgotten() -> None:
    frame = compute_indicators(closes([*moving(60), *[101.0] * 12_000]))
    for rest in (513, 2000, 12_000):
        row = frame.iloc[59 + rest]
        assert row[["rsi_6", "rsi_14", "cmo_14"]].tolist() == [50, 50, 0]
        assert row[["adx_14", "plus_di_14", "minus_di_14", "atr_14"]].tolist() == [0, 0, 0, 0]
        assert row[["keltner_position_20", "stoch_rsi_14"]].isna().all()


@pytest.mark.parametrize("rest", [300, 500, 700, 12_000])
@pytest.mark.parametrize("after", [0, 5, 40])
def test_a_rest_does_not_tell_where_history_starts(rest: int, after: int) -> None:
    close = [*moving(1200), *[101.0] * rest, *moving(after, seed=3)]
    high = [price + 0.1 * (i % 3 == 0) * (i < 1200) for i, price in enumerate(close)]
    klines = klines_of(high, close, close)
    whole = compute_indicators(klines, interval=Interval.H1)
    names = [name for name in whole if "TA-Lib" in INDICATORS[str(name)].source]
    for name in names:
        record = INDICATORS[str(name)]
        if record.settle_bars == 0 or record.unit is Unit.PRICE:
            continue
        start = len(klines) - record.history_bars(Interval.H1) - 1
        late = compute_indicators(klines.iloc[start:], [name], Interval.H1)[name].iloc[-1]
        assert late == pytest.approx(whole[name].iloc[-1], rel=1e-9, abs=1e-11, nan_ok=True), name


def test_highs_and_lows_that_repeat_point_nowhere_after_a_while() -> None:
    """A pair of stablecoins: every bar spans the same tick, so its range lives on."""
    start = moving(60)
    klines = klines_of(
        [*start, *[1.0002] * 600], [*start, *[1.0001] * 600], [*start, *[1.0001] * 600]
    )
    frame = compute_indicators(klines, ["adx_14", "plus_di_14", "minus_di_14", "atr_14"])
    assert frame["adx_14"].iloc[560] > 1
    assert frame.iloc[-1, :3].tolist() == [0, 0, 0]
    assert frame["atr_14"].iloc[-1] == pytest.approx(0.0001)


def test_a_spike_of_volume_leaves_the_oscillators_line_as_it_was() -> None:
    rng = np.random.default_rng(4)
    close = moving(500)
    high = [price + tick / 10 for price, tick in zip(close, rng.integers(1, 9, 500), strict=True)]
    low = [price - tick / 10 for price, tick in zip(close, rng.integers(1, 9, 500), strict=True)]
    klines = klines_of(high, low, close)
    klines["volume"] = rng.integers(1, 1000, 500) / 10
    klines.loc[100, "volume"] = 1e12
    expected = Exact(klines, 0).columns()["chaikin_osc"]
    got = compute_indicators(klines, ["chaikin_osc"])["chaikin_osc"]
    np.testing.assert_allclose(got[400:], expected[400:], rtol=1e-9, atol=1e-12)
