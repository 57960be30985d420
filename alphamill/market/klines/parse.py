"""Raw rows of JSON to KLINES; gaps and halts."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import starmap
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from alphamill import grid
from alphamill.errors import RetryLater
from alphamill.frames import (
    KLINES,
    BarSpan,
    FloatArray,
    IntArray,
    Interval,
    TimeRange,
    rows_within,
    times_ms,
)
from alphamill.grid import BoolArray

_MICROSECONDS_ABOVE = 10**14  # the year 5138 in milliseconds, 1973 in microseconds
_HOUR_MS = 3_600_000
_FLOATS = tuple(field.name for field in KLINES if field.type == pa.float64())
_ROW_FIELDS = 12  # eleven columns of KLINES and one that is always "0"
_ROW = struct.Struct(f"{_ROW_FIELDS}d")
_EXACT_UP_TO = 2**53  # a float64 holds every whole number to here: times in us, counts
# Not strict: a number may be a string, which is read as Python's float() reads it.
_ROWS: Any = list[tuple[(float,) * _ROW_FIELDS]]  # type: ignore[misc]
_PAGE = msgspec.json.Decoder(_ROWS, strict=False)


def utc_text(time_ms: int) -> str:
    """For people: "2021-04-23 01:00"."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M")


def empty_klines() -> pa.Table:
    """KLINES without a row."""
    return KLINES.empty_table()


def parse_klines(body: bytes, symbol: str, interval: Interval) -> pa.Table:
    """KLINES of a page of rows as the exchange sends them; numbers equal Python's float().

    Sorted and de-duplicated (the later row wins); milliseconds or microseconds, told by value.
    What a row has after the columns that are known is left alone; bars off the grid are in it.
    Raises RetryLater for a malformed page.
    """
    try:
        rows = _decoded(body)
        table = _columns(rows) if rows else empty_klines()
    except (msgspec.MsgspecError, ValueError) as error:
        raise RetryLater(f"{symbol} {interval}: malformed klines ({error})", 5.0) from error
    return checked(table, symbol, interval)


def _decoded(body: bytes) -> list[tuple[float, ...]]:
    try:
        rows: list[tuple[float, ...]] = _PAGE.decode(body)
    except msgspec.ValidationError:
        wider = msgspec.json.decode(body, type=list[list[Any]])
        if all(len(row) <= _ROW_FIELDS for row in wider):
            raise
        rows = msgspec.convert([row[:_ROW_FIELDS] for row in wider], _ROWS, strict=False)
    return rows


def _columns(rows: list[tuple[float, ...]]) -> pa.Table:
    # Packing row by row takes a third of the time of an array a column.
    packed = np.frombuffer(b"".join(starmap(_ROW.pack, rows)))
    columns = np.ascontiguousarray(packed.reshape(len(rows), _ROW_FIELDS).T)
    arrays = []
    for field, values in zip(KLINES, columns, strict=False):
        if field.type == pa.float64():
            arrays.append(pa.array(values))
        else:
            whole = _whole(values, field.name)
            times = pa.types.is_timestamp(field.type)
            arrays.append(pa.array(in_ms(whole) if times else whole).view(field.type))
    return pa.Table.from_arrays(arrays, schema=KLINES)


def _whole(values: FloatArray, name: str) -> IntArray:
    with np.errstate(invalid="ignore"):  # what does not fit fails the comparison
        whole = values.astype(np.int64)
    if not (whole == values).all() or whole.max() > _EXACT_UP_TO:
        raise ValueError(f"{name} is not a whole number")
    return whole


def in_ms(times: IntArray) -> IntArray:
    """Times in milliseconds, of which each may be in microseconds."""
    if times.size and times.max() >= _MICROSECONDS_ABOVE:
        return np.where(times >= _MICROSECONDS_ABOVE, times // 1000, times)
    return times


def checked(table: pa.Table, symbol: str, interval: Interval) -> pa.Table:
    """The same bars in order, each once. Raises RetryLater for a number that is not finite."""
    for name in _FLOATS:
        if not np.isfinite(table[name].to_numpy()).all():
            raise RetryLater(f"{symbol} {interval}: malformed klines ({name} is not finite)", 5.0)
    return merge_klines([table])


def split_off_grid(table: pa.Table, interval: Interval) -> tuple[pa.Table, tuple[int, ...]]:
    """The bars that open on the interval's grid, and the open times of those that do not.

    The exchange has such rows beside the outages of 2018: parts of bars, under times of their own
    (binance-public-data issues 14 and 77).
    """
    times = times_ms(table)
    strays = grid.off_grid(interval, times)
    if not strays.any():
        return table, ()
    return table.filter(pa.array(~strays)), tuple(times[strays].tolist())


def merge_klines(tables: list[pa.Table]) -> pa.Table:
    """All bars of `tables` in order, each once; for the same open time the later table wins."""
    return merge_rows(tables, KLINES)


def merge_rows(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """As `merge_klines`, of tables that have these columns at least, the first of them a time."""
    if len(tables) == 1:
        table = tables[0].select(schema.names)
    else:
        named = [table.select(schema.names) for table in tables]
        table = pa.concat_tables([schema.empty_table(), *named]).combine_chunks()
    times = times_ms(table)
    if (np.diff(times) > 0).all():
        return table
    _, last = np.unique(times[::-1], return_index=True)
    return table.take(times.size - 1 - last)


def closed(table: pa.Table, interval: Interval, server_time_ms: int) -> pa.Table:
    """Rows whose bar is over by the exchange's clock, both by its close time and by its length."""
    if interval is Interval.MO1:
        ends = np.array([grid.next_ms(interval, int(t)) for t in times_ms(table)], dtype=np.int64)
    else:
        ends = times_ms(table) + interval.ms
    over = (ends <= server_time_ms) & (times_ms(table, "close_time") < server_time_ms)
    return table if over.all() else table.filter(pa.array(over))


def find_gaps(table: pa.Table, interval: Interval, asked: TimeRange) -> list[BarSpan]:
    """Stretches of absent bars that would open within `asked`, in order; `table` is ordered."""
    times = times_ms(rows_within(table, asked))
    first, end = (
        grid.index_at(interval, grid.ceil_ms(interval, edge_ms))
        for edge_ms in (asked.start_ms, asked.end_ms)
    )
    have = np.concatenate(([first - 1], grid.indices(interval, times), [end]))
    gaps = []
    for at in np.flatnonzero(np.diff(have) > 1):
        first, end = int(have[at]) + 1, int(have[at + 1])
        gaps.append(
            BarSpan(grid.open_ms(interval, first), grid.open_ms(interval, end), end - first)
        )
    return gaps


def find_halts(table: pa.Table, interval: Interval, min_bars: int | None = None) -> list[BarSpan]:
    """Flat stretches without volume of at least `min_bars` bars (default: an hour, or one bar).

    An absent bar ends a stretch. On a coin that rarely trades, such a stretch may be mere quiet.
    """
    if min_bars is None:
        min_bars = 1 if interval is Interval.MO1 else max(1, _HOUR_MS // interval.ms)
    times = times_ms(table)
    flat = np.flatnonzero(_flat(table))
    if not flat.size:
        return []
    numbers = grid.indices(interval, times[flat])
    starts = np.concatenate(([0], np.flatnonzero(np.diff(numbers) != 1) + 1))
    ends = np.concatenate((starts[1:], [flat.size]))
    return [
        BarSpan(int(times[flat[s]]), grid.next_ms(interval, int(times[flat[e - 1]])), int(e - s))
        for s, e in zip(starts, ends, strict=True)
        if e - s >= min_bars
    ]


def _flat(table: pa.Table) -> BoolArray:
    low, high = table["low"].to_numpy(), table["high"].to_numpy()
    quiet: BoolArray = (table["volume"].to_numpy() == 0) & (high == low)
    return quiet
