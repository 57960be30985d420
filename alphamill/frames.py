"""The shapes of data that rooms hand to each other, each defined once.

KLINES  a pyarrow table of one symbol and interval, one row a closed bar, ascending `open_time`, no
        duplicates; missing bars are missing rows, never filled
FUNDING a pyarrow table of one perpetual contract, one row a payment, ascending `funding_time`: of
        one instant (see `market.funding.parse.settled_ms`) one of each kind, and all of them count
PANEL   fields -> float64 arrays (bars, symbols) on one regular time grid; a missing bar is NaN, and
        so is an infinity
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_TIME = pa.timestamp("ms", tz="UTC")

KLINES = pa.schema(
    [
        pa.field("open_time", _TIME, nullable=False),  # of the bar; on the exchange's grid
        pa.field("open", pa.float64()),  # prices: quote per base
        pa.field("high", pa.float64()),  # quote per base
        pa.field("low", pa.float64()),  # quote per base
        pa.field("close", pa.float64()),  # quote per base
        pa.field("volume", pa.float64()),  # base units; contracts on COIN-M
        pa.field("close_time", _TIME, nullable=False),  # its last millisecond
        pa.field("quote_volume", pa.float64()),  # quote units; base units on COIN-M
        pa.field("trades", pa.int64()),  # their number
        pa.field("taker_buy_base", pa.float64()),  # of volume, what takers bought
        pa.field("taker_buy_quote", pa.float64()),  # of quote_volume, what takers bought
    ]
)

FUNDING = pa.schema(
    [
        pa.field("funding_time", _TIME, nullable=False),  # as the exchange says: some ms off
        pa.field("funding_rate", pa.float64(), nullable=False),  # of the position; longs pay it
        pa.field("rate_type", pa.string()),  # "Regular", "Special"; null where the source is silent
    ]
)

KLINE_FIELDS = tuple(name for name in KLINES.names if name not in ("open_time", "close_time"))


def times_ms(table: pa.Table, column: str | int = 0) -> IntArray:
    """A time column, by default the first, as int64 UTC epoch milliseconds."""
    times: IntArray = table.column(column).cast(pa.int64()).to_numpy()
    return times


def rows_within(table: pa.Table, asked: TimeRange) -> pa.Table:
    """Rows of that time of a table whose first column is a time, ascending."""
    first, last = np.searchsorted(times_ms(table), [asked.start_ms, asked.end_ms])
    return table.slice(first, last - first)


class Market(StrEnum):
    """Binance's kline markets."""

    SPOT = "spot"
    USD_M = "um"
    COIN_M = "cm"

    @property
    def has_funding(self) -> bool:
        """Whether positions held there pay funding."""
        return self is not Market.SPOT


_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}


class Interval(StrEnum):
    """A bar's length, spelled as Binance spells it (case matters: 1m minute, 1M month)."""

    S1 = "1s"
    M1 = "1m"
    M3 = "3m"
    M5 = "5m"
    M15 = "15m"
    M30 = "30m"
    H1 = "1h"
    H2 = "2h"
    H4 = "4h"
    H6 = "6h"
    H8 = "8h"
    H12 = "12h"
    D1 = "1d"
    D3 = "3d"
    W1 = "1w"
    MO1 = "1M"

    @property
    def ms(self) -> int:
        """Milliseconds of a bar; a month, which varies, raises ValueError."""
        if self is Interval.MO1:
            raise ValueError("1M has no fixed length")
        return int(self[:-1]) * _UNIT_MS[self[-1]]

    @property
    def bars_per_year(self) -> float:
        """Bars in 365 days: crypto trades all day, every day."""
        return 12.0 if self is Interval.MO1 else 365 * _UNIT_MS["d"] / self.ms


_ASCII_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9_]{1,29}")
SYMBOL_SPELLING = "2 to 30 upper-case letters and numbers of any script, and _"
_SYMBOL_CHARS = range(2, 31)  # at most 120 bytes of UTF-8; the longest seen has 17 characters
# Letters with a case, without one and modifiers (the long vowel of kana); numbers.
_LETTERS_AND_NUMBERS = frozenset({"Lu", "Ll", "Lo", "Lm", "Nd", "Nl"})
_INVISIBLE = frozenset("\u115f\u1160")  # letters by category: fillers of Hangul


def is_letter_or_number(char: str) -> bool:
    """Whether one character of any script is a letter or a number that can be seen.

    An allow-list of Unicode categories: no mark, space, control, direction override, surrogate,
    punctuation or character that has not been assigned.
    """
    return unicodedata.category(char) in _LETTERS_AND_NUMBERS and char not in _INVISIBLE


def is_symbol(text: str) -> bool:
    """Whether `text` may be a symbol, and so a path segment and part of a URL.

    2 to 30 letters and numbers of any script, and underscores but for the first, as BTCUSDT and
    币安人生USDT. One spelling each: upper case where the script has case, so that the lower case
    of a stream's name leads back and no file system takes two for one, and Unicode's NFKC, so that
    none looks like another by width or composition.
    """
    if text.isascii():
        return _ASCII_SYMBOL.fullmatch(text) is not None
    return (
        len(text) in _SYMBOL_CHARS
        and not text.startswith("_")
        and all(char == "_" or is_letter_or_number(char) for char in text)
        and text.lower().upper() == text
        and unicodedata.is_normalized("NFKC", text)
    )


def symbol_meant(text: str) -> str | None:
    """The symbol that differs from `text` in case, width, composition or separators alone."""
    meant = unicodedata.normalize("NFKC", text).upper()
    meant = meant.replace("/", "").replace("-", "").strip()
    return meant if is_symbol(meant) else None


@dataclass(frozen=True, slots=True, order=True)
class Month:
    """A calendar month in UTC; the unit of a kline partition."""

    year: int
    month: int

    @classmethod
    def of_ms(cls, time_ms: int) -> Month:
        """The month that holds a UTC epoch millisecond."""
        moment = datetime.fromtimestamp(time_ms / 1000, UTC)
        return cls(moment.year, moment.month)

    @classmethod
    def parse(cls, text: str) -> Month:
        """From "2021-04"."""
        year, month = text.split("-")
        return cls(int(year), int(month))

    @property
    def start_ms(self) -> int:
        """First millisecond of the month."""
        return int(datetime(self.year, self.month, 1, tzinfo=UTC).timestamp() * 1000)

    @property
    def end_ms(self) -> int:
        """First millisecond of the next month."""
        return self.next().start_ms

    @property
    def range(self) -> TimeRange:
        """All of the month."""
        return TimeRange(self.start_ms, self.end_ms)

    def next(self) -> Month:
        """The month after this one."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


# From here on an instant of USD-M funding may have a Special payment beside the Regular one, and
# only the API says which is which; its rateType came on 2026-07-28.
SPECIAL_FUNDING_FROM = Month(2026, 7)


def months_between(start_ms: int, end_ms: int) -> list[Month]:
    """Months that touch [start_ms, end_ms), in order; empty if the range is."""
    months: list[Month] = []
    if start_ms < end_ms:
        month, last = Month.of_ms(start_ms), Month.of_ms(end_ms - 1)
        while month <= last:
            months.append(month)
            month = month.next()
    return months


@dataclass(frozen=True, slots=True)
class TimeRange:
    """UTC epoch milliseconds, start included, end excluded. ValueError if it ends before that."""

    start_ms: int
    end_ms: int

    def __post_init__(self) -> None:
        if self.end_ms < self.start_ms:
            raise ValueError(f"a range from {self.start_ms} that ends at {self.end_ms}")

    @property
    def length_ms(self) -> int:
        """How long it is; 0 if it is empty."""
        return self.end_ms - self.start_ms

    def touches(self, other: TimeRange) -> bool:
        """Whether the two overlap or adjoin."""
        return self.start_ms <= other.end_ms and other.start_ms <= self.end_ms

    def hull(self, other: TimeRange) -> TimeRange:
        """The least range that holds both."""
        return TimeRange(min(self.start_ms, other.start_ms), max(self.end_ms, other.end_ms))

    def within(self, other: TimeRange) -> TimeRange | None:
        """The part of it that lies in `other`, if there is one."""
        start_ms, end_ms = max(self.start_ms, other.start_ms), min(self.end_ms, other.end_ms)
        return TimeRange(start_ms, end_ms) if start_ms < end_ms else None

    def without(self, *others: TimeRange) -> list[TimeRange]:
        """What is left of it before, between and after the others, in order of time."""
        parts, start_ms = [], self.start_ms
        for other in sorted(others, key=lambda one: one.start_ms):
            if start_ms < min(self.end_ms, other.start_ms):
                parts.append(TimeRange(start_ms, min(self.end_ms, other.start_ms)))
            start_ms = max(start_ms, other.end_ms)
        if start_ms < self.end_ms:
            parts.append(TimeRange(start_ms, self.end_ms))
        return parts

    def by_month(self) -> Iterator[tuple[Month, TimeRange]]:
        """The months that it touches, in order, and its part of each."""
        for month in months_between(self.start_ms, self.end_ms):
            start_ms, end_ms = max(self.start_ms, month.start_ms), min(self.end_ms, month.end_ms)
            yield month, TimeRange(start_ms, end_ms)


def union(ranges: Iterable[TimeRange]) -> list[TimeRange]:
    """The ranges in order of time, those that overlap or adjoin made one."""
    found: list[TimeRange] = []
    for one in sorted(ranges, key=lambda one: one.start_ms):
        adjoins = found and found[-1].touches(one)
        found.append(found.pop().hull(one) if adjoins else one)
    return found


@dataclass(frozen=True, slots=True)
class BarSpan(TimeRange):
    """`bars` bars that follow each other: start_ms <= open time < end_ms."""

    bars: int


@dataclass(frozen=True, slots=True)
class Panel(Mapping[str, FloatArray]):
    """PANEL: all symbols on one regular grid of bars.

    times_ms: int64 (bars,), open times, UTC epoch milliseconds, a step of `interval` apart.
    symbols: the columns, in order.
    fields: name -> float64 (bars, symbols); NaN where the exchange has no bar. Finite or NaN: of
        an array that holds an infinity a copy without it is kept, of any other the array itself,
        which must not be given one afterwards.
    """

    interval: Interval
    times_ms: IntArray
    symbols: tuple[str, ...]
    fields: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        shape = (len(self.times_ms), len(self.symbols))
        for name, values in self.fields.items():
            if values.shape != shape or values.dtype != np.float64:
                raise ValueError(f"{name}: {values.dtype} {values.shape}, not float64 {shape}")
        kept = {name: _without_infinities(values) for name, values in self.fields.items()}
        object.__setattr__(self, "fields", kept)

    def __getitem__(self, name: str) -> FloatArray:
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def n_bars(self) -> int:
        """Rows of every field."""
        return len(self.times_ms)


def _without_infinities(values: FloatArray) -> FloatArray:
    infinite = np.isinf(values)
    return np.where(infinite, np.nan, values) if infinite.any() else values
