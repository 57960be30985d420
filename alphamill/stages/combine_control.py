"""The control arm of a combination: as many random formulas, combined alike."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence

from alphamill.combination import (
    ControlDraws,
    Excess,
    Walked,
    control_draws,
    control_pool,
    excess_over_random,
)
from alphamill.errors import GiveUp, Unwanted
from alphamill.evaluation import Segment
from alphamill.evaluation.correlation import information_coefficient
from alphamill.frames import KLINE_FIELDS, FloatArray
from alphamill.jobs import Combination
from alphamill.search.formulas import random_formulas
from alphamill.stages.combine_market import CombinedMarket, values_of

_LEAVES = (*KLINE_FIELDS, "vwap", "returns")
_AT_ONCE = 50  # random formulas, which share what they compute
_PER_WANTED = 4  # formulas that are drawn for one that can be measured


def against_random(
    market: CombinedMarket,
    walked: Sequence[Walked],
    asked: Combination,
    n_factors: int,
    wanted: Callable[[], bool],
) -> dict[str, Excess]:
    """By method, of those that have a control arm: as many random formulas combined alike.

    Raises Unwanted once `wanted` says no, GiveUp where the disk has no room for the formulas'
    ranks, ValueError where formulas are too few.
    """
    linear = [one.combiner for one in walked if one.combiner.linear]
    if not asked.draws or not linear:
        return {}
    spec, horizon_bars = market.spec, market.spec.segments.horizon_bars
    bars = market.after_discovery
    threads = min(2, os.cpu_count() or 1)

    def stop_if_unwanted() -> None:
        if not wanted():
            raise Unwanted("its run was cancelled, or another worker has it")

    # Without a name, so that a worker that is killed leaves nothing behind.
    with tempfile.TemporaryFile() as file:
        try:
            pool = control_pool(
                _random_values(market, asked, stop_if_unwanted),
                asked.pool,
                market.labels,
                linear,
                market.schedule,
                horizon_bars,
                market.segments[Segment.DISCOVERY].rows,
                min_coverage=spec.gates.coverage,
                file=file,
                threads=threads,
            )
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            raise GiveUp(
                f"no room for the ranks of {asked.pool} random formulas in "
                f"{tempfile.gettempdir()}; make some, or set TMPDIR for the evaluate workers, and "
                "resume the run; or ask for a smaller --pool"
            ) from error
        drawn = control_draws(
            pool, n_factors, asked.draws, asked.seed, bars, threads, stop_if_unwanted
        )
        return {one.combiner.text: _excess(market, walked, one, asked.seed) for one in drawn}


def _excess(
    market: CombinedMarket, walked: Sequence[Walked], drawn: ControlDraws, seed: int
) -> Excess:
    [own] = [one for one in walked if one.combiner == drawn.combiner]
    ic = information_coefficient(own.signal, market.labels)[market.after_discovery]
    horizon_bars = market.spec.segments.horizon_bars
    return excess_over_random(ic, drawn.ic, horizon_bars, seed=seed)


def _random_values(
    market: CombinedMarket, asked: Combination, between: Callable[[], None]
) -> Iterator[FloatArray]:
    """Values of random formulas, one after another, over the fields that the panel has."""
    formulas = list(random_formulas(asked.seed, _PER_WANTED * asked.pool, _LEAVES))
    for start in range(0, len(formulas), _AT_ONCE):
        for _, values in values_of(market, formulas[start : start + _AT_ONCE]):
            between()
            yield values
