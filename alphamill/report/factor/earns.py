"""Does it pay: equity after costs, turnover and room, and when and where it was earned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from alphamill.evaluation.portfolio import capacity, compounded, underwater
from alphamill.report.factor.laid_out import (
    DAY_MS,
    FIRST,
    WIDE,
    Drawn,
    bounds,
    by_month,
    mean_and_error,
    means,
    periods,
)
from alphamill.report.plots.figures import (
    TOP,
    Figure,
    Floats,
    Key,
    Panel,
    Table,
    Word,
    across,
    panel,
)
from alphamill.report.plots.scales import Tick, time_ticks, widened
from alphamill.report.values import amount, number, percent, whole

_YEAR_MS = 365 * DAY_MS
_COINS = 12  # drawn of each end, where there are more than twice as many
_LOG_FROM = 6.0  # largest over smallest, from which equity is drawn on a log scale
_FLOOR = 1e-4  # of what one began with, that is still drawn there


def after_costs(drawn: Drawn) -> Figure:
    """Gross and net equity, and how deep the net one was under its peak."""
    gross, net = compounded(drawn.gross), compounded(drawn.net)
    both = np.maximum(np.concatenate((gross, net, [1.0])), _FLOOR)
    log = drawn.axes.flag("equity", bool(both.max() > _LOG_FROM * both.min()))
    wanted = [0.9 * both.min(), 1.1 * both.max()] if log else widened(both)
    unit = f"growth of 1{', log scale' if log else ''}"
    upper = drawn.over_time("equity", wanted, unit, FIRST, 102, log=log)
    upper.line(drawn.held_ms, gross, "gross")
    upper.line(drawn.held_ms, net, "net")
    under = 100 * underwater(drawn.net)
    lower = drawn.over_time(
        "underwater", widened(under, zero=True), "underwater, net, %", FIRST + 130, 74
    )
    lower.x_ticks = time_ticks(lower.x)
    lower.area(drawn.held_ms, under, np.zeros(len(under)), "depth")
    lower.line(drawn.held_ms, under, "net")
    upper.key = (Key("gross", "gross"), Key("net", "net"))
    gross_sharpe = drawn.of_record(lambda one: number(one.gross_sharpe, 2, True))
    net_sharpe = drawn.of_record(lambda one: number(one.net_sharpe, 2, True))
    even = drawn.of_record(lambda one: number(one.break_even_bps, 1))
    depth = drawn.of_record(lambda one: percent(one.max_drawdown_frac))
    return Figure(
        "What is left after costs?",
        f"Cumulative returns, gross and net of {drawn.sheet.fee_bps:g} bps one way, compounded. On "
        f"{drawn.named}: Sharpe ratio a year {gross_sharpe} gross, {net_sharpe} net; break-even "
        f"cost {even} bps; max drawdown, net, {depth}.",
        FIRST + 130 + 74 + 20,
        [upper, lower],
        _returns_by_month(drawn),
    )


def _returns_by_month(drawn: Drawn) -> Table:
    rows = []
    for name, at in by_month(drawn.held_ms):
        gross, net = (compounded(series[at]) for series in (drawn.gross, drawn.net))
        under = underwater(drawn.net[at])
        rows.append(
            (
                name,
                *(percent(float(equity[-1]) - 1, 2) for equity in (gross, net)),
                percent(float(under.min()), 2),
                percent(float(drawn.funding[at].sum()), 2),
            )
        )
    return Table(
        ("month", "gross", "net", "max drawdown", "funding"),
        rows,
        "Monthly returns, compounded within the month; the drawdown is within it too.",
    )


def traded(drawn: Drawn) -> Figure:
    """Turnover, and the capital that there is room for."""
    window = min(drawn.window, max(1, len(drawn.turnover) // 2))
    mean = 100 * means(drawn.turnover, window)
    upper = drawn.over_time(
        "turnover",
        widened(mean, zero=True),
        f"turnover a bar, %, mean of {drawn.long(window)}",
        FIRST,
        88,
    )
    upper.line(drawn.held_ms[window - 1 :], mean, "main")
    months = [(name, rows, capacity(drawn.room[rows])) for name, rows in by_month(drawn.held_ms)]
    points = [
        (float(drawn.held_ms[rows].mean()), room, f"{name}: {amount(room)}")
        for name, rows, room in months
        if math.isfinite(room) and room > 0
    ]
    panels = [upper, _room_panel(drawn, points)] if points else [upper]
    panels[-1].x_ticks = time_ticks(upper.x)
    turn = drawn.of_record(lambda one: percent(one.turnover_per_bar))
    room = drawn.of_record(lambda one: amount(one.capacity_quote))
    return Figure(
        "How much is traded, how much fits?",
        f"One-way turnover of the book, and capacity: the capital whose trades stay below "
        f"{drawn.sheet.participation} of their bars' volume in 95 % of bars. On {drawn.named}: "
        f"turnover a bar {turn}, capacity {room}.",
        panels[-1].bottom + 20,
        panels,
        Table(
            ("month", "turnover a bar", "capacity"),
            [
                (name, percent(float(drawn.turnover[rows].mean()), 2), amount(room))
                for name, rows, room in months
            ],
        ),
    )


def _room_panel(drawn: Drawn, points: Sequence[tuple[float, float, str]]) -> Panel:
    rooms = np.array([room for _, room, _ in points])
    wanted = [0.7 * rooms.min(), 1.4 * rooms.max()]
    unit = "capacity by month, quote currency, log scale"
    made = drawn.over_time("capacity", wanted, unit, FIRST + 116, 88, log=True)
    made.line(np.array([when for when, *_ in points]), rooms, "main")
    for when, room, text in points if len(points) <= 60 else ():
        made.dot(made.x.px(when), room, "small", text)
    return made


def when_and_where(drawn: Drawn) -> Figure:
    """IC by year, or a shorter period, and what each coin earned."""
    sheet = drawn.sheet
    unit, parts = periods(drawn.ends_ms)
    found = [(name, *mean_and_error(drawn.ic[rows], sheet.horizon_bars)) for name, rows in parts]
    counts = [int(np.isfinite(drawn.ic[rows]).sum()) for _, rows in parts]
    bars = sum(len(piece.series.book.gross) for piece in sheet.pieces)
    earned = np.sum([piece.series.book.earned_by_symbol for piece in sheet.pieces], axis=0)
    yearly = 100 * earned * _YEAR_MS / (max(bars, 1) * sheet.subject.interval.ms)
    order = [int(at) for at in np.argsort(-yearly, kind="stable")]
    largest = float(np.abs(earned).max() / (np.abs(earned).sum() or 1.0))
    upper, lower = _period_bars(drawn, unit, found, counts), _coin_bars(drawn, yearly, order)
    return Figure(
        "When, and on which coins, was it earned?",
        f"Mean {drawn.word} by {unit} with 95 % intervals, and what each coin adds to the gross "
        f"return: together {number(float(yearly.sum()), 1, True)} % a year, not compounded. "
        f"One coin is {percent(largest, 0)} of all that was gained or lost."
        + (" Coins in the middle are in the data only." if len(order) > 2 * _COINS else ""),
        lower.bottom + 56,
        [upper, lower],
        Table(
            (f"{unit} or coin", "bars", f"mean {drawn.word}", "95 % ±", "gross, % a year"),
            [
                *(
                    (name, whole(count), number(mean, 4, True), number(WIDE * error, 4), "")
                    for (name, mean, error), count in zip(found, counts, strict=True)
                ),
                *(
                    (sheet.symbols[at], "", "", "", number(float(yearly[at]), 3, True))
                    for at in order
                ),
            ],
        ),
    )


def _period_bars(
    drawn: Drawn, unit: str, found: Sequence[tuple[str, float, float]], counts: Sequence[int]
) -> Panel:
    x = across(-0.6, len(found) - 0.4)
    ends = bounds([(mean, error) for _, mean, error in found])
    y = drawn.axes.of("periods", widened(ends, zero=True))
    made = panel(x, y, f"mean {drawn.word} by {unit}", TOP, 76)
    each = max(1, math.ceil(len(found) / 7))
    made.x_ticks = [Tick(x.px(at), name) for at, (name, *_) in enumerate(found) if at % each == 0]
    for at, ((name, mean, error), count) in enumerate(zip(found, counts, strict=True)):
        text = f"{name}: {number(mean, 4, True)} over {whole(count)} bars"
        made.interval_bar(at, mean, WIDE * error, text)
    return made


def _coin_bars(drawn: Drawn, yearly: Floats, order: Sequence[int]) -> Panel:
    shown = list(order)
    if len(shown) > 2 * _COINS:
        shown = [*shown[:_COINS], *shown[-_COINS:]]
    x = across(-0.6, len(shown) - 0.4)
    y = drawn.axes.of("coins", widened(yearly, zero=True))
    made = panel(x, y, "gross return by coin, % of the capital a year", TOP + 120, 76)
    for at, coin in enumerate(shown):
        name, value = drawn.sheet.symbols[coin], float(yearly[coin])
        made.interval_bar(at, value, math.nan, f"{name}: {number(value, 2, True)} % a year")
        made.words.append(Word(x.px(at) + 3, made.bottom + 6, drawn.coin(name), "turned", "end"))
    return made
