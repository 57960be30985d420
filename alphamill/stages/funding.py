"""funding: bring a contract's settlements into the lake, asking only for what is not there.

One job a symbol, whatever the intervals of its bars. Each page and each of the archive's months is
in the lake before the next is asked for; safe to repeat, and safe beside another worker.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import pyarrow as pa

from alphamill.clock import Clock, SystemClock
from alphamill.errors import GiveUp
from alphamill.frames import (
    FUNDING,
    Market,
    TimeRange,
    is_symbol,
    months_between,
    rows_within,
    union,
)
from alphamill.jobs import Facts, FundingJob
from alphamill.lake import FundingSeries, Lake, load_partition
from alphamill.market import FundingArchive, FundingExchange, FundingHistory
from alphamill.market.funding.parse import merge_funding
from alphamill.stages.bring import bring

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
        new = 0 if self.skipped else self.settlements
        return {"settlements": new, "requests": self.requests}


@dataclass(frozen=True, slots=True)
class KnownFunding:
    """Settlements of a range, and the stretches of it in which all of them are known, in order."""

    table: pa.Table
    known: tuple[TimeRange, ...]
    sources: frozenset[str]


def run(job: FundingJob, deps: FundingDeps) -> FundingFacts:
    """Fetch the job's settlements. Raises GiveUp for a symbol that the exchange does not have."""
    if not is_symbol(job.symbol):
        raise GiveUp(f"{job.symbol!r} cannot name a file of the lake (letters A-Z and digits can)")
    series = FundingSeries(job.market, job.symbol)
    history = FundingHistory(job.market, deps.exchange, deps.archive, deps.clock)
    brought = bring(
        deps.lake,
        series,
        TimeRange(job.start_ms, job.end_ms),
        partial(history.parts, job.symbol),
        merge_funding,
        lambda facts, _: facts,
        "settlements",
    )
    had = read_funding(deps.lake, job.market, job.symbol, job.start_ms, job.end_ms)
    return FundingFacts(
        settlements=had.table.num_rows,
        requests=brought.requests,
        source="+".join(sorted(had.sources)),
        key=series.folder(series.kind),
        skipped=brought.skipped,
        files=brought.files,
        archive_note=brought.archive_note,
    )


def read_funding(
    lake: Lake, market: Market, symbol: str, start_ms: int, end_ms: int
) -> KnownFunding:
    """What the lake has of start_ms <= funding_time < end_ms; a damaged file counts as absent."""
    series, asked = FundingSeries(market, symbol), TimeRange(start_ms, end_ms)
    tables: list[pa.Table] = []
    known: list[TimeRange] = []
    sources: set[str] = set()
    with ThreadPoolExecutor(_READERS) as readers:
        months = readers.map(
            partial(load_partition, lake, series), months_between(start_ms, end_ms)
        )
        present = [month for month in months if month]
    for partition, table in present:
        tables.append(rows_within(table.cast(FUNDING), asked))
        sources.update(partition.facts.source.split("+"))
        covered = partition.facts.asked.within(asked)
        known += covered.without(*partition.facts.unverified) if covered else []
    return KnownFunding(merge_funding(tables), tuple(union(known)), frozenset(sources))
