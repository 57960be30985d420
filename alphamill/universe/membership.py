"""Who belongs in which month: a rule over daily bars that had closed at the month's start.

Values in, names out: no clock, no lake. What a later bar says changes nothing of an earlier month.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphamill.frames import FloatArray, Month
from alphamill.universe.rule import LISTED_WITHIN_DAYS, Rule

DAY_MS = 86_400_000

_STATISTICS: Mapping[str, Callable[..., FloatArray]] = {
    "median": np.median,
    "mean": np.mean,
    "min": np.min,
    "max": np.max,
}


@dataclass(frozen=True, slots=True)
class Daily:
    """One measure of daily bars, a column a coin.

    start_ms: open time of row 0, 00:00 UTC; a row a day. names: the columns, each once. values:
    float64 (days, coins), NaN where there is no bar.
    """

    start_ms: int
    names: tuple[str, ...]
    values: FloatArray


@dataclass(frozen=True, slots=True)
class MonthOfUniverse:
    """Who belongs in a month, the first ranked first, with their measures.

    passed: why others did not: reason -> how many coins; `candidates` is all of them.
    """

    month: Month
    members: tuple[str, ...]
    measures: tuple[float, ...]
    candidates: int
    passed: Mapping[str, int]


NOT_LISTED, WINDOW_NOT_FULL, NO_TRADE, TOO_SMALL = (
    "not listed so long ago",
    "a day of the window without a bar",
    "nothing traded",
    "others had more",
)


def members_by_month(
    rule: Rule, daily: Daily, months: Sequence[Month]
) -> tuple[MonthOfUniverse, ...]:
    """Of each month. Days before row 0 count as days without a bar."""
    return tuple(_members(rule, daily, month) for month in months)


def _members(rule: Rule, daily: Daily, month: Month) -> MonthOfUniverse:
    now = (month.start_ms - daily.start_ms) // DAY_MS  # the row of the month's first day
    window = _rows(daily.values, now - rule.window_days, now)
    there = np.isfinite(window)
    listed = _listed(rule, daily.values, now)
    full = listed & there.all(axis=0) & (len(window) == rule.window_days)
    measure = np.full(len(daily.names), np.nan)
    if full.any():
        measure[full] = _STATISTICS[rule.statistic](window[:, full], axis=0)
    able = full & (measure > 0)
    order = sorted(np.flatnonzero(able), key=lambda at: (-measure[at], daily.names[at]))
    chosen = order[: rule.count]
    reasons = {
        NOT_LISTED: int((~listed).sum()),
        WINDOW_NOT_FULL: int((listed & ~full).sum()),
        NO_TRADE: int((full & ~able).sum()),
        TOO_SMALL: len(order) - len(chosen),
    }
    return MonthOfUniverse(
        month,
        tuple(daily.names[at] for at in chosen),
        tuple(float(measure[at]) for at in chosen),
        len(daily.names),
        {reason: count for reason, count in reasons.items() if count},
    )


def _listed(rule: Rule, values: FloatArray, now: int) -> NDArray[np.bool_]:
    """Whether a coin has a bar so many days ago, or in the year before that."""
    if not rule.listed_days:
        return np.ones(values.shape[1], dtype=bool)
    last = now - rule.listed_days + 1
    there = np.isfinite(_rows(values, last - 1 - LISTED_WITHIN_DAYS, last))
    listed: NDArray[np.bool_] = np.logical_or.reduce(there, axis=0)
    return listed


def _rows(values: FloatArray, start: int, stop: int) -> FloatArray:
    return values[max(start, 0) : max(stop, 0)]
