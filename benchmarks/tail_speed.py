"""The newest row of many of the 101 formulas at a bar's close, against computing the look-back.

Run: python benchmarks/tail_speed.py (1h bars, one core). First the values, over 20 bars: each must
have the bits that `compute` gives over the whole history. Then CPU milliseconds a bar, median and
99th percentile of 300 bars (100 at 500 symbols), the panel's making included; limits, for twenty
formulas: 25 ms at 50 symbols, 100 ms at 500. Then indicators, from each symbol's own frame, and
windows that are dear: one factor each, 500 symbols.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd

from alphamill.factors import Factor, Tail, compute, parse, zoo
from alphamill.frames import Interval, Panel
from alphamill.grid import open_ms
from alphamill.indicators import IndicatorTail
from alphamill.testing import random_fields

Array = np.ndarray
TWENTY = (2, 3, 4, 6, 8, 11, 12, 13, 14, 15, 16, 18, 22, 25, 26, 33, 40, 44, 55, 101)
FIRST = 438_000
INDICATORS = ("rsi_14", "adx_14", "mfi_14", "psar_gap", "returns")
LIMITS_MS = {50: 25.0, 500: 100.0}
DEAR = (
    "ts_rank(close, 1000)",
    "ts_std(close, 1000)",
    "ema(close, 1000)",
    "ts_median(close, 240)",
    "ts_median(close, 1000)",
    "ts_rank_corr(close, volume, 60)",
    "ts_rank_corr(close, volume, 240)",
    "ts_mean(ts_rank(close, 240), 240)",
)


def panel_of(fields: dict[str, Array], start: int, stop: int) -> Panel:
    times_ms = open_ms(Interval.H1, FIRST + start) + Interval.H1.ms * np.arange(stop - start)
    symbols = tuple(f"S{number}" for number in range(fields["close"].shape[1]))
    cut = {name: values[start:stop] for name, values in fields.items()}
    return Panel(Interval.H1, times_ms, symbols, cut)


def check(factors: Sequence[Factor], fields: dict[str, Array], bars: int) -> None:
    n_bars = len(fields["close"])
    whole = [compute(factor, fields, first_bar=FIRST)[-bars:] for factor in factors]
    tail = Tail(factors)
    for bar in range(bars):
        newest = n_bars - bars + bar
        got = tail.newest(panel_of(fields, newest - tail.lookback_bars, newest + 1))
        for factor, row, values in zip(factors, got, whole, strict=True):
            assert np.array_equal(row, values[bar], equal_nan=True), factor


def times_ms(factors: Sequence[Factor], fields: dict[str, Array], bars: int) -> list[float]:
    tail, spent = Tail(factors), []
    for newest in range(len(fields["close"]) - bars - 3, len(fields["close"])):
        start = time.process_time()
        tail.newest(panel_of(fields, newest - tail.lookback_bars, newest + 1))
        spent.append((time.process_time() - start) * 1000)
    return spent[3:]  # the first plans, and loads the kernels


def whole_ms(factors: Sequence[Factor], rows: Panel) -> float:
    """Of `compute` over rows that just hold the look-back."""
    spent = []
    for _ in range(5):
        start = time.process_time()
        for factor in factors:
            compute(factor, rows)
        spent.append((time.process_time() - start) * 1000)
    return float(np.median(spent))


def indicators_ms(n_symbols: int) -> float:
    """Of five indicators of every symbol at one bar, from frames of 1,024 bars."""
    tail, spent = IndicatorTail(INDICATORS, Interval.H1), []
    fields = random_fields(tail.lookback_bars + 1, n_symbols)
    times_ms = open_ms(Interval.H1, FIRST) + Interval.H1.ms * np.arange(tail.lookback_bars + 1)
    frames = [
        pd.DataFrame({"open_time": times_ms, **{name: v[:, j] for name, v in fields.items()}})
        for j in range(n_symbols)
    ]
    for _ in range(7):
        start = time.process_time()
        for frame in frames:
            tail.newest(frame, int(times_ms[-1]))
        spent.append((time.process_time() - start) * 1000)
    return float(np.median(spent[1:]))


def main() -> None:
    entries = zoo("alpha101")
    twenty = [entries[number - 1].factor() for number in TWENTY]
    plain = [one for one in (entry.factor() for entry in entries) if "group_" not in one.text]
    plain = [one for one in plain if "cap" not in one.fields]
    missed = False
    for n_symbols, limit in LIMITS_MS.items():
        fields = random_fields(1_000, n_symbols)
        for formulas in (twenty, plain):
            check(formulas, fields, 20)
            spent = times_ms(formulas, fields, 300 if n_symbols < 100 else 100)
            most = float(np.quantile(spent, 0.99))
            missed |= formulas is twenty and most > limit
            back = max(factor.lookback_bars for factor in formulas)
            print(
                f"{n_symbols} symbols x {len(formulas)} factors, look-back {back}: median "
                f"{np.median(spent):.1f} ms, p99 {most:.1f} ms; compute over the look-back alone "
                f"{whole_ms(formulas, panel_of(fields, 999 - back, 1_000)):.1f} ms"
            )
        print(f"  limit for twenty: {limit:.0f} ms")
        print(f"  {len(INDICATORS)} indicators of each symbol: {indicators_ms(n_symbols):.1f} ms")
    fields = random_fields(6_700, 500)
    for text in DEAR:
        spent = times_ms([parse(text)], fields, 10)
        print(f"  {text:36} 500 symbols {np.median(spent):7.1f} ms")
    if missed:
        raise SystemExit("slower than the limit")


if __name__ == "__main__":
    main()
