"""The 101 published formulas combined on recorded hours, beside as many random formulas.

    python benchmarks/combine_recorded.py FOLDER [--horizon 4] [--draws 200] [--pool 500]

FOLDER: SYMBOL-1h.parquet files of spot klines (open_time in ms, open, high, low, close, volume).
All formulas of the zoo alpha101 that need nothing else and have a value on 80 % of discovery's bars
are combined, none is chosen; directions are discovery's, the first 40 % of the bars. Excess, RankIC
and break-even cost are those of the other 60 %, with one-bar lag, monthly refits and weights of
labels that had matured.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from alphamill.combination import (
    Combiner,
    FactorRanks,
    control_draws,
    control_pool,
    excess_over_random,
    refit_schedule,
    walk_forward_each,
)
from alphamill.evaluation import Scorer, forward_returns, information_coefficient
from alphamill.evaluation.correlation import mean_ic
from alphamill.factors import Factor, FactorError, compute_many, zoo
from alphamill.frames import FloatArray
from alphamill.search.formulas import random_formulas

COMBINERS = [
    Combiner("equal"),
    Combiner("ic"),
    Combiner("icir_shrunk"),
    Combiner("ridge"),
    Combiner("lasso"),
]
FIELDS = ("open", "high", "low", "close", "volume")
LAG, HOUR_MS, DAY_MS = 1, 3_600_000, 86_400_000
LONGEST_HALT = 48  # bars; what comes after a longer one is another coin under the old name


def recorded(folder: Path) -> tuple[dict[str, FloatArray], np.ndarray, list[str]]:
    """Fields (bars, symbols), the bars' opens, and names."""
    tables = {
        path.name.removesuffix("-1h.parquet"): pq.read_table(path)
        for path in sorted(folder.glob("*-1h.parquet"))
    }
    if len(tables) < 3:
        raise SystemExit(f"{folder} has {len(tables)} files *-1h.parquet; three or more are needed")
    opens = {name: table["open_time"].to_numpy() for name, table in tables.items()}
    first, last = min(o[0] for o in opens.values()), max(o[-1] for o in opens.values())
    times = np.arange(first, last + 1, HOUR_MS)
    panel = {field: np.full((len(times), len(tables)), np.nan) for field in FIELDS}
    for column, (name, table) in enumerate(tables.items()):
        halts = np.flatnonzero(np.diff(opens[name]) > LONGEST_HALT * HOUR_MS)
        end = int(halts[0]) + 1 if len(halts) else len(table)
        rows = (opens[name][:end] - first) // HOUR_MS
        for field in FIELDS:
            panel[field][rows, column] = table[field].to_numpy()[:end]
    return panel, times, list(tables)


def published() -> Iterator[Factor]:
    """Formulas of the zoo that need no more than FIELDS."""
    for one in zoo("alpha101"):
        try:
            factor = one.factor()
        except FactorError:
            continue
        if set(factor.columns) <= {*FIELDS, "returns"} and "group" not in factor.text:
            yield factor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    for name, default in (("horizon", 4), ("draws", 200), ("pool", 500), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    horizon = given.horizon
    panel, times, names = recorded(given.folder)
    n_bars = len(times)
    labels = forward_returns(panel, horizon, LAG)
    schedule = refit_schedule(times, 30 * DAY_MS, 90 * 24, horizon + LAG)
    discovery = slice(0, int(0.4 * n_bars))
    known = slice(0, discovery.stop - horizon - LAG)
    scored = slice(discovery.stop + horizon + LAG, n_bars)
    factors = list(published())
    kept, directions = [], []
    for _, values in compute_many(factors, panel):
        there = np.isfinite(panel["close"][discovery])
        ic = mean_ic(information_coefficient(values[known], labels[known]))
        if (np.isfinite(values[discovery]) & there).sum() >= 0.8 * there.sum() and np.isfinite(ic):
            kept.append(values)
            directions.append(-1 if ic < 0 else 1)
    ranks = FactorRanks.of(kept, directions)
    alone = [
        mean_ic(d * information_coefficient(v, labels)[scored])
        for v, d in zip(kept, directions, strict=True)
    ]
    print(
        f"{len(names)} coins, {n_bars} hours from {np.datetime64(int(times[0]), 'ms')}; "
        f"{len(kept)} of {len(factors)} published formulas; {len(schedule)} refits; horizon "
        f"{horizon}; scored {scored.stop - scored.start} bars; load {os.getloadavg()[0]:.2f}"
    )
    walked = walk_forward_each(ranks, labels, COMBINERS, schedule, horizon)

    def random_values() -> Iterator[FloatArray]:
        formulas = list(random_formulas(0, 6 * given.pool, (*FIELDS, "returns")))
        for start in range(0, len(formulas), 50):
            for _, values in compute_many(formulas[start : start + 50], panel):
                yield values

    pool = control_pool(
        random_values(),
        given.pool,
        labels,
        COMBINERS,
        schedule,
        horizon,
        known,
        threads=given.threads,
    )
    drawn = control_draws(pool, len(kept), given.draws, 0, scored, given.threads)
    lone = np.array([mean_ic(one[scored]) for one in pool.ic])
    print(
        f"one formula, mean RankIC: published {np.mean(alone):+.4f}, random {np.nanmean(lone):+.4f}"
    )
    scorer = Scorer(
        {name: field[scored] for name, field in panel.items()},
        horizon_bars=horizon,
        entry_lag_bars=LAG,
        skip_bars=0,
        fee_bps=11.0,
        bars_per_year=8760,
    )
    for one, random in zip(walked, drawn, strict=True):
        found = excess_over_random(
            information_coefficient(one.signal, labels)[scored], random.ic, horizon
        )
        score = scorer.score(one.signal[scored], 1)
        print(
            f"| {one.combiner.text} | {found.excess:+.4f} | {found.low:+.4f} to {found.high:+.4f} "
            f"| {found.percentile:.1%} | {found.mean_ic:.4f} / {found.icir:.3f} | "
            f"{found.random_mean_ic:.4f} / {found.random_icir:.3f} | "
            f"{score.turnover_per_bar:.3f} | {score.break_even_bps:.1f} |"
        )


if __name__ == "__main__":
    main()
