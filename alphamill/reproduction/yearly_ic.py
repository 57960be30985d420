"""The yearly IC of two signals by cadence of the decision: a study's first table.

Rules: a signal is the return of the hours before, its IC at t Spearman's correlation, over the
month's members that have both returns, with the return of the hours after; closing times. A
cadence of k hours takes the decisions whose hour is divisible by k. A decision from which 168 hours
reach into the next year is dropped, for both signals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from alphamill.evaluation import information_coefficient
from alphamill.frames import FloatArray, IntArray, TimeRange
from alphamill.frames.times import Month
from alphamill.reproduction.closes import HOUR_MS, Closes, Lists

SIGNALS: Mapping[str, tuple[int, int]] = {"reversal": (4, 4), "momentum": (72, 168)}
"""Hours back and ahead."""

DROPPED_H = 168  # before a year's end


@dataclass(frozen=True, slots=True)
class Cell:
    """The IC over the decisions that have one."""

    mean: float
    median: float
    n: int


def decided(year: int) -> TimeRange:
    """The decisions of a year, by closing time."""
    end_ms = Month(year + 1, 1).start_ms - DROPPED_H * HOUR_MS
    return TimeRange(Month(year, 1).start_ms, end_ms)


def ic_by_decision(
    closes: Closes, lists: Lists, rows: IntArray, back_h: int, ahead_h: int
) -> FloatArray:
    """One value a row; NaN below three members with both returns."""
    width = max(map(len, lists.values()))
    found = np.empty(len(rows))
    step = 4096  # rows at a time: closes are wide, members few
    for first in range(0, len(rows), step):
        part = rows[first : first + step]
        inside = closes.belonging(part, lists)
        order = np.argsort(~inside, axis=1, kind="stable")[:, :width]
        there = np.take_along_axis(inside, order, axis=1)
        past, ahead = (
            np.where(there, np.take_along_axis(closes.change(part, hours), order, axis=1), np.nan)
            for hours in (-back_h, ahead_h)
        )
        found[first : first + step] = information_coefficient(past, ahead)
    return found


def yearly_ic(
    closes: Closes, lists: Lists, signal: str, year: int, cadences_h: list[int]
) -> dict[int, Cell]:
    """By cadence, in hours. A year of which nothing is there has no decision."""
    back_h, ahead_h = SIGNALS[signal]
    whole = decided(year)
    first, last = (
        max(closes.row(whole.start_ms), 0),
        min(closes.row(whole.end_ms), len(closes.values)),
    )
    rows = np.arange(first, max(first, last), dtype=np.int64)
    ic = ic_by_decision(closes, lists, rows, back_h, ahead_h)
    hours = closes.times_ms[rows] // HOUR_MS % 24
    return {cadence: _cell(ic[hours % cadence == 0]) for cadence in cadences_h}


def _cell(ic: FloatArray) -> Cell:
    there = ic[np.isfinite(ic)]
    if not there.size:
        return Cell(np.nan, np.nan, 0)
    return Cell(float(there.mean()), float(np.median(there)), len(there))
