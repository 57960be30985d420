"""A file's trades with what it lacks from the API between them, to a reader."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np

from alphamill.bars import OutOfOrder, Trades
from alphamill.frames import TimeRange
from alphamill.market.archive import Damaged, PutAside
from alphamill.market.trades.archive_file import TradeFile
from alphamill.market.trades.pages import DayPages

_QUIET_US = 5 * 60_000_000  # a day's end that is silent for less says nothing
_LATE_US = 60 * 60_000_000  # a first row later than this may not be the first
_MOST_HOLES = 200  # of a file; beyond that the API is asked for the whole day


def rows_of(aside: PutAside, file: TradeFile, asked: TimeRange) -> Iterator[Trades]:
    """The file's rows, piece by piece; of a month those of `asked` alone. Raises Damaged."""
    from alphamill.bars import TradeParser  # compiled code, for who has trades to read

    parser = TradeParser(file.layout)
    start_us, end_us = 1000 * asked.start_ms, 1000 * asked.end_ms

    def own(piece: Trades) -> Trades:
        return piece.within(start_us, end_us) if file.day is None else piece

    try:
        for text in aside.pieces():
            yield own(parser.add(text))
        yield own(parser.finish())
    except ValueError as error:
        raise aside.damaged(str(error)) from error


@dataclass(slots=True)
class CompletedFile:
    """lacking: ids between rows that are rows and that nobody had. notes: what else to say."""

    file: TradeFile
    pages: DayPages
    lacking: int = 0
    notes: list[str] = field(default_factory=list)
    _holes: int = 0

    def rows(self, pieces: Iterable[Trades]) -> Iterator[Trades]:
        """The pieces of a file in order of id, and the API's rows where some are missing.

        Raises Damaged where they are missing in so many places that the file is of no use.
        """
        last, edges = -1, _End(1000 * self.pages.asked.end_ms)
        for piece in pieces:
            if not len(piece):
                continue
            if last < 0:
                yield from self._before(piece)
            yield from self._without_holes(piece, last)
            edges.see(piece)
            last = int(piece.id[-1])
        if last >= 0 and edges.silent_us:
            yield from self._after(last, edges.silent_us)

    def said(self) -> list[str]:
        """All there is to say of the file, in words."""
        if not self.lacking:
            return self.notes
        rows = "1 row" if self.lacking == 1 else f"{self.lacking:,} rows"
        why = self.pages.refusal or "the API does not have them either"
        return [*self.notes, f"{self.file.stem}.zip lacks {rows}, by their ids: {why}"]

    def _before(self, piece: Trades) -> Iterator[Trades]:
        late_us = int(piece.time_us[0]) - 1000 * self.pages.asked.start_ms
        first = self.pages.first_id_if_any() if late_us > _LATE_US and self.pages.by_id else None
        if first is not None and first < piece.id[0]:
            yield from self._between(first, int(piece.id[0]))

    def _without_holes(self, piece: Trades, last: int) -> Iterator[Trades]:
        if not self.file.layout.ids_are_contiguous:
            yield piece
            return
        ids = np.concatenate(([last if last >= 0 else piece.id[0]], piece.id))
        steps = np.diff(ids)
        if (steps < 0).any():
            raise OutOfOrder(f"{self.file.stem}: ids descend")
        done = 0
        for at in np.flatnonzero(steps > 1).tolist():
            yield piece[done:at]
            yield from self._between(int(ids[at]) + 1, int(ids[at + 1]))
            done = at
        yield piece[done:]

    def _between(self, first: int, stop: int) -> Iterator[Trades]:
        self._holes += 1
        had = 0
        if self.pages.by_id:
            if self._holes > _MOST_HOLES:
                where = f"it lacks rows in over {_MOST_HOLES} places"
                raise Damaged(self.file.stem, where, b"")
            for page in self.pages.between(first, stop):
                had += len(page)
                yield page
        self.lacking += stop - first - had

    def _after(self, last: int, silent_us: int) -> Iterator[Trades]:
        if self.pages.by_id:
            until = 1 << 62
            for page in self.pages.between(last + 1, until):
                within = page.within(0, 1000 * self.pages.asked.end_ms)
                if len(within):
                    yield within
                if len(within) < len(page):
                    return
            if not self.pages.refusal:
                return
        minutes = silent_us // 60_000_000
        lasting = f"{minutes // 60} h {minutes % 60} min"
        self.notes.append(f"{self.file.stem}.zip has no row of the day's last {lasting}")


@dataclass(slots=True)
class _End:
    """How long nothing was traded before the end, beside the longest time within the file."""

    end_us: int
    last_us: int = -1
    longest_us: int = 0

    def see(self, piece: Trades) -> None:
        """The next rows."""
        times = piece.time_us
        if self.last_us >= 0:
            times = np.concatenate(([self.last_us], times))
        if times.size > 1:
            self.longest_us = max(self.longest_us, int(np.diff(times).max()))
        self.last_us = int(times.max())

    @property
    def silent_us(self) -> int:
        """0 if that is as quiet as usual."""
        silent_us = self.end_us - self.last_us
        return silent_us if silent_us > max(_QUIET_US, 2 * self.longest_us) else 0
