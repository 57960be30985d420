"""Later: the bars of a live are read again, and what was published is held to them.

Parity is kept as a table, `parity/live=ID/date=2026-12-01/NAME.parquet`, a row a published row that
has values, and in `lives/ID.parity` what all of them come to. Beside it, in `waiting/`, stands what
the same bars would have given sooner or later after their end (`live.waited`).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile

import pyarrow as pa

from alphamill.errors import AlphamillError
from alphamill.frames import Month, Panel
from alphamill.grid import index_at, open_ms
from alphamill.jobs import FetchJob
from alphamill.lake import Lake, Series, load_partition
from alphamill.live.arrival_log import read_heard
from alphamill.live.checked import read_summary, summary_key
from alphamill.live.engine import history_bars
from alphamill.live.journal import Journal
from alphamill.live.parity import Bars, Heard, Parity, Why, check_parity
from alphamill.live.register import Entry
from alphamill.live.signals import Signal, State
from alphamill.live.spec import LiveSpec
from alphamill.live.truth import truth_panel
from alphamill.live.waited import keep_waited
from alphamill.live.waiting import price_of_waiting

SETTLED_MS = 120_000  # a bar so old is final
_TIME = pa.timestamp("ms", tz="UTC")

PARITY = pa.schema(
    [
        pa.field("seq", pa.int64(), nullable=False),  # number of the published row
        pa.field("factor", pa.string(), nullable=False),  # its hash
        pa.field("bar_time", _TIME, nullable=False),  # open time of the bar
        pa.field("revision", pa.int32(), nullable=False),  # 0 for the first row of the bar
        pa.field("values", pa.int32(), nullable=False),  # published in that row: the sum of these
        pa.field("equal", pa.int32(), nullable=False),  # to batch's, to the bit
        pa.field("late", pa.int32(), nullable=False),  # differ: a bar came after the release
        pa.field("absent", pa.int32(), nullable=False),  # differ: a bar never came
        pa.field("corrected", pa.int32(), nullable=False),  # differ: a bar was another then
        pa.field("unexplained", pa.int32(), nullable=False),  # differ for no known reason
    ]
)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of a live came to, all checks added up."""

    rows: int
    counts: Counter[Why]
    next_seq: int  # the first row that is not checked
    at_ms: int

    @property
    def holds(self) -> bool:
        """Whether nothing differs without a reason."""
        return not self.counts[Why.UNEXPLAINED]


def newest_check(lake: Lake, live: str) -> Checked | None:
    """What all checks of it came to so far."""
    found = read_summary(lake, live)
    if found is None:
        return None
    counts = Counter({Why(name): int(count) for name, count in found["counts"].items()})
    return Checked(int(found["rows"]), counts, int(found["next_seq"]), int(found["at_ms"]))


def fetch_bars(entry: Entry, fetch: Callable[[FetchJob], object], lake: Lake, now_ms: int) -> str:
    """Have the lake read the live's final bars, as any run does; "" or what stood in the way."""
    spec = entry.spec
    journal = Journal(lake, entry.id, entry.started_ms)
    known = newest_check(lake, entry.id)
    first = next(iter(journal.read(known.next_seq if known else 0)), None)
    if first is None:
        return ""
    bars = history_bars(spec)
    start_ms = open_ms(spec.interval, index_at(spec.interval, first.row.bar_time) - bars)
    end_ms = open_ms(spec.interval, index_at(spec.interval, now_ms - SETTLED_MS))
    problem = ""
    if start_ms >= end_ms:
        return problem
    for symbol in spec.symbols:
        try:
            fetch(FetchJob(spec.market, symbol, spec.interval, start_ms, end_ms))
        except AlphamillError as error:
            problem = str(error)
    return problem


def check(lake: Lake, entry: Entry, now_ms: int) -> tuple[Parity, Checked]:
    """Hold the rows that were not checked yet to the lake's bars, and keep what came of it.

    Stops at the first row whose bars the lake does not have yet.
    """
    before = newest_check(lake, entry.id) or Checked(0, Counter(), 0, 0)
    rows = _checkable(lake, entry, before.next_seq, now_ms)
    parity = Parity()
    if rows:
        truth, heard, told = _evidence(lake, entry, rows)
        parity = check_parity(entry.spec, rows, truth, heard, told)
        rows = rows[: len(rows) - parity.unchecked_rows] if parity.unchecked_rows else rows
        keep(lake, entry.id, rows, parity)
        bars = [row.bar_time for row in rows if row.revision == 0 and row.state is not State.MISSED]
        if bars:
            waited = price_of_waiting(entry.spec, bars, truth, heard)
            keep_waited(lake, entry.id, rows[0].seq, waited)
    checked = Checked(
        before.rows + parity.rows,
        before.counts + parity.counts,
        rows[-1].seq + 1 if rows else before.next_seq,
        now_ms,
    )
    summary = {
        "rows": checked.rows,
        "counts": {why.value: count for why, count in checked.counts.items()},
        "next_seq": checked.next_seq,
        "at_ms": now_ms,
    }
    lake.write_bytes(summary_key(entry.id), json.dumps(summary, indent=1).encode())
    return parity, checked


def _evidence(lake: Lake, entry: Entry, rows: list[Signal]) -> tuple[Panel, Bars, list[Signal]]:
    """What rows are held to: the final bars, the bars as they came, and the rows before."""
    spec = entry.spec
    said = [row for row in rows if row.state is not State.MISSED] or rows
    first = index_at(spec.interval, min(row.bar_time for row in said)) - history_bars(spec)
    start_ms, end_ms = open_ms(spec.interval, first), max(row.close_time for row in said)
    heard: dict[tuple[str, int], list[Heard]] = {}
    for arrival, taken_ms, values in read_heard(lake, spec.market, spec.interval, start_ms, end_ms):
        if taken_ms is not None:
            of_bar = heard.setdefault((arrival.symbol, arrival.open_ms), [])
            of_bar.append(Heard(taken_ms, values))
    # A row is out after its bar has closed, by whoever's clock.
    told = Journal(lake, entry.id, entry.started_ms).since(start_ms)
    before = [link.row for link in takewhile(lambda link: link.row.seq < rows[0].seq, told)]
    return truth_panel(lake, spec, start_ms, end_ms), heard, before


def _checkable(lake: Lake, entry: Entry, from_seq: int, now_ms: int) -> list[Signal]:
    """Rows whose bars are final, and asked for of every symbol, in order."""
    rows: list[Signal] = []
    end_ms = min(now_ms - SETTLED_MS, covered_ms(lake, entry.spec, now_ms))
    for link in Journal(lake, entry.id, entry.started_ms).read(from_seq):
        if link.row.close_time > end_ms:
            break
        rows.append(link.row)
    return rows


def covered_ms(lake: Lake, spec: LiveSpec, now_ms: int) -> int:
    """Until when the lake has asked for the bars of every symbol, UTC epoch ms; 0 for never."""
    return min(_covered_ms(lake, spec, symbol, now_ms) for symbol in spec.symbols)


def _covered_ms(lake: Lake, spec: LiveSpec, symbol: str, now_ms: int) -> int:
    series = Series(spec.market, symbol, spec.interval)
    for month in (Month.of_ms(now_ms), Month.of_ms(Month.of_ms(now_ms).start_ms - 1)):
        found = load_partition(lake, series, month, ["open_time"])
        if found is not None:
            return found[0].facts.asked.end_ms
    return 0


def keep(lake: Lake, live: str, rows: list[Signal], parity: Parity) -> None:
    """Write what became of rows' values, a file a day of bars."""
    by_day: dict[str, list[dict[str, object]]] = {}
    for row in rows:
        counts = parity.by_row.get(row.seq)
        if counts is None:
            continue
        record = {
            "seq": row.seq,
            "factor": row.factor,
            "bar_time": row.bar_time,
            "revision": row.revision,
            "values": len(row.values),
            **{why.value: counts[why] for why in Why},
        }
        day = f"{datetime.fromtimestamp(row.bar_time / 1000, UTC):%Y-%m-%d}"
        by_day.setdefault(day, []).append(record)
    for day, records in by_day.items():
        table = pa.Table.from_pylist(records, schema=PARITY)
        first = records[0]["seq"]
        lake.write(f"parity/live={live}/date={day}/{first:012d}.parquet", table, {})
