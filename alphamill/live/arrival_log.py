"""When bars arrived, in the lake: `arrivals/market=spot/interval=1m/date=2026-12-01/NAME.parquet`.

Rows are ARRIVALS (see `market.stream.arrivals`) with the values that came beside them. Files are
written a minute apart and never again; a follower that is killed loses what it heard in the last
minute of the record, and nothing of what it published. What the lake does not take waits.
"""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from alphamill.errors import AlphamillError
from alphamill.frames import KLINE_FIELDS, Interval, Market
from alphamill.lake import Lake
from alphamill.live.feed import ClosedBar
from alphamill.market.stream import Absent
from alphamill.market.stream.arrivals import (
    ARRIVALS,
    Arrival,
    Lags,
    arrivals_of,
    arrivals_table,
    lags_of,
    of_rest,
    of_stream,
    worst_symbols,
)

__all__ = ["HEARD", "ArrivalLog", "ArrivalWriter", "Lags", "lags_of", "read_heard", "worst_symbols"]

HEARD = pa.schema(
    [
        *(field for field in ARRIVALS if field.name != "interval"),  # the path states it
        pa.field("taken_time", pa.timestamp("ms", tz="UTC")),  # by the lives, the exchange's clock
        *(pa.field(name, pa.float64()) for name in KLINE_FIELDS),
    ]
)
_REMEMBERED_MS = 600_000  # a bar of before is spoken of by nobody any more
_ROWS = 2_000
_WAITING_ROWS = 200_000  # about 30 MB
_NOTHING = tuple(float("nan") for _ in KLINE_FIELDS)


@dataclass(frozen=True, slots=True)
class _Heard:
    arrival: Arrival
    taken_ms: int | None
    values: tuple[float, ...]


class ArrivalLog:
    """Records of one market, to be written together. Not thread-safe."""

    def __init__(self, lake: Lake, market: Market) -> None:
        self._lake, self._market = lake, market
        self._last: dict[tuple[str, Interval, int], _Heard] = {}
        self._new: list[_Heard] = []

    def heard(self, bar: ClosedBar, taken_ms: int) -> None:
        """A closed bar has come, and is taken by lives now; one from the lake is no arrival."""
        before = self._before(bar.symbol, bar.interval, bar.bar_ms)
        if bar.event is not None:
            self._add(of_stream(bar.event, before), taken_ms, bar.values)
        elif bar.source == "rest":
            arrival = of_rest(
                bar.symbol, bar.interval, bar.bar_ms, bar.at_ms + bar.skew_ms, bar.skew_ms, before
            )
            self._add(arrival, taken_ms, bar.values)

    def absent(self, event: Absent) -> None:
        """A bar has not come in time."""
        if self._before(event.symbol, event.interval, event.open_ms) is None:
            self._add(of_stream(event), None, _NOTHING)

    @property
    def full(self) -> bool:
        """Whether there is much to write."""
        return len(self._new) >= _ROWS

    def take(self, now_ms: int) -> list[tuple[str, pa.Table]]:
        """What is to be written: keys and tables. It is forgotten here."""
        new, self._new = self._new, []
        oldest_ms = now_ms - _REMEMBERED_MS
        self._last = {
            key: one for key, one in self._last.items() if one.arrival.end_ms >= oldest_ms
        }
        by_interval: dict[Interval, list[_Heard]] = {}
        for one in new:
            by_interval.setdefault(one.arrival.interval, []).append(one)
        return [
            (self._key(interval, now_ms), _table(rows)) for interval, rows in by_interval.items()
        ]

    def _before(self, symbol: str, interval: Interval, bar_ms: int) -> Arrival | None:
        known = self._last.get((symbol, interval, bar_ms))
        return None if known is None else known.arrival

    def _add(self, arrival: Arrival, taken_ms: int | None, values: tuple[float, ...]) -> None:
        one = _Heard(arrival, taken_ms, values)
        known = self._last.get(arrival.key)
        if known is None or (known.arrival, known.values) != (arrival, values):
            self._last[arrival.key] = one
            self._new.append(one)

    def _key(self, interval: Interval, now_ms: int) -> str:
        name = f"{now_ms}-{uuid.uuid4().hex[:8]}.parquet"
        return f"{_folder(self._market, interval)}/date={_day(now_ms)}/{name}"


class ArrivalWriter:
    """Writes what `ArrivalLog.take` gives; what the lake does not take is tried again with the
    next, the oldest first, and beyond 200,000 rows the oldest are lost. For one thread.
    """

    def __init__(self, lake: Lake) -> None:
        self.problem = ""  # why records wait, "" if none does
        self._lake = lake
        self._waiting: list[tuple[str, pa.Table]] = []
        self._lost = 0

    def write(self, tables: Sequence[tuple[str, pa.Table]]) -> None:
        """Write these, after what waits."""
        self._waiting += tables
        try:
            while self._waiting:
                self._lake.write(*self._waiting[0], {})
                self._waiting.pop(0)
            self.problem = ""
        except AlphamillError as error:
            self._shed()
            lost = f" ({self._lost:,} are lost)" if self._lost else ""
            self.problem = (
                f"{sum(t.num_rows for _, t in self._waiting):,} arrivals wait{lost}: {error}"
            )

    def _shed(self) -> None:
        rows = sum(table.num_rows for _, table in self._waiting)
        while rows > _WAITING_ROWS and len(self._waiting) > 1:
            _, oldest = self._waiting.pop(0)
            rows -= oldest.num_rows
            self._lost += oldest.num_rows


def read_heard(
    lake: Lake, market: Market, interval: Interval, start_ms: int, end_ms: int
) -> Iterator[tuple[Arrival, int | None, tuple[float, ...]]]:
    """Records of bars that open in [start_ms, end_ms), in the order in which they were written.

    Each with when the lives took it, UTC epoch ms, None if it is absent, and its values.
    """
    first = _day(start_ms)
    for key in sorted(lake.list(_folder(market, interval))):
        day = key.rpartition("/date=")[2].partition("/")[0]
        if day < first:
            continue
        table = lake.read(key)
        columns = (table[name].fill_null(math.nan).to_pylist() for name in KLINE_FIELDS)
        values = zip(*columns, strict=True)
        taken = table["taken_time"].cast(pa.int64()).to_pylist()
        stated = pa.array([interval.value] * table.num_rows, pa.string())
        at = ARRIVALS.get_field_index("interval")
        whole = table.add_column(at, ARRIVALS.field("interval"), stated)
        arrivals = arrivals_of(whole.select(ARRIVALS.names))
        for arrival, taken_ms, row in zip(arrivals, taken, values, strict=True):
            if start_ms <= arrival.open_ms < end_ms:
                yield arrival, taken_ms, row


def _table(rows: list[_Heard]) -> pa.Table:
    table = arrivals_table([one.arrival for one in rows]).drop_columns(["interval"])
    taken = pa.array([one.taken_ms for one in rows], HEARD.field("taken_time").type)
    table = table.append_column(HEARD.field("taken_time"), taken)
    for at, name in enumerate(KLINE_FIELDS):
        table = table.append_column(
            HEARD.field(name),
            pa.array([one.values[at] for one in rows], pa.float64(), from_pandas=True),
        )
    return table


def _folder(market: Market, interval: Interval) -> str:
    length = "1mo" if interval is Interval.MO1 else interval.value
    return f"arrivals/market={market.value}/interval={length}"


def _day(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d}"
