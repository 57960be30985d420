"""combine: a run's factors as one signal a method, walked forward, beside random formulas."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from alphamill.combination import (
    ChargedTrial,
    Combiner,
    ControlDraws,
    Excess,
    FactorRanks,
    Schedule,
    Walked,
    combination_segments,
    control_draws,
    control_pool,
    excess_over_random,
    frozen_expression,
    judge_combination,
    parse_combiner,
    refit_schedule,
    score_combination,
    walk_forward_each,
)
from alphamill.errors import FactorError, GiveUp
from alphamill.evaluation import Rebalancing, Score, Segment, forward_returns, one_way_bps
from alphamill.evaluation.correlation import information_coefficient
from alphamill.evaluation.splits import SegmentBars
from alphamill.factors import Factor, compute_many
from alphamill.factors.look_ahead import sees_no_future
from alphamill.frames import KLINE_FIELDS, FloatArray, Panel
from alphamill.jobs import Combination, CombineJob, Facts, RunSpec
from alphamill.language import GIVEN_GROUPS, read_given
from alphamill.runs.combined import COMBINATIONS, WEIGHTS, CombinedSignal, FactorWeight
from alphamill.runs.figures import DiscoveryFigures, SegmentFigures, finite
from alphamill.runs.holdout_looks import count_looks
from alphamill.runs.panels import SegmentPanel, read_manifest
from alphamill.runs.reader import SegmentReader
from alphamill.runs.rows import JudgedFactor, ValidatedTrial, said
from alphamill.runs.schemas import RunDeps, interval_key, read_interval, read_trials, write_rows
from alphamill.search.formulas import random_formulas
from alphamill.stages.verify import CODE_VERSION

_LEAVES = (*KLINE_FIELDS, "vwap", "returns")  # of the control arm's formulas
_AT_ONCE = 50  # random formulas, which share what they compute
_PER_WANTED = 4  # formulas that are drawn for one that can be measured
_OF_THE_BOOK = ("open", "close", "volume", "quote_volume", "funding_rate")


@dataclass(frozen=True, slots=True)
class CombineFacts(Facts):
    """The file of the methods, and how many have which grade."""

    key: str
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Market:
    """All that factors are combined and judged on."""

    reader: SegmentReader
    panel: Panel  # of what the factors, the book and the control arm read
    labels: FloatArray
    schedule: Schedule
    segments: Mapping[Segment, SegmentBars]
    spec: RunSpec

    @property
    def after_discovery(self) -> slice:
        return slice(self.segments[Segment.VALIDATION].start_bar, self.panel.n_bars)


def run(job: CombineJob, deps: RunDeps) -> CombineFacts:
    """Walk, judge and compare every method. Raises GiveUp, with cause and cure, where the bars, the
    factors or the random formulas are too few.
    """
    asked = deps.spec.combination
    if asked is None:
        raise GiveUp(f"{deps.run_id} does not say how to combine")
    try:
        combiners = [parse_combiner(text) for text in asked.methods]
        factors = [read_given(text) for text in deps.spec.expressions]
        market = _read(job, deps, asked, factors)
        walked = walk_forward_each(
            _ranked(market, factors),
            market.labels,
            combiners,
            market.schedule,
            deps.spec.segments.horizon_bars,
        )
        against = _against_random(market, walked, asked, len(factors))
    except (FactorError, ValueError) as error:
        raise GiveUp(f"{job.interval}: {error}") from error
    rows = _judged(job, deps, market, factors, walked, against)
    key = interval_key(deps.run_id, "combined", job.interval, "combined")
    write_rows(deps.lake, key, rows, COMBINATIONS)
    weights = interval_key(deps.run_id, "weights", job.interval, "weights")
    write_rows(deps.lake, weights, _weights(job, factors, walked), WEIGHTS)
    return CombineFacts(key, dict(Counter(row.judged.verdict.value for row in rows)))


def _read(job: CombineJob, deps: RunDeps, asked: Combination, factors: Sequence[Factor]) -> _Market:
    spec = deps.spec
    one_group = dict.fromkeys(spec.symbols, "all")
    groups = {**dict.fromkeys(GIVEN_GROUPS, one_group), **spec.groups}
    reader = SegmentReader(deps.lake, deps.run_id, job.interval, Segment.WHOLE, groups)
    for factor in factors:
        reader.check(factor)
    columns = {column for factor in factors for column in factor.columns}
    held = reader.panel(columns | reader.known(_OF_THE_BOOK) | set(KLINE_FIELDS))
    settings = spec.segments
    purge_bars = settings.horizon_bars + settings.entry_lag_bars
    labels = forward_returns(
        held.panel, settings.horizon_bars, settings.entry_lag_bars, settings.returns == "log"
    )
    members = reader.members()
    if members is not None:
        labels[~members] = np.nan
    train_bars = max(1, asked.train_ms // job.interval.ms)
    schedule = refit_schedule(held.panel.times_ms, asked.refit_ms, train_bars, purge_bars)
    segments = combination_segments(
        schedule, settings.discovery_frac, settings.validation_frac, purge_bars
    )
    return _Market(reader, held.panel, labels, schedule, segments, spec)


def _values(market: _Market, factors: Sequence[Factor]) -> Iterator[tuple[int, FloatArray]]:
    reader = market.reader
    return compute_many(factors, market.panel, reader.labels(), members=reader.members())


def _ranked(market: _Market, factors: Sequence[Factor]) -> FactorRanks:
    ranks = FactorRanks(len(factors), *market.labels.shape)
    for index, values in _values(market, factors):
        ranks.put(index, values)
    return ranks


def _against_random(
    market: _Market, walked: Sequence[Walked], asked: Combination, n_factors: int
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


def _excess(market: _Market, walked: Sequence[Walked], drawn: ControlDraws, seed: int) -> Excess:
    [own] = [one for one in walked if one.combiner == drawn.combiner]
    ic = information_coefficient(own.signal, market.labels)[market.after_discovery]
    horizon_bars = market.spec.segments.horizon_bars
    return excess_over_random(ic, drawn.ic, horizon_bars, seed=seed)


def _random_values(market: _Market, asked: Combination) -> Iterator[FloatArray]:
    """Values of random formulas, one after another, over the fields that the panel has."""
    formulas = list(random_formulas(asked.seed, _PER_WANTED * asked.pool, _LEAVES))
    for start in range(0, len(formulas), _AT_ONCE):
        for _, values in _values(market, formulas[start : start + _AT_ONCE]):
            yield values


def _judged(
    job: CombineJob,
    deps: RunDeps,
    market: _Market,
    factors: Sequence[Factor],
    walked: Sequence[Walked],
    against: Mapping[str, Excess],
) -> list[CombinedSignal]:
    """The methods with their verdicts, the best on validation first."""
    expressions = {one.combiner.text: _frozen(one, factors) for one in walked}
    opened = {_hash(one.combiner, factors): expressions[one.combiner.text] for one in walked}
    looks = count_looks(opened, _holdout(market), deps)
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
                own[Segment.DISCOVERY], **_dates(market, Segment.DISCOVERY)
            ),
            validation=SegmentFigures.of(
                own[Segment.VALIDATION], **_dates(market, Segment.VALIDATION)
            ),
            holdout=SegmentFigures.of(own[Segment.HOLDOUT], **_dates(market, Segment.HOLDOUT)),
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


def _scores(market: _Market, walked: Walked) -> dict[Segment, Score]:
    spec = market.spec
    return score_combination(
        walked.signal,
        {name: market.panel[name] for name in _OF_THE_BOOK if name in market.panel},
        market.segments,
        horizon_bars=spec.segments.horizon_bars,
        entry_lag_bars=spec.segments.entry_lag_bars,
        fee_bps=one_way_bps(spec.fees),
        bars_per_year=market.panel.interval.bars_per_year,
        weighting=spec.portfolio.weighting,
        quantiles=spec.portfolio.quantiles,
        participation_frac=spec.portfolio.participation_frac,
        log_returns=spec.segments.returns == "log",
        members=market.reader.members(),
        rebalancing=Rebalancing(spec.portfolio.band, spec.portfolio.hold_bars),
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


def _holdout(market: _Market) -> SegmentPanel:
    bars = market.segments[Segment.HOLDOUT]
    panel = market.panel
    times, closes = panel.times_ms[bars.rows], {"close": panel["close"][bars.rows]}
    cut = Panel(panel.interval, times, panel.symbols, closes)
    return SegmentPanel(cut, bars.history_bars, bars.embargo_bars)


def _dates(market: _Market, segment: Segment) -> dict[str, int]:
    """First and last bar that is scored; both are open times."""
    bars = market.segments[segment]
    scored = market.panel.times_ms[bars.rows][bars.skip_bars :]
    return {"start_ms": int(scored[0]), "end_ms": int(scored[-1])}


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
