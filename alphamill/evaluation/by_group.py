"""A factor's correlation taken apart: by hour, phase, weekday, year, regime of its bars, or coin.

Whoever picks the best of several groups has searched once more, so that each group's p-value is
adjusted for their number (Bonferroni): choosing one of 24 hours is 24 trials.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from alphamill.evaluation.correlation import MIN_SYMBOLS, mean_ic
from alphamill.evaluation.gates import finite_or_none
from alphamill.evaluation.ranks import rank_rows
from alphamill.evaluation.score import LAGS_PER_HORIZON
from alphamill.evaluation.significance import default_lags, newey_west_t, two_sided_p
from alphamill.frames import FloatArray, IntArray

Grouping = Literal["hour", "phase", "weekday", "year", "regime", "coin"]
GROUPINGS: tuple[str, ...] = get_args(Grouping)
REGIME_BARS = 168
"""Bars of the market's past that a regime is told by."""

_HOUR_MS, _DAY_MS = 3_600_000, 86_400_000
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


@dataclass(frozen=True, slots=True)
class GroupFigures:
    """A group's mean RankIC, with its Newey-West t and two-sided p, adjusted for all groups.

    Of a coin: its part of the mean RankIC; the parts of all coins add up to the whole.
    """

    group: str
    bars: int
    mean: float
    t: float
    p_adjusted: float

    def to_dict(self) -> dict[str, Any]:
        """JSON values; None where a number is NaN."""
        return {
            name: finite_or_none(value) if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


def bar_groups(
    by: Grouping, ends_ms: IntArray, interval_ms: int, horizon_bars: int, regimes: Sequence[str]
) -> list[str]:
    """The group of each bar. ends_ms: closes of the bars (UTC), at which it is decided.

    "phase": of a book that rebalances every horizon_bars bars, which of its starts. regimes: of
    each bar, for "regime". Raises ValueError, with cause and cure, where bars are too long for it.
    """
    if by == "regime":
        return list(regimes)
    if by == "hour":
        if interval_ms >= _DAY_MS:
            raise ValueError("bars of a day or longer are all decided at one hour; take weekday")
        return [f"{end % _DAY_MS // _HOUR_MS:02d}:00" for end in ends_ms.tolist()]
    if by == "phase":
        if horizon_bars < 2:
            raise ValueError("a horizon of one bar has one phase; take a longer --horizon")
        width = len(str(horizon_bars - 1))
        return [f"{end // interval_ms % horizon_bars:0{width}d}" for end in ends_ms.tolist()]
    if by == "weekday":
        if interval_ms > _DAY_MS:
            raise ValueError("bars longer than a day are not of one weekday; take year")
        # Of the bar that has just closed: at midnight that is the day before.
        days = [(end - 1) // _DAY_MS for end in ends_ms.tolist()]
        return [_WEEKDAYS[(day + _EPOCH_WEEKDAY) % 7] for day in days]
    if by == "year":
        return [str(datetime.fromtimestamp(end / 1000, UTC).year) for end in ends_ms.tolist()]
    raise ValueError(f"bars are not grouped by {by!r}; one of {', '.join(GROUPINGS)}")


def market_regimes(close: FloatArray, bars: int = REGIME_BARS) -> list[str]:
    """Of each bar: "up" or "down", "calm" or "wild", by what was known at its close.

    close: float64 (bars, symbols), NaN where there is none. The market is the mean return of the
    symbols that are there. Up: it rose over the last `bars`. Wild: the standard deviation of its
    returns over them is above the median of what it was at all bars before. "" for the first
    `bars`, where neither is known.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        moves = close[1:] / close[:-1] - 1
    known = np.isfinite(moves)
    counts = known.sum(axis=1)
    total = np.where(known, moves, 0.0).sum(axis=1)
    market = np.concatenate(
        ([0.0], np.divide(total, counts, out=np.zeros(len(total)), where=counts > 0))
    )
    found, seen = [""] * len(close), list[float]()
    sums, squares = np.cumsum(market), np.cumsum(market**2)
    for row in range(bars, len(close)):
        drift = (sums[row] - sums[row - bars]) / bars
        spread = math.sqrt(max((squares[row] - squares[row - bars]) / bars - drift**2, 0.0))
        wild = bool(seen) and spread > seen[len(seen) // 2]
        bisect.insort(seen, spread)
        found[row] = f"{'up' if drift > 0 else 'down'}, {'wild' if wild else 'calm'}"
    return found


def by_group(ic: FloatArray, groups: Sequence[str], horizon_bars: int) -> list[GroupFigures]:
    """Each group's figures, in the order of their names; bars of "" belong to none.

    ic: one correlation a bar, NaN where it has none. Labels of horizon_bars overlap within a group
    as far as its bars are near each other, and so far lags are counted.
    """
    names = np.array(groups)
    of_groups = [name for name in np.unique(names) if name]
    return [
        _figures(
            str(name),
            ic[names == name],
            _lags(np.flatnonzero(names == name), horizon_bars),
            len(of_groups),
        )
        for name in of_groups
    ]


def coin_parts(
    ranks: FloatArray, forward_ranks: FloatArray, symbols: Sequence[str], horizon_bars: int
) -> list[GroupFigures]:
    """What each coin brings to the mean RankIC: the parts add up to it. Largest first.

    ranks, forward_ranks: average ranks, (bars, symbols), NaN where there is none. A coin's part at
    a bar is the product of its two standardised ranks over the number of coins there, 0 where it
    is not there while others are.
    """
    both = np.isfinite(ranks) & np.isfinite(forward_ranks)
    counts = both.sum(axis=1, keepdims=True)
    a, b = (
        _standardised(one, both, counts)
        for one in (_again(ranks, both), _again(forward_ranks, both))
    )
    measured = (counts[:, 0] >= MIN_SYMBOLS) & (a.any(axis=1) & b.any(axis=1))
    parts = (a * b)[measured] / counts[measured]
    there = both[measured]
    lags = max(default_lags(len(parts)), LAGS_PER_HORIZON * horizon_bars - 1)
    found = [
        _figures(symbol, parts[:, at], lags, len(symbols), int(there[:, at].sum()))
        for at, symbol in enumerate(symbols)
        if there[:, at].any()
    ]
    return sorted(found, key=lambda one: -abs(one.mean))


def _again(ranks: FloatArray, both: NDArray[np.bool_]) -> FloatArray:
    """Ranks among the coins that have both sides."""
    return rank_rows(np.where(both, ranks, np.nan))


def _standardised(
    ranks: FloatArray, both: NDArray[np.bool_], counts: NDArray[np.int64]
) -> FloatArray:
    """Mean 0 and standard deviation 1 (divisor n) at each bar; 0 where there is none."""
    n = np.maximum(counts, 1)
    filled = np.where(both, ranks, 0.0)
    centred = np.where(both, filled - filled.sum(axis=1, keepdims=True) / n, 0.0)
    spread = np.sqrt((centred**2).sum(axis=1, keepdims=True) / n)
    found: FloatArray = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
    return found


def _lags(rows: NDArray[np.int64], horizon_bars: int) -> int:
    """As many of a group's own bars as labels reach over, three times."""
    apart = float(np.median(np.diff(rows))) if len(rows) > 1 else 1.0
    reach = math.ceil(horizon_bars / max(apart, 1.0))
    return max(default_lags(len(rows)), LAGS_PER_HORIZON * reach - 1)


def _figures(
    name: str, series: FloatArray, lags: int, groups: int, bars: int | None = None
) -> GroupFigures:
    known = series[np.isfinite(series)]
    t = newey_west_t(known, lags)
    p = min(1.0, groups * two_sided_p(t)) if math.isfinite(t) else math.nan
    return GroupFigures(name, len(known) if bars is None else bars, mean_ic(series), t, p)
