"""The lake's daily bars of many symbols at once, as membership reads them.

A month a file and symbol is 36,000 files for 500 symbols and six years. So a year of all symbols is
kept in one file as well, `universe/market=spot/daily/year=2021/bars.parquet`: a copy that says of
which versions of the files it is. What of it is not of the present ones is read anew and replaced;
deleting it loses nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from alphamill.errors import AlphamillError
from alphamill.frames import KLINES, FloatArray, Interval, Market, Month, TimeRange, times_ms, union
from alphamill.lake import Lake, Series, load_partition
from alphamill.lake.files import Stat
from alphamill.lake.listings import COLUMNS, find_listings, listing_name, quiet_of
from alphamill.universe.membership import DAY_MS, Daily
from alphamill.universe.rule import MEASURED

_COPIED = tuple(dict.fromkeys([*COLUMNS, *MEASURED]))
_SCHEMA = pa.schema([("symbol", pa.string()), *(KLINES.field(name) for name in _COPIED)])
_READERS = 8

Versions = Mapping[Month, Stat]


@dataclass(frozen=True, slots=True)
class DailyBars:
    """Daily bars of a range.

    table: symbol and columns of klines, in no order. asked: by symbol, the stretches of the
    range that the exchange was asked for; what is absent there was not there.
    """

    range: TimeRange
    table: pa.Table
    asked: Mapping[str, tuple[TimeRange, ...]]


def read_daily(
    lake: Lake, market: Market, symbols: Collection[str], start_ms: int, end_ms: int
) -> DailyBars:
    """Of these symbols, bars with start_ms <= open time < end_ms. Damaged files count as absent."""
    held = _held(lake, market, frozenset(symbols))
    asked: dict[str, list[TimeRange]] = {}
    tables = [_SCHEMA.empty_table()]
    within = TimeRange(start_ms, max(start_ms, end_ms))
    for year in range(Month.of_ms(start_ms).year, Month.of_ms(max(start_ms, end_ms - 1)).year + 1):
        of_year = held.get(year, {})
        if of_year:
            table, known = _year(lake, market, year, of_year)
            tables.append(_within(table, within))
            for symbol, ranges in known.items():
                parts = [part for one in ranges if (part := one.within(within))]
                asked.setdefault(symbol, []).extend(parts)
    table = pa.concat_tables(tables)
    return DailyBars(within, table, {symbol: tuple(parts) for symbol, parts in asked.items()})


def _within(table: pa.Table, asked: TimeRange) -> pa.Table:
    opens = times_ms(table, "open_time")
    inside = (opens >= asked.start_ms) & (opens < asked.end_ms)
    return table if inside.all() else table.filter(pa.array(inside))


def measured(bars: DailyBars, field: str) -> Daily:
    """One field as a matrix, a column a coin: a symbol that another coin took over has two.

    Named as in panels (`lake.listings`); flat bars of a silence are none.
    """
    start_ms = bars.range.start_ms // DAY_MS * DAY_MS
    days = -(-(bars.range.end_ms - start_ms) // DAY_MS)
    symbols = pc.unique(bars.table["symbol"]).sort()
    at = pc.index_in(bars.table["symbol"], symbols).to_numpy()
    row = (times_ms(bars.table, "open_time") - start_ms) // DAY_MS

    def matrix(name: str) -> FloatArray:
        found = np.full((len(symbols), days), np.nan)
        found[at, row] = bars.table[name].cast(pa.float64()).to_numpy()
        return found

    volume, values = matrix("volume"), matrix(field)
    opens = start_ms + DAY_MS * np.arange(days, dtype=np.int64)
    columns: list[tuple[str, FloatArray]] = []
    for number, symbol in enumerate(symbols.to_pylist()):
        there = np.isfinite(volume[number])
        quiet = quiet_of(opens[there], volume[number, there], Interval.D1)
        if not quiet.doubtful(bars.range.end_ms):
            columns.append((symbol, values[number]))
            continue
        own = bars.table.filter(pa.array(at == number)).sort_by("open_time").select(COLUMNS)
        for listing in find_listings(own, Interval.D1, bars.range.end_ms):
            mine = there & listing.holds(opens)
            columns.append((listing_name(symbol, listing), np.where(mine, values[number], np.nan)))
    whole = np.stack([column for _, column in columns]).T if columns else np.empty((days, 0))
    return Daily(start_ms, tuple(name for name, _ in columns), whole)


def _held(
    lake: Lake, market: Market, symbols: frozenset[str]
) -> dict[int, dict[str, dict[Month, Stat]]]:
    """By year and symbol, the months that are in the lake, and their versions."""
    found: dict[int, dict[str, dict[Month, Stat]]] = {}
    for key, stat in lake.versions(f"klines/market={market.value}/interval=1d").items():
        folder, _, name = key.rpartition("/")
        symbol = folder.rpartition("symbol=")[2]
        if symbol in symbols:
            with contextlib.suppress(ValueError):  # no month of ours
                month = Month.parse(name.removesuffix(".parquet"))
                found.setdefault(month.year, {}).setdefault(symbol, {})[month] = stat
    return found


def _year(
    lake: Lake, market: Market, year: int, held: Mapping[str, Versions]
) -> tuple[pa.Table, dict[str, list[TimeRange]]]:
    """The year's bars of the symbols, from its file as far as that is of these versions."""
    key = f"universe/market={market.value}/daily/year={year}/bars.parquet"
    kept, said = _kept(lake, key)
    stamps = {symbol: _stamp(versions) for symbol, versions in held.items()}
    stale = sorted(symbol for symbol in held if said.get(symbol, {}).get("stamp") != stamps[symbol])
    if stale:
        read = [_months(lake, market, symbol, held[symbol]) for symbol in stale]
        # Of symbols that nobody asks about now it is not known whether they are as they were.
        others = [symbol for symbol in said if symbol not in stale]
        kept = kept.filter(pc.is_in(kept["symbol"], pa.array(others, pa.string())))
        kept = pa.concat_tables([kept, *(table for table, _ in read)]).combine_chunks()
        said = {symbol: said[symbol] for symbol in others} | {
            symbol: {
                "stamp": stamps[symbol],
                "asked": [[one.start_ms, one.end_ms] for one in ranges],
            }
            for symbol, (_, ranges) in zip(stale, read, strict=True)
        }
        with contextlib.suppress(AlphamillError):  # a lake that is read alone
            lake.write(key, kept, {"held": json.dumps(said, separators=(",", ":"))})
    wanted = kept.filter(pc.is_in(kept["symbol"], pa.array(sorted(held), pa.string())))
    return wanted, {symbol: [TimeRange(*one) for one in said[symbol]["asked"]] for symbol in held}


def _kept(lake: Lake, key: str) -> tuple[pa.Table, dict[str, dict[str, Any]]]:
    """The year's file and what it says of each symbol; nothing of one that is absent or damaged."""
    try:
        table, metadata = lake.load(key, _SCHEMA.names)
        return table.cast(_SCHEMA), json.loads(metadata["held"])
    except (FileNotFoundError, AlphamillError, KeyError, ValueError, pa.ArrowException):
        return _SCHEMA.empty_table(), {}


def _months(
    lake: Lake, market: Market, symbol: str, months: Versions
) -> tuple[pa.Table, list[TimeRange]]:
    """From the files of the klines themselves."""
    series = Series(market, symbol, Interval.D1)
    with ThreadPoolExecutor(_READERS) as readers:
        read = readers.map(
            lambda month: load_partition(lake, series, month, _COPIED), sorted(months)
        )
        found = [one for one in read if one is not None]
    tables = [
        table.select(_COPIED).add_column(
            0, "symbol", pa.array([symbol] * table.num_rows, pa.string())
        )
        for _, table in found
    ]
    # What the archive alone was asked for counts: of a coin that the exchange has forgotten nobody
    # else can be asked.
    asked = union(partition.facts.asked for partition, _ in found)
    return pa.concat_tables([_SCHEMA.empty_table(), *(one.cast(_SCHEMA) for one in tables)]), asked


def _stamp(months: Versions) -> str:
    """Of the versions of a symbol's files of a year."""
    digest = hashlib.sha256()
    for month, stat in sorted(months.items()):
        digest.update(f"{month} {stat.size_bytes} {stat.written_ns} {stat.tag}\n".encode())
    return digest.hexdigest()[:16]
