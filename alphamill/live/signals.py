"""A published row, and the chain of hashes that it is a link of.

A table of signals lies in a folder `live=ID`, which is the rows' `live`. A row's `hash` is the
SHA-256 of its payload: all its other columns as JSON with sorted keys and no blanks, floats as
their shortest decimals that read back the same, NaN as null, times as UTC epoch milliseconds. The
payload holds the hash of the row before, so the newest hash vouches for all that was ever said: who
publishes it anywhere today can prove tomorrow that nothing was changed since.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import pyarrow as pa

FIRST = "0" * 64  # the hash before the first row's

_TIME = pa.timestamp("ms", tz="UTC")
_FIGURES = ("values", "ranks", "weights")
_TIMES = ("bar_time", "close_time", "published_at")

SIGNALS = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),  # of the live, from 0, without a hole
        pa.field("factor", pa.string(), nullable=False),  # its hash; "" in a row of missed bars
        pa.field("bar_time", _TIME, nullable=False),  # open time of the bar
        pa.field("close_time", _TIME, nullable=False),  # its end: the open time of the next
        pa.field("revision", pa.int32(), nullable=False),  # 0 for the first row of the bar
        pa.field("published_at", _TIME, nullable=False),  # the exchange's clock
        pa.field("state", pa.string(), nullable=False),  # State
        pa.field("reason", pa.string(), nullable=False),  # of no signal or missed bars, else ""
        pa.field("expected", pa.int32(), nullable=False),  # symbols that the live follows
        pa.field("symbols", pa.list_(pa.string()), nullable=False),  # those that were there
        pa.field("values", pa.list_(pa.float64()), nullable=False),  # one a symbol; NaN for none
        pa.field("ranks", pa.list_(pa.float64()), nullable=False),  # 0 lowest to 1 highest
        pa.field("weights", pa.list_(pa.float64()), nullable=False),  # target, of gross exposure 1
        pa.field("absent", pa.list_(pa.string()), nullable=False),  # followed, and not there
        pa.field("data", pa.string(), nullable=False),  # hash of the bars that it was made of
        pa.field("code", pa.string(), nullable=False),  # version of the code that made it
        pa.field("previous", pa.string(), nullable=False),  # hash of the row before
        pa.field("hash", pa.string(), nullable=False),  # SHA-256 of the row's payload
    ]
)


class State(StrEnum):
    """What a row says."""

    SIGNAL = "signal"
    NO_SIGNAL = "no_signal"  # the quorum was not met, or nothing could be computed: `reason`
    MISSED = "missed"  # nobody followed from bar_time to close_time; never filled afterwards


@dataclass(frozen=True, slots=True)
class Signal:
    """A row of SIGNALS: one factor at one bar, in one revision.

    Times are UTC epoch milliseconds. symbols, values, ranks and weights are parallel.
    """

    live: str
    factor: str
    bar_time: int
    close_time: int
    revision: int
    published_at: int
    state: State
    reason: str
    expected: int
    symbols: tuple[str, ...]
    values: tuple[float, ...]
    ranks: tuple[float, ...]
    weights: tuple[float, ...]
    absent: tuple[str, ...]
    data: str
    code: str
    seq: int = -1  # until it is a link
    previous: str = ""

    @property
    def payload(self) -> str:
        """What is hashed."""
        row = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in _FIGURES:
            row[name] = [None if math.isnan(number) else number for number in row[name]]
        return json.dumps(row, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def hash(self) -> str:
        """64 hex digits."""
        return hashlib.sha256(self.payload.encode()).hexdigest()

    def says_the_same(self, other: Signal) -> bool:
        """Whether a reader would do the same: equal but for what a revision has of its own."""
        one, two = (
            replace(row.remembered, revision=0, published_at=0, seq=-1, previous="", data="")
            for row in (self, other)
        )
        return one.payload == two.payload

    @property
    def remembered(self) -> Signal:
        """What `says_the_same` goes by, in a third of the memory: ranks and weights follow from
        the values.
        """
        return replace(self, ranks=(), weights=())


@dataclass(frozen=True)
class Link:
    """A published row with the hash that stands beside it."""

    row: Signal
    hash: str

    @cached_property
    def payload(self) -> str:
        """The row's, made once."""
        return self.row.payload

    @classmethod
    def of(cls, row: Signal, seq: int, previous: str) -> Link:
        """A row at its place in the chain."""
        placed = replace(row, seq=seq, previous=previous)
        payload = placed.payload
        link = cls(placed, hashlib.sha256(payload.encode()).hexdigest())
        link.__dict__["payload"] = payload
        return link


@dataclass(frozen=True, slots=True)
class Broken:
    """Where a chain does not hold: the first row that is not what was published."""

    seq: int
    why: str


def table_of(links: Sequence[Link]) -> pa.Table:
    """SIGNALS of rows and their hashes."""
    columns: dict[str, list[Any]] = {
        name: [getattr(link.row, name) for link in links] for name in SIGNALS.names[:-1]
    }
    for name in _FIGURES:  # no value is null in the lake
        columns[name] = [[None if math.isnan(x) else x for x in row] for row in columns[name]]
    columns["hash"] = [link.hash for link in links]
    return pa.table(columns, schema=SIGNALS)


def links_of(table: pa.Table, live: str) -> Iterator[Link]:
    """The rows of SIGNALS of a live and the hashes that stand beside them."""
    for name in _TIMES:
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table[name].cast(pa.int64()))
    for record in table.to_pylist():
        stated = record.pop("hash")
        yield Link(_signal({**record, "live": live}), stated)


def _signal(row: dict[str, Any]) -> Signal:
    row["state"] = State(row["state"])
    for name in ("symbols", "values", "ranks", "weights", "absent"):
        row[name] = tuple(row[name])
    for name in _FIGURES:
        row[name] = tuple(math.nan if number is None else number for number in row[name])
    return Signal(**row)


def follow_chain(links: Iterable[Link]) -> tuple[int, str, Broken | None]:
    """(rows that hold, hash of the last of them, the first that does not hold or None)."""
    count, last = 0, FIRST
    for link in links:
        row, stated, why = link.row, link.hash, ""
        if row.seq != count:
            why = f"row {count} is missing" if row.seq > count else f"row {row.seq} stands twice"
        elif row.previous != last:
            why = "it does not name the row before"
        elif row.hash != stated:
            why = "its content is not what its hash was made of"
        if why:
            return count, last, Broken(count, why)
        count, last = count + 1, stated
    return count, last, None
