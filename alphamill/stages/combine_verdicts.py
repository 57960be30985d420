"""The verdicts on combined signals, each method a trial of the search that it belongs to."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from alphamill.combination import (
    ChargedTrial,
    Combiner,
    Excess,
    Walked,
    frozen_expression,
    judge_combination,
    score_combination,
)
from alphamill.evaluation import Score, Segment
from alphamill.factors import Factor
from alphamill.factors.look_ahead import sees_no_future
from alphamill.jobs import CombineJob, RunSpec
from alphamill.runs.combined import CombinedSignal
from alphamill.runs.figures import DiscoveryFigures, SegmentFigures, finite
from alphamill.runs.holdout_looks import count_looks
from alphamill.runs.panels import read_manifest
from alphamill.runs.rows import JudgedFactor, ValidatedTrial, said
from alphamill.runs.schemas import RunDeps, read_interval, read_trials
from alphamill.runs.terms import scorer_terms
from alphamill.stages.combine_market import CombinedMarket, dates_of, holdout_of
from alphamill.stages.verify import CODE_VERSION


def judged_methods(
    job: CombineJob,
    deps: RunDeps,
    market: CombinedMarket,
    factors: Sequence[Factor],
    walked: Sequence[Walked],
    against: Mapping[str, Excess],
) -> list[CombinedSignal]:
    """The methods with their verdicts, the best on validation first."""
    expressions = {one.combiner.text: _frozen(one, factors) for one in walked}
    opened = {_hash(one.combiner, factors): expressions[one.combiner.text] for one in walked}
    looks = count_looks(opened, holdout_of(market), deps)
    scores = [_scores(market, one) for one in walked]
    tried = [ChargedTrial.of(own[Segment.VALIDATION]) for own in scores]
    earlier = _earlier(job, deps)
    certified = all(
        sees_no_future(factor, market.panel, market.reader.labels()) for factor in factors
    )
    manifest = read_manifest(deps.lake, deps.run_id, job.interval)
    rows = []
    for one, own in zip(walked, scores, strict=True):
        method = one.combiner.text
        verdict = judge_combination(
            own,
            tried,
            earlier=earlier,
            thresholds=deps.spec.gates,
            look_ahead_ok=certified,
            looks_before=looks.before,
        )
        judged = JudgedFactor(
            hash=_hash(one.combiner, factors),
            expression=expressions[method],
            interval=job.interval,
            **said(verdict),
            rank=0,
            direction=1,
            discovery=DiscoveryFigures.of(
                own[Segment.DISCOVERY], **dates_of(market, Segment.DISCOVERY)
            ),
            validation=SegmentFigures.of(
                own[Segment.VALIDATION], **dates_of(market, Segment.VALIDATION)
            ),
            holdout=SegmentFigures.of(own[Segment.HOLDOUT], **dates_of(market, Segment.HOLDOUT)),
            hypothesis=f"{len(factors)} factors combined by {method}",
            lookback_bars=max(factor.lookback_bars for factor in factors),
            look_ahead_ok=certified,
            holdout_looks=looks.so_far,
            holdout_looks_before=looks.before,
            snapshot=manifest.snapshot if manifest else "",
            code_version=CODE_VERSION,
        )
        rows.append(_with_excess(one, judged, against.get(method), deps.spec, len(factors)))
    rows.sort(key=lambda row: -(row.judged.validation.association_t or 0.0))
    return [
        replace(row, judged=replace(row.judged, rank=place)) for place, row in enumerate(rows, 1)
    ]


def _with_excess(
    walked: Walked, judged: JudgedFactor, excess: Excess | None, spec: RunSpec, n_factors: int
) -> CombinedSignal:
    row = CombinedSignal(
        method=walked.combiner.text,
        judged=judged,
        n_factors=n_factors,
        refits=len(walked.schedule),
        why_no_control="" if excess else _why_none(walked.combiner, spec),
    )
    if excess is None:
        return row
    return replace(
        row,
        excess_rank_ic=finite(excess.excess),
        excess_low=finite(excess.low),
        excess_high=finite(excess.high),
        excess_confidence=excess.confidence,
        combined_rank_ic=finite(excess.mean_ic),
        random_rank_ic=finite(excess.random_mean_ic),
        combined_icir=finite(excess.icir),
        random_icir=finite(excess.random_icir),
        random_percentile=finite(excess.percentile),
        random_p_value=finite(excess.p_value),
        random_draws=excess.draws,
        excess_bars=excess.bars,
    )


def _why_none(combiner: Combiner, spec: RunSpec) -> str:
    asked = spec.combination
    if asked is not None and not asked.draws:
        return "no control arm was asked for"
    return f"{combiner.method} has none: every draw would grow its own trees"


def _scores(market: CombinedMarket, walked: Walked) -> dict[Segment, Score]:
    return score_combination(
        walked.signal,
        market.book,
        market.segments,
        bars_per_year=market.panel.interval.bars_per_year,
        members=market.reader.members(),
        **scorer_terms(market.spec),
    )


def _hash(combiner: Combiner, factors: Sequence[Factor]) -> str:
    """Identity of the factors under that method."""
    named = [combiner.text, *sorted(factor.hash for factor in factors)]
    return hashlib.sha256("\n".join(named).encode()).hexdigest()[:16]


def _frozen(walked: Walked, factors: Sequence[Factor]) -> str:
    """The newest refit's weights as an expression; "" where they cannot be said."""
    texts = [factor.text for factor in factors]
    try:
        return frozen_expression(walked.weights[-1], texts, [1] * len(texts), walked.combiner)
    except ValueError:
        return ""


def _earlier(job: CombineJob, deps: RunDeps) -> list[ChargedTrial]:
    """Every trial of the searches that the factors came out of, as validation measured it."""
    asked = deps.spec.combination
    charged: list[ChargedTrial] = []
    for run_id in asked.searches if asked else ():
        validated = read_interval(deps.lake, run_id, "validation", job.interval, ValidatedTrial)
        charged += [ChargedTrial.of(one.score) for one in validated if not one.fault]
        trials = sum(one.counted for one in read_trials(deps.lake, run_id, job.interval))
        unmeasured = max(0, trials - sum(not one.fault for one in validated))
        charged += [ChargedTrial(math.nan, math.nan)] * unmeasured
    return charged
