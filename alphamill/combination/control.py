"""Random formulas under the same combiner: what combining brings without any idea.

A pool of formulas is computed once: their ranks, their RankICs and, refit by refit, the sums of
products that weights are made of. Any pick of them then has exactly the weights that `walk_forward`
would give it, without a formula being computed again. The RankIC of a combined signal has no such
short cut, since ranking is not linear; so the signals are made, for all picks in one multiplication
a tile of bars, and ranked.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from alphamill.combination.combiner import Combiner
from alphamill.combination.factor_ranks import FactorRanks
from alphamill.combination.schedule import Schedule
from alphamill.combination.statistics import Associations, Products, associations, products
from alphamill.combination.walk import on_grid, reads_ic, require_fit
from alphamill.combination.weights import refit_weights
from alphamill.evaluation.correlation import MIN_SYMBOLS, mean_ic, rank_ic
from alphamill.evaluation.ranks import rank_rows
from alphamill.frames import FloatArray

_VALUES_AT_ONCE = 1_000_000  # of a tile of picks x bars x symbols, or formulas x bars x symbols

_Measured = tuple[FloatArray, FloatArray]


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
    file: BinaryIO | None = None,
    threads: int = 1,
) -> ControlPool:
    """The first `count` formulas that can be measured.

    values: of one formula after another, float64 (bars, symbols), NaN for no member; read only as
    far as needed. A formula counts if, over the bars of `discovery` that have a label, it has a
    value for min_coverage of them, and a RankIC; its direction is that RankIC's sign there, as a
    run's trials have theirs. labels: as `walk_forward`. file: for the ranks, as `FactorRanks` has
    it; default: memory. threads: that rank; so many formulas are taken ahead.
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
    ranks = FactorRanks(count, n_bars, n_symbols, file)
    require_fit(ranks, labels, schedule, horizon_bars)
    label_ranks = rank_rows(labels)
    ic = np.empty((count, n_bars))
    sought = found = 0
    with ThreadPoolExecutor(threads) as workers:
        offered = iter(values)
        waiting: deque[Future[_Measured | None]] = deque()
        while found < count:
            for own in islice(offered, threads - len(waiting)):
                waiting.append(
                    workers.submit(_measured, own, labels, label_ranks, discovery, min_coverage)
                )
            if not waiting:
                break
            sought += 1
            measured = waiting.popleft().result()
            if measured is None:
                continue
            average, series = measured
            direction = -1 if mean_ic(series[discovery]) < 0 else 1
            ranks.put_ranked(found, average, direction)
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
) -> _Measured | None:
    """The formula's ranks and RankIC at each bar; None if it cannot be measured on discovery."""
    labelled = np.isfinite(labels[discovery])
    valued = np.isfinite(values[discovery])
    if (valued & labelled).sum() < min_coverage * max(labelled.sum(), 1):
        return None
    average = rank_rows(values)
    series = rank_ic(average, label_ranks)
    return (average, series) if np.isfinite(series[discovery]).any() else None


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
    pool: ControlPool,
    n_factors: int,
    n_draws: int,
    seed: int,
    bars: slice,
    threads: int = 1,
    between: Callable[[], None] = lambda: None,
) -> list[ControlDraws]:
    """The pool's combiners over the same picks of `n_factors` formulas each.

    bars: those whose RankIC is wanted, of the panel's. Equal arguments, equal picks. threads: that
    rank; the multiplication has those of BLAS. between: called before each refit's bars; what it
    raises ends the work.
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
            between()
            tiles = [slice(at, min(at + tile, last)) for at in range(first, last, tile)]
            made = partial(_tile, pool, _weights(pool, refit, picks), label_ranks)
            for rows, own in zip(tiles, workers.map(made, tiles), strict=True):
                ic[:, rows.start - start : rows.stop - start] = own
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


def _tile(
    pool: ControlPool, weights: FloatArray, label_ranks: FloatArray, rows: slice
) -> FloatArray:
    """RankIC of every signal over some bars: (signals, bars)."""
    values = pool.ranks.read(rows)
    shape = (len(weights), *values.shape[1:])
    signals = on_grid(weights @ values.reshape(len(values), -1)).reshape(shape)
    missing = _missing(pool.ranks.present(rows), weights)
    return _rank_ics(signals, missing, label_ranks[rows])


def _missing(there: NDArray[np.bool_], weights: FloatArray) -> NDArray[np.bool_]:
    """Where no formula with a weight has a value: (signals, bars, symbols), or (1, ...) for all."""
    some: NDArray[np.bool_] = np.any(there, axis=0)
    if np.array_equal(some, np.all(there, axis=0)) and np.any(weights, axis=1).all():
        return ~some[None]
    # Exact: sums of ones, of which a pick has far fewer than 2^24.
    flat = there.reshape(len(there), -1).astype(np.float32)
    missing: NDArray[np.bool_] = (weights != 0).astype(np.float32) @ flat == 0
    return missing.reshape(len(weights), *there.shape[1:])


def _rank_ics(
    signals: FloatArray, missing: NDArray[np.bool_], label_ranks: FloatArray
) -> FloatArray:
    """(signals, bars). Overwrites the signals."""
    unlabelled = np.isnan(label_ranks)
    np.copyto(signals, np.nan, where=missing | unlabelled)
    ranks = rank_rows(signals.reshape(-1, signals.shape[-1])).reshape(signals.shape)
    # Ranked among the pairs already, if every symbol with a label has a signal: a plain Pearson.
    n = (~unlabelled).sum(axis=1)
    middle = ((n + 1) / 2)[:, None]
    label = np.where(unlabelled, 0.0, label_ranks - middle)
    np.copyto(ranks, 0.0, where=unlabelled)
    products = np.einsum("dts,ts->dt", ranks, label)
    spread = np.einsum("dts,dts->dt", ranks, ranks) - n * middle[:, 0] ** 2
    size = np.sqrt(np.maximum(spread, 0.0) * (label**2).sum(axis=1))
    # A rank is a multiple of a half: less than that is a constant row.
    known = (n >= MIN_SYMBOLS) & (spread > 0.1) & (size > 0)
    found: FloatArray = np.divide(products, size, out=np.full(products.shape, np.nan), where=known)
    apart = (missing & ~unlabelled).any(axis=(0, 2))
    for bar in np.flatnonzero(apart):
        own = np.ascontiguousarray(signals[:, bar])
        labels = np.broadcast_to(label_ranks[bar], own.shape)
        found[:, bar] = rank_ic(rank_rows(own), labels)
    return found
