"""wide: bring what a futures contract has beside its bars into the lake: metrics, computed prices.

As with bars, files of the exchange's archive come first and its API gives the rest; only what is
not there is asked for. Safe to repeat, and safe beside another worker at the same month.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from alphamill.clock import Clock, SystemClock
from alphamill.errors import GiveUp
from alphamill.frames import (
    PRICES,
    SYMBOL_SPELLING,
    Interval,
    TimeRange,
    Wide,
    is_symbol,
    months_between,
    rows_within,
)
from alphamill.jobs import Facts, RecheckJob, WideJob
from alphamill.lake import (
    IndexSeries,
    Lake,
    MarkSeries,
    MetricsSeries,
    MonthFacts,
    PremiumSeries,
    load_partition,
)
from alphamill.market import (
    FetchedPart,
    KlineArchive,
    KlineHistory,
    MetricsArchive,
    MetricsExchange,
    MetricsHistory,
    find_gaps,
)
from alphamill.market.exchange import KlineSource
from alphamill.market.klines.of import PRICES_OF
from alphamill.market.klines.parse import merge_rows
from alphamill.market.metrics.history import STEP, merge_metrics
from alphamill.stages.bring import Brought, bring

WideSeries = MetricsSeries | PremiumSeries | MarkSeries | IndexSeries
_PRICE_SERIES: Mapping[Wide, type[PremiumSeries | MarkSeries | IndexSeries]] = {
    Wide.PREMIUM: PremiumSeries,
    Wide.MARK: MarkSeries,
    Wide.INDEX: IndexSeries,
}


@dataclass(frozen=True, slots=True)
class WideDeps:
    """What the stage works with; an archive is None where the exchange's API is the only source.

    prices: where klines of a kind of price come from.
    """

    lake: Lake
    prices: Callable[[Wide], KlineSource]
    metrics: MetricsExchange
    files: KlineArchive | None = None
    metrics_files: MetricsArchive | None = None
    clock: Clock = field(default_factory=SystemClock)  # tells which files the archive may have


@dataclass(frozen=True, slots=True)
class WideFacts(Facts):
    """What is in the lake of the range asked for.

    rows + missing = expected: bars, or five minutes of metrics, that were over by the exchange's
    clock. requests: of its API; files: of its archive. skipped: all was there already and nothing
    was asked. note: "" or why there is no row. archive_note: "" or what of the archive could not be
    used, or what it does not have.
    """

    rows: int
    expected: int
    missing: int
    requests: int
    source: str
    key: str
    skipped: bool
    note: str = ""
    files: int = 0
    archive_note: str = ""

    @property
    def landed(self) -> dict[str, int]:
        return {"wide": 0 if self.skipped else self.rows, "requests": self.requests}


@dataclass(frozen=True, slots=True)
class Kept:
    """How one kind of data is kept: where, by which bars, and where its parts come from."""

    series: WideSeries
    step: Interval
    parts: Callable[[TimeRange], Iterable[FetchedPart]]
    merge: Callable[[list[pa.Table]], pa.Table]
    rows: str

    def describe(self, facts: MonthFacts, table: pa.Table) -> MonthFacts:
        """The facts with the gaps of a month's rows; of what is unverified, its gaps."""
        doubtful = [gap for doubt in facts.unverified for gap in find_gaps(table, self.step, doubt)]
        gaps = tuple(find_gaps(table, self.step, facts.asked))
        return replace(facts, gaps=gaps, unverified=tuple(doubtful))


def run(job: WideJob, deps: WideDeps) -> WideFacts:
    """Fetch the job's range. Raises GiveUp for what the market or the exchange does not have."""
    kept = kept_of(job, deps)
    asked = TimeRange(job.start_ms, job.end_ms)
    brought = bring(deps.lake, kept.series, asked, kept.parts, kept.merge, kept.describe, kept.rows)
    return _facts(kept, asked, deps.lake, brought)


def kept_of(job: WideJob | RecheckJob, deps: WideDeps) -> Kept:
    """What a job is about. Raises GiveUp for a symbol that is none, and for spot."""
    if not is_symbol(job.symbol):
        raise GiveUp(f"{job.symbol!r} cannot name a file of the lake ({SYMBOL_SPELLING} can)")
    if not job.market.has_funding:
        raise GiveUp(f"{job.market} has no {job.kind} of {job.symbol}: only futures have")
    if job.kind is Wide.METRICS:
        metrics = MetricsHistory(job.market, deps.metrics, deps.metrics_files, deps.clock)
        parts = partial(metrics.parts, job.symbol)
        return Kept(MetricsSeries(job.market, job.symbol), STEP, parts, merge_metrics, "metrics")
    if job.interval is None or job.kind not in _PRICE_SERIES:
        raise GiveUp(f"no {job.kind} of {job.symbol} at {job.interval} is kept so")
    source, of = deps.prices(job.kind), PRICES_OF[job.kind]
    klines = KlineHistory(job.market, source, deps.files, deps.clock, of)
    return Kept(
        _PRICE_SERIES[job.kind](job.market, job.symbol, job.interval),
        job.interval,
        partial(klines.parts, job.symbol, job.interval),
        partial(merge_rows, schema=PRICES),
        f"{job.kind} prices",
    )


def _facts(kept: Kept, asked: TimeRange, lake: Lake, brought: Brought) -> WideFacts:
    """The range as the lake has it now."""
    series, months = kept.series, months_between(asked.start_ms, asked.end_ms)
    rows, missing, doubted = 0, 0, False
    sources: set[str] = set()
    for month in months:
        present = load_partition(lake, series, month, ["open_time"])
        if present is None:
            continue
        partition, times = present
        sources.update(partition.facts.source.split("+"))
        covered = partition.facts.asked.within(asked)
        if covered:
            found = rows_within(times, covered)
            rows += found.num_rows
            missing += sum(gap.bars for gap in find_gaps(found, kept.step, covered))
            doubted |= any(doubt.within(covered) for doubt in partition.facts.unverified)
    return WideFacts(
        rows=rows,
        expected=rows + missing,
        missing=missing,
        requests=brought.requests,
        source="+".join(sorted(sources)),
        key=series.key(series.kind, months[0]) if len(months) == 1 else series.folder(series.kind),
        skipped=brought.skipped,
        note="" if rows else _why_none(kept, missing, doubted),
        files=brought.files,
        archive_note=brought.archive_note,
    )


def _why_none(kept: Kept, missing: int, doubted: bool) -> str:
    if doubted:
        return f"what {kept.rows} there are of {kept.series.symbol} could not be asked for"
    if missing:
        return f"the exchange has no {kept.rows} of {kept.series.symbol} in this range"
    return f"no {kept.rows} of this range are out yet"
