"""The master list in the lake, a file a day that it was asked for, so that it works offline.

`symbols/market=spot/date=2026-12-01/symbols.parquet`; the newest is the one that counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime

import pyarrow as pa

from alphamill.frames import Market, Month
from alphamill.lake import Lake
from alphamill.market.kinds import Kind
from alphamill.universe.master_list import Listed

_DAY = pa.timestamp("ms", tz="UTC")
SYMBOLS = pa.schema(
    [
        ("symbol", pa.string()),
        ("base", pa.string()),
        ("quote", pa.string()),
        ("status", pa.string()),
        ("contract_type", pa.string()),
        ("underlying_type", pa.string()),
        ("kinds", pa.string()),  # separated by commas; "" of a coin
        ("first_month", pa.string()),  # "2021-04"
        ("last_month", pa.string()),
        ("first_day", _DAY),
        ("last_day", _DAY),
    ]
)
_DATED = re.compile(r".*/date=(\d{4}-\d{2}-\d{2})/symbols\.parquet")


@dataclass(frozen=True, slots=True)
class MasterList:
    """Every symbol of a market, as it was known on a day."""

    market: Market
    on: date
    symbols: tuple[Listed, ...]


def write_master_list(lake: Lake, listed: MasterList) -> str:
    """Put it in place; the key. One of the same day is replaced."""
    columns = {
        "symbol": [one.symbol for one in listed.symbols],
        "base": [one.base for one in listed.symbols],
        "quote": [one.quote for one in listed.symbols],
        "status": [one.status for one in listed.symbols],
        "contract_type": [one.contract_type for one in listed.symbols],
        "underlying_type": [one.underlying_type for one in listed.symbols],
        "kinds": [",".join(one.kinds) for one in listed.symbols],
        "first_month": [None if one.first is None else str(one.first) for one in listed.symbols],
        "last_month": [None if one.last is None else str(one.last) for one in listed.symbols],
        "first_day": _moments(one.first_day_ms for one in listed.symbols),
        "last_day": _moments(one.last_day_ms for one in listed.symbols),
    }
    key = f"{_folder(listed.market)}/date={listed.on.isoformat()}/symbols.parquet"
    lake.write(key, pa.table(columns, SYMBOLS), {})
    return key


def read_master_list(lake: Lake, market: Market) -> MasterList | None:
    """The newest, or None. Raises Unreadable for a damaged file."""
    keys = [match for key in lake.list(_folder(market)) if (match := _DATED.fullmatch(key))]
    if not keys:
        return None
    newest = max(keys, key=lambda match: match[1])
    rows = lake.read(newest[0], SYMBOLS.names).to_pylist()
    return MasterList(market, date.fromisoformat(newest[1]), tuple(map(_listed, rows)))


def _folder(market: Market) -> str:
    return f"symbols/market={market.value}"


def _listed(row: dict[str, object]) -> Listed:
    kinds = tuple(Kind(name) for name in str(row["kinds"]).split(",") if name in tuple(Kind))
    return Listed(
        str(row["symbol"]),
        str(row["base"]),
        str(row["quote"]),
        str(row["status"]),
        str(row["contract_type"]),
        str(row["underlying_type"]),
        kinds,
        _month(row["first_month"]),
        _month(row["last_month"]),
        _ms(row["first_day"]),
        _ms(row["last_day"]),
    )


def _month(text: object) -> Month | None:
    return None if text is None else Month.parse(str(text))


def _ms(moment: object) -> int | None:
    return round(moment.timestamp() * 1000) if isinstance(moment, datetime) else None


def _moments(times_ms: Iterable[int | None]) -> list[datetime | None]:
    return [None if one is None else datetime.fromtimestamp(one / 1000, UTC) for one in times_ms]
