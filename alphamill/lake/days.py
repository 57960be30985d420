"""What trades are made into, a file a UTC day: bars of a rule, their flow, the trades themselves.

`bars/market=spot/rule=1000t/symbol=BTCUSDT/2024-01-02.parquet`, `flow/market=spot/interval=1m/...`,
`trades/market=spot/source=aggTrades/...`. Each file says which part of its day it answers for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pyarrow as pa

from alphamill.frames import Interval, Market, TimeRange, is_symbol
from alphamill.grid import DAY_MS
from alphamill.lake.layout import checked_key
from alphamill.lake.months import content_hash
from alphamill.lake.store import Lake, Unreadable

_FORMAT = "1"
_DAY_FILE = re.compile(r"(\d{4}-\d\d-\d\d)\.parquet")


@dataclass(frozen=True, slots=True, order=True)
class DaySeries:
    """A folder of days. ValueError for what cannot be in a path.

    of: what they are of, as a partition: "rule=1000t", "interval=1m", "source=trades".
    """

    kind: Literal["bars", "flow", "trades"]
    market: Market
    of: str
    symbol: str

    def __post_init__(self) -> None:
        if not is_symbol(self.symbol):
            raise ValueError(f"not a symbol: {self.symbol!r}")

    @classmethod
    def bars(cls, market: Market, rule: str, symbol: str) -> DaySeries:
        """Of a rule's one spelling; a `$` in it is a q in the path, which no shell takes apart."""
        return cls("bars", market, f"rule={rule.replace('$', 'q')}", symbol)

    @classmethod
    def flow(cls, market: Market, interval: Interval, symbol: str) -> DaySeries:
        """Of time bars that have the length of klines."""
        return cls("flow", market, f"interval={interval.value}", symbol)

    @classmethod
    def trades(cls, market: Market, source: str, symbol: str) -> DaySeries:
        """Of "trades" or "aggTrades"."""
        return cls("trades", market, f"source={source}", symbol)

    def folder(self, kind: str) -> str:
        """The key prefix of its own kind or of "quarantine", without a slash at its end."""
        if kind == "quarantine":
            kind = "quarantine_trades"  # the path of another has other folders
        market = f"market={self.market.value}"
        return checked_key(f"{kind}/{market}/{self.of}/symbol={self.symbol}")

    def key(self, time_ms: int) -> str:
        """The key of the file of the UTC day that holds `time_ms`."""
        day = datetime.fromtimestamp(time_ms // 1000, UTC).date().isoformat()
        return checked_key(f"{self.folder(self.kind)}/{day}.parquet")


@dataclass(frozen=True, slots=True)
class DayFacts:
    """What is known of a day of bars beyond its rows.

    asked: the part of the day of which all is in the file. source: "rest", "archive-monthly",
    "archive-daily", or several joined by "+". rows: what they were made of, "trades" or
    "aggTrades". details: plain values by
    name, such as what was wrong with the trades.
    """

    asked: TimeRange
    source: str
    rows: str
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_metadata(self) -> dict[str, str]:
        """As texts by name; `write_day` adds those of the rows."""
        return {
            "format": _FORMAT,
            "source": self.source,
            "of": self.rows,
            "asked_start_ms": str(self.asked.start_ms),
            "asked_end_ms": str(self.asked.end_ms),
            "details": json.dumps(dict(self.details), sort_keys=True),
        }


def write_day(lake: Lake, series: DaySeries, table: pa.Table, facts: DayFacts) -> str:
    """Put a day in place of what was there; the key."""
    key = series.key(facts.asked.start_ms)
    rows = {"rows": str(table.num_rows), "content_hash": content_hash(table)}
    lake.write(key, table, facts.to_metadata() | rows)
    return key


def day_facts(lake: Lake, series: DaySeries, time_ms: int) -> DayFacts | None:
    """Of the day that holds `time_ms`; None for no file, or one that cannot be read."""
    try:
        return _read(lake.metadata(series.key(time_ms)))
    except (FileNotFoundError, Unreadable, KeyError, ValueError, TypeError):
        return None


def _read(metadata: Mapping[str, str]) -> DayFacts:
    if metadata["format"] != _FORMAT:
        raise ValueError(f"format {metadata['format']}")
    asked = TimeRange(int(metadata["asked_start_ms"]), int(metadata["asked_end_ms"]))
    details = json.loads(metadata["details"])
    return DayFacts(asked, metadata["source"], metadata["of"], details)


def read_day(
    lake: Lake, series: DaySeries, time_ms: int, columns: Sequence[str] | None = None
) -> tuple[pa.Table, DayFacts] | None:
    """A day's rows, or some of their columns, and facts, of one version; None likewise."""
    try:
        table, metadata = lake.load(series.key(time_ms), columns)
        return table, _read(metadata)
    except (FileNotFoundError, Unreadable, KeyError, ValueError, TypeError):
        return None


def days_held(lake: Lake, series: DaySeries) -> list[int]:
    """The first milliseconds of the days that there are files of, in order."""
    found = (
        _DAY_FILE.fullmatch(key.rsplit("/", 1)[-1]) for key in lake.list(series.folder(series.kind))
    )
    days = [datetime.fromisoformat(name[1]).replace(tzinfo=UTC) for name in found if name]
    return sorted(int(day.timestamp()) * 1000 // DAY_MS * DAY_MS for day in days)
