"""A day's pages of the exchange's API, in the lake until the bars that are made of them are.

A busy day of spot is thousands of pages, which the exchange's limit hands out over many minutes. So
what was read is kept, and the job's next attempt goes on behind it: after a kill, after a limit or
a failure that sent it back to the queue, or because this attempt had been at it long enough and
made room for others.

`pages/market=spot/source=aggTrades/symbol=BTCUSDT/2024-01-02/FROM.part`: rows from the first id
that the exchange was asked for, which is the name, to the last that is in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pyarrow as pa

from alphamill.bars import Trades
from alphamill.bars.trades import join
from alphamill.clock import Clock
from alphamill.errors import RetryLater
from alphamill.lake import Lake, Unreadable
from alphamill.lake.days import DaySeries

_ROWS = 100_000  # of a file, of pages of a thousand: what a kill costs at most
_LONGEST_S = 240.0  # of one attempt, while other jobs of its queue wait
_DECIMALS = ("quantity_decimals", "quote_decimals")
_COLUMNS = tuple(one.name for one in fields(Trades) if one.name not in _DECIMALS)


class KeptPages:
    """Of the day of a series that holds `time_ms`; for one attempt at it."""

    def __init__(self, lake: Lake, series: DaySeries, time_ms: int, clock: Clock) -> None:
        self._lake = lake
        self._clock = clock
        self._folder = series.key(time_ms).removesuffix(".parquet").replace("trades/", "pages/", 1)
        self._began_s = clock.monotonic_s()
        self._next = -1  # the id that the next page is asked for with
        self._pending: list[Trades] = []

    def held(self, first: int) -> Iterator[Trades]:
        """What earlier attempts had from that id on, without a break."""
        self._next = first
        while (rows := self._load(self._next)) is not None:
            self._next = int(rows.id[-1]) + 1
            yield rows

    def flush(self) -> None:
        """All that this attempt has read, though it ends before its time."""
        if self._pending:
            self._put()

    def keep(self, page: Trades) -> None:
        """The page behind what was there so far.

        Raises RetryLater, which costs the job no attempt, where this one has lasted long enough.
        """
        if self._pending and _decimals(self._pending[0]) != _decimals(page):
            self.flush()
        self._pending.append(page)
        if sum(map(len, self._pending)) < _ROWS:
            return
        self._put()
        if self._clock.monotonic_s() - self._began_s >= _LONGEST_S:
            raise RetryLater(f"read up to id {self._next - 1}; goes on from there", 0.0, False)

    def drop(self) -> None:
        """All of the day: its bars are in the lake."""
        for key in self._lake.list(self._folder):
            self._lake.delete(key)

    def _put(self) -> None:
        rows, self._pending = join(self._pending), []
        columns = {name: getattr(rows, name) for name in _COLUMNS}
        there = {name: column for name, column in columns.items() if column is not None}
        stated = dict(zip(_DECIMALS, map(str, _decimals(rows)), strict=True))
        self._lake.write(self._key(self._next), pa.table(there), stated)
        self._next = int(rows.id[-1]) + 1

    def _load(self, first: int) -> Trades | None:
        """None where there is no such file, or none that can be used: it is asked for again."""
        try:
            table, stated = self._lake.load(self._key(first))
            there = [name for name in _COLUMNS if name in table.column_names]
            columns: dict[str, Any] = {name: np.array(table[name]) for name in there}
            columns |= {name: int(stated[name]) for name in _DECIMALS}
            rows = Trades(**columns)
        except (FileNotFoundError, Unreadable, KeyError, ValueError, TypeError):
            return None
        return rows if len(rows) and rows.id[0] >= first else None

    def _key(self, first: int) -> str:
        return f"{self._folder}/{first:020d}.part"


def _decimals(rows: Trades) -> tuple[int, int]:
    return rows.quantity_decimals, rows.quote_decimals
