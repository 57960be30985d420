"""fetch: bring a range of bars into the lake, asking only for what is not there.

Files of the exchange's archive come first, its API gives the rest; each month's file says which.
Each month's file states the range that was asked for. Bars outside it are fetched, so that the
range grows as one piece; bars inside it that are absent were not at the exchange and are not asked
for again. Safe to repeat, and safe beside another worker at the same month.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from alphamill.clock import Clock, SystemClock
from alphamill.errors import GiveUp
from alphamill.frames import (
    Interval,
    Month,
    TimeRange,
    is_symbol,
    months_between,
    rows_within,
    times_ms,
)
from alphamill.jobs import Facts, FetchJob
from alphamill.lake import (
    Lake,
    MonthFacts,
    Partition,
    Series,
    Unreadable,
    klines_key,
    load_partition,
)
from alphamill.lake.coverage import extend, still_wanted
from alphamill.market import (
    SETTLE_MS,
    Exchange,
    FetchedPart,
    KlineArchive,
    KlineHistory,
    find_gaps,
    find_halts,
)
from alphamill.market.grid import closed_until_ms, next_ms
from alphamill.market.klines.parse import empty_klines, merge_klines
from alphamill.market.replies import unknown_symbol
from alphamill.stages.quarantine import archive_note, keep_damaged


@dataclass(frozen=True, slots=True)
class FetchDeps:
    """What the stage works with; `archive` is None where the exchange's API is the only source."""

    exchange: Exchange
    lake: Lake
    archive: KlineArchive | None = None
    clock: Clock = field(default_factory=SystemClock)  # tells which files the archive may have


@dataclass(frozen=True, slots=True)
class FetchFacts(Facts):
    """What is in the lake of the range asked for.

    rows + missing_bars = expected: bars that had closed by the exchange's clock. gaps: stretches
    that the exchange does not have. requests: of its API; files: of its archive. key: the month's
    file, or the folder for several months. skipped: all was there already and nothing was asked.
    note: "" or why there is no bar. archive_note: "" or what of the archive could not be used.
    """

    rows: int
    expected: int
    missing_bars: int
    gaps: int
    requests: int
    source: str
    key: str
    skipped: bool
    note: str = ""
    files: int = 0
    archive_note: str = ""

    @property
    def landed(self) -> dict[str, int]:
        return {"bars": 0 if self.skipped else self.rows, "requests": self.requests}


def run(job: FetchJob, deps: FetchDeps) -> FetchFacts:
    """Fetch the job's bars. Raises GiveUp for an unknown symbol before anything is written."""
    if not is_symbol(job.symbol):
        raise _unusable(job.symbol, deps.exchange)
    series = Series(job.market, job.symbol, job.interval)
    parts: list[FetchedPart] = []
    wanted = still_wanted(deps.lake, series, TimeRange(job.start_ms, job.end_ms))
    for stretch in wanted:
        try:
            for part in _brought(series, stretch, deps):
                parts.append(part)  # noqa: PERF402  those before a failure count
        except GiveUp as error:
            if not stretch.doubt:
                raise
            why = f"bars that the archive lacks could not be asked for: {error}"
            parts.append(FetchedPart(stretch, empty_klines(), deps.clock.now_ms(), notes=(why,)))
    return _facts(series, job, deps.lake, parts, skipped=not wanted)


def _brought(series: Series, stretch: TimeRange, deps: FetchDeps) -> Iterator[FetchedPart]:
    """Each part once it is in the lake."""
    history = KlineHistory(series.market, deps.exchange, deps.archive, deps.clock)
    add_gaps = partial(describe, series.interval)
    for part in history.parts(series.symbol, series.interval, stretch):
        answered = _answered(series.interval, part)
        found = part.table, part.source, part.unverified
        extend(deps.lake, series, answered, *found, merge_klines, add_gaps)
        keep_damaged(deps.lake, series, part.damaged, part.server_time_ms)
        yield part


def _unusable(symbol: str, exchange: Exchange) -> GiveUp:
    known = exchange.symbols()
    if symbol in known:
        return GiveUp(f"{symbol!r} cannot name a file of the lake (letters A-Z and digits can)")
    return unknown_symbol(symbol, known)


def _loaded(
    lake: Lake, series: Series, month: Month, columns: list[str] | None = None
) -> tuple[Partition, pa.Table] | None:
    try:
        return load_partition(lake, series, month, columns)
    except Unreadable:
        return None


def _answered(interval: Interval, part: FetchedPart) -> TimeRange:
    """The stretch of it in which an absent bar is known not to be at the exchange."""
    settled_ms = closed_until_ms(interval, part.server_time_ms - SETTLE_MS)
    if part.table.num_rows:
        settled_ms = max(settled_ms, next_ms(interval, int(times_ms(part.table)[-1])))
    start_ms = part.range.start_ms
    return TimeRange(start_ms, max(start_ms, min(part.range.end_ms, settled_ms)))


def describe(interval: Interval, facts: MonthFacts, bars: pa.Table) -> MonthFacts:
    """The facts with gaps and halts of a month's bars; of what is unverified, its gaps."""
    doubtful = [gap for doubt in facts.unverified for gap in find_gaps(bars, interval, doubt)]
    return replace(
        facts,
        gaps=tuple(find_gaps(bars, interval, facts.asked)),
        halts=tuple(find_halts(bars, interval)),
        unverified=tuple(doubtful),
    )


def _facts(
    series: Series, job: FetchJob, lake: Lake, parts: list[FetchedPart], *, skipped: bool
) -> FetchFacts:
    """The range as the lake has it now."""
    months = months_between(job.start_ms, job.end_ms)
    where = series.market, series.symbol, series.interval
    rows = gaps = missing = 0
    sources: set[str] = set()
    for month in months:
        present = _loaded(lake, series, month, ["open_time"])
        if present is None:
            continue
        partition, times = present
        sources.update(partition.facts.source.split("+"))
        covered = partition.facts.asked.within(TimeRange(job.start_ms, job.end_ms))
        if covered is None:
            continue
        bars = rows_within(times, covered)
        found = find_gaps(bars, series.interval, covered)
        rows += bars.num_rows
        gaps += len(found)
        missing += sum(gap.bars for gap in found)
    return FetchFacts(
        rows=rows,
        expected=rows + missing,
        missing_bars=missing,
        gaps=gaps,
        requests=sum(part.requests for part in parts),
        source="+".join(sorted(sources)),
        key=klines_key(*where, months[0]) if len(months) == 1 else series.folder("klines"),
        skipped=skipped,
        note=_note(rows, missing),
        files=sum(part.files for part in parts),
        archive_note=archive_note(parts),
    )


def _note(rows: int, missing: int) -> str:
    if rows:
        return ""
    if missing:
        return "the exchange has no bars in this range: not listed yet, or halted"
    return "no bar of this range has closed yet"
