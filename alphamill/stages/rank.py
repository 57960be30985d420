"""rank: the trials by their validation numbers, the luck of the search, and the finalists.

The finalists' file names them; what a model is told about them is read from discovery.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.evaluation import (
    Segment,
    benjamini_hochberg,
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
from alphamill.lake import run_key
from alphamill.language import read_expression
from alphamill.runs.known_factors import (
    STRIDE_BARS,
    KnownFactors,
    nearest_columns,
    residual_figures,
)
from alphamill.runs.library import KNOWN, Moment, recorded
from alphamill.runs.reader import SegmentReader
from alphamill.runs.schemas import (
    RANKING,
    Row,
    RunDeps,
    interval_key,
    read_rows,
    read_trials,
    score_of,
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
    validated = read_rows(
        deps.lake, run_key(deps.run_id, f"validation/interval={job.interval.value}")
    )
    rows = ranked_rows(trials, validated, deps, job.interval)
    key = interval_key(deps.run_id, "ranking", job.interval, "ranking")
    write_rows(deps.lake, key, rows, RANKING)
    finalists = sum(row["finalist"] for row in rows)
    return RankFacts(key, finalists, _counted(trials))


def ranked_rows(
    trials: Sequence[Row], validated: Sequence[Row], deps: RunDeps, interval: Interval
) -> list[Row]:
    """RANKING of an interval's trials, in the order of `validated`."""
    search = _search_facts(trials, validated)
    adjusted = _adjusted_p(validated, search["n_trials"])
    rows = [
        {
            "hash": row["hash"],
            "expression": row["expression"],
            "direction": row["direction"],
            "oriented_t": _oriented_t(row),
            "bh_p": float(p),
            "finalist": False,
            "why": row["fault"] or "",
            **search,
        }
        for row, p in zip(validated, adjusted, strict=True)
    ]
    measured = [row for row in rows if not row["why"] and math.isfinite(row["oriented_t"])]
    measured.sort(key=lambda row: (-row["oriented_t"], row["hash"]))
    _choose(measured, deps, interval)
    return rows


def _counted(trials: Sequence[Row]) -> int:
    """Every candidate that was parsed counts, whatever became of it; duplicates count too."""
    return sum(row["status"] in ("evaluated", "fault", "duplicate") for row in trials)


def _oriented_t(row: Row) -> float:
    """Validation's t in the direction of discovery; NaN for a fault."""
    if row["fault"]:
        return math.nan
    result = score_of(row)
    return result.direction * result.association_t


def _adjusted_p(validated: Sequence[Row], n_trials: int) -> FloatArray:
    """Benjamini-Hochberg over all trials: those without a validation number count with p = 1."""
    own = [1.0 if row["p_value"] is None else row["p_value"] for row in validated]
    family = np.ones(max(n_trials, len(own)))
    family[: len(own)] = own
    return benjamini_hochberg(family)[: len(own)]


def _search_facts(trials: Sequence[Row], validated: Sequence[Row]) -> Row:
    """N, effective N, the variance of the trials' Sharpe ratios and PBO, from the trials alone."""
    sharpes = [row["gross_sharpe_per_bar"] for row in validated]
    known = np.array([value for value in sharpes if value is not None], dtype=np.float64)
    series = [row["gross_returns"] for row in validated if row["gross_returns"]]
    effective, clusters, pbo = float(len(series)), len(series), math.nan
    if len(series) > 1:
        length = min(len(one) for one in series)
        matrix = np.array([one[-length:] for one in series]).T
        found = effective_trials(trial_correlation(matrix))
        effective, clusters = found.by_average_correlation, found.by_clusters
        if length >= 2 * _PBO_BLOCKS:
            pbo = probability_of_backtest_overfitting(matrix, _PBO_BLOCKS)
    return {
        "n_trials": _counted(trials),
        "n_effective": max(effective, 1.0),
        "n_clusters": clusters,
        "sharpe_variance": float(known.var(ddof=1)) if len(known) > 1 else math.nan,
        "pbo": pbo,
        "discovery_pbo": _discovery_pbo(trials),
    }


def _discovery_pbo(trials: Sequence[Row]) -> float:
    """How often the best of half of discovery's folds is a poor one on the others."""
    scores = [score_of(row) for row in trials if row["status"] == "evaluated"]
    folds = [found.fold_rank_corrs for found in scores if found.fold_rank_corrs]
    return fold_overfitting(np.array(folds, dtype=np.float64).T) if folds else math.nan


def _choose(ranked: Sequence[Row], deps: RunDeps, interval: Interval) -> None:
    """Mark finalists, best first, leaving out what repeats a better one or an earlier run's."""
    reader = SegmentReader(deps.lake, deps.run_id, interval, Segment.VALIDATION, deps.spec.groups)
    chosen: dict[str, FloatArray] = {}
    better: list[Factor] = []
    earlier = KnownFactors(recorded(deps.lake, deps.run_id, interval, Moment.START) or (), reader)
    for number, row in enumerate(ranked, 1):
        row["rank"] = number
        if len(chosen) == FINALISTS:
            row["why"] = "not among the best"
            continue
        if row["oriented_t"] <= 0:
            row["why"] = "changed its sign on validation"
            continue
        factor = read_expression(row["expression"])
        values = reader.values(factor)
        row.update(_likeness(values, chosen, earlier, deps.spec.gates.library_correlation))
        if row["why"]:
            continue
        row["finalist"] = True
        others = list(chosen.values())
        row.update(residual_figures(values, others, row["direction"], reader, deps.spec))
        row["shared_subtree_frac"] = shared_subtree_frac(factor, better)
        row["complexity_nodes"] = complexity_nodes(factor)
        chosen[factor.text] = values
        better.append(factor)


def _likeness(
    values: FloatArray, chosen: Mapping[str, FloatArray], earlier: KnownFactors, limit: float
) -> Row:
    """Columns of RANKING: how like an earlier run's factors and the better finalists it is."""
    nearest = nearest_in_library(values, chosen, STRIDE_BARS)
    correlation = abs(nearest.correlation) if nearest else 0.0
    row: Row = {"library_correlation": correlation}
    if nearest and correlation > limit:
        row["why"] = f"says what {nearest.name} says"
    known = next(iter(earlier.nearest_first(values)), None)
    if known:
        row |= nearest_columns(known)
        if abs(known.correlation) > limit:
            row["why"] = f"{KNOWN} {known.run} as {known.factor.text}"
    return row
