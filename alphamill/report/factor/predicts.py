"""Does it predict: cumulative and rolling IC, its decay, its hours and phases, its quantiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from alphamill.evaluation import Segment
from alphamill.evaluation.correlation import mean_ic
from alphamill.frames import FloatArray
from alphamill.report.factor.laid_out import (
    DAY_MS,
    FIRST,
    WIDE,
    Drawn,
    bounds,
    by_month,
    grouped,
    mean_and_error,
    rolling,
)
from alphamill.report.legend import correlation
from alphamill.report.plots.figures import (
    LEFT,
    TOP,
    WIDTH,
    Figure,
    Floats,
    Key,
    Panel,
    Table,
    across,
    panel,
)
from alphamill.report.plots.scales import Scale, Tick, time_ticks, widened
from alphamill.report.values import number, turned, whole

_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_PHASES = 48  # at most so many are drawn
_QUANTILE_COLOURS = 5


def predicting(drawn: Drawn) -> Figure:
    """Cumulative IC over rolling IC."""
    known = np.isfinite(drawn.ic)
    times, ic = drawn.ends_ms[known], drawn.ic[known]
    total = np.cumsum(ic)
    upper = drawn.over_time(
        "cumulative", widened(total, zero=True), f"cumulative {drawn.word}", FIRST, 96
    )
    upper.line(times, total, "main")
    window = min(drawn.window, max(2, len(ic) // 2))
    mean, half = rolling(ic, window, drawn.sheet.horizon_bars)
    unit = f"rolling {drawn.word}, {drawn.long(window)}, with its 95 % interval"
    ends = widened(np.concatenate((mean - half, mean + half)), zero=True)
    lower = drawn.over_time("rolling", ends, unit, FIRST + 124, 80)
    lower.x_ticks = time_ticks(lower.x)
    at = times[window - 1 :]
    lower.area(at, mean - half, mean + half, "interval")
    lower.line(at, mean, "main")
    sheet = drawn.sheet
    return Figure(
        "Does it keep predicting?",
        f"Cumulative {drawn.word}: one {correlation(sheet.in_time)} a bar with the return over "
        f"the next {drawn.held_for}, added up; a straight line is a steady edge. "
        f"Mean on {drawn.named}: {_means_of_record(drawn)}.{_holdout_words(drawn)}",
        FIRST + 124 + 80 + 20,
        [upper, lower],
        _ic_by_month(drawn),
    )


def _means_of_record(drawn: Drawn) -> str:
    sign = drawn.sheet.subject.direction
    mean = drawn.of_record(lambda one: number(turned(one.association, sign), 4, True))
    return (
        mean
        + ", t "
        + drawn.of_record(lambda one: number(turned(one.association_t, sign), 1, True))
    )


def _holdout_words(drawn: Drawn) -> str:
    factor = drawn.sheet.subject.factor
    if factor is None:
        return ""
    if drawn.sheet.sealed:
        return " The holdout is sealed: this factor has not seen it."
    looks = factor.holdout_looks
    counted = f": {whole(looks)} factors were shown its bars so far" if looks else ""
    return f" The holdout is greyed{counted}."


def _ic_by_month(drawn: Drawn) -> Table:
    filled = np.where(np.isfinite(drawn.ic), drawn.ic, 0.0)
    total = np.cumsum(filled)
    return Table(
        ("month", "bars", f"mean {drawn.word}", "cumulative"),
        [
            (
                name,
                whole(int(np.isfinite(drawn.ic[rows]).sum())),
                number(mean_ic(drawn.ic[rows]), 4, True),
                number(float(total[rows.stop - 1]), 1, True),
            )
            for name, rows in by_month(drawn.ends_ms)
        ],
        "By month, UTC; of a bar that is not there, or has no correlation, nothing is counted.",
    )


def decaying(drawn: Drawn) -> Figure:
    """IC by horizon, a dot a segment."""
    sheet = drawn.sheet
    horizons = sorted(sheet.pieces[0].series.by_horizon)
    found = {
        (horizon, piece.segment): mean_and_error(piece.series.by_horizon[horizon], horizon)
        for horizon in horizons
        for piece in sheet.pieces
    }
    x = across(-0.5, len(horizons) - 0.5)
    y = drawn.axes.of("decay", widened(bounds(list(found.values())), zero=True))
    made = panel(x, y, f"mean {drawn.word}", TOP, 168)
    made.x_ticks = [Tick(x.px(at), str(horizon)) for at, horizon in enumerate(horizons)]
    made.x_unit = f"horizon, bars of {sheet.subject.interval}"
    judged = horizons.index(sheet.horizon_bars)
    made.shade(judged - 0.5, judged + 0.5, "chosen")
    if len(sheet.pieces) > 1:
        made.key = [Key(piece.segment, piece.segment) for piece in sheet.pieces]
    _dots_by_segment(made, found, horizons, [piece.segment for piece in sheet.pieces])
    return Figure(
        "How long does the edge last?",
        f"{drawn.decay}: mean {drawn.word} with the return over each horizon, from the same entry, "
        "with 95 % intervals (Newey-West). Shaded: the horizon that it is judged at. "
        f"{_half_life_words(drawn, horizons[-1])}",
        TOP + 168 + 34,
        [made],
        Table(
            ("horizon, bars", "segment", f"mean {drawn.word}", "95 % ±"),
            [
                (str(horizon), str(segment), number(mean, 4, True), number(WIDE * error, 4))
                for (horizon, segment), (mean, error) in found.items()
            ],
        ),
    )


def _half_life_words(drawn: Drawn, longest: int) -> str:
    half, on = drawn.sheet.subject.half_life_bars, drawn.sheet.pieces[0].segment
    if half is None or not math.isfinite(half):
        return f"Within {longest} bars it does not fall to half of its peak on {on}."
    return f"Half-life on {on}: {number(half, 0)} bars."


def _dots_by_segment(
    made: Panel,
    found: Mapping[tuple[int, Segment], tuple[float, float]],
    horizons: Sequence[int],
    segments: Sequence[Segment],
) -> None:
    step = min(12.0, (made.x.px(1) - made.x.px(0)) / 4)
    for (horizon, segment), (mean, error) in found.items():
        if not math.isfinite(mean):
            continue
        middle = (len(segments) - 1) / 2
        at = made.x.px(horizons.index(horizon)) + step * (segments.index(segment) - middle)
        if math.isfinite(error):
            made.whisker(at, mean - WIDE * error, mean + WIDE * error, f"whisker {segment}")
        made.dot(at, mean, segment, f"{segment}, {horizon} bars: {number(mean, 4, True)}")


@dataclass(frozen=True, slots=True)
class _Slots:
    """One way to group bars by the time of their decision. of: each bar's slot."""

    name: str  # of a slot, with its number behind it
    unit: str
    of: NDArray[np.int64]
    word: Callable[[int], str]
    overlap: float  # of labels within a slot, at least 1


def at_what_time(drawn: Drawn) -> Figure | None:
    """IC by hour of the day or day of the week, and by phase of the decision."""
    parts = _slots(drawn)
    if not parts:
        return None
    found = [grouped(drawn.ic, part.of, part.overlap) for part in parts]
    ends = bounds([(mean, error) for rows in found for _, mean, error, _ in rows])
    y = drawn.axes.of("time of decision", widened(ends, zero=True))
    height = 174.0 if len(parts) == 1 else 76.0
    panels, table, top = [], [], TOP
    for part, rows in zip(parts, found, strict=True):
        x = across(-0.6, len(rows) - 0.4)
        made = panel(x, y, f"mean {drawn.word} by {part.unit}", top, height)
        each = max(1, math.ceil(len(rows) / 8))
        for at, (slot, mean, error, count) in enumerate(rows):
            name = f"{part.name} {part.word(slot)}".strip()
            made.interval_bar(
                at, mean, WIDE * error, f"{name}: {number(mean, 4, True)} over {count:,} bars"
            )
            table.append((name, whole(count), number(mean, 4, True), number(WIDE * error, 4)))
        made.x_ticks = [
            Tick(x.px(at), part.word(slot)) for at, (slot, *_) in enumerate(rows) if at % each == 0
        ]
        panels.append(made)
        top += height + 44
    return Figure(
        "Does it matter when it is decided?",
        f"Mean {drawn.word} by the close at which the signal is known, with 95 % intervals, over "
        f"all bars that it has seen.{_phase_words(drawn, parts)}",
        top - 22,
        panels,
        Table(("decided at", "bars", f"mean {drawn.word}", "95 % ±"), table),
    )


def _phase_words(drawn: Drawn, parts: Sequence[_Slots]) -> str:
    if all(part.name != "phase" for part in parts):
        return ""
    bars = drawn.sheet.horizon_bars
    return (
        f" A book that rebalances only every {bars} bars lives in one of {bars} phases: it should "
        "matter little which."
    )


def _slots(drawn: Drawn) -> list[_Slots]:
    interval, horizon = drawn.sheet.subject.interval, drawn.sheet.horizon_bars
    ends, ms = drawn.ends_ms, interval.ms
    parts = []
    if ms < DAY_MS:
        hours = (ends % DAY_MS // max(ms, 3_600_000)).astype(np.int64)
        longest = max(ms, 3_600_000)
        shared = max(1.0, horizon * ms / DAY_MS) * max(1.0, min(horizon, 3_600_000 / ms))
        parts.append(
            _Slots(
                "",
                "hour of the day, UTC",
                hours,
                lambda at: f"{at * longest // 3_600_000:02d}:00",
                shared,
            )
        )
    elif ms == DAY_MS:
        days = ((ends // DAY_MS + 2) % 7).astype(np.int64)  # of the bar that has just closed
        shared = max(1.0, horizon / 7)
        parts.append(_Slots("", "day of the week, UTC", days, lambda at: _WEEKDAYS[at], shared))
    if 1 < horizon <= _PHASES:
        phases = (ends // ms % horizon).astype(np.int64)
        parts.append(_Slots("phase", "phase of the decision", phases, str, 1.0))
    return parts


def by_quantile(drawn: Drawn) -> Figure | None:
    """Mean return by quantile beside their cumulative curves."""
    sheet = drawn.sheet
    count = sheet.pieces[0].series.quantile_returns.shape[1]
    pieces = [one for one in sheet.pieces if one.series.quantile_returns.shape[1] == count]
    returns = np.concatenate([piece.series.quantile_returns for piece in pieces])
    if not count or not np.isfinite(returns).any(axis=0).all():
        return None
    ends = np.concatenate([piece.ends_ms for piece in pieces])
    means = np.array([mean_ic(returns[:, at]) for at in range(count)])
    beside, earned = means - means.mean(), _cumulated(returns) / sheet.horizon_bars
    spread = 1e4 * float(means[-1] - means[0])
    return Figure(
        "Does a higher quantile earn more?",
        f"Mean return by quantile over {drawn.held_for}, less the mean of all, and cumulative "
        f"return by quantile: the same on {_share(sheet.horizon_bars)} of the capital a bar, "
        f"before costs, not compounded. Q{count} is bought, Q1 sold; top minus bottom "
        f"{number(spread, 2, True)} bps.{_left_out(drawn, count)}",
        TOP + 168 + 34,
        [_quantile_bars(drawn, beside), _quantile_curves(drawn, ends, earned)],
        Table(
            ("quantile", "mean return, bps", "less the mean, bps", "cumulative, %"),
            [
                (
                    f"Q{at + 1}",
                    number(1e4 * means[at], 2, True),
                    number(1e4 * beside[at], 2, True),
                    number(100 * earned[-1, at], 1, True),
                )
                for at in range(count)
            ],
        ),
    )


def _share(horizon_bars: int) -> str:
    return f"1/{horizon_bars}" if horizon_bars > 1 else "all"


def _left_out(drawn: Drawn, count: int) -> str:
    """Which segments have fewer quantiles, since coins were delisted before them."""
    fewer = [
        str(piece.segment)
        for piece in drawn.sheet.pieces
        if piece.series.quantile_returns.shape[1] != count
    ]
    words = " and ".join(fewer)
    return (
        f" Without {words}, where there are other quantiles: not as many symbols." if fewer else ""
    )


def _cumulated(returns: FloatArray) -> FloatArray:
    """Sums of what each quantile earned beyond the mean of all, over bars that have them all."""
    beyond = returns - returns.mean(axis=1, keepdims=True)  # NaN where one of them is
    total: FloatArray = np.cumsum(np.where(np.isfinite(beyond), beyond, 0.0), axis=0)
    return total


def _quantile_bars(drawn: Drawn, beside: Floats) -> Panel:
    count = len(beside)
    x = across(-0.6, count - 0.4, right=LEFT + 108)
    shown = 1e4 * beside
    made = panel(x, drawn.axes.of("quantiles", widened(shown, zero=True)), "bps", TOP, 168)
    made.x_ticks = [Tick(x.px(at), f"Q{at + 1}") for at in range(count)]
    made.x_unit = "sold → bought"
    for at, value in enumerate(shown):
        text = f"Q{at + 1}: {number(float(value), 2, True)} bps"
        made.bar(at, 15, float(value), f"fill q{_colour(at, count)}", text)
    return made


def _quantile_curves(drawn: Drawn, ends_ms: FloatArray, earned: FloatArray) -> Panel:
    span, count = drawn.time(), earned.shape[1]
    x = Scale(span.low, span.high, LEFT + 154, WIDTH - 24)
    y = drawn.axes.of("cumulative by quantile", widened(100 * earned, zero=True))
    made = panel(x, y, "cumulative return, %", TOP, 168)
    made.unit_left = LEFT + 122
    made.x_ticks = time_ticks(x, 3)
    drawn.shade(made, named=False)
    for at in range(count):
        made.line(ends_ms, 100 * earned[:, at], f"q{_colour(at, count)}")
    made.end_labels(
        [
            (100 * float(earned[-1, at]), f"Q{at + 1}", f"q{_colour(at, count)}")
            for at in range(count)
        ]
    )
    return made


def _colour(at: int, count: int) -> int:
    """Of the colours from what is sold (1) to what is bought (5)."""
    return 1 + round(at * (_QUANTILE_COLOURS - 1) / max(count - 1, 1))
