"""From data to pixels, and ticks that people can read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import Month, months_between

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
_LETTERS = ((1e9, "B"), (1e6, "M"), (1e3, "k"))
_DAY_MS = 86_400_000
_MONTHS = (1, 2, 3, 6, 12, 24, 36, 60, 120)
_DAYS = (1, 2, 5, 10, 20)


@dataclass(frozen=True, slots=True)
class Scale:
    """A stretch of data on a stretch of pixels. log: a decade is as long as any other."""

    low: float
    high: float
    low_px: float
    high_px: float
    log: bool = False

    def __call__(self, values: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """Pixels; what lies outside is drawn at the edge."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        inside = np.clip(np.asarray(values, dtype=np.float64), self.low, self.high)
        part = ((np.log(inside) if self.log else inside) - low) / (high - low)
        return self.low_px + part * (self.high_px - self.low_px)

    def px(self, value: float) -> float:
        """One value's pixel."""
        return float(self(value))


@dataclass(frozen=True, slots=True)
class Tick:
    """at: pixels along its axis."""

    at: float
    text: str


def widened(values: NDArray[np.float64], *, zero: bool = False, room: float = 0.06) -> list[float]:
    """Least and largest finite value with some room around; never of no length.

    zero: 0 belongs to it.
    """
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    spread = (high - low) or abs(high) or 1.0
    return [low - room * spread * (low != 0), high + room * spread * (high != 0 or low == 0)]


def linear_ticks(scale: Scale, most: int = 5) -> list[Tick]:
    """At most so many round values, with as many decimals as tell them apart."""
    values = round_values(scale.low, scale.high, most)
    return [Tick(scale.px(value), text) for value, text in zip(values, worded(values), strict=True)]


def round_values(low: float, high: float, most: int) -> list[float]:
    """Multiples of 1, 2, 2.5 or 5 times a power of ten within [low, high]."""
    raw = (high - low) / max(most, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    for step in (power * factor for factor in _STEPS):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [number * step for number in range(first, last + 1)]
    return []


def worded(values: Sequence[float]) -> list[str]:
    """Values of an axis, each with the same decimals; large ones in thousands or millions."""
    largest = max(map(abs, values), default=0.0)
    size, letter = next(((s, word) for s, word in _LETTERS if largest >= 10 * s), (1.0, ""))
    scaled = [value / size for value in values]
    decimals = next((d for d in range(9) if _told_apart(scaled, d)), 9)
    return [_signless(f"{value:,.{decimals}f}") + (letter if value else "") for value in scaled]


def _told_apart(values: Sequence[float], decimals: int) -> bool:
    return all(abs(round(value, decimals) - value) <= 1e-6 * (abs(value) or 1) for value in values)


def _signless(text: str) -> str:
    """A minus sign as wide as the digits, and none before nought."""
    bare = text.removeprefix("-")
    return bare if not bare.strip("0.,") or bare == text else f"−{bare}"


def log_ticks(scale: Scale, most: int = 5) -> list[Tick]:
    """Powers of ten, with 2 and 5 between them where there is room."""
    powers = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
    for leads in ((1, 2, 3, 4, 5, 6, 8), (1, 2, 5), (1, 3), (1,)):
        values = [lead * 10.0**power for power in powers for lead in leads]
        inside = [value for value in values if scale.low <= value <= scale.high]
        if len(inside) <= most:
            break
    else:
        inside = inside[:: math.ceil(len(inside) / most)]
    return [Tick(scale.px(value), worded([value])[0]) for value in inside]


def time_ticks(scale: Scale, most: int = 6) -> list[Tick]:
    """Firsts of months or years, or days within one month; scale in UTC milliseconds."""
    days = (scale.high - scale.low) / _DAY_MS
    for months in _MONTHS:
        if days / (30.44 * months) <= most and days > 45:
            return _months(scale, months)
    step = next((step for step in _DAYS if days / step <= most), _DAYS[-1])
    first = math.ceil(scale.low / _DAY_MS)
    whole = range(first, math.floor(scale.high / _DAY_MS) + 1)
    moments = [(day * _DAY_MS, datetime.fromtimestamp(day * 86_400, UTC)) for day in whole[::step]]
    return [Tick(scale.px(at), f"{moment.day} {moment:%b}") for at, moment in moments]


def _months(scale: Scale, step: int) -> list[Tick]:
    """Every so many months, counted from January; a January is worded as its year."""
    last = Month.of_ms(int(scale.high)).next()
    months = [
        month
        for month in months_between(int(scale.low), last.start_ms)
        if scale.low <= month.start_ms <= scale.high
        and (12 * month.year + month.month - 1) % step == 0
    ]
    named = any(month.month == 1 for month in months)
    return [
        Tick(scale.px(month.start_ms), _worded(month, with_year=not (at or named)))
        for at, month in enumerate(months)
    ]


def _worded(month: Month, *, with_year: bool) -> str:
    words = "%Y" if month.month == 1 else "%b %Y" if with_year else "%b"
    return f"{datetime(month.year, month.month, 1, tzinfo=UTC):{words}}"
