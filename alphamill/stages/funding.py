"""funding: bring a contract's settlements into the lake, asking only for what is not there.

One job a symbol, whatever the intervals of its bars. Each page and each of the archive's months is
in the lake before the next is asked for; safe to repeat, and safe beside another worker.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from alphamill.clock import Clock, SystemClock
from alphamill.errors import GiveUp
from alphamill.frames import FUNDING, Market, Month, is_symbol, months_between
from alphamill.jobs import Facts, FundingJob
from alphamill.lake import (
    FundingSeries,
    KlineFacts,
    Lake,
    Partition,
    Span,
    Unreadable,
    load_partition,
    update_partition,
)
from alphamill.lake.coverage import Range, covered_by, doubts_of, joined, not_had
from alphamill.market import FundingArchive, FundingExchange, FundingHistory, FundingPart
from alphamill.market.funding.parse import funding_between, merge_funding
from alphamill.stages.quarantine import keep_damaged

_READERS = 4  # months read side by side: on S3 they are mostly waiting


@dataclass(frozen=True, slots=True)
class FundingDeps:
    """What the stage works with; `archive` is None where the exchange's API is the only source."""

    exchange: FundingExchange
    lake: Lake
    archive: FundingArchive | None = None
    clock: Clock = field(default_factory=SystemClock)  # tells which files the archive may have


@dataclass(frozen=True, slots=True)
class FundingFacts(Facts):
    """What is in the lake of the range asked for.

    settlements: rows of it. requests: of the exchange's API; files: of its archive. skipped: all
    was there already and nothing was asked. archive_note: "" or what of the archive could not be
    used.
    """

    settlements: int
    requests: int
    source: str
    key: str
    skipped: bool
    files: int = 0
    archive_note: str = ""

    @property
    def landed(self) -> dict[str, int]:
        """For whoever watches the run: what this job added."""
        new = 0 if self.skipped else self.settlements
        return {"settlements": new, "requests": self.requests}


@dataclass(frozen=True, slots=True)
class KnownFunding:
    """Settlements of a range, and the stretches of it in which all of them are known, in order."""

    table: pa.Table
    known: tuple[tuple[int, int], ...]
    sources: frozenset[str]

    def unknown(self, start_ms: int, end_ms: int) -> tuple[tuple[int, int], ...]:
        """The stretches of [start_ms, end_ms) between those that are known, in order."""
        left = [Range(start_ms, end_ms)]
        for known in self.known:
            left = [part for one in left for part in one.without(Range(*known))]
        return tuple((one.start_ms, one.end_ms) for one in left)


def run(job: FundingJob, deps: FundingDeps) -> FundingFacts:
    """Fetch the job's settlements. Raises GiveUp for a symbol that the exchange does not have."""
    if not is_symbol(job.symbol):
        raise GiveUp(f"{job.symbol!r} cannot name a file of the lake (letters A-Z and digits can)")
    series = FundingSeries(job.market, job.symbol)
    wanted = not_had(deps.lake, series, job.start_ms, job.end_ms)
    parts: list[FundingPart] = []
    notes: list[str] = []
    for stretch in wanted:
        try:
            for part in _history(series, deps).parts(job.symbol, stretch.start_ms, stretch.end_ms):
                _keep(series, part, deps.lake)
                parts.append(part)
        except GiveUp as error:
            if not stretch.doubt:
                raise
            notes.append(f"settlements that the archive lacks could not be asked for: {error}")
    notes += [note for part in parts for note in part.notes]
    notes += [f"quarantined {damaged}" for part in parts for damaged in part.damaged]
    had = read_funding(deps.lake, job.market, job.symbol, job.start_ms, job.end_ms)
    return FundingFacts(
        settlements=had.table.num_rows,
        requests=sum(part.requests for part in parts),
        source="+".join(sorted(had.sources)),
        key=series.folder(series.kind),
        skipped=not wanted,
        files=sum(part.files for part in parts),
        archive_note="; ".join(dict.fromkeys(notes)),
    )


def _history(series: FundingSeries, deps: FundingDeps) -> FundingHistory:
    return FundingHistory(series.market, deps.exchange, deps.archive, deps.clock)


def _keep(series: FundingSeries, part: FundingPart, lake: Lake) -> None:
    doubts = [Range(*span, doubt=True) for span in part.unverified]
    for month in months_between(part.start_ms, part.end_ms):
        answered = Range(max(part.start_ms, month.start_ms), min(part.end_ms, month.end_ms))
        rows = funding_between(part.table, answered.start_ms, answered.end_ms)
        merge = partial(_merged, series, month, answered, rows, part.source, doubts)
        update_partition(lake, series, month, merge)
    keep_damaged(lake, series, part.damaged, part.server_time_ms)


def _merged(
    series: FundingSeries,
    month: Month,
    answered: Range,
    rows: pa.Table,
    source: str,
    doubts: Sequence[Range],
    present: tuple[Partition, pa.Table] | None,
) -> tuple[pa.Table, KlineFacts]:
    """New settlements beside those that are there now."""
    found = joined(series, answered, source, doubts, present[0] if present else None)
    table = merge_funding([present[1], rows] if present else [rows])
    covered = found.covered.start_ms, found.covered.end_ms
    return table, KlineFacts(
        found.source,
        *covered,
        complete=covered == (month.start_ms, month.end_ms) and not found.doubts,
        unverified=tuple(Span(doubt.start_ms, doubt.end_ms, 0) for doubt in found.doubts),
    )


def read_funding(
    lake: Lake, market: Market, symbol: str, start_ms: int, end_ms: int
) -> KnownFunding:
    """What the lake has of start_ms <= funding_time < end_ms; a damaged file counts as absent."""
    series, asked = FundingSeries(market, symbol), Range(start_ms, end_ms)
    tables: list[pa.Table] = []
    known: list[Range] = []
    sources: set[str] = set()
    with ThreadPoolExecutor(_READERS) as readers:
        months = readers.map(partial(_loaded, lake, series), months_between(start_ms, end_ms))
        present = [month for month in months if month]
    for partition, table in present:
        tables.append(funding_between(table.cast(FUNDING), start_ms, end_ms))
        sources.update(partition.facts.source.split("+"))
        _append(known, _without(covered_by(partition).within(asked), doubts_of(partition)))
    spans = tuple((one.start_ms, one.end_ms) for one in known)
    return KnownFunding(merge_funding(tables), spans, frozenset(sources))


def _loaded(lake: Lake, series: FundingSeries, month: Month) -> tuple[Partition, pa.Table] | None:
    try:
        return load_partition(lake, series, month)
    except Unreadable:
        return None


def _without(ranges: list[Range], doubts: Iterable[Range]) -> list[Range]:
    for doubt in doubts:
        ranges = [left for one in ranges for left in one.without(doubt)]
    return ranges


def _append(known: list[Range], ranges: Iterable[Range]) -> None:
    """Add stretches; one that adjoins the last, over a month's end, is joined to it."""
    for one in ranges:
        if known and known[-1].end_ms == one.start_ms:
            known[-1] = known[-1].hull(one)
        else:
            known.append(one)
