"""The bars that factors are combined and judged on, and what is read of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.combination import FactorRanks, Schedule, combination_segments, refit_schedule
from alphamill.evaluation import Segment, forward_returns
from alphamill.evaluation.splits import SegmentBars
from alphamill.factors import Factor, compute_many
from alphamill.frames import KLINE_FIELDS, FloatArray, Panel
from alphamill.jobs import Combination, CombineJob, RunSpec
from alphamill.runs.panels import SegmentPanel
from alphamill.runs.reader import SegmentReader
from alphamill.runs.schemas import RunDeps
from alphamill.runs.terms import group_tables

_OF_THE_BOOK = ("open", "close", "volume", "quote_volume", "funding_rate")


@dataclass(frozen=True, slots=True)
class CombinedMarket:
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

    @property
    def book(self) -> dict[str, FloatArray]:
        """The fields that a book is traded on."""
        return {name: self.panel[name] for name in _OF_THE_BOOK if name in self.panel}


def read_market(
    job: CombineJob, deps: RunDeps, asked: Combination, factors: Sequence[Factor]
) -> CombinedMarket:
    """The run's panel with what the factors name, cut and timed as the run asks.

    Raises FactorError for a field or group that it lacks, ValueError for a calendar that does not
    fit.
    """
    spec = deps.spec
    tables = group_tables(spec)
    reader = SegmentReader(deps.lake, deps.run_id, job.interval, Segment.WHOLE, tables)
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
    return CombinedMarket(reader, held.panel, labels, schedule, segments, spec)


def values_of(
    market: CombinedMarket, factors: Sequence[Factor]
) -> Iterator[tuple[int, FloatArray]]:
    """(index, values) of each factor, (bars, symbols); what they share is computed once."""
    reader = market.reader
    return compute_many(factors, market.panel, reader.labels(), members=reader.members())


def ranked(market: CombinedMarket, factors: Sequence[Factor]) -> FactorRanks:
    """The factors' centred ranks on every bar."""
    ranks = FactorRanks(len(factors), *market.labels.shape)
    for index, values in values_of(market, factors):
        ranks.put(index, values)
    return ranks


def holdout_of(market: CombinedMarket) -> SegmentPanel:
    """The holdout's bars, by which looks at it are counted."""
    bars = market.segments[Segment.HOLDOUT]
    panel = market.panel
    times, closes = panel.times_ms[bars.rows], {"close": panel["close"][bars.rows]}
    cut = Panel(panel.interval, times, panel.symbols, closes)
    return SegmentPanel(cut, bars.history_bars, bars.embargo_bars)


def dates_of(market: CombinedMarket, segment: Segment) -> dict[str, int]:
    """First and last bar that is scored; both are open times."""
    bars = market.segments[segment]
    scored = market.panel.times_ms[bars.rows][bars.skip_bars :]
    return {"start_ms": int(scored[0]), "end_ms": int(scored[-1])}
