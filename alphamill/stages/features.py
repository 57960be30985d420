"""features: the indicators of one symbol, a file a month, from the klines in the lake.

A month is computed from its own bars and a fixed length of history before them. So a file depends
on what the lake holds of those bars alone, not on the range that a job asks for, and two jobs that
overlap write the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from alphamill.errors import GiveUp
from alphamill.frames import (
    KLINES,
    Interval,
    Market,
    Month,
    TimeRange,
    is_symbol,
    months_between,
    rows_within,
    times_ms,
)
from alphamill.indicators import compute_indicators, history_bars, indicator_names, registry_version
from alphamill.jobs import Facts, FeaturesJob
from alphamill.lake import Lake, Series, read_klines, read_partition

_OPEN_TIME = KLINES.field("open_time")


@dataclass(frozen=True, slots=True)
class FeaturesDeps:
    """What the stage works with."""

    lake: Lake


@dataclass(frozen=True, slots=True)
class FeaturesFacts(Facts):
    """What is in the lake of the months that the range touches.

    rows: bars with indicators. indicators: columns. written, up_to_date: months computed now, and
    months found already computed from the same klines.
    """

    rows: int
    indicators: int
    written: int
    up_to_date: int
    registry: str


def run(job: FeaturesJob, deps: FeaturesDeps) -> FeaturesFacts:
    """Compute what is missing or out of date. Raises GiveUp if the lake has no bar of the range."""
    if not is_symbol(job.symbol):
        raise GiveUp(f"{job.symbol!r} is not a symbol")
    series = Series(job.market, job.symbol, job.interval)
    months = _Months(deps.lake, series)
    wanted = [m for m in months_between(job.start_ms, job.end_ms) if months.rows(m)]
    if not wanted:
        raise GiveUp(_nothing(job))
    stale = [month for month in wanted if not _is_up_to_date(deps.lake, series, month, months)]
    for month in stale:
        _write(deps.lake, series, month, months)
    return FeaturesFacts(
        rows=sum(months.rows(month) for month in wanted),
        indicators=len(indicator_names(job.interval)),
        written=len(stale),
        up_to_date=len(wanted) - len(stale),
        registry=registry_version(),
    )


def read_features(
    lake: Lake,
    market: Market,
    symbol: str,
    interval: Interval,
    start_ms: int,
    end_ms: int,
    columns: Sequence[str],
) -> pa.Table:
    """`open_time` and the columns asked for, start_ms <= open_time < end_ms, in order.

    Null where an indicator is undefined, and where a file was written before it existed; months
    that the lake does not have give no rows.
    """
    names = [name for name in columns if name != _OPEN_TIME.name]
    schema = pa.schema([_OPEN_TIME, *(pa.field(name, pa.float64()) for name in names)])
    series, asked = Series(market, symbol, interval), TimeRange(start_ms, end_ms)
    tables = [schema.empty_table()]
    for month in months_between(start_ms, end_ms):
        try:
            table = lake.read(series.key("features", month), schema.names)
        except FileNotFoundError:
            continue
        for name in names:
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(len(table), pa.float64()))
        tables.append(rows_within(table, asked).select(schema.names).cast(schema))
    return pa.concat_tables(tables)


def compute_features(
    lake: Lake,
    market: Market,
    symbol: str,
    interval: Interval,
    start_ms: int,
    end_ms: int,
    columns: Sequence[str],
) -> pa.Table:
    """What `read_features` gives where the files are up to date, computed from the bars instead.

    To the bit: bars before `start_ms` are read too, as many as settle every indicator.
    """
    names = [name for name in columns if name != _OPEN_TIME.name]
    series, asked = Series(market, symbol, interval), TimeRange(start_ms, end_ms)
    first_ms = _history_start_ms(series, Month.of_ms(start_ms))
    klines = read_klines(lake, market, symbol, interval, first_ms, end_ms)
    frame = compute_indicators(klines.to_pandas(), names, interval)
    values = {name: pa.array(frame[name].to_numpy(), from_pandas=True) for name in names}
    return rows_within(pa.table({_OPEN_TIME.name: klines[_OPEN_TIME.name], **values}), asked)


def _nothing(job: FeaturesJob) -> str:
    first, last = (datetime.fromtimestamp(t / 1000, UTC) for t in (job.start_ms, job.end_ms))
    return (
        f"no bars of {job.symbol} {job.interval} ({job.market}) from {first:%Y-%m-%d} to "
        f"{last:%Y-%m-%d} in the lake; fetch them first"
    )


class _Months:
    """The klines of a series by month; each file is read once while months are taken in order."""

    def __init__(self, lake: Lake, series: Series) -> None:
        self._lake = lake
        self._series = series
        self._stated: dict[Month, tuple[str, int]] = {}
        self._tables: dict[Month, pa.Table] = {}

    def rows(self, month: Month) -> int:
        """Bars of a month; 0 without a file."""
        return self._state(month)[1]

    def fingerprint(self, month: Month) -> str:
        """Equal as long as the bars that the month is computed from, and the formulas, are."""
        lines = [registry_version()]
        lines += [f"{source} {self._state(source)[0]}" for source in self._sources(month)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def with_history(self, month: Month) -> pa.Table:
        """The month's bars after the history that its indicators need, as far as there is."""
        sources = self._sources(month)
        for old in [month for month in self._tables if month < sources[0]]:
            del self._tables[old]
        tables = [self._table(source) for source in sources if self.rows(source)]
        table = pa.concat_tables(tables)
        return rows_within(table, TimeRange(_history_start_ms(self._series, month), month.end_ms))

    def _sources(self, month: Month) -> list[Month]:
        return months_between(_history_start_ms(self._series, month), month.end_ms)

    def _state(self, month: Month) -> tuple[str, int]:
        if month not in self._stated:
            partition = read_partition(self._lake, self._series, month)
            self._stated[month] = (partition.content_hash, partition.rows) if partition else ("", 0)
        return self._stated[month]

    def _table(self, month: Month) -> pa.Table:
        if month not in self._tables:
            key = self._series.key("klines", month)
            self._tables[month] = self._lake.read(key, KLINES.names)
        return self._tables[month]


def _history_start_ms(series: Series, month: Month) -> int:
    """The earliest open time that a month's indicators look at; not before 1970."""
    bars = history_bars(series.interval)
    if series.interval is Interval.MO1:
        years, rest = divmod(month.year * 12 + month.month - 1 - bars, 12)
        return Month(max(years, 1970), rest + 1).start_ms
    return max(0, month.start_ms - bars * series.interval.ms)


def _is_up_to_date(lake: Lake, series: Series, month: Month, months: _Months) -> bool:
    key = series.key("features", month)
    try:
        return lake.metadata(key).get("fingerprint") == months.fingerprint(month)
    except FileNotFoundError:
        return False


def _write(lake: Lake, series: Series, month: Month, months: _Months) -> None:
    fingerprint = months.fingerprint(month)  # before the bars: a change between shows next time
    klines = months.with_history(month)
    frame = compute_indicators(klines.to_pandas(), interval=series.interval)
    first = int(np.searchsorted(times_ms(klines), month.start_ms))
    columns = {_OPEN_TIME.name: klines["open_time"].slice(first).combine_chunks()}
    for name in frame.columns:
        columns[name] = pa.array(frame[name].to_numpy()[first:], from_pandas=True)
    table = pa.table(columns)
    lake.write(
        series.key("features", month),
        table,
        {
            "fingerprint": fingerprint,
            "registry": registry_version(),
            "rows": str(len(table)),
            "history_bars": str(first),
        },
    )
