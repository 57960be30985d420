"""Combining fifty factors four ways, beside 200 draws of as many random formulas.

    python benchmarks/combine.py [--factors 50] [--symbols 100] [--bars 26280] [--pool 500]
        [--draws 200] [--threads 2]

A synthetic market of hourly bars; the factors are random formulas too, so that what is measured is
time and memory, and the excess should be about 0. Prints wall and processor seconds of each step,
and the most memory that the process ever held.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Iterator

import numpy as np

from alphamill.combination import (
    Combiner,
    control_draws,
    control_pool,
    excess_over_random,
    refit_schedule,
    walk_forward_each,
)
from alphamill.controls.markets import ControlMarket, panel_of
from alphamill.evaluation import forward_returns, information_coefficient
from alphamill.evaluation.correlation import mean_ic
from alphamill.factors import compute_many
from alphamill.frames import FloatArray, Panel
from alphamill.search.formulas import random_formulas

COMBINERS = [Combiner("equal"), Combiner("ic"), Combiner("icir_shrunk"), Combiner("ridge")]
FIELDS = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "vwap", "returns")
HORIZON, LAG = 4, 1
DAY_MS = 86_400_000


class Steps:
    """Says how long each step took."""

    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), time.process_time()
        self.total = [0.0, 0.0]

    def done(self, name: str, counted: bool = True) -> None:
        wall, cpu = time.perf_counter() - self.wall, time.process_time() - self.cpu
        if counted:
            self.total[0] += wall
            self.total[1] += cpu
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"{name:32} {wall:7.1f} s  {cpu:7.1f} s of processor  {held:5.2f} GB", flush=True)
        self.wall, self.cpu = time.perf_counter(), time.process_time()


def formulas_values(panel: Panel, seed: int, count: int) -> Iterator[FloatArray]:
    """Values of random formulas, fifty at a time, since alike ones share what they compute."""
    formulas = list(random_formulas(seed, count, FIELDS))
    for start in range(0, count, 50):
        for _, values in compute_many(formulas[start : start + 50], panel):
            yield values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for name, default in (
        ("factors", 50),
        ("symbols", 100),
        ("bars", 26_280),
        ("pool", 500),
        ("draws", 200),
        ("threads", 2),
        ("seed", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores")
    steps = Steps()
    panel = panel_of(ControlMarket(given.seed, given.symbols, given.bars))
    steps.done("the market", counted=False)
    labels = forward_returns(panel, HORIZON, LAG)
    schedule = refit_schedule(panel.times_ms, 30 * DAY_MS, 90 * 24, HORIZON + LAG)
    discovery = slice(0, int(0.4 * given.bars))
    scored = slice(discovery.stop, given.bars)
    factors = control_pool(
        formulas_values(panel, given.seed + 1, 3 * given.factors),
        given.factors,
        labels,
        COMBINERS[:1],
        schedule,
        HORIZON,
        discovery,
    ).ranks
    steps.done(f"{given.factors} factors")
    walked = walk_forward_each(factors, labels, COMBINERS, schedule, HORIZON)
    ics = [information_coefficient(one.signal, labels)[scored] for one in walked]
    steps.done(f"{len(COMBINERS)} ways, {len(schedule)} refits")
    del walked, factors
    pool = control_pool(
        formulas_values(panel, given.seed + 2, 3 * given.pool),
        given.pool,
        labels,
        COMBINERS,
        schedule,
        HORIZON,
        discovery,
        threads=given.threads,
    )
    steps.done(f"a pool of {given.pool}")
    draws = control_draws(
        pool, given.factors, given.draws, given.seed, scored, threads=given.threads
    )
    steps.done(f"{given.draws} draws, {len(COMBINERS)} ways")
    print(f"  one formula alone: IC {np.nanmean([mean_ic(one[scored]) for one in pool.ic]):+.4f}")
    for ic, drawn in zip(ics, draws, strict=True):
        found = excess_over_random(ic, drawn.ic, HORIZON)
        print(
            f"  {drawn.combiner.text:12} excess {found.excess:+.4f} [{found.low:+.4f}, "
            f"{found.high:+.4f}]: IC {found.mean_ic:+.4f}, random "
            f"{found.random_mean_ic:+.4f}, above {found.percentile:.0%} of draws"
        )
    steps.done("four excesses with intervals")
    print(f"all but the market: {steps.total[0]:.0f} s, {steps.total[1]:.0f} s of processor")
    print(f"load {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
