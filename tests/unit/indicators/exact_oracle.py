"""Indicators in the decimals that the exchange sent, written out plainly with 60 digits.

Prices are read as the shortest decimals that name their doubles, which are the ones that were sent;
so sums and differences of them, and comparisons of these, are exact.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np
import pandas as pd

from alphamill.indicators.registry import REST_BARS
from alphamill.indicators.trailing import BLOCK_BARS

decimal.getcontext().prec = 60

Line = list[Decimal | None]
Lines = dict[str, Line]
HUNDRED = Decimal(100)
STILL_RSI = Decimal("1e-7")


def over(part: Decimal, whole: Decimal) -> Decimal | None:
    return part / whole if whole else None


def windows(values: Sequence[Decimal | None], length: int) -> list[list[Decimal] | None]:
    """The last values of each bar; None where one is not known."""
    known: list[list[Decimal] | None] = []
    for i in range(len(values)):
        part = [value for value in values[max(0, i - length + 1) : i + 1] if value is not None]
        known.append(part if len(part) == length else None)
    return known


def each(
    of: Sequence[list[Decimal] | None], formula: Callable[[list[Decimal]], Decimal | None]
) -> Line:
    return [None if part is None else formula(part) for part in of]


class Averages:
    """Wilder's averages of `n` series that are at rest together; 0 after a rest."""

    def __init__(self, length: int, n: int) -> None:
        self.length = length
        self.values = [Decimal(0)] * n
        self.seen = self.still = 0

    def take(self, *steps: Decimal) -> list[Decimal]:
        self.seen += 1
        self.still = 0 if any(steps) else self.still + 1
        bars = min(self.seen, self.length)
        pairs = zip(self.values, steps, strict=True)
        self.values = [(mean * (bars - 1) + step) / bars for mean, step in pairs]
        if self.still >= REST_BARS:
            self.values = [Decimal(0) for _ in steps]
        return self.values


class Exact:
    """One unbroken stretch of bars, oldest first."""

    def __init__(self, klines: pd.DataFrame, first_number: int) -> None:
        def decimals(field: str) -> list[Decimal]:
            return [Decimal(repr(float(value))) for value in klines[field]]

        self.n = len(klines)
        self.first_number = first_number
        self.open, self.high, self.low = decimals("open"), decimals("high"), decimals("low")
        self.close, self.volume = decimals("close"), decimals("volume")
        bars = zip(self.high, self.low, self.close, strict=True)
        self.three = [h + low + c for h, low, c in bars]  # three times the typical price
        self.steps: Line = [
            None,
            *(b - a for a, b in zip(self.close, self.close[1:], strict=False)),
        ]
        self.top: Line = [None, *map(max, self.high[1:], self.close)]
        self.floor: Line = [None, *map(min, self.low[1:], self.close)]
        self.ranges: Line = [
            None if top is None or floor is None else top - floor
            for top, floor in zip(self.top, self.floor, strict=True)
        ]

    def columns(self) -> dict[str, np.ndarray]:
        lines: Lines = {}
        for part in (self.money, self.channels, self.direction, self.strength, self.keltner):
            lines |= part()
        for part in (self.flows, self.spans, self.stops):
            lines |= part()
        return {
            name: np.array([math.nan if value is None else float(value) for value in line])
            for name, line in lines.items()
        }

    def money(self) -> Lines:
        gained, moved = [None], [None]
        for before, price, volume in zip(self.three, self.three[1:], self.volume[1:], strict=False):
            gained.append(price * volume if price > before else Decimal(0))
            moved.append(price * volume if price != before else Decimal(0))
        parts = zip(each(windows(gained, 14), sum), each(windows(moved, 14), sum), strict=True)
        return {"mfi_14": [None if up is None else scaled(up, all_, 100) for up, all_ in parts]}

    def channels(self) -> Lines:
        def index(values: list[Decimal]) -> Decimal | None:
            mean = sum(values) / 20
            spread = sum(abs(value - mean) for value in values)
            if len(set(values)) == 1:
                return None
            return (values[-1] - mean) * 20 / (spread * Decimal("0.015"))

        return {"cci_20": each(windows(self.three, 20), index)}

    def direction(self) -> Lines:
        lines: Lines = {"plus_di_14": [None], "minus_di_14": [None], "adx_14": [None]}
        plus = minus = ranges = index = Decimal(0)
        still = 0
        for i in range(1, self.n):
            up = self.high[i] - self.high[i - 1]
            down = self.low[i - 1] - self.low[i]
            up, down = (
                up if up > max(down, 0) else Decimal(0),
                down if down > max(up, 0) else Decimal(0),
            )
            keep = Decimal(1) if i < 14 else Decimal(13) / 14
            still = 0 if up or down else still + 1
            ranges = ranges * keep + (self.ranges[i] or 0)
            plus, minus = plus * keep + up, minus * keep + down
            if still >= REST_BARS:
                plus = minus = index = Decimal(0)
            if i < 14:
                for line in lines.values():
                    line.append(None)
                continue
            if plus + minus:
                dx = abs(plus - minus) / (plus + minus)
                index = index + dx / 14 if i < 28 else (index * 13 + dx) / 14
            lines["plus_di_14"].append(HUNDRED * plus / ranges if ranges else Decimal(0))
            lines["minus_di_14"].append(HUNDRED * minus / ranges if ranges else Decimal(0))
            lines["adx_14"].append(HUNDRED * index if i >= 27 else None)
        return lines

    def strength(self) -> Lines:
        lines: Lines = {}
        for length in (6, 14):
            averages = Averages(length, 2)
            line: Line = [None]
            for i, step in enumerate(self.steps[1:], 1):
                gain, loss = averages.take(max(step, Decimal(0)), max(-step, Decimal(0)))
                moved = gain + loss
                value = HUNDRED * gain / moved if moved else Decimal(50)
                line.append(value if i >= length else None)
            lines[f"rsi_{length}"] = line
        lines["cmo_14"] = [None if x is None else 2 * x - 100 for x in lines["rsi_14"]]

        def position(values: list[Decimal]) -> Decimal | None:
            span = max(values) - min(values)
            return None if span < STILL_RSI else HUNDRED * (values[-1] - min(values)) / span

        line = each(windows(lines["rsi_14"], 14), position)
        closes = windows(self.close, 14)
        lines["stoch_rsi_14"] = [
            None if part is None or len(set(part)) == 1 else value
            for part, value in zip(closes, line, strict=True)
        ]
        return lines

    def keltner(self) -> Lines:
        ten, fourteen = Averages(10, 1), Averages(14, 1)
        mean = Decimal(0)
        lines: Lines = {"keltner_position_20": [], "atr_14": [None], "natr_14": [None]}
        for i, close in enumerate(self.close):
            bars = min(i + 1, 20)
            mean = (mean * (bars - 1) + close) / bars if i < 20 else mean + (close - mean) * 2 / 21
            if i:
                (narrow,), (wide,) = ten.take(self.ranges[i]), fourteen.take(self.ranges[i])
                lines["atr_14"].append(wide if i >= 14 else None)
                lines["natr_14"].append(HUNDRED * wide / close if i >= 14 else None)
            place = scaled(close - mean, 4 * narrow, 1) if i >= 19 else None
            lines["keltner_position_20"].append(None if place is None else place + Decimal("0.5"))
        return lines

    def flows(self) -> Lines:
        bars = zip(self.high, self.low, self.close, self.volume, strict=True)
        flow = [
            (2 * c - h - low) / (h - low) * v if h > low else Decimal(0) for h, low, c, v in bars
        ]
        volume = each(windows(self.volume, 20), sum)
        signed = [
            None if step is None else v * ((step > 0) - (step < 0))
            for step, v in zip(self.steps, self.volume, strict=True)
        ]
        total = fast = slow = Decimal(0)
        gaps: Line = []
        for i, amount in enumerate(flow):
            total += amount
            fast = total if i == 0 else fast + (total - fast) * 2 / 4
            slow = total if i == 0 else slow + (total - slow) * 2 / 11
            gaps.append(20 * (fast - slow))
        quotients = {
            "cmf_20": each(windows(flow, 20), sum),
            "obv_flow_20": each(windows(signed, 20), sum),
            "chaikin_osc": gaps,
        }
        return {
            name: [
                None if part is None or whole is None else over(part, whole)
                for part, whole in zip(line, volume, strict=True)
            ]
            for name, line in quotients.items()
        }

    def spans(self) -> Lines:
        highest = {n: each(windows(self.high, n), max) for n in (14, 20)}
        lowest = {n: each(windows(self.low, n), min) for n in (14, 20)}

        def place(n: int) -> Line:
            bars = zip(self.close, highest[n], lowest[n], strict=True)
            return [None if top is None else over(c - low, top - low) for c, top, low in bars]

        quick = each(windows([None if x is None else 100 * x for x in place(14)], 3), mean_of)
        distances = [None if step is None else abs(step) for step in self.steps]
        paths, ranges = each(windows(distances, 10), sum), each(windows(self.ranges, 14), sum)
        efficiency: Line = []
        vortex: Line = []
        swings: Line = [None]
        for i in range(1, self.n):
            up = abs(self.high[i] - self.low[i - 1])
            swings.append(up - abs(self.low[i] - self.high[i - 1]))
        swing = each(windows(swings, 14), sum)
        choppy: Line = []
        tops, floors = each(windows(self.top, 14), max), each(windows(self.floor, 14), min)
        for i in range(self.n):
            path = paths[i]
            way = abs(self.close[i] - self.close[i - 10]) if path is not None else Decimal(0)
            efficiency.append(None if path is None else over(way, path))
            vortex.append(None if ranges[i] is None else over(swing[i], ranges[i]))
            ratio = None if ranges[i] is None else over(ranges[i], tops[i] - floors[i])
            choppy.append(None if ratio is None else 100 * ratio.ln() / Decimal(14).ln())
        bars = zip(self.open, self.high, self.low, self.close, strict=True)
        return {
            "donchian_position_20": place(20),
            "williams_r_14": [None if x is None else 100 * x - 100 for x in place(14)],
            "stoch_k_14": quick,
            "stoch_d_14": each(windows(quick, 3), mean_of),
            "efficiency_ratio_10": efficiency,
            "vortex_14": vortex,
            "choppiness_14": choppy,
            "ultimate_osc": self.ultimate(),
            "aroon_osc_14": self.aroon(),
            "bop": [(c - o) / (h - low) if h > low else Decimal(0) for o, h, low, c in bars],
        }

    def ultimate(self) -> Line:
        buying = [
            None if floor is None else close - floor
            for close, floor in zip(self.close, self.floor, strict=True)
        ]
        shares = []
        for length in (7, 14, 28):
            parts = each(windows(buying, length), sum), each(windows(self.ranges, length), sum)
            shares.append([None if b is None else over(b, r) for b, r in zip(*parts, strict=True)])
        return [
            None if None in three else 100 * (4 * three[0] + 2 * three[1] + three[2]) / 7
            for three in zip(*shares, strict=True)
        ]

    def aroon(self) -> Line:
        def age(values: list[Decimal], best: Decimal) -> int:
            return values[::-1].index(best)

        line: Line = []
        for high, low in zip(windows(self.high, 15), windows(self.low, 15), strict=True):
            if high is None or low is None:
                line.append(None)
            else:
                line.append(HUNDRED * (age(low, min(low)) - age(high, max(high))) / 14)
        return line

    def stops(self) -> Lines:
        """Begun anew at the block before each bar's own, as `trailing` has it."""
        lines: Lines = {"psar_gap": [], "supertrend_gap": [], "kama_gap_10": []}
        first_end = 2 * BLOCK_BARS - self.first_number % BLOCK_BARS
        start, end = 0, min(first_end, self.n)
        while start < self.n:
            origin = max(0, start - BLOCK_BARS) if start else 0
            close = self.close[origin:end]
            stops, lines_, means = (
                parabolic(self.high[origin:end], self.low[origin:end]),
                super_trend(self.high[origin:end], self.low[origin:end], close),
                adaptive(close),
            )
            for i in range(start - origin, end - origin):
                price = close[i]
                lines["psar_gap"].append(None if stops[i] is None else price / stops[i] - 1)
                lines["supertrend_gap"].append(None if lines_[i] is None else 1 - lines_[i] / price)
                lines["kama_gap_10"].append(None if means[i] is None else price / means[i] - 1)
            start, end = end, min(end + BLOCK_BARS, self.n)
        return lines


def scaled(part: Decimal | None, whole: Decimal | None, scale: int) -> Decimal | None:
    return scale * part / whole if part is not None and whole else None


def mean_of(values: list[Decimal]) -> Decimal:
    return sum(values) / len(values)


def parabolic(high: list[Decimal], low: list[Decimal]) -> Line:
    """Wilder's stop, 0.02 to 0.2; falling first if the second bar fell more than it rose."""
    if len(high) < 2:
        return [None] * len(high)
    fell, rose = low[0] - low[1], high[1] - high[0]
    sign = -1 if fell > 0 and fell > rose else 1  # prices are mirrored while it falls
    near, far = (low, high) if sign > 0 else (high, low)
    stop, extreme, pace = near[0], far[1], Decimal("0.02")
    line: Line = [None]
    for i in range(1, len(high)):
        last, now = near[max(1, i - 1)], near[i]
        if sign * now <= sign * stop:
            sign, near, far = -sign, far, near
            stop = sign * min(sign * near[max(1, i - 1)], sign * near[i], sign * extreme)
            extreme, pace = far[i], Decimal("0.02")
            last, now = near[max(1, i - 1)], near[i]
            line.append(stop)
        else:
            line.append(stop)
            if sign * far[i] > sign * extreme:
                extreme, pace = far[i], min(pace + Decimal("0.02"), Decimal("0.2"))
        stop = sign * min(sign * (stop + pace * (extreme - stop)), sign * last, sign * now)
    return line


def super_trend(high: list[Decimal], low: list[Decimal], close: list[Decimal]) -> Line:
    line: Line = [None] * min(10, len(close))
    mean = upper = lower = Decimal(0)
    rising = True
    for i in range(1, len(close)):
        step = max(high[i], close[i - 1]) - min(low[i], close[i - 1])
        mean = (mean * (min(i, 10) - 1) + step) / min(i, 10)
        if i < 10:
            continue
        middle = (high[i] + low[i]) / 2
        if i == 10 or middle + 3 * mean < upper or close[i - 1] > upper:
            upper = middle + 3 * mean
        if i == 10 or middle - 3 * mean > lower or close[i - 1] < lower:
            lower = middle - 3 * mean
        if i > 10:
            rising = close[i] >= lower if rising else close[i] > upper
        line.append(lower if rising else upper)
    return line


def adaptive(close: list[Decimal]) -> Line:
    """Kaufman's mean of 2 to 30 bars; a window that did not move is efficient."""
    line: Line = [None] * min(10, len(close))
    fast, slow = Decimal(2) / 3, Decimal(2) / 31
    mean = close[9] if len(close) > 10 else Decimal(0)
    for i in range(10, len(close)):
        path = sum(abs(close[k] - close[k - 1]) for k in range(i - 9, i + 1))
        ratio = abs(close[i] - close[i - 10]) / path if path else Decimal(1)
        weight = (ratio * (fast - slow) + slow) ** 2
        mean += (close[i] - mean) * weight
        line.append(mean)
    return line
