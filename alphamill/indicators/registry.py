"""One record per indicator; columns, documentation, checks and tests all read it."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from alphamill.frames import FloatArray, Interval
from alphamill.indicators.bars import Bars

_CODE_VERSION = 6  # raise it when a formula changes and its record does not

REST_BARS = 512  # without movement, after which what moved before counts for nothing
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS

Compute = Callable[[Bars], FloatArray]


class Unit(StrEnum):
    """What a column is measured in; ratios, which have no dimension, compare across symbols."""

    PRICE = "price"
    VOLUME = "volume"
    QUOTE = "quote"
    PER_QUOTE = "1/quote"
    PER_TRADE = "quote/trade"
    RATIO = "ratio"


@dataclass(frozen=True, slots=True)
class Indicator:
    """A column of `compute_indicators`.

    compute: from bars, which may be a part of a long stretch, to one value a bar. What a window of
        at most `first_bar` bars does not decide goes through `Bars.over_history`; what two columns
        share through `Bars.memo`. `compute_indicators` puts values that rounding took outside low
        to high on that end, and makes inf NaN.
    inputs: kline columns beyond the four prices that it reads.
    parameters: as in the source's notation; `_bars` suffixes are window lengths.
    first_bar: index of the first valid value in a history without holes (see `warmup_bars`).
    settle_bars: further bars after which the start of the history moves no value by more than a
        relative 1e-12; 0 for a plain window.
    span_ms: for a window given in time: its length; the column exists only at intervals that
        divide it into at least `min_span_bars` bars.
    low, high: the values' range, both ends included.
    """

    name: str
    family: str
    summary: str
    source: str
    unit: Unit
    inputs: tuple[str, ...]
    parameters: Mapping[str, float]
    first_bar: int
    settle_bars: int
    span_ms: int
    min_span_bars: int
    low: float
    high: float
    compute: Compute = field(repr=False, compare=False)

    def exists_at(self, interval: Interval | None) -> bool:
        """Whether the column is computed for bars of this length (None: length unknown)."""
        if not self.span_ms:
            return True
        if interval is None or interval is Interval.MO1:
            return False
        bars, rest = divmod(self.span_ms, interval.ms)
        return rest == 0 and bars >= self.min_span_bars

    def warmup_bars(self, interval: Interval | None = None) -> int:
        """Leading NaN of every unbroken stretch of bars; the index of its first valid value."""
        if not self.span_ms:
            return self.first_bar
        if interval is None or not self.exists_at(interval):
            raise ValueError(f"{self.name} does not exist at interval {interval}")
        return self.span_ms // interval.ms

    def history_bars(self, interval: Interval | None = None) -> int:
        """Bars needed before a bar so that its value no longer depends on the history's start."""
        return self.warmup_bars(interval) + self.settle_bars


LEFT_OUT: Mapping[str, str] = MappingProxyType(
    {
        "obv": "a sum since the history's start; obv_flow_20 is its change over a window",
        "ad": "a sum since the history's start; cmf_20 and chaikin_osc are its changes",
        "pvt": "a sum since the history's start; pvt_flow_20 is its change over a window",
    }
)
"""Well-known indicators that are not computed -> why, and what stands in for them."""

_RECORDS: dict[str, Indicator] = {}
INDICATORS: Mapping[str, Indicator] = MappingProxyType(_RECORDS)


@dataclass(frozen=True, slots=True)
class Memory:
    """How far back a column's values look.

    length_bars: of its window or average, a parameter of the record; 0 if it has none.
    first_bar, settle_bars: see `Indicator`.
    """

    length_bars: int = 0
    first_bar: int = 0
    settle_bars: int = 0


ONE_BAR = Memory()


def window(length_bars: int, before: int = 0) -> Memory:
    """The last `length_bars` bars, which look at so many bars before them."""
    return Memory(length_bars, length_bars - 1 + before)


def ema(length_bars: int, stages: int = 1) -> Memory:
    """`stages` chained EMAs (alpha 2/(n+1)), each seeded by the mean of its first n values."""
    settle_bars = _settle_bars(1 - 2 / (length_bars + 1), stages)
    return Memory(length_bars, stages * (length_bars - 1), settle_bars)


def wilder(length_bars: int, stages: int = 1) -> Memory:
    """Chained smoothings by Wilder (alpha 1/n) of bars' changes, which begin with the second."""
    settle_bars = _settle_bars(1 - 1 / length_bars, stages)
    return Memory(length_bars, stages * (length_bars - 1) + 1, settle_bars)


def ratio_of(memory: Memory) -> Memory:
    """`memory` of averages that are divided by each other, and forget at once after a rest.

    At rest both die away alike, and the ratio stays that of the bars before, until `REST_BARS` bars
    have not moved.
    """
    return replace(memory, settle_bars=memory.settle_bars + REST_BARS)


def _settle_bars(decay: float, stages: int) -> int:
    """Bars until a chain of equal averages forgets its seed to 1e-12."""
    # k of them forget like n**(k-1) * decay**n; a few fixed-point steps solve it.
    bars = math.log(1e-12) / math.log(decay)
    for _ in range(8):
        bars = (math.log(1e-12) - (stages - 1) * math.log(bars)) / math.log(decay)
    return math.ceil(bars)


def indicator(
    source: str,
    memory: Memory = ONE_BAR,
    *,
    unit: Unit = Unit.RATIO,
    inputs: tuple[str, ...] = (),
    span_ms: int = 0,
    min_span_bars: int = 1,
    low: float = -math.inf,
    high: float = math.inf,
    **parameters: float,
) -> Callable[[Compute], Compute]:
    """Register a function of `Bars` as the column of its name, its docstring as the summary."""
    length = {"length_bars": memory.length_bars} if memory.length_bars else {}

    def register(compute: Compute) -> Compute:
        name = compute.__name__
        if name in _RECORDS:
            raise ValueError(f"indicator {name} is registered twice")
        _RECORDS[name] = Indicator(
            name=name,
            family=compute.__module__.rpartition(".")[2],
            summary=" ".join((compute.__doc__ or "").split()),
            source=source,
            unit=unit,
            inputs=inputs,
            parameters=MappingProxyType({**length, **parameters}),
            first_bar=memory.first_bar,
            settle_bars=memory.settle_bars,
            span_ms=span_ms,
            min_span_bars=min_span_bars,
            low=low,
            high=high,
            compute=compute,
        )
        return compute

    return register


def registry_version() -> str:
    """A short hash that changes when any record or formula does."""
    lines = [f"{_CODE_VERSION}"]
    for record in _RECORDS.values():
        parameters = sorted(record.parameters.items())
        lines.append(
            f"{record.name} {record.source} {record.unit} {record.inputs} {parameters} "
            f"{record.first_bar} {record.settle_bars} {record.span_ms} {record.low} {record.high}"
        )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]
