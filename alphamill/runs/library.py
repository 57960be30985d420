"""The factor library of a lake: what runs admitted, at one market and interval.

library/market=spot/interval=1h/admitted.parquet        in the order of admission, only ever longer
                                                        (what a person removed is marked, and stays)
runs/run=ID/library/interval=1h/{start,end}.parquet     what a run knew of it, for every replay

A run learns what is taken when its panel is made: prompts say so and no finalist repeats it. What
other runs admit meanwhile is met again when this run admits: a factor enters the library only after
it was compared with all that is in it, so that of two runs at once one finds the other's.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market
from alphamill.jobs import RunSpec
from alphamill.lake import Lake, run_key
from alphamill.lake.store import Stored
from alphamill.runs.schemas import LIBRARY, Row

KNOWN = "admitted by"  # a run: begins the reason of a trial that says what the library has
_SIZE = "library_factors"  # in a record's metadata: how many there were, told or not
_OWN = ("hash", "expression", "verdict", "rank")
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


@dataclass(frozen=True, slots=True)
class Entry:
    """An admission to one of a lake's libraries; `row` is of LIBRARY."""

    market: Market
    interval: Interval
    row: Row

    @property
    def removed(self) -> bool:
        """Whether a person took it out again."""
        return self.row.get("removed_ms") is not None


def entries(lake: Lake) -> list[Entry]:
    """All that was ever admitted in the lake: by market and interval, in order of admission."""
    places = (_PLACE.fullmatch(key) for key in sorted(lake.list("library")))
    return [
        Entry(Market(place[1]), Interval(place[2]), row)
        for place in places
        if place is not None
        for row in lake.read(place[0]).to_pylist()
    ]


def remove(lake: Lake, entry: Entry, now_ms: int, who: str, why: str) -> Entry:
    """Mark the admission as removed: later runs may find it anew. The row stays as the record.

    Raises GiveUp if it was removed meanwhile. What runs have recorded of the library stays.
    """
    removal = {"removed_ms": now_ms, "removed_by": who, "removed_why": why}

    def marked(stored: Stored | None) -> Stored | None:
        rows: list[Row] = [] if stored is None else stored[0].to_pylist()
        at = entry.row["number"]
        if at >= len(rows) or rows[at].get("removed_ms") is not None:
            raise GiveUp(f"{entry.row['hash']} is no longer in the library")
        rows[at] |= removal
        return pa.Table.from_pylist(rows, schema=LIBRARY), {}

    lake.update(_key(entry.market, entry.interval), marked)
    return Entry(entry.market, entry.interval, entry.row | removal)


def look_up(lake: Lake, spec: RunSpec, interval: Interval, moment: Moment) -> list[Row]:
    """What the run knows at that moment; looked up and recorded unless it was recorded before."""
    before = recorded(lake, spec.run_id, interval, moment)
    return _record(lake, spec, interval, moment) if before is None else before


def recorded(lake: Lake, run_id: str, interval: Interval, moment: Moment) -> list[Row] | None:
    """LIBRARY rows that the run was told then, newest first; None if it never looked."""
    try:
        rows: list[Row] = lake.read(_record_key(run_id, interval, moment)).to_pylist()
    except FileNotFoundError:
        return None
    return rows


def admit(lake: Lake, spec: RunSpec, interval: Interval, verdicts: Sequence[Row]) -> bool:
    """Add the run's admitted factors; False, and nothing added, if the library has grown.

    It has grown when it holds what `look_up` did not find at the END: the record is then renewed,
    and the verdicts must be given anew. Safe to repeat: a run is added once.
    """
    known = _size_then(lake, spec.run_id, interval)
    grown = False

    def added(stored: Stored | None) -> Stored | None:
        nonlocal grown
        there: list[Row] = [] if stored is None else stored[0].to_pylist()
        if not verdicts or any(row["run"] == spec.run_id for row in there):
            return None
        grown = bool(spec.search.library_factors) and len(there) > known
        if grown:
            return None
        own = [
            {"number": len(there) + at, "run": spec.run_id, **{name: row[name] for name in _OWN}}
            for at, row in enumerate(verdicts)
        ]
        return pa.Table.from_pylist([*there, *own], schema=LIBRARY), {}

    lake.update(library_key(spec, interval), added)
    if grown:
        _record(lake, spec, interval, Moment.END)
    return not grown


def _record(lake: Lake, spec: RunSpec, interval: Interval, moment: Moment) -> list[Row]:
    """The newest of the library, the best of each run first, each expression once.

    What was removed is told to nobody; it still counts in the size that `admit` compares.
    """
    try:
        rows = lake.read(library_key(spec, interval)).to_pylist()
    except FileNotFoundError:
        rows = []
    foreign = {
        row["hash"]: row
        for row in rows
        if row["run"] != spec.run_id and row.get("removed_ms") is None
    }
    last = {row["run"]: row["number"] for row in foreign.values()}
    newest = sorted(foreign.values(), key=lambda row: (-last[row["run"]], row["rank"]))
    newest = newest[: spec.search.library_factors]
    key = _record_key(spec.run_id, interval, moment)
    lake.write(key, pa.Table.from_pylist(newest, schema=LIBRARY), {_SIZE: str(len(rows))})
    return newest


def _size_then(lake: Lake, run_id: str, interval: Interval) -> int:
    """How many factors the library held when the run looked at the END; 0 if it never did."""
    try:
        return int(lake.metadata(_record_key(run_id, interval, Moment.END)).get(_SIZE, "0"))
    except FileNotFoundError:
        return 0


def _record_key(run_id: str, interval: Interval, moment: Moment) -> str:
    return run_key(run_id, f"library/interval={interval.value}/{moment.value}.parquet")
