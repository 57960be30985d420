"""rank: the trials by their validation numbers, the luck of the search, and the finalists.

The finalists' file names them; what a model is told about them is read from discovery.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from alphamill.evaluation import (
    Segment,
    benjamini_hochberg,
    benjamini_hochberg_hurdles,
    effective_trials,
    fold_overfitting,
    nearest_in_library,
    probability_of_backtest_overfitting,
    trial_correlation,
)
from alphamill.factors import Factor
from alphamill.factors.likeness import complexity_nodes, shared_subtree_frac
from alphamill.frames import FloatArray, Interval
from alphamill.jobs import Facts, RankJob
from alphamill.language import read_expression
from alphamill.runs.known_factors import STRIDE_BARS, KnownFactors, what_is_left
from alphamill.runs.library import KNOWN, Moment, recorded
from alphamill.runs.reader import SegmentReader
from alphamill.runs.rows import RankedTrial, Trial, ValidatedTrial
from alphamill.runs.schemas import (
    RANKING,
    RunDeps,
    interval_key,
    read_interval,
    read_trials,
    write_rows,
)

FINALISTS = 10
_PBO_BLOCKS = 12  # 924 splits of the trials' returns; 16 blocks would make 12,870


@dataclass(frozen=True, slots=True)
class RankFacts(Facts):
    """The file of the ranking; n_trials: what the luck of the search is counted by."""

    key: str
    finalists: int
    n_trials: int


def run(job: RankJob, deps: RunDeps) -> RankFacts:
    """Rank by the oriented t on validation; finalists are the best that differ from one another."""
    trials = read_trials(deps.lake, deps.run_id, job.interval)
    validated = read_interval(deps.lake, deps.run_id, "validation", job.interval, ValidatedTrial)
    ranking = ranked(trials, validated, deps, job.interval)
    key = interval_key(deps.run_id, "ranking", job.interval, "ranking")
    write_rows(deps.lake, key, ranking, RANKING)
    return RankFacts(key, sum(one.finalist for one in ranking), _n_trials(trials))


def ranked(
    trials: Sequence[Trial], validated: Sequence[ValidatedTrial], deps: RunDeps, interval: Interval
) -> list[RankedTrial]:
    """An interval's trials beside each other, in the order of `validated`."""
    search = _search_facts(trials, validated)
    family = _family(validated, search["n_trials"])
    adjusted = benjamini_hochberg(family)
    hurdles = benjamini_hochberg_hurdles(family, deps.spec.gates.fdr)
    rows = [
        RankedTrial(
            hash=one.hash,
            expression=one.expression,
            direction=one.direction,
            oriented_t=_oriented_t(one),
            bh_p=float(p),
            fdr_hurdle_p=float(hurdle),
            why=one.fault or "",
            **search,
        )
        for one, p, hurdle in zip(validated, adjusted, hurdles, strict=False)
    ]
    measured = [row for row in rows if not row.why and math.isfinite(row.oriented_t)]
    measured.sort(key=lambda row: (-row.oriented_t, row.hash))
    by_t = [replace(row, rank=number) for number, row in enumerate(measured, 1)]
    chosen = _pays_first(by_t, trials, deps.spec.search.finalists_break_even_bps)
    placed = {row.hash: row for row in _placed(chosen, deps, interval)}
    return [placed.get(row.hash, row) for row in rows]


def _pays_first(
    by_t: Sequence[RankedTrial], trials: Sequence[Trial], least_bps: float | None
) -> list[RankedTrial]:
    """First what breaks even on discovery at `least_bps` or more, then the rest; each by t."""
    if least_bps is None:
        return list(by_t)
    found = {one.hash: one.discovery.break_even_bps for one in trials if one.evaluated}
    pays = {name for name, bps in found.items() if bps is not None and bps >= least_bps}
    return sorted(by_t, key=lambda row: row.hash not in pays)


def _n_trials(trials: Sequence[Trial]) -> int:
    return sum(trial.counted for trial in trials)


def _oriented_t(validated: ValidatedTrial) -> float:
    """Validation's t in the direction of discovery; NaN for a fault."""
    score = validated.score
    return math.nan if validated.fault else score.direction * score.association_t


def _family(validated: Sequence[ValidatedTrial], n_trials: int) -> FloatArray:
    """The p of all trials, validated ones first: who has no validation number counts as p = 1."""
    p_values = (one.figures.p_value for one in validated)
    own = [1.0 if p is None else p for p in p_values]
    family = np.ones(max(n_trials, len(own)))
    family[: len(own)] = own
    return family


def _search_facts(trials: Sequence[Trial], validated: Sequence[ValidatedTrial]) -> dict[str, Any]:
    """What every row says of the search: N, effective N, spread of its Sharpe ratios, PBO."""
    sharpes = [one.figures.gross_sharpe_per_bar for one in validated]
    known = np.array([value for value in sharpes if value is not None], dtype=np.float64)
    series = [one.gross_returns for one in validated if one.gross_returns]
    effective, clusters, pbo = float(len(series)), len(series), math.nan
    if len(series) > 1:
        length = min(len(one) for one in series)
        matrix = np.array([one[-length:] for one in series]).T
        found = effective_trials(trial_correlation(matrix))
        effective, clusters = found.by_average_correlation, found.by_clusters
        if length >= 2 * _PBO_BLOCKS:
            pbo = probability_of_backtest_overfitting(matrix, _PBO_BLOCKS)
    return {
        "n_trials": _n_trials(trials),
        "n_effective": max(effective, 1.0),
        "n_clusters": clusters,
        "sharpe_variance": float(known.var(ddof=1)) if len(known) > 1 else math.nan,
        "pbo": pbo,
        "discovery_pbo": _discovery_pbo(trials),
    }


def _discovery_pbo(trials: Sequence[Trial]) -> float:
    """How often the best of half of discovery's folds is a poor one on the others."""
    scores = [trial.score for trial in trials if trial.evaluated]
    folds = [score.fold_rank_corrs for score in scores if score and score.fold_rank_corrs]
    return fold_overfitting(np.array(folds, dtype=np.float64).T) if folds else math.nan


def _placed(
    measured: Sequence[RankedTrial], deps: RunDeps, interval: Interval
) -> Iterator[RankedTrial]:
    """In their order; finalists repeat neither one before nor an earlier run's."""
    reader = SegmentReader(deps.lake, deps.run_id, interval, Segment.VALIDATION, deps.spec.groups)
    chosen: dict[str, FloatArray] = {}
    better: list[Factor] = []
    earlier = KnownFactors(recorded(deps.lake, deps.run_id, interval, Moment.START) or (), reader)
    for unplaced in measured:
        row = unplaced
        if len(chosen) == FINALISTS:
            yield replace(row, why="not among the best")
            continue
        if row.oriented_t <= 0:
            yield replace(row, why="changed its sign on validation")
            continue
        factor = read_expression(row.expression)
        values = reader.values(factor)
        row = _compared(row, values, chosen, earlier, deps.spec.gates.library_correlation)
        if row.why:
            yield row
            continue
        left = what_is_left(values, list(chosen.values()), row.direction, reader, deps.spec)
        yield replace(
            row,
            finalist=True,
            residual_rank_ic=left.rank_ic,
            residual_t=left.t,
            shared_subtree_frac=shared_subtree_frac(factor, better),
            complexity_nodes=complexity_nodes(factor),
        )
        chosen[factor.text] = values
        better.append(factor)


def _compared(
    row: RankedTrial,
    values: FloatArray,
    chosen: Mapping[str, FloatArray],
    earlier: KnownFactors,
    limit: float,
) -> RankedTrial:
    """With how like the better finalists and an earlier run's factors it is; `why` past `limit`."""
    nearest = nearest_in_library(values, chosen, STRIDE_BARS)
    correlation = abs(nearest.correlation) if nearest else 0.0
    row = replace(row, library_correlation=correlation)
    if nearest and correlation > limit:
        row = replace(row, why=f"says what {nearest.name} says")
    known = next(iter(earlier.nearest_first(values)), None)
    if known is None:
        return row
    row = replace(
        row,
        earlier_correlation=known.correlation,
        earlier_nearest=known.factor.text,
        earlier_run=known.run,
    )
    if abs(known.correlation) > limit:
        return replace(row, why=f"{KNOWN} {known.run} as {known.factor.text}")
    return row
