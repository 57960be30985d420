"""1,000 candidates x 50 symbols x 20,000 bars scored in one pass that reads the panel once.

Run: python benchmarks/screen.py [candidates] [bars] [--older FOLDER]. What is timed is what an
evaluate worker does with a round: values of a batch of expressions and the whole Score of each
(RankIC, Newey-West t, turnover and all the rest), labels ranked once. The first figures are
compared with those of the functions that users call, one by one. Time and peak memory of one
process, then of two with half of the candidates each. Stops after the first 25 s of a pass and says
how far it came. --older: then 40 of the candidates with this build and that of FOLDER (by its
.venv, where it has one) in turns, one process each, processor time, once the figures that mean the
same in both are equal to 9 digits for drawn values.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from alphamill.evaluation import Scorer, forward_returns, information_coefficient, newey_west_t
from alphamill.factors import compute_many
from alphamill.search.formulas import random_formulas

N_SYMBOLS = 50
PATIENCE_S = 25.0
FIELDS = ("open", "high", "low", "close", "volume", "quote_volume", "returns")
OPERATORS = (
    "ts_mean",
    "ts_std",
    "ts_zscore",
    "ts_rank",
    "rank",
    "delta",
    "ts_corr",
    "div",
    "sub",
    "ts_max",
    "decay_linear",
    "pct_change",
)
HORIZON, LAG = 4, 1


def panel_of(n_bars: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    shape = (n_bars, N_SYMBOLS)
    close = 100 * np.exp(rng.normal(0, 0.005, shape).cumsum(axis=0))
    open_ = np.vstack([close[:1], close[:-1]])
    volume = rng.lognormal(5, 1, shape)
    return {
        "open": open_,
        "close": close,
        "high": np.maximum(open_, close) * 1.001,
        "low": np.minimum(open_, close) * 0.999,
        "volume": volume,
        "quote_volume": volume * close,
    }


def work(task: tuple[int, int, int, int]) -> tuple[int, float, float]:
    """Candidates done, seconds, and peak memory in MB, of one share."""
    n_bars, candidates, share, shares = task
    factors = list(random_formulas(7, candidates, FIELDS, OPERATORS))[share::shares]
    warm(panel_of(400), factors[:100])
    panel = panel_of(n_bars)
    before_mb = peak_mb()
    start_s = time.perf_counter()
    scorer, done = scorer_of(panel), 0
    for _, values in compute_many(factors, panel):
        result = scorer.score(values)
        if done < 3 and result.fault is None:
            check(values, panel, result.rank_ic_mean, result.rank_ic_t, result.hac_lags)
        done += 1
        if time.perf_counter() - start_s > PATIENCE_S:
            break
    return done, time.perf_counter() - start_s, peak_mb() - before_mb


def scorer_of(panel: dict[str, np.ndarray]) -> Scorer:
    return Scorer(
        panel,
        horizon_bars=HORIZON,
        entry_lag_bars=LAG,
        skip_bars=0,
        fee_bps=11.0,
        bars_per_year=8760.0,
    )


def warm(panel: dict[str, np.ndarray], factors: list) -> None:  # type: ignore[type-arg]
    """Compile every kernel before the clock starts."""
    scorer = scorer_of(panel)
    for _, values in islice(compute_many(factors, panel), len(factors)):
        scorer.score(values)


def check(
    values: np.ndarray, panel: dict[str, np.ndarray], mean: float, t: float, lags: int
) -> None:
    ic = information_coefficient(values, forward_returns(panel, HORIZON, LAG))
    np.testing.assert_allclose(mean, np.nanmean(ic), rtol=1e-10)
    np.testing.assert_allclose(t, newey_west_t(ic, lags), rtol=1e-10)


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


FIGURES = (
    *("coverage", "rank_ic_mean", "rank_icir", "ic_mean", "icir", "rank_autocorrelation", "decay"),
    *("quantile_spread", "monotonicity", "turnover_per_bar", "gross_sharpe", "net_sharpe"),
    *("skew", "kurtosis", "max_drawdown_frac", "break_even_bps", "capacity_quote", "fault"),
)
PROBE = """
import json, sys, time
import numpy as np
from screen import FIELDS, OPERATORS, compute_many, panel_of, random_formulas, scorer_of, warm
factors = list(random_formulas(7, 40, FIELDS, OPERATORS))
warm(panel_of(400), factors)
panel = panel_of(int(sys.argv[1]))
scorer = scorer_of(panel)
drawn = np.random.default_rng(5).normal(size=panel["close"].shape)
kinds = {"plain": drawn, "ties": drawn.round(), "holes": np.where(drawn > 1, np.nan, drawn)}
scores = {name: scorer.score(values).to_dict() for name, values in kinds.items()}
start_s = time.process_time()
for _, values in compute_many(factors, panel):
    scorer.score(values)
print(json.dumps([(time.process_time() - start_s) / len(factors), scores]))
"""


def probed(folder: Path, n_bars: int) -> tuple[float, dict[str, Any]]:
    """Processor seconds of a candidate with a folder's build, and scores of given values."""
    own = folder / ".venv" / "bin" / "python"
    paths = os.pathsep.join([str(folder), str(folder / "benchmarks")])
    found = subprocess.run(
        [str(own) if own.exists() else sys.executable, "-c", PROBE, str(n_bars)],
        env=os.environ | {"PYTHONPATH": paths},
        cwd=folder,
        check=True,
        capture_output=True,
    )
    seconds, scores = json.loads(found.stdout)
    return seconds, scores


def beside(older: Path, n_bars: int) -> None:
    here = Path(__file__).resolve().parents[1]
    rounds = [(probed(older, n_bars), probed(here, n_bars)) for _ in range(3)]
    (_, theirs), (_, ours) = rounds[0]
    for kind, score in theirs.items():
        for name in FIGURES:
            same(score[name], ours[kind][name], f"{name} of {kind} values")
    before, now = (statistics.median(one[side][0] for one in rounds) for side in (0, 1))
    print(
        f"equal figures of equal values; a candidate takes {before * 1e3:.1f} ms of processor time "
        f"with {older.name}, {now * 1e3:.1f} now: {before / now:.2f}x"
    )


def same(theirs: Any, ours: Any, what: str) -> None:
    if isinstance(theirs, dict):
        theirs, ours = list(theirs.values()), list(ours.values())
    if isinstance(theirs, str | None) or isinstance(ours, str | None):
        assert theirs == ours, what
    else:
        numbers = [np.array(side, dtype=np.float64) for side in (theirs, ours)]
        np.testing.assert_allclose(*numbers, rtol=1e-9, atol=1e-9, err_msg=what)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("candidates", type=int, nargs="?", default=1000)
    parser.add_argument("bars", type=int, nargs="?", default=20_000)
    parser.add_argument("--older", type=Path)
    chosen = parser.parse_args()
    candidates, n_bars = chosen.candidates, chosen.bars
    context = get_context("spawn")
    rates = []
    for shares in (1, 2):
        with context.Pool(shares) as pool:
            found = pool.map(work, [(n_bars, candidates, n, shares) for n in range(shares)], 1)
        done = sum(one[0] for one in found)
        rate = sum(one[0] / one[1] for one in found)
        rates.append(rate)
        print(
            f"{shares} process(es): {done} of {candidates} candidates x {N_SYMBOLS} x {n_bars:,}: "
            f"{max(one[1] for one in found):.1f} s, {rate:.1f} a second "
            f"({candidates / rate:.0f} s for all); {max(one[2] for one in found):.0f} MB above the "
            f"panel's, a field being {n_bars * N_SYMBOLS * 8 / 2**20:.0f} MB"
        )
    print(f"two processes: {rates[1] / rates[0]:.2f}x")
    if chosen.older:
        beside(chosen.older.resolve(), n_bars)


if __name__ == "__main__":
    main()
