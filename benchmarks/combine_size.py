"""How often a combination is called predictive: where there is nothing, and where ten factors lean.

    python benchmarks/combine_size.py [--noise 200] [--power 200] [--processes 2]

Noise: control markets (12 coins, 2,000 hourly bars, late listings, a delisting, outages) and ten
random formulas each, combined four ways, beside 40 draws from a pool of 60 others. Power: 50 coins,
5,000 bars whose returns have fat tails, a market factor and volatility that clusters; ten
persistent factors with a RankIC of 0.01 each over four bars. A market counts if one of the four
combinations is not rejected; every combination is charged with the four and the ten factors, every
factor with the ten. Directions are discovery's.
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context

os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from alphamill.combination import (
    ChargedTrial,
    Combiner,
    combination_segments,
    control_draws,
    control_pool,
    excess_over_random,
    judge_combination,
    refit_schedule,
    walk_forward_each,
)
from alphamill.controls.calibration import upper_bound
from alphamill.controls.markets import ControlMarket, panel_of
from alphamill.evaluation import (
    GateThresholds,
    Grade,
    Score,
    Scorer,
    Segment,
    forward_returns,
    information_coefficient,
)
from alphamill.factors import compute_many
from alphamill.frames import FloatArray, Panel
from alphamill.search.formulas import random_formulas

COMBINERS = [Combiner("equal"), Combiner("ic"), Combiner("icir_shrunk"), Combiner("ridge")]
FIELDS = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "vwap", "returns")
HORIZON, LAG, FACTORS, POOL, DRAWS = 4, 1, 10, 60, 40
HOUR_MS, DAY_MS = 3_600_000, 86_400_000
PERSISTENCE = 0.95


@dataclass(frozen=True)
class Found:
    """Grades of a market's combinations, how many factors are admitted, and mean ICs."""

    grades: dict[str, str]
    failed: dict[str, tuple[str, ...]]
    singles: int
    single_ic: float
    combined_ic: float
    above: dict[str, bool]  # whether the interval of the excess over random lies above 0


def judged(
    panel: dict[str, FloatArray],
    values: Iterable[FloatArray],
    times_ms: np.ndarray,
    random: Iterable[FloatArray] | None = None,
) -> Found:
    labels = forward_returns(panel, HORIZON, LAG)
    n_bars = len(labels)
    schedule = refit_schedule(times_ms, 7 * DAY_MS, int(0.2 * n_bars), HORIZON + LAG)
    segments = combination_segments(schedule, 0.4, 0.3, HORIZON + LAG)
    discovery = slice(0, segments[Segment.DISCOVERY].stop_bar - HORIZON - LAG)
    factors = control_pool(
        values, FACTORS, labels, COMBINERS[:1], schedule, HORIZON, discovery, min_coverage=0.8
    ).ranks
    scorers = {
        segment: Scorer(
            {name: field[bars.rows] for name, field in panel.items()},
            horizon_bars=HORIZON,
            entry_lag_bars=LAG,
            skip_bars=bars.skip_bars,
            fee_bps=11.0,
            bars_per_year=8760,
        )
        for segment, bars in segments.items()
    }

    def scores(signal: FloatArray) -> dict[Segment, Score]:
        return {
            segment: scorer.score(signal[segments[segment].rows], 1)
            for segment, scorer in scorers.items()
        }

    walked = walk_forward_each(factors, labels, COMBINERS, schedule, HORIZON)
    combined = [scores(one.signal) for one in walked]
    singles = [scores(factors.series(index)) for index in range(FACTORS)]
    tried = [ChargedTrial.of(one[Segment.VALIDATION]) for one in combined]
    earlier = [ChargedTrial.of(one[Segment.VALIDATION]) for one in singles]
    above = {}
    if random is not None:
        scored = slice(segments[Segment.DISCOVERY].stop_bar + HORIZON + LAG, n_bars)
        pool = control_pool(random, POOL, labels, COMBINERS, schedule, HORIZON, discovery)
        for one, drawn in zip(walked, control_draws(pool, FACTORS, DRAWS, 0, scored), strict=True):
            ic = information_coefficient(one.signal, labels)[scored]
            above[one.combiner.text] = excess_over_random(ic, drawn.ic, HORIZON).low > 0
    options = {"thresholds": GateThresholds(), "look_ahead_ok": True}
    verdicts = [judge_combination(one, tried, earlier=earlier, **options) for one in combined]
    alone = [judge_combination(one, earlier, **options) for one in singles]
    return Found(
        {one.text: verdict.grade.value for one, verdict in zip(COMBINERS, verdicts, strict=True)},
        {
            one.text: tuple(gate.name for gate in verdict.gates if not gate.passed)
            for one, verdict in zip(COMBINERS, verdicts, strict=True)
        },
        sum(one.grade.admitted for one in alone),
        float(np.nanmean([one[Segment.HOLDOUT].rank_ic_mean for one in singles])),
        float(np.nanmean([one[Segment.HOLDOUT].rank_ic_mean for one in combined])),
        above,
    )


def noise(seed: int) -> Found:
    panel = panel_of(ControlMarket(seed))
    times_ms = panel.times_ms
    own, other = (stream(panel, number) for number in (seed, seed + 1_000_000))
    return judged(dict(panel), own, times_ms, other)


def stream(panel: Panel, seed: int) -> Iterator[FloatArray]:
    """Values of random formulas, as many as are asked for."""
    formulas = random_formulas(seed, 2000, FIELDS)
    while chunk := list(islice(formulas, 20)):
        for _, values in compute_many(chunk, panel):
            yield values


def weak(seed: int, n_bars: int = 5000) -> Found:
    """Ten factors whose RankIC with the return over four bars is 0.01 each."""
    rng = np.random.default_rng(seed)
    n_symbols = 50
    values = rng.normal(size=(FACTORS, n_bars, n_symbols))
    for t in range(1, n_bars):
        values[:, t] *= np.sqrt(1 - PERSISTENCE**2)
        values[:, t] += PERSISTENCE * values[:, t - 1]
    clusters = rng.normal(size=(n_bars, 1))
    for t in range(1, n_bars):
        clusters[t] = 0.98 * clusters[t - 1] + 0.2 * clusters[t]
    size = 0.006 * np.exp(0.4 * clusters)
    # Over h bars the lean of bar t adds up to a (1 + p + ... + p^(h-1)), the rest to sqrt(h).
    lean = 0.01 * np.sqrt(HORIZON) / sum(PERSISTENCE**k for k in range(HORIZON))
    own = rng.standard_t(5, size=(n_bars, n_symbols)) / np.sqrt(5 / 3)
    own[2:] += lean * values[:, :-2].sum(axis=0)
    earned = size * (own + rng.normal(size=(n_bars, 1)))
    opens = 100 * np.exp(earned.cumsum(axis=0))
    panel = {"open": opens, "close": np.vstack([opens[1:], opens[-1:]])}
    return judged(panel, list(values), 1_700_000_000_000 + HOUR_MS * np.arange(n_bars))


def told(name: str, found: list[Found], seconds: float) -> None:
    called = [any(Grade(grade).admitted for grade in one.grades.values()) for one in found]
    lonely = [one for one in found if not one.singles]
    n = len(found)
    print(
        f"{name}: {n} markets, {seconds / n:.2f} s a market; mean IC on the holdout, in "
        f"the direction of discovery: a factor "
        f"{np.mean([one.single_ic for one in found]):+.4f}, a combination "
        f"{np.mean([one.combined_ic for one in found]):+.4f}"
    )
    print(
        f"  some combination called: {sum(called)} ({sum(called) / n:.1%}, at most "
        f"{upper_bound(sum(called), n):.1%} at 95 %); some factor alone: {n - len(lonely)}"
    )
    some = sum(any(Grade(g).admitted for g in one.grades.values()) for one in lonely)
    if lonely:
        print(
            f"  where no factor alone is called: {some} of {len(lonely)} ({some / len(lonely):.1%})"
        )
    for combiner in COMBINERS:
        own = [Grade(one.grades[combiner.text]).admitted for one in found]
        gates = Counter(
            gate
            for one in found
            for gate in one.failed[combiner.text]
            if not gate.startswith("net_")
        )
        why = ", ".join(f"{gate} {count}" for gate, count in gates.most_common(4))
        print(f"  {combiner.text:12} {sum(own):4} called; gates that failed most: {why}")
        if all(one.above for one in found):
            above = sum(one.above[combiner.text] for one in found)
            print(f"  {'':12} {above:4} with an excess over random above 0 by its 95 % interval")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--noise", type=int, default=200)
    parser.add_argument("--power", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.2f}")
    with get_context("spawn").Pool(given.processes) as pool:
        for name, make, count in (("noise", noise, given.noise), ("power", weak, given.power)):
            start = time.perf_counter()
            if count:
                told(name, pool.map(make, range(count), 1), time.perf_counter() - start)
    print(f"load {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
