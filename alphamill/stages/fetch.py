"""fetch: bring a range of bars into the lake, asking only for what is not there.

Files of the exchange's archive come first, its API gives the rest; each month's file says which.
Each month's file states the range that was asked for. Bars outside it are fetched, so that the
range grows as one piece; bars inside it that are absent were not at the exchange and are not asked
for again. Safe to repeat, and safe beside another worker at the same month.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from alphamill.clock import Clock, SystemClock
from alphamill.errors import GiveUp
from alphamill.frames import Month, is_symbol, months_between
from alphamill.jobs import Facts, FetchJob
from alphamill.lake import (
    KlineFacts,
    Lake,
    Partition,
    Series,
    Span,
    Unreadable,
    klines_key,
    load_partition,
    update_partition,
)
from alphamill.lake.coverage import Range, joined, not_had
from alphamill.market import (
    Exchange,
    Gap,
    Halt,
    History,
    KlineArchive,
    Klines,
    find_gaps,
    find_halts,
)
from alphamill.market.grid import closed_until_ms, next_ms
from alphamill.market.klines.confirm_absent import SETTLE_MS
from alphamill.market.klines.history import Part
from alphamill.market.klines.parse import between, empty_klines, merge_klines, times_ms
from alphamill.market.replies import unknown_symbol
from alphamill.stages.quarantine import keep_damaged


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
        """For whoever watches the run: what this job added."""
        return {"bars": 0 if self.skipped else self.rows, "requests": self.requests}


def run(job: FetchJob, deps: FetchDeps) -> FetchFacts:
    """Fetch the job's bars. Raises GiveUp for an unknown symbol before anything is written."""
    if not is_symbol(job.symbol):
        raise _unusable(job.symbol, deps.exchange)
    series = Series(job.market, job.symbol, job.interval)
    parts: list[Part] = []
    wanted = not_had(deps.lake, series, job.start_ms, job.end_ms)
    for stretch in wanted:
        try:
            for part in _brought(series, stretch, deps):
                parts.append(part)  # noqa: PERF402  those before a failure count
        except GiveUp as error:
            if not stretch.doubt:
                raise
            why = f"bars that the archive lacks could not be asked for: {error}"
            nothing = Klines(empty_klines(), deps.clock.now_ms(), 0)
            parts.append(Part(stretch.start_ms, stretch.end_ms, nothing, notes=(why,)))
    return _facts(series, job, deps.lake, parts, skipped=not wanted)


def _brought(series: Series, stretch: Range, deps: FetchDeps) -> Iterator[Part]:
    """Each part once it is in the lake."""
    history = History(series.market, deps.exchange, deps.archive, deps.clock)
    where = series.symbol, series.interval
    for part in history.parts(*where, stretch.start_ms, stretch.end_ms):
        _keep(series, part, deps.lake)
        keep_damaged(deps.lake, series, part.damaged, part.klines.server_time_ms)
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


def _keep(series: Series, part: Part, lake: Lake) -> None:
    stretch, klines = Range(part.start_ms, part.end_ms), part.klines
    end_ms = _answered_until_ms(series, stretch, klines)
    doubts = [Range(*span, doubt=True) for span in part.unverified]
    for month in months_between(stretch.start_ms, end_ms):
        answered = Range(max(stretch.start_ms, month.start_ms), min(end_ms, month.end_ms))
        bars = between(klines.table, answered.start_ms, answered.end_ms)
        merge = partial(_merged, series, month, answered, bars, klines.source, doubts)
        update_partition(lake, series, month, merge)


def _answered_until_ms(series: Series, stretch: Range, klines: Klines) -> int:
    """The time up to which an absent bar is known not to be at the exchange."""
    settled_ms = closed_until_ms(series.interval, klines.server_time_ms - SETTLE_MS)
    if klines.table.num_rows:
        last_ms = int(times_ms(klines.table)[-1])
        settled_ms = max(settled_ms, next_ms(series.interval, last_ms))
    return min(stretch.end_ms, settled_ms)


def _merged(
    series: Series,
    month: Month,
    answered: Range,
    bars: pa.Table,
    source: str,
    doubts: Sequence[Range],
    present: tuple[Partition, pa.Table] | None,
) -> tuple[pa.Table, KlineFacts]:
    """New bars beside those that are there now, which another worker may have written."""
    found = joined(series, answered, source, doubts, present[0] if present else None)
    if present is not None:
        bars = merge_klines([present[1], bars])
    spans = [(doubt.start_ms, doubt.end_ms) for doubt in found.doubts]
    asked = found.covered.start_ms, found.covered.end_ms
    return bars, describe(series, month, *asked, bars, found.source, spans)


def describe(
    series: Series,
    month: Month,
    start_ms: int,
    end_ms: int,
    bars: pa.Table,
    source: str,
    doubts: Iterable[tuple[int, int]] = (),
) -> KlineFacts:
    """Facts of a month's bars of which [start_ms, end_ms) was asked for; doubts: of the archive."""
    gaps = find_gaps(bars, series.interval, start_ms, end_ms)
    unverified = [gap for span in sorted(doubts) for gap in find_gaps(bars, series.interval, *span)]
    halts = find_halts(bars, series.interval)
    return KlineFacts(
        source=source,
        asked_start_ms=start_ms,
        asked_end_ms=end_ms,
        gaps=_spans(gaps),
        halts=_spans(halts),
        complete=(start_ms, end_ms) == (month.start_ms, month.end_ms) and not unverified,
        unverified=_spans(unverified),
    )


def _spans(found: Iterable[Gap | Halt]) -> tuple[Span, ...]:
    return tuple(Span(one.start_ms, one.end_ms, one.bars) for one in found)


def _facts(
    series: Series, job: FetchJob, lake: Lake, parts: list[Part], *, skipped: bool
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
        start_ms = max(job.start_ms, partition.facts.asked_start_ms)
        end_ms = min(job.end_ms, partition.facts.asked_end_ms)
        bars = between(times, start_ms, end_ms)
        found = find_gaps(bars, series.interval, start_ms, end_ms)
        rows += bars.num_rows
        gaps += len(found)
        missing += sum(gap.bars for gap in found)
    return FetchFacts(
        rows=rows,
        expected=rows + missing,
        missing_bars=missing,
        gaps=gaps,
        requests=sum(part.klines.requests for part in parts),
        source="+".join(sorted(sources)),
        key=klines_key(*where, months[0]) if len(months) == 1 else series.folder("klines"),
        skipped=skipped,
        note=_note(rows, missing),
        files=sum(part.files for part in parts),
        archive_note=_archive_note(parts),
    )


def _note(rows: int, missing: int) -> str:
    if rows:
        return ""
    if missing:
        return "the exchange has no bars in this range: not listed yet, or halted"
    return "no bar of this range has closed yet"


def _archive_note(parts: list[Part]) -> str:
    """What went wrong, once each; the bars concerned are REST's."""
    said = [note for part in parts for note in part.notes]
    said += [f"quarantined {damaged}" for part in parts for damaged in part.damaged]
    return "; ".join(dict.fromkeys(said))
