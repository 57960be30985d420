"""Twenty of the 101 formulas against KunQuant and qweave; a batch of candidates against each alone.

Run: python benchmarks/formulas_speed.py [bars] (default 50000; 48 symbols, one core). KunQuant is
the C++ generator's released library for x86, qweave its batch of expressions; both are optional
(pip install kunquant qweave) and left out where they are missing. KunQuant compiles before it is
timed. The twenty use neither industries nor capitalisations, which KunQuant has not, and between
them every window operator of the paper: the peers' own lists hold them all.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable

os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("RAYON_NUM_THREADS", "1")

import numpy as np

from alphamill.factors import Factor, compute, compute_many, parse, zoo
from alphamill.testing import random_fields

Array = np.ndarray
TWENTY = (2, 3, 4, 6, 8, 11, 12, 13, 14, 15, 16, 18, 22, 25, 26, 33, 40, 44, 55, 101)
N_SYMBOLS = 48


def cpu_s(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def drain(factors: list[Factor], panel: dict[str, Array]) -> None:
    for _ in compute_many(factors, panel):
        pass


def alone(factors: list[Factor], panel: dict[str, Array]) -> None:
    for factor in factors:
        compute(factor, panel)


def candidates() -> list[Factor]:
    """64 variations on four themes, as a model's round gives them."""
    themes = (
        "ts_corr(rank(close), rank(volume), {w})",
        "ts_zscore(returns, {w})",
        "decay_linear(rank(delta(close, 3) / close), {w})",
        "ts_rank(quote_volume / adv20, {w})",
    )
    shapes = (
        "rank({x})",
        "-{x}",
        "{x} * sign(returns)",
        "zscore({x}) - rank(returns)",
        "{x} / (1 + ts_std(returns, 20))",
        "ts_mean({x}, 3)",
        "delta({x}, 1)",
        "{x} * rank(quote_volume / adv20)",
    )
    texts = [s.format(x=t.format(w=w)) for t in themes for w in (10, 30) for s in shapes]
    return [parse(text) for text in texts]


def kunquant(panel: dict[str, Array]) -> Callable[[], dict[str, Array]] | None:
    try:
        from KunQuant.Driver import KunCompilerConfig
        from KunQuant.jit import cfake
        from KunQuant.Op import Builder, Input, Output
        from KunQuant.predefined import Alpha101
        from KunQuant.runner import KunRunner
        from KunQuant.Stage import Function
    except ImportError as error:
        print(f"KunQuant left out: {error}")
        return None
    builder = Builder()
    with builder:
        names = ("open", "close", "high", "low", "volume", "amount")
        data = Alpha101.AllData(**{name: Input(name) for name in names})
        for number in TWENTY:
            Output(getattr(Alpha101, f"alpha{number:03d}")(data), f"a{number}")
    function = Function(builder.ops)
    config = KunCompilerConfig(
        input_layout="TS",
        output_layout="TS",
        dtype="double",
        blocking_len=4,
        options={"opt_reduce": True, "fast_log": True},
    )
    library = cfake.compileit([("alphas", function, config)], "alphas", cfake.CppCompilerConfig())
    modules = library.getModule("alphas")
    executor = KunRunner.createSingleThreadExecutor()
    inputs = {name: panel[name] for name in names if name in panel}
    inputs["amount"] = panel["quote_volume"]
    n_bars = len(panel["close"])
    return lambda: KunRunner.runGraph(executor, modules, inputs, 0, n_bars)


def qweave(panel: dict[str, Array]) -> Callable[[], object] | None:
    try:
        import polars as pl
        import qweave as qw
    except ImportError as error:
        print(f"qweave left out: {error}")
        return None
    n_bars = len(panel["close"])
    columns = {**panel, "vwap": panel["quote_volume"] / panel["volume"]}
    columns["returns"] = np.full_like(panel["close"], np.nan)
    columns["returns"][1:] = panel["close"][1:] / panel["close"][:-1] - 1
    frame = pl.DataFrame(
        {
            "asset": np.repeat(np.arange(N_SYMBOLS), n_bars),
            "date": np.tile(np.arange(n_bars), N_SYMBOLS),
            **{name: values.T.ravel() for name, values in columns.items()},
        }
    )
    alphas = qw.worldquant_alpha101({}, alphas=[f"alpha{number}" for number in TWENTY])
    return lambda: qw.with_alphas(frame, "asset", "date", alphas)


CHECKED = (6, 12, 101)  # without ranks over symbols, whose scale differs between engines


def check_equal(peer: str, theirs: object, twenty: list[Factor], panel: dict[str, Array]) -> None:
    """A peer's values against ours, on formulas that every engine reads alike."""
    n_bars = len(panel["close"])
    for number in CHECKED:
        ours = compute(twenty[TWENTY.index(number)], panel)[300:]
        if peer == "kunquant":
            values = np.asarray(theirs[f"a{number}"])[300:]
        else:
            values = theirs[f"alpha{number}"].to_numpy().reshape(N_SYMBOLS, n_bars).T[300:]
        known = np.isfinite(ours) & np.isfinite(values)
        assert known.mean() > 0.99, (peer, number)
        np.testing.assert_allclose(
            values[known],
            ours[known],
            rtol=1e-3,
            atol=1e-3 * np.abs(ours[known]).max(),
            err_msg=f"{peer} {number}",
        )


def main() -> None:
    n_bars = int(sys.argv[1]) if len(sys.argv) > 1 else 50_000
    panel = random_fields(n_bars, N_SYMBOLS)
    entries = zoo("alpha101")
    twenty = [entries[number - 1].factor() for number in TWENTY]
    small = {name: values[:600] for name, values in panel.items()}
    batch = candidates()
    drain(twenty, small)
    drain(batch, small)
    print(f"{N_SYMBOLS} symbols x {n_bars} bars, one core, CPU seconds (best of turns)")
    engines: dict[str, Callable[[], object]] = {"alphamill": lambda: drain(twenty, panel)}
    for name, make in (("kunquant", kunquant), ("qweave", qweave)):
        run = make(panel)
        if run is not None:
            engines[name] = run
    for name in engines.keys() - {"alphamill"}:
        check_equal(name, engines[name](), twenty, panel)
    times = {name: min(cpu_s(run) for _ in range(2)) for name, run in engines.items()}
    for name, seconds in times.items():
        print(
            f"  twenty formulas  {name:10} {seconds:7.2f} s  {20 / seconds:6.1f} factors/s  "
            f"alphamill is {seconds / times['alphamill']:.2f}x as fast"
        )
    rows = min(n_bars, 20_000)
    part = {name: values[:rows] for name, values in panel.items()}
    together = min(cpu_s(lambda: drain(batch, part)) for _ in range(2))
    each = min(cpu_s(lambda: alone(batch, part)) for _ in range(2))
    print(
        f"  64 candidates x {rows} bars: together {together:.2f} s, each alone {each:.2f} s: "
        f"{together / each:.2f} of it"
    )
    print(
        f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB, "
        f"one field {panel['close'].nbytes / 2**20:.0f} MB"
    )


if __name__ == "__main__":
    main()
