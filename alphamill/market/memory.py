"""An exchange in memory, for tests: yours and ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pyarrow as pa

from alphamill.clock import Clock
from alphamill.errors import AlphamillError
from alphamill.frames import METRICS, Interval, TimeRange, rows_within
from alphamill.market.exchange import Klines, SymbolInfo
from alphamill.market.funding.api import PAGE_ROWS
from alphamill.market.funding.archive_file import FundingFile
from alphamill.market.klines.archive_file import KlineFile
from alphamill.market.klines.parse import closed, empty_klines, split_off_grid
from alphamill.market.metrics.archive_file import MetricsFile
from alphamill.market.replies import unknown_symbol


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of `klines`."""

    symbol: str
    interval: Interval
    start_ms: int
    end_ms: int


@dataclass(slots=True)
class FakeExchange:
    """An `Exchange` that holds KLINES tables and answers by its clock.

    Bars that have not closed by `clock` are kept back. `failures` are raised by the next calls, one
    each, in order; `asked` remembers every call of `klines`. `page_bars` bars count as one request.
    """

    clock: Clock
    tables: dict[tuple[str, Interval], pa.Table] = field(default_factory=dict)
    listed: dict[str, SymbolInfo] = field(default_factory=dict)
    limit: int = 6000
    page_bars: int = 1000
    failures: list[AlphamillError] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def add(self, symbol: str, interval: Interval, table: pa.Table, quote: str = "USDT") -> None:
        """List `symbol` with these bars, ordered, in place of any it has."""
        base = symbol.removesuffix(quote)
        self.listed[symbol] = SymbolInfo(symbol, "TRADING", base, quote)
        self.tables[symbol, interval] = table

    def server_time_ms(self) -> int:
        return self.clock.now_ms()

    def symbols(self, max_age_s: float | None = None) -> Mapping[str, SymbolInfo]:  # noqa: ARG002  always as it is now
        return dict(self.listed)

    def weight_limit(self) -> int:
        return self.limit

    def klines(self, symbol: str, interval: Interval, start_ms: int, end_ms: int) -> Klines:
        self.asked.append(Asked(symbol, interval, start_ms, end_ms))
        if self.failures:
            raise self.failures.pop(0)
        if symbol not in self.listed:
            raise unknown_symbol(symbol, self.listed)
        now_ms = self.server_time_ms()
        asked = TimeRange(start_ms, max(start_ms, end_ms))
        table = rows_within(self.tables.get((symbol, interval), empty_klines()), asked)
        pages = max(1, -(-table.num_rows // self.page_bars))
        table, off_grid = split_off_grid(table, interval)
        return Klines(closed(table, interval, now_ms), now_ms, pages, off_grid=off_grid)


@dataclass(slots=True)
class FakeArchive:
    """A `KlineArchive` that has every month and day of its KLINES tables that it has bars of.

    `absent` names stems that are not there; `failures` are raised for theirs, every time; `asked`
    remembers the stem of every file asked for.
    """

    tables: dict[tuple[str, Interval], pa.Table] = field(default_factory=dict)
    absent: set[str] = field(default_factory=set)
    failures: dict[str, AlphamillError] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def read(self, file: KlineFile) -> pa.Table | None:
        self.asked.append(file.stem)
        if file.stem in self.failures:
            raise self.failures[file.stem]
        table = self.tables.get((file.symbol, file.interval), empty_klines())
        table = rows_within(table, file.range)
        return table if table.num_rows and file.stem not in self.absent else None


@dataclass(slots=True)
class FakeFunding:
    """A `FundingExchange` and a `FundingArchive` that hold FUNDING tables, and answer by a clock.

    `failures` are raised by the next pages, one each, in order; `pages` remembers what was asked
    for. `files`: stems -> FUNDING_FILE or an error, of the archive; `stems`: those asked for.
    `page_rows`: the most that a page has.
    """

    clock: Clock
    tables: dict[str, pa.Table] = field(default_factory=dict)
    files: dict[str, pa.Table | AlphamillError] = field(default_factory=dict)
    failures: list[AlphamillError] = field(default_factory=list)
    pages: list[tuple[str, int, int]] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)
    page_rows: int = PAGE_ROWS

    def reached_ms(self, wanted_ms: int) -> int:  # noqa: ARG002  the fake's clock is exact
        return self.clock.now_ms()

    def page(self, symbol: str, start_ms: int, end_ms: int) -> pa.Table:
        self.pages.append((symbol, start_ms, end_ms))
        if self.failures:
            raise self.failures.pop(0)
        if symbol not in self.tables:
            raise unknown_symbol(symbol, self.tables)
        asked = TimeRange(start_ms, max(start_ms, min(end_ms, self.clock.now_ms())))
        return rows_within(self.tables[symbol], asked).slice(0, self.page_rows)

    def read(self, file: FundingFile) -> pa.Table | None:
        self.stems.append(file.stem)
        found = self.files.get(file.stem)
        if isinstance(found, AlphamillError):
            raise found
        return found


@dataclass(slots=True)
class FakeMetrics:
    """A `MetricsExchange` and a `MetricsArchive` that hold METRICS tables, and answer by a clock.

    files: stems -> METRICS or an error, of the archive; `stems`: those asked for. `failures` are
    raised by the next pages, one each, in order; `pages` remembers what was asked for.
    """

    clock: Clock
    tables: dict[str, pa.Table] = field(default_factory=dict)
    files: dict[str, pa.Table | AlphamillError] = field(default_factory=dict)
    failures: list[AlphamillError] = field(default_factory=list)
    pages: list[tuple[str, int, int]] = field(default_factory=list)
    stems: list[str] = field(default_factory=list)

    def reached_ms(self, wanted_ms: int) -> int:  # noqa: ARG002  the fake's clock is exact
        return self.clock.now_ms()

    def page(self, symbol: str, start_ms: int, end_ms: int) -> pa.Table:
        self.pages.append((symbol, start_ms, end_ms))
        if self.failures:
            raise self.failures.pop(0)
        if symbol not in self.tables:
            raise unknown_symbol(symbol, self.tables)
        table = rows_within(self.tables[symbol], TimeRange(start_ms, end_ms))
        now_ms = self.clock.now_ms()
        out = [time.timestamp() * 1000 <= now_ms for time in table["available_time"].to_pylist()]
        return table.filter(pa.array(out, pa.bool_())) if out else METRICS.empty_table()

    def read(self, file: MetricsFile) -> pa.Table | None:
        self.stems.append(file.stem)
        found = self.files.get(file.stem)
        if isinstance(found, AlphamillError):
            raise found
        return found
