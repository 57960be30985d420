"""combine: a run's factors as one signal a method, walked forward, beside random formulas."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from alphamill.combination import Walked, parse_combiner, walk_forward_each
from alphamill.errors import FactorError, GiveUp
from alphamill.factors import Factor
from alphamill.jobs import CombineJob, Facts
from alphamill.language import read_given
from alphamill.runs.combined import COMBINATIONS, WEIGHTS, FactorWeight
from alphamill.runs.figures import finite
from alphamill.runs.schemas import RunDeps, interval_key, write_rows
from alphamill.stages.combine_control import against_random
from alphamill.stages.combine_market import ranked, read_market
from alphamill.stages.combine_verdicts import judged_methods


@dataclass(frozen=True, slots=True)
class CombineFacts(Facts):
    """The file of the methods, and how many have which grade."""

    key: str
    counts: dict[str, int]


def run(job: CombineJob, deps: RunDeps, wanted: Callable[[], bool] = lambda: True) -> CombineFacts:
    """Walk, judge and compare every method.

    wanted: asked now and then during the control arm, which is most of the work. Raises Unwanted
    once it says no, and GiveUp, with cause and cure, where the bars, the factors, the random
    formulas or the disk's room are too few.
    """
    asked = deps.spec.combination
    if asked is None:
        raise GiveUp(f"{deps.run_id} does not say how to combine")
    try:
        combiners = [parse_combiner(text) for text in asked.methods]
        factors = [read_given(text) for text in deps.spec.expressions]
        market = read_market(job, deps, asked, factors)
        walked = walk_forward_each(
            ranked(market, factors),
            market.labels,
            combiners,
            market.schedule,
            deps.spec.segments.horizon_bars,
        )
        against = against_random(market, walked, asked, len(factors), wanted)
    except (FactorError, ValueError) as error:
        raise GiveUp(f"{job.interval}: {error}") from error
    rows = judged_methods(job, deps, market, factors, walked, against)
    key = interval_key(deps.run_id, "combined", job.interval, "combined")
    write_rows(deps.lake, key, rows, COMBINATIONS)
    weights = interval_key(deps.run_id, "weights", job.interval, "weights")
    write_rows(deps.lake, weights, _weights(job, factors, walked), WEIGHTS)
    return CombineFacts(key, dict(Counter(row.judged.verdict.value for row in rows)))


def _weights(
    job: CombineJob, factors: Sequence[Factor], walked: Sequence[Walked]
) -> Iterator[FactorWeight]:
    for one in walked:
        times = one.schedule.times_ms.tolist()
        for from_ms, weights in zip(times, one.weights.tolist(), strict=True):
            for factor, weight in zip(factors, weights, strict=True):
                yield FactorWeight(
                    interval=job.interval,
                    method=one.combiner.text,
                    from_ms=from_ms,
                    hash=factor.hash,
                    expression=factor.text,
                    weight=finite(weight),
                )
