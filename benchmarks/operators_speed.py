"""Window operators against pandas, TA-Lib, bottleneck, numbagg and polars, one thread.

Run: python benchmarks/operators_speed.py [bars] (default 50000; 50 symbols). bottleneck, numbagg
and polars are left out where they are missing (pip install bottleneck numbagg polars). First every
engine's output is compared, then each is timed (median CPU milliseconds, engines taking turns).
pandas and polars run on fewer symbols where they are slow and are scaled up; TA-Lib goes symbol by
symbol, as it must. Leads under 2x are ties on a busy machine. The last table: the same operators on
a panel with holes.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import talib

from alphamill.factors import compute, parse


def optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name} is not installed and left out")
        return None


bottleneck, numbagg, polars = map(optional, ("bottleneck", "numbagg", "polars"))
N_BARS = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
N_SYMBOLS, ROUNDS = 50, 3
FEW = 2  # symbols for a slow peer
Array = np.ndarray
Engine = Callable[[Array, Array, int], Array]


def by_symbol(function: Callable[..., Array], pair: bool = False) -> Engine:
    def run(x: Array, y: Array, w: int) -> Array:
        columns = [
            function(*((x[:, j], y[:, j]) if pair else (x[:, j],)), w) for j in range(x.shape[1])
        ]
        return np.column_stack(columns)

    return run


def talib_age(x: Array, w: int) -> Array:
    at = talib.MAXINDEX(x, w).astype(float)
    age = np.arange(len(x)) - at
    age[: w - 1] = np.nan
    return age


def linear_weights(x: Array, _: Array, w: int) -> Array:
    weights = np.arange(1.0, w + 1)
    return (
        pd.DataFrame(x).rolling(w).apply(lambda v: v @ weights / weights.sum(), raw=True).to_numpy()
    )


def panda(method: str, **options: object) -> Engine:
    return lambda x, _, w: getattr(pd.DataFrame(x).rolling(w), method)(**options).to_numpy()


def bottle(method: str, **options: object) -> Engine:
    return lambda x, _, w: getattr(bottleneck, method)(x, window=w, axis=0, **options)


def bottle_rank(x: Array, _: Array, w: int) -> Array:
    """Bottleneck ranks from -1 to 1."""
    place = (bottleneck.move_rank(x, window=w, axis=0) + 1) / 2
    return (place * (w - 1) + 1) / w


def bagg(method: str, pair: bool = False) -> Engine:
    function = getattr(numbagg, method)

    def run(x: Array, y: Array, w: int) -> Array:
        return function(*((x.T, y.T) if pair else (x.T,)), window=w).T

    return run


def polar(method: str, **options: object) -> Engine:
    def run(x: Array, _: Array, w: int) -> Array:
        frame = polars.from_numpy(x)
        column = getattr(polars.all(), method)(window_size=w, **options)
        return frame.select(column).to_numpy()

    return run


# Name -> (expression, peers: name -> (engine, symbols it is run on)).
CASES: dict[str, tuple[str, dict[str, tuple[Engine, int]]]] = {
    "sum": ("ts_sum(close, {w})", {
        "pandas": (panda("sum"), N_SYMBOLS), "talib": (by_symbol(talib.SUM), N_SYMBOLS)}),
    "mean": ("ts_mean(close, {w})", {
        "pandas": (panda("mean"), N_SYMBOLS), "talib": (by_symbol(talib.SMA), N_SYMBOLS)}),
    "std": ("ts_std0(close, {w})", {
        "pandas": (panda("std", ddof=0), N_SYMBOLS),
        "talib": (by_symbol(talib.STDDEV), N_SYMBOLS)}),
    "corr": ("ts_corr(close, open, {w})", {
        "pandas": (
            lambda x, y, w: pd.DataFrame(x).rolling(w).corr(pd.DataFrame(y)).to_numpy(), FEW),
        "talib": (by_symbol(talib.CORREL, pair=True), N_SYMBOLS)}),
    "max": ("ts_max(close, {w})", {
        "pandas": (panda("max"), FEW), "talib": (by_symbol(talib.MAX), N_SYMBOLS)}),
    "median": ("ts_median(close, {w})", {"pandas": (panda("median"), FEW)}),
    "rank": ("ts_rank(close, {w})", {"pandas": (panda("rank", pct=True), FEW)}),
    "decay": ("decay_linear(close, {w})", {
        "pandas": (linear_weights, FEW), "talib": (by_symbol(talib.WMA), N_SYMBOLS)}),
    "slope": ("ts_slope(close, {w})", {
        "talib": (by_symbol(talib.LINEARREG_SLOPE), N_SYMBOLS)}),
    "argmax": ("ts_argmax(close, {w})", {
        "talib": (by_symbol(talib_age), N_SYMBOLS)}),
}  # fmt: skip
if bottleneck:
    for case in ("sum", "mean", "max", "median", "argmax"):
        CASES[case][1]["bottleneck"] = (bottle(f"move_{case}"), N_SYMBOLS)
    CASES["std"][1]["bottleneck"] = (bottle("move_std", ddof=0), N_SYMBOLS)
    CASES["rank"][1]["bottleneck"] = (bottle_rank, N_SYMBOLS)
if numbagg:
    for case in ("sum", "mean"):
        CASES[case][1]["numbagg"] = (bagg(f"move_{case}"), N_SYMBOLS)
    CASES["corr"][1]["numbagg"] = (bagg("move_corr", pair=True), N_SYMBOLS)
if polars:
    for case in ("sum", "mean", "max", "median"):
        CASES[case][1]["polars"] = (polar(f"rolling_{case}"), FEW)
    CASES["std"][1]["polars"] = (polar("rolling_std", ddof=0), FEW)


def prices(seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return 100 * np.exp(np.cumsum(rng.normal(0, 0.001, (N_BARS, N_SYMBOLS)), axis=0))


def cpu_ms(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1000


def measure(case: str, w: int, x: Array, y: Array) -> None:
    expression, peers = CASES[case]
    factor = parse(expression.format(w=w))
    ours = compute(factor, {"close": x, "open": y})
    runs: dict[str, tuple[Callable[[], object], float]] = {
        "alphamill": (lambda: compute(factor, {"close": x, "open": y}), 1.0),
        "copy": (x.copy, 1.0),
    }
    for name, (engine, n) in peers.items():
        part_x, part_y = x[:, :n].copy(), y[:, :n].copy()
        theirs = engine(part_x, part_y, w)
        known = np.isfinite(theirs) & np.isfinite(ours[:, :n])
        assert known[w:].mean() > 0.999, (case, name, "too few values to compare")
        np.testing.assert_allclose(
            ours[:, :n][known], theirs[known], rtol=1e-4, atol=1e-6, err_msg=f"{case} {name}"
        )
        runs[name] = (lambda e=engine, a=part_x, b=part_y: e(a, b, w), N_SYMBOLS / n)
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(ROUNDS):
        for name, (run, factor_up) in runs.items():
            if turn == 0 or factor_up == 1.0:
                times[name].append(cpu_ms(run) * factor_up)
    median = {name: float(np.median(values)) for name, values in times.items()}
    cells = "  ".join(f"{name} {value:8.1f}" for name, value in median.items())
    best = min((v, k) for k, v in median.items() if k in peers)
    lead = best[0] / median["alphamill"]
    print(f"{case:7} {w:4}  {cells}  best peer / ours: {lead:.1f}x ({best[1]})")


def measure_holes(case: str, x: Array, y: Array) -> None:
    """A panel with a twentieth of NaN, half of it in long stretches, against the whole panel."""
    factor = parse(CASES[case][0].format(w=60))
    holes = np.random.default_rng(3).random(x.shape) < 0.025
    holes[: len(x) // 2, : N_SYMBOLS // 20 or 1] = True
    gaps = {"close": np.where(holes, np.nan, x), "open": y}
    whole = {"close": x, "open": y}
    compute(factor, gaps)
    times = [(cpu_ms(lambda: compute(factor, gaps)), cpu_ms(lambda: compute(factor, whole)))
             for _ in range(5)]  # fmt: skip
    with_holes, without = np.median(times, axis=0)
    print(f"{case:7}   60  whole {without:8.1f}  with holes {with_holes:8.1f}  "
          f"{with_holes / without:.2f}x")  # fmt: skip


def main() -> None:
    x, y = prices(1), prices(2)
    print(f"{N_SYMBOLS} symbols x {N_BARS} bars, median CPU ms")
    for case in CASES:
        for w in (10, 60, 240):
            measure(case, w, x, y)
    for case in CASES:
        measure_holes(case, x, y)


if __name__ == "__main__":
    main()
