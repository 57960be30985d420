"""Window operators against pandas and TA-Lib: 50 symbols x 50,000 bars, one thread.

Run: python benchmarks/operators_speed.py. First every engine's output is compared, then each is
timed (median CPU milliseconds, engines taking turns). pandas runs on fewer symbols where it is slow
and is scaled up; TA-Lib goes symbol by symbol, as it must. Leads under 2x are ties on a busy
machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import talib

from alphamill.factors import compute, parse

N_BARS, N_SYMBOLS, ROUNDS = 50_000, 50, 3
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


# Name -> (expression, peers: name -> (engine, symbols it is run on)).
CASES: dict[str, tuple[str, dict[str, tuple[Engine, int]]]] = {
    "mean": ("ts_mean(close, {w})", {
        "pandas": (lambda x, _, w: pd.DataFrame(x).rolling(w).mean().to_numpy(), N_SYMBOLS),
        "talib": (by_symbol(talib.SMA), N_SYMBOLS)}),
    "std": ("ts_std0(close, {w})", {
        "pandas": (lambda x, _, w: pd.DataFrame(x).rolling(w).std(ddof=0).to_numpy(), N_SYMBOLS),
        "talib": (by_symbol(talib.STDDEV), N_SYMBOLS)}),
    "corr": ("ts_corr(close, open, {w})", {
        "pandas": (
            lambda x, y, w: pd.DataFrame(x).rolling(w).corr(pd.DataFrame(y)).to_numpy(), FEW),
        "talib": (by_symbol(talib.CORREL, pair=True), N_SYMBOLS)}),
    "rank": ("ts_rank(close, {w})", {
        "pandas": (lambda x, _, w: pd.DataFrame(x).rolling(w).rank(pct=True).to_numpy(), FEW)}),
    "decay": ("decay_linear(close, {w})", {
        "pandas": (linear_weights, FEW),
        "talib": (by_symbol(talib.WMA), N_SYMBOLS)}),
    "slope": ("ts_slope(close, {w})", {
        "talib": (by_symbol(talib.LINEARREG_SLOPE), N_SYMBOLS)}),
    "argmax": ("ts_argmax(close, {w})", {
        "talib": (by_symbol(talib_age), N_SYMBOLS)}),
}  # fmt: skip


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
    rounds = 1 if any(n == FEW for _, n in peers.values()) else ROUNDS
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (run, factor_up) in runs.items():
            times[name].append(cpu_ms(run) * factor_up)
    median = {name: float(np.median(values)) for name, values in times.items()}
    cells = "  ".join(f"{name} {value:8.1f}" for name, value in median.items())
    best = min((v, k) for k, v in median.items() if k in peers)
    lead = best[0] / median["alphamill"]
    print(f"{case:7} {w:4}  {cells}  best peer / ours: {lead:.1f}x ({best[1]})")


def main() -> None:
    x, y = prices(1), prices(2)
    print(f"{N_SYMBOLS} symbols x {N_BARS} bars, median CPU ms")
    for case in CASES:
        for w in (10, 60, 240):
            measure(case, w, x, y)


if __name__ == "__main__":
    main()
