"""Two processes against one: the same batch of candidates, evaluated by each.

Run: python benchmarks/evaluate_processes.py (50 symbols x 20,000 bars, 64 candidates, two cores
that nobody else uses). Each process takes the batch eight times, each between two barriers, its
kernels and panel loaded before; median wall times, one process measured before and after two.
Limit: two do at least 1.8 times the work of one. What they share is the memory's bandwidth.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import statistics
import time
from multiprocessing.synchronize import Barrier

os.environ.setdefault("NUMBA_NUM_THREADS", "1")

import numpy as np

from alphamill.factors import compute_many, parse

SHAPE, ROUNDS, LIMIT = (20_000, 50), 8, 1.8
THEMES = (
    "ts_corr(rank(close), rank(volume), {w})",
    "ts_zscore(returns, {w})",
    "decay_linear(rank(delta(close, 3) / close), {w})",
    "ts_rank(volume / ts_mean(volume, 20), {w})",
)
SHAPES = (
    "rank({x})",
    "-{x}",
    "{x} * sign(returns)",
    "zscore({x}) - rank(returns)",
    "{x} / (1 + ts_std(returns, 20))",
    "ts_mean({x}, 3)",
    "delta({x}, 1)",
    "{x} * rank(ts_mean(returns, 5))",
)
TEXTS = [s.format(x=t.format(w=w)) for t in THEMES for w in (10, 30) for s in SHAPES]


def work(barrier: Barrier) -> None:
    """A worker process: ready, go, done, ROUNDS times."""
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, SHAPE), axis=0))
    panel = {"close": close, "volume": rng.lognormal(5, 1, SHAPE)}
    factors = [parse(text) for text in TEXTS]
    for _ in compute_many(factors, {name: values[:500] for name, values in panel.items()}):
        pass
    for _ in range(ROUNDS):
        barrier.wait()
        for _ in compute_many(factors, panel):
            pass
        barrier.wait()


def median_s(n_processes: int) -> float:
    """Seconds until all of them have done the batch."""
    context = mp.get_context("spawn")
    barrier = context.Barrier(n_processes + 1)
    processes = [context.Process(target=work, args=(barrier,)) for _ in range(n_processes)]
    for process in processes:
        process.start()
    took = []
    for _ in range(ROUNDS):
        barrier.wait(timeout=60)
        start = time.perf_counter()
        barrier.wait(timeout=60)
        took.append(time.perf_counter() - start)
    for process in processes:
        process.join()
    return statistics.median(took)


def main() -> None:
    before, two, after = median_s(1), median_s(2), median_s(1)
    one = (before + after) / 2
    n_bars, n_symbols = SHAPE
    print(
        f"{len(TEXTS)} candidates, {n_symbols} symbols x {n_bars} bars: one process {before:.2f} "
        f"and {after:.2f} s, two {two:.2f} s for twice the work: {2 * one / two:.2f}x "
        f"(limit {LIMIT}x)"
    )


if __name__ == "__main__":
    main()
