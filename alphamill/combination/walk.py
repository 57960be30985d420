"""A combined signal, walked forward: at each refit, weights from the labels that had matured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.combination.combiner import Combiner
from alphamill.combination.factor_ranks import FactorRanks
from alphamill.combination.schedule import Schedule
from alphamill.combination.statistics import associations, factor_ic, products
from alphamill.combination.weights import refit_weights
from alphamill.frames import FloatArray

GRID = 2**40
_VALUES_AT_ONCE = 4_000_000  # of a tile of factors x bars x symbols


@dataclass(frozen=True, slots=True)
class Walked:
    """One combiner walked over the bars of a panel.

    weights: (refits, factors), of each factor in its direction; magnitudes add up to 1, or all are
        0 where the labels gave no reason to weigh anything. Of "lightgbm": the share of the trees'
        gain that each factor brought, which says nothing of a direction.
    scales: (refits,), what the weights were divided by; of ridge and lasso, weights times scale
        forecast the return over the horizon.
    signal: (bars, symbols), multiples of 1 / GRID; NaN before the first refit and where no factor
        with a weight has a value.
    """

    combiner: Combiner
    schedule: Schedule
    weights: FloatArray
    scales: FloatArray
    signal: FloatArray


def walk_forward(
    ranks: FactorRanks,
    labels: FloatArray,
    combiner: Combiner,
    schedule: Schedule,
    horizon_bars: int,
) -> Walked:
    """Weights at each refit, and the signal that they make of the bars until the next.

    labels: forward returns over horizon_bars, float64 (bars, symbols), NaN where there is none or
    for no member; of them a refit reads those before `schedule.matured` alone.
    Raises ValueError where arguments do not fit, and for "lightgbm" where that is not installed.
    """
    return walk_forward_each(ranks, labels, [combiner], schedule, horizon_bars)[0]


def walk_forward_each(
    ranks: FactorRanks,
    labels: FloatArray,
    combiners: Sequence[Combiner],
    schedule: Schedule,
    horizon_bars: int,
) -> list[Walked]:
    """As `walk_forward`, several combiners; what they share is summed once."""
    require_fit(ranks, labels, schedule, horizon_bars)
    linear = [combiner for combiner in combiners if combiner.linear]
    ic = factor_ic(ranks, labels) if any(reads_ic(combiner) for combiner in linear) else None
    known = {
        half_life: associations(ic, schedule, half_life)
        for half_life in {one.half_life_bars for one in linear if reads_ic(one)}
        if ic is not None
    }
    together = {
        half_life: products(ranks, labels, schedule, horizon_bars, half_life)
        for half_life in {one.half_life_bars for one in linear if one.reads_products}
    }
    every = np.arange(ranks.shape[0])
    walked = []
    for combiner in combiners:
        if not combiner.linear:
            from alphamill.combination.boosted import walk_boosted

            walked.append(
                Walked(combiner, schedule, *walk_boosted(ranks, labels, combiner, schedule))
            )
            continue
        half_life = combiner.half_life_bars
        refits = [
            refit_weights(
                combiner, refit, every, known.get(half_life), together.get(half_life), horizon_bars
            )
            for refit in range(len(schedule))
        ]
        weights = np.array([one for one, _ in refits])
        scales = np.array([scale for _, scale in refits], dtype=np.float64)
        signal = combined_signal(ranks, weights, schedule)
        walked.append(Walked(combiner, schedule, weights, scales, signal))
    return walked


def combined_signal(ranks: FactorRanks, weights: FloatArray, schedule: Schedule) -> FloatArray:
    """The weighted sums of ranks: (bars, symbols), as `Walked.signal`.

    weights: (refits, factors). A missing factor counts as 0; a factor without a weight does not
    make a value.
    """
    n_factors, n_bars, n_symbols = ranks.shape
    signal = np.full((n_bars, n_symbols), np.nan)
    tile = max(1, _VALUES_AT_ONCE // (n_factors * n_symbols))
    for refit, span in schedule.spans():
        which = np.flatnonzero(weights[refit])
        if not which.size:
            continue
        own = weights[refit, which]
        for start in range(span.start, span.stop, tile):
            rows = slice(start, min(start + tile, span.stop))
            values = np.tensordot(own, ranks.read(rows, which), axes=1)
            values[~ranks.present(rows, which).any(axis=0)] = np.nan
            signal[rows] = on_grid(values)
    return signal


def on_grid(values: FloatArray) -> FloatArray:
    """The same array, rounded to multiples of 1 / GRID, halves up.

    Ranks are fractions, so that many sums of them are equal; without this the order of summation
    would break their ties.
    """
    values *= GRID
    values += 0.5
    np.floor(values, out=values)
    values /= GRID
    return values


def reads_ic(combiner: Combiner) -> bool:
    """Whether its weights are made of each factor's RankIC."""
    return combiner.method in ("ic", "icir_shrunk")


def require_fit(
    ranks: FactorRanks, labels: FloatArray, schedule: Schedule, horizon_bars: int
) -> None:
    """Raises ValueError where bars, symbols or the horizon do not fit each other."""
    if labels.shape != ranks.shape[1:]:
        raise ValueError(f"labels {labels.shape} do not fit ranks of {ranks.shape[1:]}")
    if schedule.n_bars != len(labels):
        raise ValueError(f"a schedule of {schedule.n_bars} bars does not fit {len(labels)}")
    if not 1 <= horizon_bars <= schedule.purge_bars:
        raise ValueError(
            f"horizon_bars {horizon_bars} must be 1 or more, and the schedule's purge of "
            f"{schedule.purge_bars} bars at least as long: make it of horizon + entry lag"
        )
