"""A factor of a run by hour, phase, weekday, year, regime or coin, on the bars that it has seen."""

from __future__ import annotations

import numpy as np

from alphamill.errors import GiveUp
from alphamill.evaluation import forward_returns
from alphamill.evaluation.by_group import (
    GroupFigures,
    Grouping,
    bar_groups,
    by_group,
    coin_parts,
    market_regimes,
)
from alphamill.evaluation.ranks import rank_rows
from alphamill.factors import Factor
from alphamill.frames import FloatArray
from alphamill.jobs import RunSpec
from alphamill.report.factor.tear_sheet import Subject, segment_reader
from alphamill.runs.published import PublishedRun
from alphamill.runs.reader import SegmentReader


def taken_apart(run: PublishedRun, subject: Subject, by: Grouping) -> list[GroupFigures]:
    """In the direction that it is traded. A sealed holdout is not read.

    Raises GiveUp where the panel is no longer in the lake, where nothing can be measured, or where
    the bars cannot be grouped so.
    """
    factor, spec = subject.factor_of(run), subject.spec_of(run)
    horizon_bars = spec.segments.horizon_bars
    readers = [segment_reader(run, subject.interval, segment) for segment in subject.figures]
    try:
        if by == "coin":
            return _by_coin(readers, factor, spec, subject.direction)
        groups, correlations = list[str](), list[FloatArray]()
        for reader in readers:
            series = reader.series(factor, spec, subject.direction)
            if series is None:
                continue
            panel = reader.panel(())
            ends_ms = panel.panel.times_ms[panel.scored] + subject.interval.ms
            regimes = market_regimes(panel.panel["close"])[panel.scored]
            groups += bar_groups(by, ends_ms, subject.interval.ms, horizon_bars, regimes)
            correlations.append(series.correlations)
    except ValueError as error:
        raise GiveUp(f"--by {by}: {error}") from error
    if not correlations:
        raise GiveUp(f"{subject.traded} has too few bars with a correlation")
    return by_group(np.concatenate(correlations), groups, horizon_bars)


def _by_coin(
    readers: list[SegmentReader], factor: Factor, spec: RunSpec, direction: int
) -> list[GroupFigures]:
    values, labels, symbols = list[FloatArray](), list[FloatArray](), tuple[str, ...]()
    settings = spec.segments
    for reader in readers:
        held = reader.panel(factor.columns)
        symbols = held.panel.symbols
        label = forward_returns(
            held.panel, settings.horizon_bars, settings.entry_lag_bars, settings.returns == "log"
        )
        values.append(rank_rows(direction * reader.values(factor)[held.scored]))
        labels.append(rank_rows(label[held.scored]))
    if len(symbols) < 3:
        raise ValueError("below three symbols there is no cross-section to take part in")
    return coin_parts(
        np.concatenate(values), np.concatenate(labels), symbols, settings.horizon_bars
    )
