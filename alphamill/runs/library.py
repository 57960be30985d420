"""The factor library of a lake: what runs admitted, at one market and interval.

library/market=spot/interval=1h/admitted.parquet        in the order of admission, only ever longer
                                                        (what is removed is marked, and stays)
runs/run=ID/library/interval=1h/{start,end}.parquet     what a run knew of it, for every replay

A run learns what is taken when its panel is made: prompts say so and no finalist repeats it. What
other runs admit meanwhile is met again when this run admits: a factor enters the library only after
it was compared with all that is in it, so that of two runs at once one finds the other's.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import pyarrow as pa

from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market
from alphamill.jobs import RunSpec
from alphamill.lake import Lake, run_key
from alphamill.lake.store import Stored
from alphamill.runs.rows import Admission, JudgedFactor
from alphamill.runs.schemas import LIBRARY

KNOWN = "admitted by"  # a run: begins the reason of a trial that says what the library has
_OF_WHOM = "admitted_by"  # a record's column for `run`, since its path has a `run` of its own
_SIZE = "library_factors"  # in a record's metadata: how many there were, told or not
_JUDGED_ANEW = "alphamill"  # removed what a run no longer admits: no person did
_PLACE = re.compile(r"library/market=(\w+)/interval=(\w+)/admitted\.parquet")


class Moment(StrEnum):
    """When a run looked at the library: before its first prompt, and before its verdicts."""

    START = "start"
    END = "end"


def library_key(spec: RunSpec, interval: Interval) -> str:
    """Where the library of the run's market and an interval lies."""
    return _key(spec.market, interval)


def _key(market: Market, interval: Interval) -> str:
    return f"library/market={market.value}/interval={interval.value}/admitted.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class LibraryEntry(Admission):
    """An admission, and to which of a lake's libraries."""

    market: Market
    interval: Interval


def entries(lake: Lake) -> list[LibraryEntry]:
    """All that was ever admitted in the lake: by market and interval, in order of admission."""
    places = (_PLACE.fullmatch(key) for key in sorted(lake.list("library")))
    return [
        LibraryEntry.from_row(row | {"market": Market(place[1]), "interval": Interval(place[2])})
        for place in places
        if place is not None
        for row in lake.read(place[0]).to_pylist()
    ]


def remove(lake: Lake, entry: LibraryEntry, now_ms: int, who: str, why: str) -> LibraryEntry:
    """Mark the admission as removed: later runs may find it anew. The row stays as the record.

    Raises GiveUp if it was removed meanwhile. What runs have recorded of the library stays.
    """
    gone = replace(entry, removed_ms=now_ms, removed_by=who, removed_why=why)

    def marked(stored: Stored | None) -> Stored | None:
        there = [] if stored is None else _admissions(stored[0])
        if gone.number >= len(there) or there[gone.number].removed:
            raise GiveUp(f"{gone.hash} is no longer in the library")
        there[gone.number] = gone
        return _table(there), {}

    lake.update(_key(entry.market, entry.interval), marked)
    return gone


def _admissions(table: pa.Table) -> list[Admission]:
    return [Admission.from_row(row) for row in table.to_pylist()]


def _table(admissions: Iterable[Admission]) -> pa.Table:
    return pa.Table.from_pylist([one.to_row() for one in admissions], schema=LIBRARY)


def look_up(lake: Lake, spec: RunSpec, interval: Interval, moment: Moment) -> list[Admission]:
    """What the run knows at that moment; looked up and recorded unless it was recorded before."""
    before = recorded(lake, spec.run_id, interval, moment)
    return _record(lake, spec, interval, moment) if before is None else before


def recorded(lake: Lake, run_id: str, interval: Interval, moment: Moment) -> list[Admission] | None:
    """What the run was told then, newest first; None if it never looked."""
    try:
        table = lake.read(_record_key(run_id, interval, moment))
        names = ["run" if name == _OF_WHOM else name for name in table.column_names]
        return _admissions(table.rename_columns(names))
    except FileNotFoundError:
        return None


def admit(lake: Lake, spec: RunSpec, interval: Interval, factors: Sequence[JudgedFactor]) -> bool:
    """Add the run's admitted factors; False, and nothing added, if the library has grown.

    It has grown when it holds what `look_up` did not find at the END: the record is then renewed,
    and the verdicts must be given anew. Safe to repeat: a run is added once. What a run admitted
    before it was resumed, and no longer does, is marked as removed.
    """
    known = _size_then(lake, spec.run_id, interval)
    grown = False

    def added(stored: Stored | None) -> Stored | None:
        nonlocal grown
        there = [] if stored is None else _admissions(stored[0])
        own = [one for one in there if one.run == spec.run_id]
        taken_out = {one.hash for one in own if one.removed and one.removed_by != _JUDGED_ANEW}
        kept = {one.hash for one in own if not one.removed}
        wanted = [factor for factor in factors if factor.hash not in taken_out]
        if kept == {factor.hash for factor in wanted}:
            return None
        grown = bool(spec.search.library_factors) and len(there) - len(own) > known
        if grown:
            return None
        gone = kept - {factor.hash for factor in wanted}
        there = [
            _given_up(one) if one.run == spec.run_id and one.hash in gone else one for one in there
        ]
        new = [
            Admission(
                number=number,
                run=spec.run_id,
                hash=factor.hash,
                expression=factor.expression,
                verdict=factor.verdict,
                rank=factor.rank,
                direction=factor.direction,
            )
            for number, factor in enumerate(
                (one for one in wanted if one.hash not in kept), len(there)
            )
        ]
        return _table([*there, *new]), {}

    lake.update(library_key(spec, interval), added)
    if grown:
        _record(lake, spec, interval, Moment.END)
    return not grown


def _given_up(one: Admission) -> Admission:
    why = "rejected when its run was resumed and judged anew"
    now_ms = int(time.time() * 1000)
    return replace(one, removed_ms=now_ms, removed_by=_JUDGED_ANEW, removed_why=why)


def _record(lake: Lake, spec: RunSpec, interval: Interval, moment: Moment) -> list[Admission]:
    """The newest of the library, the best of each run first, each expression once.

    What was removed is told to nobody; it still counts in the size that `admit` compares.
    """
    try:
        there = _admissions(lake.read(library_key(spec, interval)))
    except FileNotFoundError:
        there = []
    foreign = {one.hash: one for one in there if one.run != spec.run_id and not one.removed}
    last = {one.run: one.number for one in foreign.values()}
    newest = sorted(foreign.values(), key=lambda one: (-last[one.run], one.rank))
    newest = newest[: spec.search.library_factors]
    key = _record_key(spec.run_id, interval, moment)
    table = _table(newest)
    names = [_OF_WHOM if name == "run" else name for name in table.column_names]
    others = sum(one.run != spec.run_id for one in there)
    lake.write(key, table.rename_columns(names), {_SIZE: str(others)})
    return newest


def _size_then(lake: Lake, run_id: str, interval: Interval) -> int:
    """How many factors of others it held when the run looked at the END; 0 if it never did."""
    try:
        return int(lake.metadata(_record_key(run_id, interval, Moment.END)).get(_SIZE, "0"))
    except FileNotFoundError:
        return 0


def _record_key(run_id: str, interval: Interval, moment: Moment) -> str:
    return run_key(run_id, f"library/interval={interval.value}/{moment.value}.parquet")
