"""funding: bring a contract's settlements into the lake, asking only for what is not there.

One job a symbol, whatever the intervals of its bars. Each page and each of the archive's months is
in the lake before the next is asked for; safe to repeat, and safe beside another worker.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial

import pyarrow as pa

from alphamill.clock import Clock, SystemClock
from alphamill.errors import GiveUp
from alphamill.frames import (
    SYMBOL_SPELLING,
    Interval,
    Market,
    Month,
    TimeRange,
    is_symbol,
    months_between,
    rows_within,
    times_ms,
    union,
)
from alphamill.jobs import Facts, FundingJob
from alphamill.lake import FundingSeries, Lake, Series, load_partition, read_klines
from alphamill.lake.months import kinds_kept
from alphamill.market import FundingArchive, FundingExchange, FundingHistory
from alphamill.market.funding.parse import as_funding, merge_funding, settled_ms
from alphamill.market.funding.silence import Quiet, quiet_stretches, silent_stretches
from alphamill.market.kinds import is_dated
from alphamill.stages.bring import bring

_LONGEST_MONTH_MS = 31 * 86_400_000
_REFUSED = re.compile(r"-fundingRate-(\d{4}-\d\d)\.json$")
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
    """Payments of a range, and the stretches of it in which all of them are known, in order.

    silent: stretches in which the contract traded and the exchange has no settlement; not known.
    """

    table: pa.Table
    known: tuple[TimeRange, ...]
    sources: frozenset[str]
    silent: tuple[TimeRange, ...] = ()

    @property
    def quiet(self) -> list[Quiet]:
        """Where nothing was settled for longer than any interval; see `read_owed`."""
        return quiet_stretches(settled_ms(times_ms(self.table)), self.known)


def run(job: FundingJob, deps: FundingDeps) -> FundingFacts:
    """Fetch the job's settlements. Raises GiveUp for a symbol that the exchange does not have.

    What the lake has is asked for again where an older version may have lost a payment, and where
    the exchange had nothing although the contract traded. A dated contract pays none.
    """
    if not is_symbol(job.symbol):
        raise GiveUp(f"{job.symbol!r} cannot name a file of the lake ({SYMBOL_SPELLING} can)")
    series = FundingSeries(job.market, job.symbol)
    if is_dated(job.symbol):
        return FundingFacts(0, 0, "", series.folder(series.kind), skipped=True)
    history = FundingHistory(job.market, deps.exchange, deps.archive, deps.clock)
    asked = TimeRange(job.start_ms, job.end_ms)
    read = partial(read_funding, deps.lake, job.market, job.symbol, job.start_ms, job.end_ms)
    had = read()
    brought = bring(
        deps.lake,
        series,
        asked,
        partial(history.parts, job.symbol),
        merge_funding,
        lambda facts, _: facts,
        "settlements",
        [*_silent(deps.lake, series, had), *_refused_once(deps.lake, series, asked)],
    )
    if not brought.skipped:
        had = read()
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
    if is_dated(symbol):
        return KnownFunding(merge_funding([]), (asked,), frozenset())
    tables: list[pa.Table] = []
    known: list[TimeRange] = []
    sources: set[str] = set()
    with ThreadPoolExecutor(_READERS) as readers:
        months = readers.map(
            partial(load_partition, lake, series), months_between(start_ms, end_ms)
        )
        present = [month for month in months if month]
    for partition, table in present:
        tables.append(rows_within(as_funding(table), asked))
        sources.update(partition.facts.source.split("+"))
        covered = partition.facts.asked.within(asked)
        known += covered.without(*partition.facts.unverified) if covered else []
    return KnownFunding(merge_funding(tables), tuple(union(known)), frozenset(sources))


def read_owed(
    lake: Lake, market: Market, symbol: str, interval: Interval, start_ms: int, end_ms: int
) -> KnownFunding:
    """As `read_funding`; where the bars show trades and nothing was settled, it is not known."""
    found = read_funding(lake, market, symbol, start_ms, end_ms)
    quiet = [] if is_dated(symbol) else found.quiet
    silent = _silent_at(lake, Series(market, symbol, interval), quiet) if quiet else []
    known = tuple(left for span in found.known for left in span.without(*silent))
    return replace(found, known=known, silent=tuple(silent))


def _silent_at(lake: Lake, bars: Series, quiet: Sequence[Quiet]) -> list[TimeRange]:
    table = read_klines(
        lake,
        bars.market,
        bars.symbol,
        bars.interval,
        min(one.start_ms for one in quiet),
        max(one.end_ms for one in quiet),
        ["open_time", "volume"],
    )
    traded_ms = times_ms(table)[table["volume"].to_numpy() != 0]
    bar_ms = _LONGEST_MONTH_MS if bars.interval is Interval.MO1 else bars.interval.ms
    return silent_stretches(quiet, traded_ms, bar_ms)


def _silent(lake: Lake, series: FundingSeries, had: KnownFunding) -> list[TimeRange]:
    """Where any bars that the lake has show trades without a settlement."""
    quiet = had.quiet
    if not quiet:
        return []
    every = [Series(series.market, series.symbol, interval) for interval in Interval]
    return [
        one
        for bars in every
        if lake.list(bars.folder(bars.kind))
        for one in _silent_at(lake, bars, quiet)
    ]


def _refused_once(lake: Lake, series: FundingSeries, asked: TimeRange) -> list[TimeRange]:
    """Months whose file an older version refused for two payments at one instant, keeping one."""
    found = []
    for key in lake.list(series.folder("quarantine")):
        name = _REFUSED.search(key)
        part = Month.parse(name[1]).range.within(asked) if name else None
        if name is None or part is None or "settlements twice" not in _reason(lake, key):
            continue
        if kinds_kept(lake, series, Month.parse(name[1])) is False:
            found.append(part)
    return found


def _reason(lake: Lake, key: str) -> str:
    try:
        return str(json.loads(lake.read_bytes(key))["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
