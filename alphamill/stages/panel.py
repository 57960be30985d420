"""panel: one snapshot of all symbols on a regular grid, cut into the run's segments.

The grid runs from the first to the last bar that any symbol has in the run's range. Discovery is
its first part, then validation, then holdout. A symbol under which two coins traded is a column for
each, and what is silent is no bar: see `lake.listings`. Each segment's files end where it ends, so
no label of one can use a bar of the next, and what reads discovery cannot see further: the bars are
not in its files. Validation and holdout begin with some bars of the segment before, so that factors
have their look-back; those and an embargo after them are not scored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from alphamill.errors import GiveUp
from alphamill.evaluation import Segment, SegmentBars, funding_by_bar
from alphamill.evaluation.costs import FUNDING
from alphamill.evaluation.scorer import segment_fault
from alphamill.factors.wide import wide_units
from alphamill.frames import KLINE_FIELDS, FloatArray, IntArray, Interval, Panel, times_ms
from alphamill.indicators import compute_indicators, indicator_names
from alphamill.jobs import Facts, PanelJob, RunKind, RunSpec
from alphamill.lake import Lake, read_klines
from alphamill.market.funding.parse import MINUTE_MS, settled_ms
from alphamill.runs.library import Moment, look_up
from alphamill.runs.panels import (
    NewListing,
    PanelManifest,
    SegmentFacts,
    field_key,
    read_manifest,
    snapshot_of,
    write_field,
    write_last_bars,
    write_manifest,
    write_refusal,
)
from alphamill.runs.segments import NO_GRID, cut_segments, too_short
from alphamill.stages.columns import Column, columns_of
from alphamill.stages.features import compute_features, read_features
from alphamill.stages.funding import KnownFunding, read_owed
from alphamill.stages.wide_columns import Bars, wide_fields
from alphamill.universe.snapshots import read_master_list

HISTORY_BARS = 600
LAST_BARS = 10  # of discovery, kept together with every field for the prompts
_MEASURED_BY = ("open", "close", "volume")  # what says whether anything can be measured
_BATCH_BYTES = 256 * 2**20  # of field values held at a time


@dataclass(frozen=True, slots=True)
class PanelDeps:
    """What the stage works with. history_bars: look-back given to validation and holdout.

    indicators: whether the panel holds the indicators' columns beside the bars'. read_features:
    where they come from.
    """

    lake: Lake
    spec: RunSpec
    history_bars: int = HISTORY_BARS
    indicators: bool = True
    read_features: Callable[..., pa.Table] = read_features


@dataclass(frozen=True, slots=True)
class PanelFacts(Facts):
    """What the snapshot holds. bars: by segment, without history.

    symbols: its columns, one a listing. missing: symbols without a bar, or without a trade in any.

    skipped: it was complete already and was left as it is.
    """

    symbols: tuple[str, ...]
    missing: tuple[str, ...]
    fields: int
    bars: Mapping[str, int]
    snapshot: str
    skipped: bool


@dataclass(frozen=True, slots=True)
class _Grid:
    interval: Interval
    start_ms: int
    bars: int
    columns: tuple[Column, ...]

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.bars * self.interval.ms

    @property
    def times_ms(self) -> IntArray:
        return self.start_ms + self.interval.ms * np.arange(self.bars, dtype=np.int64)

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)


def run(job: PanelJob, deps: PanelDeps) -> PanelFacts:
    """Write the run's panel at one interval. Safe to repeat: a complete panel stays as it is.

    Raises GiveUp where nothing could be measured: without any bar, with too few for three segments,
    without trade in one of them, and for 1M. The reason is kept for the run's trials.
    """
    sealed = read_manifest(deps.lake, deps.spec.run_id, job.interval)
    if sealed is not None:
        return _facts(sealed, skipped=True)
    try:
        return _facts(_made(job.interval, deps), skipped=False)
    except Unfit as error:
        write_refusal(deps.lake, deps.spec.run_id, job.interval, str(error))
        raise


class Unfit(GiveUp):
    """Bars that no panel can be made of; says what would help."""


def _made(interval: Interval, deps: PanelDeps) -> PanelManifest:
    spec = deps.spec
    grid = _grid(interval, deps)
    cuts = _cuts(grid, deps)
    hashes: dict[Segment, dict[str, str]] = {segment: {} for segment in cuts}
    last: dict[str, FloatArray] = {}
    prices: dict[str, FloatArray] = {}
    unknown: dict[str, int] | None = None
    for field, values in _fields(grid, deps):
        if field in _MEASURED_BY:
            prices[field] = values
            if len(prices) == len(_MEASURED_BY):
                _check_measurable(cuts, prices, spec)
                prices.clear()
        if field == FUNDING:
            unknown = dict(zip(grid.symbols, np.isnan(values).sum(axis=0).tolist(), strict=True))
        elif Segment.DISCOVERY in cuts:
            end = cuts[Segment.DISCOVERY].stop_bar
            last[field] = values[max(0, end - LAST_BARS) : end].copy()
        for segment, cut in cuts.items():
            hashes[segment][field] = write_field(
                deps.lake,
                field_key(spec.run_id, interval, segment, field),
                grid.times_ms[cut.rows],
                grid.symbols,
                values[cut.rows],
            )
    if last:
        end = cuts[Segment.DISCOVERY].stop_bar
        times_ms = grid.times_ms[max(0, end - LAST_BARS) : end]
        write_last_bars(deps.lake, spec.run_id, interval, times_ms, grid.symbols, last)
    if spec.kind is RunKind.MINE:
        look_up(deps.lake, spec, interval, Moment.START)
    manifest = replace(_manifest(grid, cuts, hashes, spec), funding_unknown=unknown)
    manifest = _with_universe(manifest, deps)
    write_manifest(deps.lake, spec.run_id, manifest)
    return manifest


def _grid(interval: Interval, deps: PanelDeps) -> _Grid:
    if interval is Interval.MO1:
        raise Unfit(NO_GRID)
    spec = deps.spec
    columns = columns_of(deps.lake, spec, interval)
    if columns is None:
        raise Unfit(f"the lake has no {interval} bar of {', '.join(spec.symbols)} in the range")
    if not columns:
        raise Unfit(
            f"no {interval} bar of {', '.join(spec.symbols)} in the range has a trade: of symbols "
            "that were delisted the exchange may go on giving flat bars; ask for an earlier range"
        )
    every = np.concatenate([column.open_ms for column in columns])
    first, last = int(every.min()), int(every.max())
    return _Grid(interval, first, (last - first) // interval.ms + 1, columns)


def _cuts(grid: _Grid, deps: PanelDeps) -> dict[Segment, SegmentBars]:
    """The segments' rows. Raises Unfit where there are too few bars for them."""
    if deps.spec.kind in (RunKind.EVALUATE, RunKind.COMBINE):
        return {Segment.WHOLE: SegmentBars(0, grid.bars)}
    problem = too_short(grid.bars, grid.interval, deps.spec.segments)
    if problem:
        raise Unfit(problem)
    return cut_segments(grid.bars, deps.spec.segments, deps.history_bars)


def _check_measurable(
    cuts: Mapping[Segment, SegmentBars], prices: Mapping[str, FloatArray], spec: RunSpec
) -> None:
    """Raise Unfit for a mining run in which no factor could be measured on some segment.

    No model is asked then. An EVALUATE run says the same in the row of each expression.
    """
    for segment, cut in cuts.items() if spec.kind is RunKind.MINE else ():
        fault = segment_fault(
            {name: values[cut.rows] for name, values in prices.items()},
            spec.segments.horizon_bars,
            spec.segments.entry_lag_bars,
            cut.skip_bars,
        )
        if fault:
            raise Unfit(f"{segment.value}: {fault}")


def panel_in_memory(interval: Interval, deps: PanelDeps, fields: Collection[str]) -> Panel:
    """The panel that `run` would write over the spec's whole range, with just these fields.

    Nothing is read or written but market data. Indicators are computed from the bars, so that no
    features job need have run. Raises Unfit as `run` does.
    """
    deps = replace(deps, read_features=compute_features)
    grid = _grid(interval, deps)
    held = dict(_fields(grid, deps, fields))
    return Panel(interval, grid.times_ms, grid.symbols, {name: held[name] for name in fields})


def _fields(
    grid: _Grid, deps: PanelDeps, wanted: Collection[str] | None = None
) -> Iterator[tuple[str, FloatArray]]:
    """Every field over the whole grid, or those wanted, a few at a time in memory."""

    def asked(names: Sequence[str]) -> list[str]:
        return [name for name in names if wanted is None or name in wanted]

    size = max(1, _BATCH_BYTES // (grid.bars * len(grid.columns) * 8))
    for names in _batches(asked(KLINE_FIELDS), size):
        yield from _batch(names, grid, deps, of_klines=True)
    if deps.spec.market.has_funding and asked([FUNDING]):
        yield FUNDING, _funding(grid, deps)
    beside = asked([*wide_units(deps.spec.wide)])
    bars = Bars(deps.lake, deps.spec.market, grid.interval, grid.times_ms)
    for names in _batches(beside, size):
        yield from wide_fields(bars, grid.columns, deps.spec.wide, names)
    indicators = indicator_names(grid.interval) if deps.indicators else ()
    for names in _batches(asked(indicators), size):
        yield from _batch(names, grid, deps, of_klines=False)


def _funding(grid: _Grid, deps: PanelDeps) -> FloatArray:
    """`funding_rate` of every column, NaN where the lake cannot say."""
    # A settlement at the end of the last bar is stamped a little after it.
    spec, end_ms = deps.spec, grid.end_ms + MINUTE_MS
    columns = []
    for column in grid.columns:
        owed = read_owed(
            deps.lake, spec.market, column.symbol, grid.interval, grid.start_ms, end_ms
        )
        values = funding_column(owed, grid.times_ms, grid.interval.ms)
        if column.listing is not None:
            # What was settled, or is not known, before and after it is another coin's or nobody's.
            first_ms, last_ms = column.listing.start_ms, column.listing.end_ms
            values[(grid.times_ms < first_ms) | (grid.times_ms >= last_ms)] = 0.0
        columns.append(values)
    return np.stack(columns, axis=1)


def funding_column(funding: KnownFunding, open_ms: IntArray, interval_ms: int) -> FloatArray:
    """One symbol's funding, (bars,): see `funding_by_bar`; NaN where it is not known.

    open_ms: of the bars, ascending. A stamp is read as the minute that it is nearest to: funding is
    owed by who holds on the hour, and who trades at the open of that hour's bar does not yet. All
    payments of an instant are owed.
    """
    stamps = settled_ms(times_ms(funding.table))
    rates = funding.table["funding_rate"].to_numpy()
    values = funding_by_bar(open_ms, interval_ms, stamps, rates)
    known = np.zeros(len(open_ms), dtype=bool)
    for one in funding.known:
        # The settlement at a bar's end is the bar's own, and stamped a little later.
        known |= (open_ms >= one.start_ms) & (open_ms + interval_ms + MINUTE_MS <= one.end_ms)
    values[~known] = np.nan
    return values


def _batches(names: Sequence[str], size: int) -> Iterator[list[str]]:
    remaining = iter(names)
    while batch := list(itertools.islice(remaining, size)):
        yield batch


def _batch(
    names: list[str], grid: _Grid, deps: PanelDeps, of_klines: bool
) -> Iterator[tuple[str, FloatArray]]:
    values = {name: np.full((grid.bars, len(grid.columns)), np.nan) for name in names}
    for position, column in enumerate(grid.columns):
        table = _stored(names, column, grid, deps, of_klines)
        open_ms = times_ms(table, "open_time")
        rows, beside = np.divmod(open_ms - grid.start_ms, grid.interval.ms)
        here = beside == 0
        if column.listing is not None:
            here &= column.listing.holds(open_ms)
        for name in names:
            own = table[name].cast(pa.float64()).to_numpy()
            values[name][rows[here], position] = own[here]
    yield from values.items()


def _stored(
    names: list[str], column: Column, grid: _Grid, deps: PanelDeps, of_klines: bool
) -> pa.Table:
    """`open_time` and these fields of a column's symbol, over the grid.

    Indicators are stored of a symbol's bars in a row, whatever coin they are of. They start anew
    after a hole; a coin that follows without one gets them of its own bars alone.
    """
    where = deps.lake, deps.spec.market, column.symbol, grid.interval
    if of_klines or not column.mixed:
        read = read_klines if of_klines else deps.read_features
        return read(*where, grid.start_ms, grid.end_ms, ["open_time", *names])
    own = read_klines(*where, int(column.open_ms[0]), grid.end_ms)
    frame = compute_indicators(own.to_pandas(), names, grid.interval)
    return pa.table({"open_time": own["open_time"], **{name: frame[name] for name in names}})


def _manifest(
    grid: _Grid,
    cuts: Mapping[Segment, SegmentBars],
    hashes: Mapping[Segment, Mapping[str, str]],
    spec: RunSpec,
) -> PanelManifest:
    return PanelManifest(
        interval=grid.interval,
        symbols=grid.symbols,
        missing=tuple(sorted(set(spec.symbols) - {column.symbol for column in grid.columns})),
        snapshot=snapshot_of(hashes, spec.universe),
        segments={
            segment: SegmentFacts(
                start_ms=grid.start_ms + cut.start_bar * grid.interval.ms,
                bars=cut.stop_bar - cut.start_bar,
                history_bars=cut.history_bars,
                embargo_bars=cut.embargo_bars,
                fields=hashes[segment],
            )
            for segment, cut in cuts.items()
        },
        ended=tuple(column.name for column in grid.columns if column.ended),
        new_listings={
            column.name: NewListing(one.start_ms, one.price_ratio)
            for column in grid.columns
            if (one := column.listing) and one.price_ratio is not None
        },
    )


def _with_universe(manifest: PanelManifest, deps: PanelDeps) -> PanelManifest:
    """With who belongs when, and who of them has died since by the lake's newest master list."""
    universe = deps.spec.universe
    if universe is None:
        return manifest
    listed = read_master_list(deps.lake, deps.spec.market)
    if listed is None:
        return replace(manifest, universe=universe)
    dead = {one.symbol for one in listed.symbols if one.delisted}
    died = tuple(symbol for symbol in universe.members if symbol in dead)
    as_of = listed.on.isoformat()
    return replace(manifest, universe=universe, died=died, died_as_of=as_of)


def _facts(manifest: PanelManifest, skipped: bool) -> PanelFacts:
    segments = manifest.segments
    return PanelFacts(
        symbols=manifest.symbols,
        missing=manifest.missing,
        fields=max(len(facts.fields) for facts in segments.values()),
        bars={name.value: facts.bars - facts.history_bars for name, facts in segments.items()},
        snapshot=manifest.snapshot,
        skipped=skipped,
    )
