"""Random formulas under the same combiner: what combining brings without any idea.

A pool of formulas is computed once: their ranks, their RankICs and, refit by refit, the sums of
products that weights are made of. Any pick of them then has exactly the weights that `walk_forward`
would give it, without a formula being computed again. The RankIC of a combined signal has no such
short cut, since ranking is not linear; so the signals are made, for all picks in one multiplication
a tile of bars, and ranked.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from alphamill.combination.combiner import Combiner
from alphamill.combination.factor_ranks import FactorRanks
from alphamill.combination.schedule import Schedule
from alphamill.combination.statistics import Associations, Products, associations, products
from alphamill.combination.walk import on_grid, reads_ic, require_fit
from alphamill.combination.weights import refit_weights
from alphamill.evaluation.correlation import mean_ic, rank_ic
from alphamill.evaluation.ranks import rank_rows
from alphamill.frames import FloatArray

_VALUES_AT_ONCE = 6_000_000  # of a tile of picks x bars x symbols, or formulas x bars x symbols


@dataclass(frozen=True, slots=True)
class ControlPool:
    """Formulas of one panel, in the direction of discovery, with what their weights are made of."""

    ranks: FactorRanks
    ic: FloatArray  # (formulas, bars)
    labels: FloatArray
    schedule: Schedule
    horizon_bars: int
    combiners: tuple[Combiner, ...]
    known: dict[float, Associations]  # by half-life
    together: dict[float, Products]


def control_pool(
    values: Iterable[FloatArray],
    count: int,
    labels: FloatArray,
    combiners: Sequence[Combiner],
    schedule: Schedule,
    horizon_bars: int,
    discovery: slice,
    *,
    min_coverage: float = 0.8,
    path: str | Path | None = None,
) -> ControlPool:
    """The first `count` formulas that can be measured.

    values: of one formula after another, float64 (bars, symbols), NaN for no member; read only as
    far as needed. A formula counts if, over the bars of `discovery` that have a label, it has a
    value for min_coverage of them, and a RankIC; its direction is that RankIC's sign there, as a
    run's trials have theirs. labels: as `walk_forward`. path: a file for the ranks, of count x bars
    x symbols bytes; default: memory.
    Raises ValueError, with cause and cure, where there are not so many, and for a combiner that is
    no weighted sum.
    """
    for combiner in combiners:
        if not combiner.linear:
            raise ValueError(
                f"{combiner.method} has no control arm: every draw would grow its own trees; leave "
                "it out, or ask for no control"
            )
    n_bars, n_symbols = labels.shape
    ranks = FactorRanks(count, n_bars, n_symbols, path)
    require_fit(ranks, labels, schedule, horizon_bars)
    label_ranks = rank_rows(labels)
    ic = np.empty((count, len(labels)))
    sought = found = 0
    for own in values:
        if found == count:
            break
        sought += 1
        series = _measured(own, labels, label_ranks, discovery, min_coverage)
        if series is None:
            continue
        direction = -1 if mean_ic(series[discovery]) < 0 else 1
        ranks.put(found, own, direction)
        ic[found] = direction * series
        found += 1
    if found < count:
        raise ValueError(
            f"of {sought} random formulas {found} can be measured on these bars, and the control "
            f"arm wants {count}; give it more fields or operators, or ask for a smaller pool"
        )
    return ControlPool(
        ranks,
        ic,
        labels,
        schedule,
        horizon_bars,
        tuple(combiners),
        {
            half_life: associations(ic, schedule, half_life)
            for half_life in sorted({one.half_life_bars for one in combiners if reads_ic(one)})
        },
        {
            half_life: products(ranks, labels, schedule, horizon_bars, half_life, np.float32)
            for half_life in sorted({one.half_life_bars for one in combiners if one.reads_products})
        },
    )


def _measured(
    values: FloatArray,
    labels: FloatArray,
    label_ranks: FloatArray,
    discovery: slice,
    min_coverage: float,
) -> FloatArray | None:
    """The formula's RankIC at each bar; None if it cannot be measured on discovery."""
    labelled = np.isfinite(labels[discovery])
    valued = np.isfinite(values[discovery])
    if (valued & labelled).sum() < min_coverage * max(labelled.sum(), 1):
        return None
    series = rank_ic(rank_rows(values), label_ranks)
    return series if np.isfinite(series[discovery]).any() else None


@dataclass(frozen=True, slots=True)
class ControlDraws:
    """One combiner over many picks of formulas.

    picks: (draws, factors), numbers of the pool's formulas. ic: (draws, bars), the RankIC of each
    pick's signal, float32; NaN where it has none.
    """

    combiner: Combiner
    picks: NDArray[np.int64]
    ic: NDArray[np.float32]

    @property
    def mean_ic(self) -> FloatArray:
        """Of each draw: (draws,)."""
        return np.array([mean_ic(one) for one in self.ic.astype(np.float64)])

    @property
    def icir(self) -> FloatArray:
        """RankIC over its standard deviation, of each draw: (draws,)."""
        return np.array([icir(one) for one in self.ic])


def icir(ic: NDArray[np.floating]) -> float:
    """Mean over standard deviation (divisor n - 1) of the bars that have a value; NaN without."""
    known = np.asarray(ic[np.isfinite(ic)], dtype=np.float64)
    spread = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    return float(known.mean()) / spread if spread > 0 else np.nan


def control_draws(
    pool: ControlPool, n_factors: int, n_draws: int, seed: int, bars: slice, threads: int = 1
) -> list[ControlDraws]:
    """The pool's combiners over the same picks of `n_factors` formulas each.

    bars: those whose RankIC is wanted, of the panel's. Equal arguments, equal picks. threads: that
    rank; the multiplication has those of BLAS.
    Raises ValueError where the pool is smaller than a pick.
    """
    n_pool, n_bars, n_symbols = pool.ranks.shape
    if not 1 <= n_factors <= n_pool or n_draws < 1:
        raise ValueError(
            f"{n_draws} draws of {n_factors} from a pool of {n_pool} formulas cannot be made; give "
            "one draw or more, and a pool of at least as many formulas as there are factors"
        )
    rng = np.random.default_rng(seed)
    picks = np.array([rng.choice(n_pool, n_factors, replace=False) for _ in range(n_draws)])
    start, stop, _ = bars.indices(n_bars)
    label_ranks = rank_rows(pool.labels)
    n_signals = len(pool.combiners) * n_draws
    ic = np.full((n_signals, max(stop - start, 0)), np.nan, dtype=np.float32)
    tile = max(1, _VALUES_AT_ONCE // (max(n_signals, n_pool) * n_symbols))
    with ThreadPoolExecutor(threads) as workers:
        for refit, span in pool.schedule.spans():
            first, last = max(span.start, start), min(span.stop, stop)
            if first >= last:
                continue
            weights = _weights(pool, refit, picks)
            for at in range(first, last, tile):
                rows = slice(at, min(at + tile, last))
                signals = _signals(pool.ranks, rows, weights)
                parts = np.array_split(signals, threads)
                ranked = workers.map(_rank_ics, parts, [label_ranks[rows]] * len(parts))
                ic[:, rows.start - start : rows.stop - start] = np.concatenate(list(ranked))
    by_combiner = np.split(ic, len(pool.combiners))
    return [
        ControlDraws(combiner, picks, own)
        for combiner, own in zip(pool.combiners, by_combiner, strict=True)
    ]


def _weights(pool: ControlPool, refit: int, picks: NDArray[np.int64]) -> FloatArray:
    """Of every combiner and pick over the whole pool: (combiners * draws, formulas)."""
    whole = np.zeros((len(pool.combiners), len(picks), pool.ranks.shape[0]))
    for number, combiner in enumerate(pool.combiners):
        half_life = combiner.half_life_bars
        own, _ = refit_weights(
            combiner,
            refit,
            picks,
            pool.known.get(half_life),
            pool.together.get(half_life),
            pool.horizon_bars,
        )
        np.put_along_axis(whole[number], picks, own, axis=1)
    return whole.reshape(-1, whole.shape[-1])


def _signals(ranks: FactorRanks, rows: slice, weights: FloatArray) -> FloatArray:
    """(signals, bars, symbols); NaN where no formula with a weight has a value."""
    values = ranks.read(rows)
    shape = (len(weights), *values.shape[1:])
    signals = on_grid(weights @ values.reshape(len(values), -1))
    there = ranks.present(rows).reshape(len(values), -1)
    some = there.any(axis=0)
    if np.array_equal(some, there.all(axis=0)) and weights.any(axis=1).all():
        signals[:, ~some] = np.nan
    else:
        # Exact: sums of ones, of which a pick has far fewer than 2^24.
        valued = (weights != 0).astype(np.float32) @ there.astype(np.float32)
        signals[valued == 0] = np.nan
    found: FloatArray = signals.reshape(shape)
    return found


def _rank_ics(signals: FloatArray, label_ranks: FloatArray) -> FloatArray:
    """(signals, bars)."""
    if not len(signals):
        return np.empty((0, len(label_ranks)))
    own = rank_rows(signals.reshape(-1, signals.shape[-1]))
    labels = np.broadcast_to(label_ranks, signals.shape).reshape(own.shape)
    return rank_ic(own, labels).reshape(signals.shape[:2])
