"""Every operator that pandas, bottleneck, numbagg, polars or TA-Lib also has, one thread.

Run: python benchmarks/operators_speed.py [name ...] (50 symbols x 50,000 bars, windows 10, 60, 240;
all operators, or those named). Peers that are missing are left out (pip install bottleneck numbagg
polars). Every engine's output is compared with ours first; then the engines take turns, and the
median of up to five turns counts (CPU milliseconds; a slow one has fewer turns, and few symbols
whose time is scaled up). Our panel, which is looked through for infinities as it is made, and
polars' frames are made before the clock starts. TA-Lib takes one symbol at a time, as it must. The
process keeps the memory that it frees, as polars does by itself: what pages cost is no engine's
merit. The end gives the least of each operator's three leads and lists what is slower than a peer;
then, from a process with the C library's own settings, the leads of the cheapest operators, which
show what pages cost.
"""

from __future__ import annotations

import importlib
import os
import subprocess
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
from alphamill.frames import Interval, Panel


def optional(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name} is not installed and left out")
        return None


bottleneck, numbagg, polars = map(optional, ("bottleneck", "numbagg", "polars"))
CHEAPEST = ("delta", "pct", "sum", "mean")
OWN = "--own-settings"  # of the C library
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**35)}
N_BARS, N_SYMBOLS, FEW = 50_000, 50, 2
WINDOWS = (10, 60, 240)
TURNS, SLOW_MS = 5, 250.0
Array = np.ndarray
Engine = Callable[[Array, Array, int], Array]
Peers = dict[str, tuple[Engine, int]]  # name -> how, and on how many symbols


def lib(function: Callable[..., Array], pair: bool = False) -> Peers:
    def run(x: Array, y: Array, w: int) -> Array:
        pairs = [(x[:, j], y[:, j])[: 1 + pair] for j in range(x.shape[1])]
        return np.column_stack([function(*pair, w) for pair in pairs])

    return {"talib": (run, N_SYMBOLS)}


def age(function: Callable[..., Array]) -> Callable[[Array, int], Array]:
    def run(x: Array, w: int) -> Array:
        bars = np.arange(len(x)) - function(x, w).astype(float)
        bars[: w - 1] = np.nan
        return bars

    return run


def panda(method: str, n: int = N_SYMBOLS, **options: object) -> Peers:
    def run(x: Array, _: Array, w: int) -> Array:
        return getattr(pd.DataFrame(x).rolling(w), method)(**options).to_numpy()

    return {"pandas": (run, n)}


def panda_pair(method: str) -> Peers:
    def run(x: Array, y: Array, w: int) -> Array:
        return getattr(pd.DataFrame(x).rolling(w), method)(pd.DataFrame(y)).to_numpy()

    return {"pandas": (run, FEW)}


def frame(function: Callable[[Any, int], Any]) -> Peers:
    return {"pandas": (lambda x, _, w: function(pd.DataFrame(x), w).to_numpy(), N_SYMBOLS)}


def bottle(method: str, **options: object) -> Peers:
    if not bottleneck:
        return {}
    function = getattr(bottleneck, method)
    return {"bottleneck": (lambda x, _, w: function(x, window=w, axis=0, **options), N_SYMBOLS)}


def bottle_rank(x: Array, _: Array, w: int) -> Array:
    """Bottleneck ranks from -1 to 1."""
    position = (bottleneck.move_rank(x, window=w, axis=0) + 1) / 2
    return (position * (w - 1) + 1) / w


def bagg(method: str, pair: bool = False) -> Peers:
    if not numbagg:
        return {}
    function = getattr(numbagg, method)
    return {
        "numbagg": (
            lambda x, y, w: function(*((x.T, y.T) if pair else (x.T,)), window=w).T,
            N_SYMBOLS,
        )
    }


def polar(expression: Callable[[Any, int], Any], n: int = N_SYMBOLS) -> Peers:
    """Of frames that were made before the clock starts."""
    frames: dict[int, Any] = {}

    def run(x: Array, _: Array, w: int) -> Array:
        if id(x) not in frames:
            frames[id(x)] = polars.from_numpy(x)
        return frames[id(x)].select(expression(polars.all(), w)).to_numpy()

    return {"polars": (run, n)} if polars else {}


def rolled(method: str, n: int = N_SYMBOLS, **options: object) -> Peers:
    return polar(lambda column, w: getattr(column, method)(window_size=w, **options), n)


def weighted(x: Array, _: Array, w: int) -> Array:
    weights = np.arange(1.0, w + 1) / (w * (w + 1) / 2)
    return pd.DataFrame(x).rolling(w).apply(lambda v: v @ weights, raw=True).to_numpy()


def in_row(x: Array, *_: object) -> Array:
    return bottleneck.rankdata(x, axis=1) / x.shape[1]


# Our expression -> its peers. {w} is the window.
CASES: dict[str, tuple[str, Peers]] = {
    "delta": (
        "delta(close, {w})",
        frame(lambda f, w: f.diff(w)) | lib(talib.MOM) | polar(lambda c, w: c.diff(w)),
    ),
    "pct": (
        "pct_change(close, {w})",
        frame(lambda f, w: f.pct_change(w)) | lib(talib.ROCP) | polar(lambda c, w: c.pct_change(w)),
    ),
    "sum": (
        "ts_sum(close, {w})",
        panda("sum")
        | lib(talib.SUM)
        | bottle("move_sum")
        | bagg("move_sum")
        | rolled("rolling_sum"),
    ),
    "mean": (
        "ts_mean(close, {w})",
        panda("mean")
        | lib(talib.SMA)
        | bottle("move_mean")
        | bagg("move_mean")
        | rolled("rolling_mean"),
    ),
    "std": (
        "ts_std(close, {w})",
        panda("std") | bottle("move_std", ddof=1) | bagg("move_std") | rolled("rolling_std"),
    ),
    "std0": (
        "ts_std0(close, {w})",
        panda("std", ddof=0)
        | lib(talib.STDDEV)
        | bottle("move_std", ddof=0)
        | rolled("rolling_std", ddof=0),
    ),
    "var": (
        "ts_var(close, {w})",
        panda("var") | bottle("move_var", ddof=1) | bagg("move_var") | rolled("rolling_var"),
    ),
    "skew": ("ts_skew(close, {w})", panda("skew") | rolled("rolling_skew", bias=False)),
    "kurt": ("ts_kurt(close, {w})", panda("kurt") | rolled("rolling_kurtosis", bias=False)),
    "min": (
        "ts_min(close, {w})",
        panda("min", FEW) | lib(talib.MIN) | bottle("move_min") | rolled("rolling_min", FEW),
    ),
    "max": (
        "ts_max(close, {w})",
        panda("max", FEW) | lib(talib.MAX) | bottle("move_max") | rolled("rolling_max", FEW),
    ),
    "argmin": ("ts_argmin(close, {w})", lib(age(talib.MININDEX)) | bottle("move_argmin")),
    "argmax": ("ts_argmax(close, {w})", lib(age(talib.MAXINDEX)) | bottle("move_argmax")),
    "median": (
        "ts_median(close, {w})",
        panda("median", FEW) | bottle("move_median") | rolled("rolling_median", FEW),
    ),
    "quantile": (
        "ts_quantile(close, {w}, 0.9)",
        panda("quantile", FEW, q=0.9)
        | rolled("rolling_quantile", FEW, quantile=0.9, interpolation="linear"),
    ),
    "rank": (
        "ts_rank(close, {w})",
        panda("rank", FEW, pct=True)
        | ({"bottleneck": (bottle_rank, N_SYMBOLS)} if bottleneck else {})
        | polar(lambda c, w: c.rolling_rank(window_size=w, method="average") / w, FEW),
    ),
    "mad": ("ts_mad(close, {w})", lib(talib.AVGDEV)),
    "decay": ("decay_linear(close, {w})", {"pandas": (weighted, 1), **lib(talib.WMA)}),
    "ema": (
        "ema(close, {w})",
        frame(lambda f, w: f.ewm(span=w, adjust=False).mean())
        | lib(talib.EMA)
        | polar(lambda c, w: c.ewm_mean(span=w, adjust=False)),
    ),
    "slope": ("ts_slope(close, {w})", lib(talib.LINEARREG_SLOPE)),
    "linreg": ("ts_linreg(close, {w})", lib(talib.LINEARREG)),
    "forecast": ("ts_forecast(close, {w})", lib(talib.TSF)),
    "corr": (
        "ts_corr(close, open, {w})",
        panda_pair("corr") | lib(talib.CORREL, pair=True) | bagg("move_corr", pair=True),
    ),
    "cov": ("ts_cov(close, open, {w})", panda_pair("cov") | bagg("move_cov", pair=True)),
    "cs_rank": (
        "rank(close)",
        frame(lambda f, _: f.rank(axis=1, pct=True))
        | ({"bottleneck": (in_row, N_SYMBOLS)} if bottleneck else {}),
    ),
}
SETTLES = {"ema": 12}  # windows until another start is forgotten


def prices(seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return 100 * np.exp(np.cumsum(rng.normal(0, 0.001, (N_BARS, N_SYMBOLS)), axis=0))


def panel_of(x: Array, y: Array) -> Panel:
    times_ms = Interval.H1.ms * np.arange(len(x))
    return Panel(Interval.H1, times_ms, tuple(map(str, range(x.shape[1]))), {"close": x, "open": y})


def cpu_ms(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1000


def compare(case: str, peer: str, w: int, ours: Array, theirs: Array) -> None:
    start = w * SETTLES.get(case, 1)
    ours, theirs = ours[start:, : theirs.shape[1]], theirs[start:]
    known = np.isfinite(theirs) & np.isfinite(ours)
    assert known.mean() > 0.999, (case, peer, "too few values to compare")
    scale = np.abs(ours[known]).mean()
    off = np.abs(ours[known] - theirs[known]) > 1e-4 * np.abs(ours[known]) + 1e-6 * scale
    assert off.mean() < 1e-3, f"{case} {w}: {peer} differs on {off.mean():.2%} of the values"


def measure(case: str, w: int, x: Array, y: Array) -> float:
    """Print a line; returns by how much the fastest peer is slower."""
    expression, peers = CASES[case]
    factor = parse(expression.format(w=w))
    panel = panel_of(x, y)
    ours = compute(factor, panel)
    runs: dict[str, tuple[Callable[[], object], float]] = {
        "alphamill": (lambda: compute(factor, panel), 1.0)
    }
    for name, (engine, n) in peers.items():
        part_x, part_y = (x, y) if n == N_SYMBOLS else (x[:, :n].copy(), y[:, :n].copy())
        compare(case, name, w, ours, engine(part_x, part_y, w))
        runs[name] = (lambda e=engine, a=part_x, b=part_y: e(a, b, w), N_SYMBOLS / n)
    times: dict[str, list[float]] = {name: [cpu_ms(run) * up] for name, (run, up) in runs.items()}
    for _ in range(TURNS - 1):
        for name, (run, up) in runs.items():
            if times[name][0] < SLOW_MS:
                times[name].append(cpu_ms(run) * up)
    median = {name: float(np.median(values)) for name, values in times.items()}
    cells = "  ".join(f"{name} {value:8.1f}" for name, value in median.items())
    best = min(peers, key=median.__getitem__)
    lead = median[best] / median["alphamill"]
    print(f"{case:8} {w:4}  {cells}  best peer / ours {lead:.1f}x ({best})", flush=True)
    return lead


def main() -> None:
    x, y = prices(1), prices(2)
    print(
        f"{N_SYMBOLS} symbols x {N_BARS} bars, median CPU ms; a copy of the panel takes "
        f"{min(cpu_ms(x.copy) for _ in range(9)):.1f}"
    )
    least = {}
    for case in [name for name in sys.argv[1:] if name != OWN] or CASES:
        windows = WINDOWS if "{w}" in CASES[case][0] else (0,)
        least[case] = min(measure(case, w, x, y) for w in windows)
    print("least lead  " + "  ".join(f"{case} {lead:.1f}x" for case, lead in least.items()))
    slower = [case for case, lead in least.items() if lead < 1]
    print(f"slower than a peer: {', '.join(slower) or 'none'}")


def measure_with_own_settings() -> None:
    """The cheapest operators again, in a process that gives freed memory back as the C library
    sees fit: each result then lies on fresh pages, except for polars, which has its own memory.
    """
    print("\nwith the C library's own settings", flush=True)
    plain = {name: value for name, value in os.environ.items() if name not in KEPT}
    subprocess.run([sys.executable, __file__, OWN, *CHEAPEST], env=plain, check=True)


if __name__ == "__main__":
    if OWN in sys.argv:
        main()
    elif KEPT.items() <= os.environ.items():  # read by the C library when a process starts
        main()
        if not sys.argv[1:]:
            measure_with_own_settings()
    else:
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | KEPT)  # noqa: S606
