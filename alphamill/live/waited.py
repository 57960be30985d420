"""The price of waiting, as it is kept and summed up: `waiting/live=ID/date=.../NAME.parquet`.

A row is a factor at a bar, had it been published so long after the bar's end as `after_ms` says,
over who was there then, against what it turned out to be. What stands where is in `WAITING`.

`moved` is the active share (Cremers and Petajisto, "How Active Is Your Fund Manager?", Review of
Financial Studies 22, 2009): half the sum of the differences of target weights, so the share of the
book that would have been held otherwise; who was not there has weight 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from alphamill.frames import FloatArray
from alphamill.lake import Lake

AFTER_MS = (200, 2_000, 10_000)
_TIME = pa.timestamp("ms", tz="UTC")

WAITING = pa.schema(
    [
        pa.field("bar_time", _TIME, nullable=False),  # open time of the bar
        pa.field("factor", pa.string(), nullable=False),  # its hash
        pa.field("after_ms", pa.int32(), nullable=False),  # from the bar's end
        pa.field("symbols", pa.int32(), nullable=False),  # followed, with a bar in the end
        pa.field("there", pa.int32(), nullable=False),  # of them, those whose bar was there
        pa.field("signal", pa.bool_(), nullable=False),  # whether the quorum was met
        pa.field("differ", pa.int32(), nullable=False),  # of those there: other values than final
        pa.field("rank_gap", pa.float64()),  # mean |rank less the final one|; null without signal
        pa.field("moved", pa.float64()),  # active share, 0 to 1; null without signal
    ]
)


@dataclass(frozen=True, slots=True)
class Waited:
    """A row of WAITING; bar_ms is UTC epoch ms, what is null is NaN."""

    bar_ms: int
    factor: str
    after_ms: int
    symbols: int
    there: int
    signal: bool
    differ: int
    rank_gap: float
    moved: float


@dataclass(frozen=True, slots=True)
class Price:
    """Of many bars. None where nothing was measured.

    bars: of which somebody was heard. absent_frac: of symbols, the mean share that was not there.
    silent: bars below the quorum, which the rest is not about. differ_frac: of values of symbols
    that were there. The 95th percentiles are met: at most one bar in twenty is worse.
    """

    after_ms: int
    factor: str  # "" for all
    bars: int
    absent_frac: float | None
    silent: int
    differ_frac: float | None
    rank_gap_median: float | None
    rank_gap_p95: float | None
    moved_median: float | None
    moved_p95: float | None


def keep_waited(lake: Lake, live: str, first_seq: int, rows: Iterable[Waited]) -> None:
    """Write rows, a file a day of bars; `first_seq`, of the published rows, names it."""
    by_day: dict[str, list[Waited]] = {}
    for row in rows:
        day = f"{datetime.fromtimestamp(row.bar_ms / 1000, UTC):%Y-%m-%d}"
        by_day.setdefault(day, []).append(row)
    for day, of_day in by_day.items():
        columns = {one.name: [getattr(row, one.name) for row in of_day] for one in fields(Waited)}
        columns["bar_time"] = columns.pop("bar_ms")
        arrays = [
            pa.array(columns[field.name], field.type, from_pandas=True)  # NaN is null
            for field in WAITING
        ]
        table = pa.Table.from_arrays(arrays, schema=WAITING)
        lake.write(f"{_folder(live)}/date={day}/{first_seq:012d}.parquet", table, {})


def read_waited(lake: Lake, live: str, days: int = 7) -> list[Waited]:
    """What was kept of the newest so many days that have any, by bar."""
    keys = sorted(lake.list(_folder(live)))
    named = [key.rpartition("/date=")[2].partition("/")[0] for key in keys]
    newest = set(sorted(set(named))[-days:])
    found = []
    for key, day in zip(keys, named, strict=True):
        if day in newest:
            table = lake.read(key)
            columns = {name: table[name] for name in WAITING.names}
            columns["bar_ms"] = columns.pop("bar_time").cast(pa.int64())
            for name in ("rank_gap", "moved"):
                columns[name] = columns[name].fill_null(float("nan"))
            values = [columns[one.name].to_pylist() for one in fields(Waited)]
            found += [Waited(*row) for row in zip(*values, strict=True)]
    return found


def prices_of(rows: Sequence[Waited]) -> list[Price]:
    """A price for all factors together, then for each, at each moment."""
    moments = sorted({row.after_ms for row in rows})
    factors = ["", *dict.fromkeys(row.factor for row in rows)]
    return [
        _price(after_ms, factor, [row for row in rows if _is_of(row, after_ms, factor)])
        for factor in factors
        for after_ms in moments
    ]


def _is_of(row: Waited, after_ms: int, factor: str) -> bool:
    return row.after_ms == after_ms and factor in ("", row.factor)


def _price(after_ms: int, factor: str, rows: Sequence[Waited]) -> Price:
    said = [row for row in rows if row.signal]
    ranks = np.array([row.rank_gap for row in said])
    moved = np.array([row.moved for row in said])
    there = sum(row.there for row in said)
    absent = [1 - row.there / row.symbols for row in rows if row.symbols]
    return Price(
        after_ms=after_ms,
        factor=factor,
        bars=len({row.bar_ms for row in rows}),
        absent_frac=float(np.mean(absent)) if absent else None,
        silent=len({row.bar_ms for row in rows if not row.signal}),
        differ_frac=sum(row.differ for row in said) / there if there else None,
        rank_gap_median=_percentile(ranks, 50),
        rank_gap_p95=_percentile(ranks, 95),
        moved_median=_percentile(moved, 50),
        moved_p95=_percentile(moved, 95),
    )


def _percentile(values: FloatArray, percent: float) -> float | None:
    known = values[np.isfinite(values)]
    return float(np.percentile(known, percent, method="higher")) if known.size else None


def _folder(live: str) -> str:
    return f"waiting/live={live}"
