"""recheck: compare what the lake has beside bars with today's archive and API; keep changes.

As reverify does with bars: every difference is recorded before the rows are replaced, and what the
exchange no longer has stays. What the archive has is not asked of the API again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from alphamill.errors import GiveUp
from alphamill.frames import SYMBOL_SPELLING, TimeRange, Wide, is_symbol, times_ms
from alphamill.jobs import RecheckJob
from alphamill.lake import Change, FundingSeries
from alphamill.market import FetchedPart, FundingExchange, FundingHistory
from alphamill.market.archive import Archive
from alphamill.market.funding.parse import (
    REGULAR,
    as_funding,
    funding_rows,
    merge_funding,
    settled_ms,
)
from alphamill.stages.reverify import Compared, ReverifyFacts, compare, differences
from alphamill.stages.wide import WideDeps, kept_of

_ROUNDED = 0.00005 * (1 + 1e-9)  # of ratios by the API, which prints four decimals
_RATE = "funding_rate"


@dataclass(frozen=True, slots=True)
class RecheckDeps:
    """What the stage works with: where wide data come from, and funding."""

    wide: WideDeps
    funding: FundingExchange
    funding_files: Archive | None = None


def run(job: RecheckJob, deps: RecheckDeps) -> ReverifyFacts:
    """Compare what the lake has of the job's range. A damaged or absent month is left to fetch.

    Raises GiveUp for a symbol that is none, and as the sources do where nothing answers.
    """
    of = _funding(job, deps) if job.kind is Wide.FUNDING else _wide(job, deps.wide)
    return compare(TimeRange(job.start_ms, job.end_ms), of, deps.wide.lake)


def _wide(job: RecheckJob, deps: WideDeps) -> Compared:
    kept = kept_of(job, deps)
    today = partial(_joined, kept.parts, kept.merge)
    differing = _unrounded if job.kind is Wide.METRICS else differences
    return Compared(kept.series, today, differing, kept.merge, kept.describe, kept.rows)


def _funding(job: RecheckJob, deps: RecheckDeps) -> Compared:
    if not is_symbol(job.symbol):
        raise GiveUp(f"{job.symbol!r} cannot name a file of the lake ({SYMBOL_SPELLING} can)")
    history = FundingHistory(job.market, deps.funding, deps.funding_files, deps.wide.clock)
    today = partial(_joined, partial(history.parts, job.symbol), merge_funding)
    return Compared(
        FundingSeries(job.market, job.symbol),
        today,
        _unpaid,
        lambda tables: merge_funding([_stated(tables[0], tables[1]), *tables[1:]]),
        lambda facts, _: facts,
        "settlements",
    )


def _joined(
    parts_of: Callable[[TimeRange], Iterable[FetchedPart]],
    merge: Callable[[list[pa.Table]], pa.Table],
    asked: TimeRange,
) -> FetchedPart:
    """All of a range in one part. What no part answers, at its end, is unverified."""
    parts = list(parts_of(asked))
    answered = [part.range for part in parts]
    sources = {source for part in parts for source in part.source.split("+")}
    damaged = tuple(one for part in parts for one in part.damaged)
    notes = [note for part in parts for note in part.notes]
    return FetchedPart(
        asked,
        merge([part.table for part in parts]),
        max((part.server_time_ms for part in parts), default=0),
        sum(part.requests for part in parts),
        "+".join(sorted(sources)),
        sum(part.files for part in parts),
        damaged,
        tuple(dict.fromkeys([*notes, *(f"quarantined {one}" for one in damaged)])),
        (*(one for part in parts for one in part.unverified), *asked.without(*answered)),
    )


def _unrounded(had: pa.Table, now: pa.Table) -> list[Change]:
    """As `differences`, without ratios that the API had rounded."""
    return [
        change
        for change in differences(had, now)
        if not (
            change.column.endswith("_ratio")
            and change.old is not None
            and change.new is not None
            and abs(change.old - change.new) <= _ROUNDED
        )
    ]


def _unpaid(had: pa.Table, now: pa.Table) -> list[Change]:
    """Payments that came, went or are of another rate, by their minute.

    The archive states no kind of payment, and a stamp may be some milliseconds off.
    """
    old, new = _payments(had), _payments(now)
    return [
        Change(minute, _RATE if kind == REGULAR else f"{_RATE} {kind}", before, after)
        for minute, kind in sorted({*old, *new})
        if (before := old.get((minute, kind))) != (after := new.get((minute, kind)))
    ]


def _payments(table: pa.Table) -> dict[tuple[int, str], float]:
    table = as_funding(table)
    kinds = [kind or REGULAR for kind in table["rate_type"].to_pylist()]
    keys = zip(settled_ms(times_ms(table)).tolist(), kinds, strict=True)
    return dict(zip(keys, table[_RATE].to_pylist(), strict=True))


def _stated(had: pa.Table, now: pa.Table) -> pa.Table:
    """Without what today's answer has under a kind that these rows do not state, or the reverse."""
    had = as_funding(had)
    fresh = {key for key, _ in _payments(now).items()}
    kinds = [kind or REGULAR for kind in had["rate_type"].to_pylist()]
    keys = zip(settled_ms(times_ms(had)).tolist(), kinds, strict=True)
    kept = np.array([key not in fresh for key in keys], dtype=bool)
    return had.filter(pa.array(kept)) if kept.size else funding_rows([], [])
