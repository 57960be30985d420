"""fetch: bring a range of bars into the lake, asking only for what is not there.

Files of the exchange's archive come first, its API gives the rest; each month's file says which.
Each month's file states the range that was asked for. Bars outside it are fetched, so that the
range grows as one piece; bars inside it that are absent were not at the exchange and are not asked
for again. Safe to repeat, and safe beside another worker at the same month.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from alphamill.clock import Clock, SystemClock
from alphamill.errors import GiveUp
from alphamill.frames import (
    SYMBOL_SPELLING,
    BarSpan,
    Interval,
    TimeRange,
    is_symbol,
    months_between,
    rows_within,
)
from alphamill.jobs import Facts, FetchJob
from alphamill.lake import Lake, MonthFacts, Series, load_partition
from alphamill.market import Exchange, KlineArchive, KlineHistory, find_gaps, find_halts
from alphamill.market.klines.parse import merge_klines
from alphamill.market.replies import unknown_symbol
from alphamill.stages.bring import Brought, bring


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
    note: "" or why there is no bar. archive_note: "" or what of the archive could not be used, and
    which rows of either source were left out, since no bar can open there.
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
    asked = TimeRange(job.start_ms, job.end_ms)
    history = KlineHistory(
        series.market,
        deps.exchange,
        deps.archive,
        deps.clock,
        archived_days=_is_forgotten(series, deps.exchange),
    )
    parts_of = partial(history.parts, series.symbol, series.interval)
    add_gaps = partial(describe, series.interval)
    brought = bring(deps.lake, series, asked, parts_of, merge_klines, add_gaps, "bars")
    return _facts(series, asked, deps.lake, brought)


def _is_forgotten(series: Series, exchange: Exchange) -> bool:
    """Whether the archive alone has days of it; asked about days, which else come from the API."""
    return series.interval is Interval.D1 and series.symbol not in exchange.symbols()


def _unusable(symbol: str, exchange: Exchange) -> GiveUp:
    known = exchange.symbols()
    if symbol in known:
        return GiveUp(f"{symbol!r} cannot name a file of the lake ({SYMBOL_SPELLING} can)")
    return unknown_symbol(symbol, known)


def describe(interval: Interval, facts: MonthFacts, bars: pa.Table) -> MonthFacts:
    """The facts with gaps and halts of a month's bars; of what is unverified, its gaps."""
    doubtful = [gap for doubt in facts.unverified for gap in find_gaps(bars, interval, doubt)]
    return replace(
        facts,
        gaps=tuple(find_gaps(bars, interval, facts.asked)),
        halts=tuple(find_halts(bars, interval)),
        unverified=tuple(doubtful),
    )


def _facts(series: Series, asked: TimeRange, lake: Lake, brought: Brought) -> FetchFacts:
    """The range as the lake has it now."""
    months = months_between(asked.start_ms, asked.end_ms)
    rows, gaps = 0, list[BarSpan]()
    sources: set[str] = set()
    for month in months:
        present = load_partition(lake, series, month, ["open_time"])
        if present is None:
            continue
        partition, times = present
        sources.update(partition.facts.source.split("+"))
        covered = partition.facts.asked.within(asked)
        if covered:
            bars = rows_within(times, covered)
            rows += bars.num_rows
            gaps += find_gaps(bars, series.interval, covered)
    missing = sum(gap.bars for gap in gaps)
    return FetchFacts(
        rows=rows,
        expected=rows + missing,
        missing_bars=missing,
        gaps=len(gaps),
        requests=brought.requests,
        source="+".join(sorted(sources)),
        key=series.key("klines", months[0]) if len(months) == 1 else series.folder("klines"),
        skipped=brought.skipped,
        note=_note(rows, missing),
        files=brought.files,
        archive_note=brought.archive_note,
    )


def _note(rows: int, missing: int) -> str:
    if rows:
        return ""
    if missing:
        return "the exchange has no bars in this range: not listed yet, or halted"
    return "no bar of this range has closed yet"
