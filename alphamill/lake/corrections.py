"""What the exchange changed after the lake had it: from what to what, and when that was seen.

`corrections/market=.../interval=.../symbol=.../2021-04.parquet`, one row a value that changed. A
file without a row says that the month was compared and found equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from alphamill.frames import Month
from alphamill.lake.layout import AnySeries, month_of
from alphamill.lake.store import Lake, Stored

_TIME = pa.timestamp("ms", tz="UTC")
_BAR = "open_time"  # the column of a change that is a whole bar's

CORRECTIONS = pa.schema(
    [
        pa.field("open_time", _TIME, nullable=False),  # of the bar
        pa.field("column", pa.string(), nullable=False),  # what changed; open_time: the whole bar
        pa.field("old", pa.float64()),  # null: there was no bar
        pa.field("new", pa.float64()),  # null: there is no bar any more
        pa.field("seen_at", _TIME, nullable=False),  # by the exchange's clock
        pa.field("source", pa.string(), nullable=False),  # where the new value comes from
    ]
)


@dataclass(frozen=True, slots=True)
class Change:
    """One value that is another now; times are epoch milliseconds.

    A bar that came or went is one change, of its open_time; None stands where it was not.
    """

    open_ms: int
    column: str
    old: float | None
    new: float | None

    @property
    def kind(self) -> Literal["corrected", "appeared", "vanished"]:
        """What became of the bar."""
        if self.old is None:
            return "appeared"
        return "vanished" if self.new is None else "corrected"


def record_corrections(
    lake: Lake,
    series: AnySeries,
    month: Month,
    changes: Sequence[Change],
    seen_ms: int,
    source: str,
) -> str:
    """Add the changes to the month's record; the key.

    Safe to repeat: a change that the record ends with already, such as a bar that is still gone, is
    not added again. `seen_ms` becomes the time that the month was last compared.
    """
    key = series.key("corrections", month)

    def extended(before: Stored | None) -> Stored:
        had = CORRECTIONS.empty_table() if before is None else before[0].cast(CORRECTIONS)
        known = {(row["open_time"], row["column"]): row["new"] for row in had.to_pylist()}
        new = _table(changes, seen_ms, source)
        fresh = [
            (row["open_time"], row["column"]) not in known
            or known[row["open_time"], row["column"]] != row["new"]
            for row in new.to_pylist()
        ]
        table = pa.concat_tables([had, new.filter(pa.array(fresh, pa.bool_()))])
        return table, {"compared_at_ms": str(seen_ms)}

    lake.update(key, extended)
    return key


def read_corrections(lake: Lake, series: AnySeries) -> pa.Table:
    """CORRECTIONS of a series, by month and within it in the order seen."""
    tables = [lake.read(key).cast(CORRECTIONS) for key in lake.list(series.folder("corrections"))]
    return pa.concat_tables([CORRECTIONS.empty_table(), *tables])


def compared_at_ms(lake: Lake, series: AnySeries) -> dict[Month, int]:
    """When each month was last compared with the exchange, by its clock."""
    found = {}
    for key in lake.list(series.folder("corrections")):
        month = month_of(key)
        if month is not None:
            found[month] = int(lake.metadata(key)["compared_at_ms"])
    return found


def bar_change(open_ms: int, *, appeared: bool) -> Change:
    """A whole bar that came or went."""
    time = float(open_ms)
    return Change(open_ms, _BAR, *((None, time) if appeared else (time, None)))


def _table(changes: Sequence[Change], seen_ms: int, source: str) -> pa.Table:
    rows = [
        {
            "open_time": change.open_ms,
            "column": change.column,
            "old": change.old,
            "new": change.new,
            "seen_at": seen_ms,
            "source": source,
        }
        for change in changes
    ]
    return pa.Table.from_pylist(rows, schema=CORRECTIONS)
