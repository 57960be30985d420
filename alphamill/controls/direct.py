"""A formula that nobody searched for, judged by the same gates: the power of the test itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from alphamill.evaluation import (
    GateThresholds,
    Grade,
    Score,
    SegmentBars,
    TrialFacts,
    Verdict,
    judge,
    one_way_bps,
    score,
)
from alphamill.factors import check, compute
from alphamill.factors.look_ahead import sees_no_future
from alphamill.frames import FloatArray, Panel
from alphamill.language import read_expression
from alphamill.runs.segments import cut_segments
from alphamill.settings import FeeSettings, SegmentSettings
from alphamill.sim.market import PlantedFactor


@dataclass(frozen=True, slots=True)
class Alone:
    """A planted formula judged as the only trial there was."""

    expression: str
    target_ic: float
    verdict: str
    failed: tuple[str, ...]  # gates that a predictive factor must pass
    # One-way cost at which its book earns nothing over the whole market; None if it never traded.
    break_even_bps: float | None
    cost_bps: float  # what a trade costs

    @property
    def too_fast(self) -> bool:
        """Whether what it earns does not pay for what it trades."""
        return self.break_even_bps is None or self.break_even_bps < self.cost_bps


def judge_alone(
    panel: Panel, planted: PlantedFactor, segments: SegmentSettings, gates: GateThresholds
) -> Alone:
    """The planted formula on its market, at the default fees."""
    scores, verdict = _judged(panel, planted.expression, segments, FeeSettings(), gates)
    return Alone(
        planted.expression,
        planted.target_ic,
        verdict.grade.value,
        tuple(
            gate.name
            for gate in verdict.gates
            if not gate.passed and gate.needed_for is Grade.PREDICTIVE
        ),
        _break_even_bps(scores),
        scores[0].fee_bps,
    )


def _break_even_bps(scores: Sequence[Score]) -> float | None:
    """Of the segments' books together: each one's weighs by what it traded."""
    traded = [one.turnover_per_bar * one.n_obs for one in scores]
    earned = sum(one.break_even_bps * part for one, part in zip(scores, traded, strict=True))
    return earned / sum(traded) if math.isfinite(earned) and sum(traded) > 0 else None


def judge_panel(
    panel: Panel,
    expression: str,
    segments: SegmentSettings = SegmentSettings(),
    fees: FeeSettings = FeeSettings(),
    gates: GateThresholds = GateThresholds(),
) -> Verdict:
    """The verdict on `expression` as the only trial, on a panel of kline fields cut as a run's."""
    return _judged(panel, expression, segments, fees, gates)[1]


def _judged(
    panel: Panel,
    expression: str,
    segments: SegmentSettings,
    fees: FeeSettings,
    gates: GateThresholds,
) -> tuple[tuple[Score, Score, Score], Verdict]:
    factor = read_expression(expression)
    values = compute(factor, panel)
    discovery, *later = cut_segments(panel.n_bars, segments, factor.lookback_bars).values()
    known = _score(values, panel, discovery, segments, fees, None)
    validation, holdout = (
        _score(values, panel, part, segments, fees, known.direction) for part in later
    )
    verdict = judge(
        known,
        validation,
        holdout,
        trials=TrialFacts(1, 1.0, math.nan, validation.p_value),
        thresholds=gates,
        library_correlation=None,
        look_ahead_ok=sees_no_future(factor, panel),
        check_faults=check(factor),
    )
    return (known, validation, holdout), verdict


def _score(
    values: FloatArray,
    panel: Panel,
    segment: SegmentBars,
    settings: SegmentSettings,
    fees: FeeSettings,
    direction: int | None,
) -> Score:
    return score(
        values[segment.rows],
        {name: array[segment.rows] for name, array in panel.items()},
        horizon_bars=settings.horizon_bars,
        entry_lag_bars=settings.entry_lag_bars,
        skip_bars=segment.skip_bars,
        fee_bps=one_way_bps(fees),
        bars_per_year=panel.interval.bars_per_year,
        direction=direction,
    )
