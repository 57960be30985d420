"""The other columns of `exact_oracle`: those of plain windows and of averages of the close.

Sums are taken over prefixes, in 60 digits, so what is subtracted leaves at most its 60th digit.
Whether a window is constant is asked of its values, never of a spread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from itertools import accumulate

import numpy as np
import pandas as pd

from tests.unit.indicators.exact_oracle import Line, Lines, over

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
ZERO, ONE = Decimal(0), Decimal(1)


class Windows:
    """Sums and spreads of a series over its last `length` values; None until they are known."""

    def __init__(self, values: Line, length: int) -> None:
        self.length = length
        self.values = values
        start = sum(value is None for value in values)  # they lead
        self.first = start + length - 1
        self._start = start
        self._sums = _prefixes(values[start:])
        self._squares: list[Decimal] | None = None
        self._since: list[int] = []  # where the run of equal values began
        for i, value in enumerate(values):
            same = i > 0 and value == values[i - 1]
            self._since.append(self._since[-1] if same else i)

    def sum(self, i: int) -> Decimal | None:
        return self._within(self._sums, i)

    def mean(self, i: int) -> Decimal | None:
        total = self.sum(i)
        return None if total is None else total / self.length

    def squares(self, i: int) -> Decimal | None:
        """Of the distances from the mean; 0 if all are equal."""
        if self._squares is None:
            self._squares = _prefixes([value * value for value in self.values[self._start :]])
        total, squares = self.sum(i), self._within(self._squares, i)
        if total is None or squares is None:
            return None
        return ZERO if self.constant(i) else squares - total * total / self.length

    def deviation(self, i: int, ddof: int = 1) -> Decimal | None:
        squares = self.squares(i)
        return None if squares is None else (squares / (self.length - ddof)).sqrt()

    def constant(self, i: int) -> bool:
        return i - self._since[i] + 1 >= self.length

    def _within(self, prefixes: list[Decimal], i: int) -> Decimal | None:
        if i < self.first:
            return None
        at = i - self._start + 1
        return prefixes[at] - prefixes[at - self.length]


def _prefixes(values: Sequence[Decimal]) -> list[Decimal]:
    return [ZERO, *accumulate(values)]


def lined(n: int, formula: Callable[[int], Decimal | None], first: int = 0) -> Line:
    return [None if i < first else formula(i) for i in range(n)]


def gap(value: Decimal, level: Decimal | None) -> Decimal | None:
    return None if level is None or not level else value / level - 1


def ema(values: Line, length: int, alpha: Decimal | None = None) -> Line:
    """Seeded by the mean of the first `length` values that are known."""
    step = Decimal(2) / (length + 1) if alpha is None else alpha
    line: Line = []
    seed: list[Decimal] = []
    mean: Decimal | None = None
    for value in values:
        if value is not None:
            if mean is None:
                seed.append(value)
                mean = sum(seed) / length if len(seed) == length else None
            else:
                mean += (value - mean) * step
        line.append(mean)
    return line


def weighted(values: Line, length: int) -> Line:
    """Weights 1, the oldest, to `length`."""
    whole = length * (length + 1) // 2
    line: Line = []
    for i in range(len(values)):
        part = values[max(0, i - length + 1) : i + 1]
        known = len(part) == length and None not in part
        total = sum(weight * value for weight, value in enumerate(part, 1)) if known else None
        line.append(None if total is None else total / whole)
    return line


class ExactWindows:
    """One unbroken stretch of bars, oldest first; older recordings have fewer kline columns."""

    def __init__(self, klines: pd.DataFrame) -> None:
        def decimals(field: str) -> list[Decimal]:
            return [Decimal(repr(float(value))) for value in klines.get(field, ())]

        self.n = len(klines)
        times = klines["open_time"].to_numpy()
        self.step_ms = int(times[1] - times[0])
        self.first_number = int(times[0]) // self.step_ms
        self.open, self.high, self.low = decimals("open"), decimals("high"), decimals("low")
        self.close, self.volume = decimals("close"), decimals("volume")
        self.quote, self.taker = decimals("quote_volume"), decimals("taker_buy_base")
        self.trades = decimals("trades")
        self.returns = self.change(1)
        self.volumes = Windows(self.volume, 20)
        self.closes = Windows(self.close, 20)

    def columns(self) -> dict[str, np.ndarray]:
        lines: Lines = {}
        for part in (self.changes, self.amounts, self.averages):
            lines |= part()
        for part in (self.trends, self.deviations, self.shapes, self.session):
            lines |= part()
        if self.quote:
            lines |= {"amihud_20": self.illiquidity(), "vwap_gap": self.from_own_price()}
        if self.trades:
            lines |= self.takers() | self.sizes()
        return {
            name: np.array([math.nan if value is None else float(value) for value in line])
            for name, line in lines.items()
        }

    def change(self, bars: int) -> Line:
        return lined(self.n, lambda i: self.close[i] / self.close[i - bars] - 1, bars)

    def bars_in(self, span_ms: int) -> int:
        bars, rest = divmod(span_ms, self.step_ms)
        return 0 if rest else bars

    def changes(self) -> Lines:
        lines = {
            "returns": self.returns,
            "roc_10": [None if x is None else 100 * x for x in self.change(10)],
            "mom_10": lined(self.n, lambda i: self.close[i] - self.close[i - 10], 10),
        }
        for name, span_ms in (("returns_1h", HOUR_MS), ("returns_1d", DAY_MS)):
            if bars := self.bars_in(span_ms):
                lines[name] = self.change(bars)
        return lines

    def amounts(self) -> Lines:
        n, volumes = self.n, self.volumes
        steps: Line = [None]
        for i in range(1, n):
            steps.append((self.close[i] - self.close[i - 1]) * self.volume[i])
        force = ema(steps, 13)
        priced = Windows([c * v for c, v in zip(self.close, self.volume, strict=True)], 20)
        moved = Windows([None, *(r * v for r, v in self._pairs())], 20)

        def share(of: Callable[[int], Decimal | None]) -> Callable[[int], Decimal | None]:
            def quotient(i: int) -> Decimal | None:
                part, whole = of(i), volumes.sum(i)
                return None if part is None or not whole else part / whole

            return quotient

        def score(i: int) -> Decimal | None:
            mean, deviation = volumes.mean(i), volumes.deviation(i)
            return None if not deviation else (self.volume[i] - mean) / deviation

        return {
            "volume_ratio": lined(n, share(lambda i: 20 * self.volume[i])),
            "volume_zscore_20": lined(n, score),
            "pvt_flow_20": lined(n, share(moved.sum)),
            "vwma_gap_20": [
                gap(c, level)
                for c, level in zip(self.close, lined(n, share(priced.sum)), strict=True)
            ],
            "force_13": lined(
                n, share(lambda i: None if force[i] is None else 20 * force[i] / self.close[i]), 19
            ),
            "price_volume_corr_20": self.correlation(),
        }

    def _pairs(self) -> list[tuple[Decimal, Decimal]]:
        return list(zip(self.returns[1:], self.volume[1:], strict=True))

    def correlation(self) -> Line:
        x, y = Windows(self.returns, 20), Windows([None, *self.volume[1:]], 20)
        xy = Windows([None, *(r * v for r, v in self._pairs())], 20)

        def pearson(i: int) -> Decimal | None:
            xx, yy = x.squares(i), y.squares(i)
            if not xx or not yy:
                return None
            return (xy.sum(i) - x.sum(i) * y.sum(i) / 20) / (xx * yy).sqrt()

        return lined(self.n, pearson, 20)

    def illiquidity(self) -> Line:
        line: Line = []
        parts = [None if r is None else over(abs(r), q) for r, q in self._quoted()]
        sums = Windows([None, *(part or ZERO for part in parts[1:])], 20)
        last_none = 0
        for i, part in enumerate(parts):
            last_none = i if part is None else last_none
            line.append(None if i - last_none < 20 else sums.mean(i))
        return line

    def _quoted(self) -> list[tuple[Decimal | None, Decimal]]:
        return list(zip(self.returns, self.quote, strict=True))

    def from_own_price(self) -> Line:
        def own_price(i: int) -> Decimal | None:
            price = over(self.quote[i], self.volume[i])
            if price is None or price == 0:
                return None
            inside = self.low[i] * Decimal("0.999") <= price <= self.high[i] * Decimal("1.001")
            return self.close[i] / price - 1 if inside else None

        return lined(self.n, own_price)

    def takers(self) -> Lines:
        bars = list(zip(self.taker, self.volume, strict=True))
        shares = [over(bought, v) for bought, v in bars]
        sides = [None if share is None else 2 * share - 1 for share in shares]
        signed = Windows([2 * bought - v for bought, v in bars], 20)
        known = Windows([side or ZERO for side in sides], 20)

        def together(i: int) -> Decimal | None:
            volume = self.volumes.sum(i)
            return signed.sum(i) / volume if volume else None

        def score(i: int) -> Decimal | None:
            if None in sides[max(0, i - 19) : i + 1]:
                return None
            mean, deviation = known.mean(i), known.deviation(i)
            return None if not deviation else (sides[i] - mean) / deviation

        return {
            "taker_buy_ratio": shares,
            "taker_imbalance": sides,
            "taker_imbalance_20": lined(self.n, together),
            "taker_imbalance_z_20": lined(self.n, score),
        }

    def sizes(self) -> Lines:
        quotes, trades = Windows(self.quote, 20), Windows(self.trades, 20)
        sizes = [over(q, t) for q, t in zip(self.quote, self.trades, strict=True)]

        def against_usual(i: int) -> Decimal | None:
            total, count = quotes.sum(i), trades.sum(i)
            if sizes[i] is None or not total or not count:
                return None
            return sizes[i] * count / total

        def count_ratio(i: int) -> Decimal | None:
            total = trades.sum(i)
            return 20 * self.trades[i] / total if total else None

        return {
            "trade_size": sizes,
            "trade_size_ratio_20": lined(self.n, against_usual),
            "trades_ratio_20": lined(self.n, count_ratio),
        }

    def averages(self) -> Lines:
        close: Line = list(self.close)
        five = Windows(self.close, 5)
        emas = {length: ema(close, length) for length in (12, 26, 50)}
        lines: Lines = {f"ema_gap_{length}": self.gaps(line) for length, line in emas.items()}
        late: Line = [None] * 14 + close[14:]
        gaps = [
            None if slow is None or quick is None else quick - slow
            for quick, slow in zip(ema(late, 12), emas[26], strict=True)
        ]
        signal = ema(gaps, 9)
        one = ema(close, 20)
        two = ema(one, 20)
        three = ema(two, 20)

        def double(i: int) -> Decimal | None:
            return None if two[i] is None else 2 * one[i] - two[i]

        def triple(i: int) -> Decimal | None:
            return None if three[i] is None else 3 * one[i] - 3 * two[i] + three[i]

        thrice = ema(ema(ema(close, 15), 15), 15)
        return lines | {
            "ma_5": lined(self.n, five.mean),
            "ma_20": lined(self.n, self.closes.mean),
            "ma_gap_20": self.gaps(lined(self.n, self.closes.mean)),
            "macd": lined(self.n, lambda i: gaps[i], 33),
            "macd_signal": lined(self.n, lambda i: signal[i], 33),
            "macd_hist": lined(self.n, lambda i: gaps[i] - signal[i], 33),
            "ppo": lined(self.n, lambda i: 100 * emas[12][i] / emas[26][i] - 100, 25),
            "trix_15": lined(self.n, lambda i: 100 * thrice[i] / thrice[i - 1] - 100, 43),
            "rma_gap_14": self.gaps(ema(close, 14, ONE / 14)),
            "dema_gap_20": self.gaps(lined(self.n, double)),
            "tema_gap_20": self.gaps(lined(self.n, triple)),
        }

    def gaps(self, levels: Line) -> Line:
        return [gap(c, level) for c, level in zip(self.close, levels, strict=True)]

    def trends(self) -> Lines:
        close: Line = list(self.close)
        ten, twenty, fourteen = (weighted(close, length) for length in (10, 20, 14))
        means = Windows(self.close, 14)
        quick = [
            None if long is None or short is None else 2 * short - long
            for short, long in zip(ten, twenty, strict=True)
        ]

        def slope(i: int) -> Decimal | None:
            """A mean weighted 1 to n is the mean and (n - 1) / 6 of the slope."""
            if fourteen[i] is None:
                return None
            return ZERO if means.constant(i) else (fourteen[i] - means.mean(i)) * 6 / 13

        slopes = lined(self.n, slope)
        forecast = lined(self.n, lambda i: means.mean(i) + slopes[i] * Decimal("7.5"), 13)
        return {
            "slope_14": lined(self.n, lambda i: slopes[i] / self.close[i], 13),
            "wma_gap_20": self.gaps(twenty),
            "hma_gap_20": self.gaps(weighted(quick, 4)),
            "forecast_gap_14": self.gaps(forecast),
        }

    def deviations(self) -> Lines:
        returns = Windows(self.returns, 20)
        logs = Windows(
            [None, *(_ln(b) - _ln(a) for a, b in zip(self.close, self.close[1:], strict=False))], 20
        )
        losses = Windows([None if r is None else min(r, ZERO) ** 2 for r in self.returns], 20)

        def width(i: int) -> Decimal | None:
            deviation = self.closes.deviation(i, 0)
            return None if deviation is None else 4 * deviation / self.closes.mean(i)

        def place(i: int) -> Decimal | None:
            deviation = self.closes.deviation(i, 0)
            if not deviation:
                return None
            return (self.close[i] - self.closes.mean(i)) / (4 * deviation) + Decimal("0.5")

        lines = {
            "volatility_20": lined(self.n, returns.deviation, 20),
            "log_volatility_20": lined(self.n, logs.deviation, 20),
            "downside_20": lined(self.n, lambda i: losses.mean(i).sqrt(), 20),
            "bb_width": lined(self.n, width),
            "bb_position": lined(self.n, place),
        }
        if (bars := self.bars_in(DAY_MS)) >= 2:
            lines["volatility_1d"] = lined(self.n, Windows(self.returns, bars).deviation, bars)
        return lines

    def shapes(self) -> Lines:
        """Volatilities from the logarithms of a bar's four prices."""
        two, day = _ln(Decimal(2)), []
        parkinson, klass, rogers = [], [], []
        for o, h, low, c in zip(self.open, self.high, self.low, self.close, strict=True):
            o_, h_, l_, c_ = map(_ln, (o, h, low, c))
            span, body = (h_ - l_) ** 2, (c_ - o_) ** 2
            parkinson.append(span / (4 * two))
            klass.append(span / 2 - (2 * two - 1) * body)
            rogers.append((h_ - c_) * (h_ - o_) + (l_ - c_) * (l_ - o_))
            day.append((h - low) / c)

        def root_mean(values: list[Decimal]) -> Line:
            windows = Windows(values, 20)

            def root(i: int) -> Decimal | None:
                mean = windows.mean(i)
                if mean is None or (windows.constant(i) and values[i] == 0):
                    return mean
                return max(mean, ZERO).sqrt() if mean > Decimal("-1e-50") else None

            return lined(self.n, root)

        return {
            "parkinson_20": root_mean(parkinson),
            "garman_klass_20": root_mean(klass),
            "rogers_satchell_20": root_mean(rogers),
            "bar_range": day,
        }

    def session(self) -> Lines:
        day_bars = self.bars_in(DAY_MS)
        if day_bars < 2:
            return {}
        line: Line = []
        traded = volume = ZERO
        for i in range(self.n):
            if (self.first_number + i) % day_bars == 0:
                traded = volume = ZERO
            typical = (self.high[i] + self.low[i] + self.close[i]) / 3
            traded, volume = traded + typical * self.volume[i], volume + self.volume[i]
            known = i >= day_bars and volume
            line.append(self.close[i] * volume / traded - 1 if known else None)
        return {"vwap_session_gap": line}


_LOGS: dict[Decimal, Decimal] = {}


def _ln(price: Decimal) -> Decimal:
    """Most prices come again."""
    if price not in _LOGS:
        if len(_LOGS) > 200_000:
            _LOGS.clear()
        _LOGS[price] = price.ln()
    return _LOGS[price]
