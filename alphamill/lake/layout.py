"""Where things lie in the lake: keys are relative paths, checked, with hive partitions.

`klines/market=spot/interval=1h/symbol=BTCUSDT/2021-04.parquet`, the same under `features/`;
`premium/`, `mark/` and `index/` like klines; `funding/market=um/symbol=BTCUSDT/2021-04.parquet`
and the same under `metrics/`, which are of one interval; and `runs/run=ID/NAME`. A bar of one month
is spelled 1mo, as in Binance's archive: 1M and 1m would be one folder on a file system that ignores
case. A symbol stands there as the exchange spells it, in whatever script.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from alphamill.frames import (
    FUNDING,
    KLINES,
    METRICS,
    PRICES,
    Interval,
    Market,
    Month,
    is_letter_or_number,
    is_symbol,
    times_ms,
)

_SEGMENT = re.compile(r"[\w=][\w=.\-]*")
_SEGMENT_BYTES = 217  # of the 255 that file systems take; a local writer's own name adds 38
_IDENTITY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}")
_MONTH_FILE = re.compile(r"(\d{4}-(?:0[1-9]|1[0-2]))\.parquet")
_FOLDER = re.compile(r"\w+/market=(\w+)/interval=(\w+)/symbol=(\w+)/")


def checked_key(key: str) -> str:
    """The key itself. ValueError for anything but plain relative segments: no "..", no hidden.

    A segment is made of letters and numbers of any script, in Unicode's NFC, and of _ = . and -; it
    is at most 217 bytes long.
    """
    if not all(map(_is_segment, key.split("/"))):
        raise ValueError(f"not a key of the lake: {key!r}")
    return key


def _is_segment(text: str) -> bool:
    return (
        _SEGMENT.fullmatch(text) is not None
        and (text.isascii() or _is_plain(text))
        and len(text.encode()) <= _SEGMENT_BYTES
    )


def _is_plain(text: str) -> bool:
    plain = all(char in "_=.-" or is_letter_or_number(char) for char in text)
    return plain and unicodedata.is_normalized("NFC", text)


def _ascends(table: pa.Table) -> bool:
    """Whether every row of a month is later than the one before."""
    return bool((np.diff(times_ms(table)) > 0).all())


@dataclass(frozen=True, slots=True, order=True)
class Series:
    """One symbol at one interval on one market: a folder of months of KLINES."""

    kind: ClassVar[str] = "klines"
    schema: ClassVar[pa.Schema] = KLINES
    in_order = staticmethod(_ascends)

    market: Market
    symbol: str
    interval: Interval

    def __post_init__(self) -> None:
        if not is_symbol(self.symbol):
            raise ValueError(f"not a symbol: {self.symbol!r}")

    def folder(self, kind: str) -> str:
        """The key prefix of `kind` ("klines", "features"), without a slash at its end."""
        interval = "1mo" if self.interval is Interval.MO1 else self.interval.value
        market = f"market={self.market.value}"
        top = _top(self.kind, kind)
        return checked_key(f"{top}/{market}/interval={interval}/symbol={self.symbol}")

    def key(self, kind: str, month: Month) -> str:
        """The key of one month's file."""
        return checked_key(f"{self.folder(kind)}/{month}.parquet")


@dataclass(frozen=True, slots=True, order=True)
class PremiumSeries(Series):
    """One contract's premium index at one interval: a folder of months of PRICES."""

    kind: ClassVar[str] = "premium"
    schema: ClassVar[pa.Schema] = PRICES


@dataclass(frozen=True, slots=True, order=True)
class MarkSeries(Series):
    """One contract's mark price at one interval: a folder of months of PRICES."""

    kind: ClassVar[str] = "mark"
    schema: ClassVar[pa.Schema] = PRICES


@dataclass(frozen=True, slots=True, order=True)
class IndexSeries(Series):
    """The index of spot prices under one contract: a folder of months of PRICES."""

    kind: ClassVar[str] = "index"
    schema: ClassVar[pa.Schema] = PRICES


@dataclass(frozen=True, slots=True, order=True)
class _ContractSeries:
    """Of one futures contract, whatever the interval of bars."""

    kind: ClassVar[str]
    schema: ClassVar[pa.Schema]
    in_order = staticmethod(_ascends)

    market: Market
    symbol: str

    def __post_init__(self) -> None:
        if not is_symbol(self.symbol) or not self.market.has_funding:
            raise ValueError(f"no {self.kind} of {self.symbol!r} on {self.market}")

    def folder(self, kind: str) -> str:
        """The key prefix of `kind` ("funding", "quarantine"), without a slash at its end."""
        top = _top(self.kind, kind)
        return checked_key(f"{top}/market={self.market.value}/symbol={self.symbol}")

    def key(self, kind: str, month: Month) -> str:
        """The key of one month's file."""
        return checked_key(f"{self.folder(kind)}/{month}.parquet")


@dataclass(frozen=True, slots=True, order=True)
class FundingSeries(_ContractSeries):
    """One perpetual contract: a folder of months of FUNDING, whatever the interval of bars."""

    kind: ClassVar[str] = "funding"
    schema: ClassVar[pa.Schema] = FUNDING

    @staticmethod
    def in_order(table: pa.Table) -> bool:
        """Whether every row is later than the one before, or of its time and another kind."""
        kinds = table["rate_type"].fill_null("").to_pylist()
        keys = zip(times_ms(table).tolist(), kinds, strict=True)
        return all(one < other for one, other in itertools.pairwise(keys))


@dataclass(frozen=True, slots=True, order=True)
class MetricsSeries(_ContractSeries):
    """One futures contract: a folder of months of METRICS, which are of five minutes."""

    kind: ClassVar[str] = "metrics"
    schema: ClassVar[pa.Schema] = METRICS


def _top(of: str, kind: str) -> str:
    """The first folder of what belongs to data of a kind: its own, or `corrections_mark`.

    Bars and what is named as they are would meet otherwise, and readers of hive partitions refuse a
    folder whose paths name different columns.
    """
    beside = of not in (kind, "klines") and (of, kind) != ("funding", "quarantine")
    return f"{kind}_{of}" if beside else kind


AnySeries = Series | FundingSeries | MetricsSeries
"""Of any kind of data."""


def run_key(run_id: str, name: str) -> str:
    """The key of a file of one run: `run_key("mine-1f2e", "trials.parquet")`."""
    if _IDENTITY.fullmatch(run_id) is None:
        raise ValueError(f"not a run's id: {run_id!r}")
    return checked_key(f"runs/run={run_id}/{name}")


def stated_in(key: str) -> dict[str, str]:
    """What a key states of every row of its file, by column: {"run": "mine-1f2e", "round": "0"}.

    Readers of hive partitions make columns of it, and many refuse, or overwrite, a column that is
    in the file too.
    """
    folders = (segment.partition("=") for segment in key.split("/")[:-1])
    return {name: value for name, equals, value in folders if equals}


def month_of(key: str) -> Month | None:
    """The month that a file is named for, or None for any other file."""
    match = _MONTH_FILE.fullmatch(key.rsplit("/", 1)[-1])
    return Month.parse(match[1]) if match else None


def series_of(key: str) -> Series | None:
    """The series that a file belongs to, or None for one that lies elsewhere."""
    match = _FOLDER.match(key)
    if match is None:
        return None
    try:
        interval = Interval.MO1 if match[2] == "1mo" else Interval(match[2])
        return Series(Market(match[1]), match[3], interval)
    except ValueError:
        return None
