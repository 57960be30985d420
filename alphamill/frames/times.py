"""Stretches of time in UTC epoch milliseconds, and the months that partition them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime


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
