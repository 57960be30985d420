"""A factor's sheet laid end to end, and what its plots over time have in common."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from alphamill.evaluation import Segment, default_lags, newey_west_t
from alphamill.evaluation.correlation import mean_ic
from alphamill.evaluation.score import LAGS_PER_HORIZON
from alphamill.frames import FloatArray, Month, months_between
from alphamill.report.plots.figures import STRIP, TOP, Panel, across, panel
from alphamill.report.plots.scales import Scale
from alphamill.runs.figures import Measures

if TYPE_CHECKING:
    from alphamill.report.factor.tear_sheet import TearSheet

DAY_MS = 86_400_000
FIRST = TOP + STRIP  # where the first panel over time begins: segments are named above it
WIDE = 1.96  # of a normal: 95 %
_LEAST = 8  # values, below which a mean has no interval worth drawing


class Axes:
    """The ranges of y by name, so that two factors can be drawn on the same.

    Made of others, it holds what all of them need.
    """

    def __init__(self, *others: Axes) -> None:
        self.ranges: dict[str, tuple[float, float]] = {}
        self.flags: set[str] = set()
        for other in others:
            self.flags |= other.flags
            for name, found in other.ranges.items():
                self.of(name, found)

    def of(self, name: str, wanted: Sequence[float]) -> tuple[float, float]:
        """The range wanted, as wide as it was wanted before under that name."""
        low, high = self.ranges.get(name, (wanted[0], wanted[1]))
        self.ranges[name] = (min(low, wanted[0]), max(high, wanted[1]))
        return self.ranges[name]

    def flag(self, name: str, wanted: bool) -> bool:
        """Whether it is wanted, or was wanted before under that name."""
        if wanted:
            self.flags.add(name)
        return name in self.flags


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sheet with its pieces laid end to end; all as float64, times in UTC ms."""

    sheet: TearSheet
    axes: Axes
    ends_ms: FloatArray  # of scored bars
    ic: FloatArray
    held_ms: FloatArray  # of the book's bars
    gross: FloatArray
    net: FloatArray
    turnover: FloatArray  # one way
    room: FloatArray
    funding: FloatArray

    @classmethod
    def of(cls, sheet: TearSheet, axes: Axes) -> Drawn:
        books = [piece.series.book for piece in sheet.pieces]
        return cls(
            sheet,
            axes,
            np.concatenate([piece.ends_ms for piece in sheet.pieces]),
            np.concatenate([piece.series.correlations for piece in sheet.pieces]),
            np.concatenate([piece.held_ms for piece in sheet.pieces]),
            np.concatenate([book.gross for book in books]),
            np.concatenate([book.net for book in books]),
            np.concatenate([0.5 * book.traded for book in books]),
            np.concatenate([book.room for book in books]),
            np.concatenate([book.funding for book in books]),
        )

    @property
    def word(self) -> str:
        """What is measured: IC, or what stands in for it without a cross-section."""
        return "rank correlation" if self.sheet.in_time else "IC"

    @property
    def decay(self) -> str:
        """What that is called as the horizon grows."""
        return "Decay" if self.sheet.in_time else "IC decay"

    @property
    def held_for(self) -> str:
        """The horizon in words."""
        bars, interval = self.sheet.horizon_bars, self.sheet.subject.interval
        return f"{bars} {'bar' if bars == 1 else 'bars'} of {interval}"

    @property
    def window(self) -> int:
        """Bars of a rolling figure: 30 days, or an eighth of what there is if that is less."""
        month = round(30 * DAY_MS / self.sheet.subject.interval.ms)
        return max(2 * _LEAST, min(month, len(self.ends_ms) // 8))

    def long(self, bars: int) -> str:
        """How long so many bars are."""
        days = bars * self.sheet.subject.interval.ms / DAY_MS
        return f"{days:.0f} days" if days >= 2 else f"{bars} bars"

    def time(self) -> Scale:
        """All of the run's time, what is sealed too."""
        spans = self.sheet.spans.values()
        return across(min(start for start, _ in spans), max(end for _, end in spans))

    def over_time(
        self,
        name: str,
        y: Sequence[float],
        unit: str,
        top: float,
        height: float,
        *,
        log: bool = False,
    ) -> Panel:
        """A panel over time with the segments behind it, named on the first of a figure."""
        made = panel(self.time(), self.axes.of(name, y), unit, top, height, log=log)
        self.shade(made, named=top == FIRST)
        return made

    def shade(self, made: Panel, *, named: bool) -> None:
        """The segments behind a panel over time; what is sealed is hatched and has no line."""
        for segment, (start, end) in self.sheet.spans.items():
            shut = segment in self.sheet.sealed
            text = f"{segment}{', sealed' if shut else ''}"
            shown = text if named and segment is not Segment.WHOLE else ""
            made.shade(start, end, "sealed" if shut else f"segment {segment}", shown)

    def coin(self, symbol: str) -> str:
        """A symbol without the quote currency that all of them have."""
        symbols = self.sheet.symbols
        for quote in ("USDT", "USDC", "BUSD", "FDUSD", "USD_PERP", "USD", "BTC"):
            if all(one.endswith(quote) and one != quote for one in symbols):
                return symbol.removesuffix(quote)
        return symbol

    @property
    def named(self) -> str:
        """The segments that figures of record are of: "discovery / validation / holdout"."""
        return " / ".join(
            "the whole range" if segment is Segment.WHOLE else segment
            for segment in self.sheet.subject.figures
        )

    def of_record(self, say: Callable[[Measures], str]) -> str:
        """A figure of each of them, as the verdict has it: "+0.031 / +0.028 / +0.030"."""
        return " / ".join(say(one) for one in self.sheet.subject.figures.values())


def mean_and_error(ic: FloatArray, horizon_bars: int) -> tuple[float, float]:
    """Mean and its Newey-West error, with the lags of a Score; NaN where it cannot be had."""
    known = ic[np.isfinite(ic)]
    mean = mean_ic(known)
    if len(known) < _LEAST:
        return mean, math.nan
    t = newey_west_t(known, default_lags(len(known), LAGS_PER_HORIZON * horizon_bars))
    return mean, abs(mean / t) if t else math.nan


def grouped(
    ic: FloatArray, slots: NDArray[np.int64], overlap: float
) -> list[tuple[int, float, float, int]]:
    """(slot, mean, error, bars) of each slot. overlap: of its labels that share time, or 1."""
    found = []
    for slot in np.unique(slots):
        own = ic[slots == slot]
        own = own[np.isfinite(own)]
        error = math.nan
        if len(own) >= _LEAST:
            error = float(own.std(ddof=1)) * math.sqrt(overlap / len(own))
        found.append((int(slot), mean_ic(own), error, len(own)))
    return found


def means(series: FloatArray, window: int) -> FloatArray:
    """Mean of each `window` values in a row: one less than that fewer."""
    total = np.cumsum(np.concatenate(([0.0], series)))
    mean: FloatArray = (total[window:] - total[:-window]) / window
    return mean


def rolling(ic: FloatArray, window: int, horizon_bars: int) -> tuple[FloatArray, FloatArray]:
    """Rolling mean and half of its 95 % interval.

    The error of each window is its own spread, widened by what the overlap of labels costs over the
    whole series: the ratio of the Newey-West error to the plain one.
    """
    centre = means(ic, window)
    spread = np.sqrt(np.maximum(means(ic**2, window) - centre**2, 0.0) / window)
    _, error = mean_and_error(ic, horizon_bars)
    plain = float(ic.std()) / math.sqrt(len(ic))
    wider = error / plain if plain > 0 and math.isfinite(error) else 1.0
    return centre, WIDE * wider * spread


def by_month(times_ms: FloatArray) -> Iterator[tuple[str, slice]]:
    """(2024-01, its rows) of ascending times; a bar belongs to the month in which it began."""
    if len(times_ms):
        for month in months_between(int(times_ms[0]) - 1, int(times_ms[-1])):
            rows = within(times_ms, month.start_ms, month.end_ms)
            if rows.stop > rows.start:
                yield str(month), rows


def within(times_ms: FloatArray, start_ms: int, end_ms: int) -> slice:
    """Rows whose time, an end, lies in (start, end]."""
    first, last = np.searchsorted(times_ms, [start_ms, end_ms], side="right")
    return slice(int(first), int(last))


def periods(times_ms: FloatArray) -> tuple[str, list[tuple[str, slice]]]:
    """Years, or quarters below three years, or months below one: the unit, and (name, rows)."""
    days = (times_ms[-1] - times_ms[0]) / DAY_MS
    months = list(by_month(times_ms))
    if days < 365:
        return "month", [(_short(name), rows) for name, rows in months]
    named: dict[str, list[slice]] = {}
    quarters = days < 3 * 364
    for name, rows in months:
        month = Month.parse(name)
        quarter = f"Q{(month.month + 2) // 3} {month.year % 100:02d}"
        named.setdefault(quarter if quarters else str(month.year), []).append(rows)
    return "quarter" if quarters else "year", [
        (name, slice(parts[0].start, parts[-1].stop)) for name, parts in named.items()
    ]


def _short(month: str) -> str:
    return f"{datetime.strptime(month, '%Y-%m').replace(tzinfo=UTC):%b %y}"


def bounds(found: Sequence[tuple[float, float]]) -> FloatArray:
    """Both ends of each (mean, error)'s 95 % interval; the mean itself where it has none."""
    ends = [
        mean + side * WIDE * (error if math.isfinite(error) else 0.0)
        for mean, error in found
        for side in (-1, 1)
    ]
    return np.array(ends, dtype=np.float64)
