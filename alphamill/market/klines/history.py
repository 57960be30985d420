"""A range of bars: the archive's monthly and daily files first, and REST for the rest.

Whole past months come from monthly files; months that have none, or whose monthly file is known to
be wrong, from daily ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pyarrow as pa

from alphamill.clock import Clock
from alphamill.errors import GiveUp
from alphamill.frames import Interval, Market, Month, TimeRange, rows_within, times_ms
from alphamill.grid import DAY_MS, floor_ms, next_ms
from alphamill.market.archive_first import (
    SHORT_MS,
    ArchiveMonth,
    FetchedPart,
    FileArchive,
    archive_first,
)
from alphamill.market.exchange import SETTLE_MS, KlineSource
from alphamill.market.klines.archive_file import KlineFile
from alphamill.market.klines.confirm_absent import confirmed_klines
from alphamill.market.klines.of import TRADES, KlinesOf
from alphamill.market.klines.parse import find_gaps, merge_klines, split_off_grid, utc_text

# Monthly files that differ from the daily ones and from the API: binance-public-data issue 475.
WRONG_MONTHS = frozenset({Month(2020, 12), Month(2021, 9)})
_SAFE_DAYS = 2  # today and yesterday are not looked for: a daily file comes on the next day
_REST_PAGE_BARS = 1000  # a part of a month that one REST page holds does not pay for daily files
_FEW_STRAYS = 2  # rows off the grid that say nothing of the others, however few those are
_ABSENT_DAYS = 2  # so many days in a row without a file end the search: not listed, or no longer

KlineArchive = FileArchive[KlineFile]


@dataclass(frozen=True, slots=True)
class KlineHistory:
    """One market's bars, whatever their source. `archive` is None where there is none to use.

    of: what the bars are of, by which the archive names them. archived_days: bars of a day are read
    from it too, as of a symbol that the API has forgotten.
    """

    market: Market
    exchange: KlineSource
    archive: KlineArchive | None
    clock: Clock
    of: KlinesOf = TRADES
    archived_days: bool = False

    def parts(self, symbol: str, interval: Interval, asked: TimeRange) -> Iterator[FetchedPart]:
        """Closed bars in adjoining parts, in order of time: see `archive_first`.

        The last may end early, at what must have closed by now. Rows off the interval's grid are
        left out and noted. Raises what `Exchange.klines` raises, and GiveUp where most rows are off
        the grid; an archive that fails is noted and REST stands in.
        """
        months = self.archive_months(symbol, interval, asked)
        rest = partial(self._from_rest, symbol, interval)
        for part in archive_first(asked, months, rest, merge_klines, "bars", self.clock):
            if _is_of_another_grid(part):
                raise GiveUp(
                    f"{symbol}: {_strays_text(part.off_grid)} of {interval}, and hardly any on it; "
                    "fetch a shorter interval, whose bars can be summed"
                )
            notes = strays_note(interval, part.off_grid)
            yield replace(part, range=_answered(interval, part), notes=(*part.notes, *notes))

    def archive_months(
        self, symbol: str, interval: Interval, asked: TimeRange
    ) -> Iterator[ArchiveMonth]:
        """What it has. Not asked for bars of a day or longer: one REST page holds years."""
        days = self.archived_days and interval is Interval.D1
        if self.archive is None or (interval.endswith(("d", "w", "M")) and not days):
            return
        safe_ms = self.clock.now_ms() // DAY_MS * DAY_MS - (_SAFE_DAYS - 1) * DAY_MS
        for month, part in asked.by_month():
            found = ArchiveMonth(part)
            named = self.of.asked_by(symbol)
            file = KlineFile(self.market, named, interval, month, folder=self.of.name)
            tables = _search(self.archive, file, found, safe_ms)
            if tables:
                table = merge_klines([rows_within(table, part) for table in tables])
                found.table, found.off_grid = split_off_grid(table, interval)
                gaps = find_gaps(found.table, interval, part)
                found.holes = [hole for gap in gaps if (hole := gap.within(part))]
            yield found

    def _from_rest(
        self, symbol: str, interval: Interval, asked: TimeRange, in_vain: Sequence[ArchiveMonth]
    ) -> Iterator[FetchedPart]:
        klines = confirmed_klines(self.exchange, symbol, interval, asked.start_ms, asked.end_ms)
        notes = [note for month in in_vain for note in month.notes]
        for month in in_vain:
            if rows_within(klines.table, month.range).num_rows:
                notes += month.absences()
        yield FetchedPart(
            asked,
            klines.table,
            klines.server_time_ms,
            klines.requests,
            klines.source,
            damaged=tuple(one for month in in_vain for one in month.damaged),
            notes=tuple(dict.fromkeys(notes)),
            off_grid=klines.off_grid,
        )


def _is_of_another_grid(part: FetchedPart) -> bool:
    """Whether its rows are no bars with a few strays, but bars that we take for another kind."""
    bars: int = part.table.num_rows
    return len(part.off_grid) > max(_FEW_STRAYS, bars)


def strays_note(interval: Interval, off_grid: Sequence[int]) -> tuple[str, ...]:
    """What was left out, in words; none for nothing."""
    return (f"left out {_strays_text(off_grid)} of {interval}",) if off_grid else ()


def _strays_text(off_grid: Sequence[int]) -> str:
    bars = "1 bar" if len(off_grid) == 1 else f"{len(off_grid)} bars"
    first = "" if len(off_grid) == 1 else "the first "
    return f"{bars}, {first}at {utc_text(off_grid[0])} UTC, off the grid"


def _answered(interval: Interval, part: FetchedPart) -> TimeRange:
    """The stretch of it in which an absent bar is known not to be at the exchange."""
    settled_ms = floor_ms(interval, part.server_time_ms - SETTLE_MS)
    if part.table.num_rows:
        settled_ms = max(settled_ms, next_ms(interval, int(times_ms(part.table)[-1])))
    start_ms = part.range.start_ms
    return TimeRange(start_ms, max(start_ms, min(part.range.end_ms, settled_ms)))


def _search(
    archive: KlineArchive, monthly: KlineFile, found: ArchiveMonth, safe_ms: int
) -> list[pa.Table]:
    """The month's file, or its days' files before `safe_ms`, if they are worth reading."""
    asked, interval = found.range, monthly.interval
    whole = monthly.range.end_ms <= safe_ms and asked.length_ms > SHORT_MS
    if whole and monthly.month not in WRONG_MONTHS and interval is not Interval.S1:
        table = found.read(archive, monthly)
        if table is not None or found.damaged or found.notes:
            # Only what is not there at all is looked for day by day.
            return [] if table is None else [table]
    end_ms = min(asked.end_ms, safe_ms)
    if whole or (end_ms - asked.start_ms) // interval.ms > _REST_PAGE_BARS:
        return list(_days(archive, monthly, found, end_ms))
    return []


def _days(
    archive: KlineArchive, monthly: KlineFile, found: ArchiveMonth, end_ms: int
) -> Iterator[pa.Table]:
    """Latest first: a coin that was listed within the month has its latest days."""
    absent_days = 0
    for day_ms in range((end_ms - 1) // DAY_MS * DAY_MS, found.range.start_ms - DAY_MS, -DAY_MS):
        absent = len(found.absent)
        table = found.read(archive, monthly.of_day(day_ms))
        if table is not None:
            yield table
        absent_days = absent_days + 1 if len(found.absent) > absent else 0
        if absent_days == _ABSENT_DAYS or found.notes:
            return
