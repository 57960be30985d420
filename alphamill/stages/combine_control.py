"""The control arm of a combination: as many random formulas, combined alike."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from alphamill.combination import (
    ControlDraws,
    Excess,
    Walked,
    control_draws,
    control_pool,
    excess_over_random,
)
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
    market: CombinedMarket, walked: Sequence[Walked], asked: Combination, n_factors: int
) -> dict[str, Excess]:
    """By method, of those that have a control arm: as many random formulas combined alike."""
    linear = [one.combiner for one in walked if one.combiner.linear]
    if not asked.draws or not linear:
        return {}
    spec, horizon_bars = market.spec, market.spec.segments.horizon_bars
    bars = market.after_discovery
    threads = min(2, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        pool = control_pool(
            _random_values(market, asked),
            asked.pool,
            market.labels,
            linear,
            market.schedule,
            horizon_bars,
            market.segments[Segment.DISCOVERY].rows,
            min_coverage=spec.gates.coverage,
            path=Path(folder) / "ranks",
            threads=threads,
        )
        drawn = control_draws(pool, n_factors, asked.draws, asked.seed, bars, threads)
        return {one.combiner.text: _excess(market, walked, one, asked.seed) for one in drawn}


def _excess(
    market: CombinedMarket, walked: Sequence[Walked], drawn: ControlDraws, seed: int
) -> Excess:
    [own] = [one for one in walked if one.combiner == drawn.combiner]
    ic = information_coefficient(own.signal, market.labels)[market.after_discovery]
    horizon_bars = market.spec.segments.horizon_bars
    return excess_over_random(ic, drawn.ic, horizon_bars, seed=seed)


def _random_values(market: CombinedMarket, asked: Combination) -> Iterator[FloatArray]:
    """Values of random formulas, one after another, over the fields that the panel has."""
    formulas = list(random_formulas(asked.seed, _PER_WANTED * asked.pool, _LEAVES))
    for start in range(0, len(formulas), _AT_ONCE):
        for _, values in values_of(market, formulas[start : start + _AT_ONCE]):
            yield values
