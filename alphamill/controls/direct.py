"""A formula that nobody searched for, judged by the same gates: the power of the test itself."""

from __future__ import annotations

import math

from alphamill.controls.markets import ControlMarket, panel_of
from alphamill.evaluation import (
    GateThresholds,
    Score,
    TrialFacts,
    Verdict,
    judge,
    one_way_bps,
    score,
    split_bars,
)
from alphamill.evaluation.splits import Segment
from alphamill.factors import check, compute
from alphamill.frames import FloatArray, Panel
from alphamill.settings import FeeSettings, GateSettings, SegmentSettings
from alphamill.stages.certificate import sees_no_future
from alphamill.stages.language import read_expression


def judge_directly(
    market: ControlMarket,
    expression: str,
    segments: SegmentSettings = SegmentSettings(),
    fees: FeeSettings = FeeSettings(),
    gates: GateSettings = GateSettings(),
) -> Verdict:
    """The verdict on `expression` as the only trial, on the whole market cut as a run's is."""
    return judge_panel(panel_of(market), expression, segments, fees, gates)


def judge_panel(
    panel: Panel,
    expression: str,
    segments: SegmentSettings = SegmentSettings(),
    fees: FeeSettings = FeeSettings(),
    gates: GateSettings = GateSettings(),
) -> Verdict:
    """As `judge_directly`, on a panel of kline fields."""
    factor = read_expression(expression)
    values = compute(factor, panel)
    embargo = segments.horizon_bars + segments.entry_lag_bars
    cut = split_bars(panel.n_bars, segments.discovery_frac, segments.validation_frac, embargo)
    known = _score(values, panel, cut.discovery, factor.lookback_bars, segments, fees, None)
    validation, holdout = (
        _score(values, panel, part, factor.lookback_bars, segments, fees, known.direction)
        for part in (cut.validation, cut.holdout)
    )
    return judge(
        known,
        validation,
        holdout,
        trials=TrialFacts(1, 1.0, math.nan, validation.p_value),
        thresholds=GateThresholds(**gates.model_dump()),
        library_correlation=None,
        look_ahead_ok=sees_no_future(factor, panel),
        check_faults=check(factor),
    )


def _score(
    values: FloatArray,
    panel: Panel,
    segment: Segment,
    lookback_bars: int,
    settings: SegmentSettings,
    fees: FeeSettings,
    direction: int | None,
) -> Score:
    rows, skip_bars = segment.window(lookback_bars)
    return score(
        values[rows],
        {name: array[rows] for name, array in panel.items()},
        horizon_bars=settings.horizon_bars,
        entry_lag_bars=settings.entry_lag_bars,
        skip_bars=skip_bars,
        fee_bps=one_way_bps(fees),
        bars_per_year=panel.interval.bars_per_year,
        direction=direction,
    )
