"""1,000 candidates x 50 symbols x 20,000 bars scored in one pass that reads the panel once.

Run: python benchmarks/screen.py [candidates] [bars]. What is timed is what an evaluate worker does
with a round: values of a batch of expressions and the whole Score of each (RankIC, Newey-West t,
turnover and all the rest), labels ranked once. The first figures are compared with those of the
functions that users call, one by one. Time and peak memory of one process, then of two with half of
the candidates each. Stops after the first 25 s of a pass and says how far it came.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from itertools import islice
from multiprocessing import get_context

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


def main() -> None:
    candidates = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    n_bars = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000
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


if __name__ == "__main__":
    main()
