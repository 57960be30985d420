"""The archive's files of funding: one a symbol and month, on futures only; there are no daily ones.

Source: data.binance.vision, futures/{um,cm}/monthly/fundingRate: calc_time, the hours since the
settlement before, and the rate. No file says of what kind a rate is, so that the month of the first
Special rates on USD-M and all later ones are not read from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from alphamill.frames import FUNDING, Market, Month, TimeRange, is_symbol, times_ms, union
from alphamill.market.archive import MARKET_FOLDERS
from alphamill.market.archive_zip import only_csv
from alphamill.market.funding.parse import LONGEST_MS, MINUTE_MS, funding_rows, settled_ms

FUNDING_FILE = pa.schema([*FUNDING, pa.field("interval_hours", pa.int64(), nullable=False)])
_HOUR_MS = 3_600_000
_FIELDS = 3


@dataclass(frozen=True, slots=True)
class FundingFile:
    """A month of settlements. ValueError for a symbol that cannot be in a path, and for spot."""

    market: Market
    symbol: str
    month: Month

    def __post_init__(self) -> None:
        if not is_symbol(self.symbol) or not self.market.has_funding:
            raise ValueError(f"no funding of {self.symbol!r} on {self.market}")

    @property
    def stem(self) -> str:
        """As BTCUSDT-fundingRate-2021-04."""
        return f"{self.symbol}-fundingRate-{self.month}"

    @property
    def path(self) -> str:
        """Below the archive's URL, without a slash before it."""
        folder = f"data/{MARKET_FOLDERS[self.market]}/monthly/fundingRate"
        return f"{folder}/{self.symbol}/{self.stem}.zip"

    @property
    def source(self) -> Literal["archive-monthly"]:
        """As the lake records it."""
        return "archive-monthly"

    def parse(self, content: bytes) -> pa.Table:
        """FUNDING_FILE of a verified zip. Raises ValueError, in words, for anything else."""
        table = parse_funding_csv(only_csv(content, f"{self.stem}.csv"))
        times = times_ms(table)
        # A settlement of the month's first instant may be stamped a little before it.
        early_ms = self.month.start_ms - MINUTE_MS // 2
        if times.size and not (early_ms <= times[0] and times[-1] < self.month.end_ms):
            raise ValueError("it holds settlements from outside its month")
        return table


def parse_funding_csv(text: bytes) -> pa.Table:
    """FUNDING_FILE of a CSV with or without a header row, which is told by its first byte.

    Rows are as they stand there, also several of one instant. Raises ValueError for anything
    malformed.
    """
    lines = text.decode("ascii").splitlines()
    if text[:1].isalpha():
        lines = lines[1:]
    rows = [line.split(",") for line in lines]
    if any(len(row) < _FIELDS for row in rows):
        raise ValueError("its CSV has rows of too few fields")
    hours = np.array([int(row[1]) for row in rows], dtype=np.int64)
    table = funding_rows([int(row[0]) for row in rows], [float(row[2]) for row in rows])
    if (hours < 0).any():
        raise ValueError("its CSV has settlements less than no hours apart")
    order = np.argsort([int(row[0]) for row in rows], kind="stable")
    return table.append_column(FUNDING_FILE.field("interval_hours"), pa.array(hours[order]))


def holes(table: pa.Table, asked: TimeRange) -> list[TimeRange]:
    """Stretches of `asked` of which a file of settlements cannot say what was paid, in order.

    Where it may lack one: longer than what either settlement beside states as its interval. And
    instants of several rows, which may be payments or repeats. `table` has rows.
    """
    times = times_ms(table)
    hours = table["interval_hours"].to_numpy()
    allowed = np.where(hours > 0, hours * _HOUR_MS, LONGEST_MS) + MINUTE_MS
    # A stretch reaches from one settlement, or the start, to the next, or the end.
    opens = np.concatenate(([asked.start_ms], times + 1))
    closes = np.concatenate((times, [asked.end_ms]))
    most = np.maximum(np.concatenate((allowed[:1], allowed)), np.append(allowed, allowed[-1]))
    most[0] -= 2 * MINUTE_MS  # the settlement before the first is a row too, unless it was earlier
    found = np.flatnonzero(closes - opens > most)
    lacking = [TimeRange(int(opens[at]), int(closes[at])) for at in found]
    minutes, rows = np.unique(settled_ms(times), return_counts=True)
    half = MINUTE_MS // 2
    several = [TimeRange(at - half, at + half) for at in minutes[rows > 1].tolist()]
    return union([*lacking, *several])
