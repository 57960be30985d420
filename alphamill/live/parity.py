"""Whether what was published is what batch gives on the bars as they turned out to be.

Every published value is equal to batch's to the bit, or differs because of a bar, which is named:
it came after the release (late), never came (absent), or was another when it came (corrected). What
differs for no such reason must not be; it is counted as unexplained.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from alphamill.factors import Factor, compute
from alphamill.factors.operators import OPERATORS, Family
from alphamill.factors.syntax import Call, walk
from alphamill.frames import KLINE_FIELDS, FloatArray, Interval, Panel
from alphamill.grid import index_at
from alphamill.language import read_given
from alphamill.live.signals import Signal, State
from alphamill.live.spec import LiveSpec


class Why(StrEnum):
    """What a published value is to the batch's."""

    EQUAL = "equal"
    LATE = "late"
    ABSENT = "absent"
    CORRECTED = "corrected"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, slots=True)
class Heard:
    """A bar as the live took it: when, UTC epoch ms, and its values (KLINE_FIELDS)."""

    at_ms: int
    values: tuple[float, ...]


# (symbol, open time) -> what was heard of it, in order; a row published at the very time when a bar
# was taken knew that bar.
Bars = Mapping[tuple[str, int], Sequence[Heard]]


@dataclass(frozen=True, slots=True)
class Difference:
    """A published value that is not batch's, and the bar that made it so (None: unexplained)."""

    seq: int
    factor: str
    bar_ms: int
    revision: int
    symbol: str
    published: float
    batch: float
    why: Why
    because: tuple[str, int] | None  # symbol and open time


@dataclass(slots=True)
class Parity:
    """Counts of published values by what they are, per factor and revision or as a whole."""

    counts: Counter[Why] = field(default_factory=Counter)
    rows: int = 0
    unchecked_rows: int = 0  # whose bars the lake does not have yet
    differences: list[Difference] = field(default_factory=list)
    by_row: dict[int, Counter[Why]] = field(default_factory=dict)  # by seq

    @property
    def values(self) -> int:
        """How many were compared."""
        return self.counts.total()

    @property
    def holds(self) -> bool:
        """Whether nothing differs without a reason."""
        return not self.counts[Why.UNEXPLAINED]


def check_parity(
    spec: LiveSpec,
    rows: Sequence[Signal],
    truth: Panel,
    heard: Bars,
    before: Sequence[Signal] = (),
    kept: int = 1_000,
) -> Parity:
    """Compare signals with what `compute` gives over `truth`.

    truth: the bars as the lake has them now, from as far back as the factors look to the last bar
    of `rows`; symbols as in `spec`. A row whose bar or whose history is not in it is counted as
    unchecked. heard: the bars as the live had them; one of before it began to listen may be absent
    and counts as heard in time if its values are the lake's. before: rows of the chain before
    `rows`, from the first bar of `truth` on: what they say was absent was so, also where a follower
    that was killed has taken its record of arrivals along. kept: differences named, the unexplained
    ones all.
    """
    factors = {
        followed.factor: _Followed(read_given(followed.expression)) for followed in spec.factors
    }
    batch = {name: compute(one.factor, truth) for name, one in factors.items()}
    bars = _Bars(spec.interval, truth, heard, [*before, *rows])
    result = Parity()
    for row in rows:
        if row.state is not State.SIGNAL:
            continue
        one = factors[row.factor]
        at = bars.row_of(row.bar_time)
        if at is None or at < one.factor.lookback_bars or not bars.known(at):
            result.unchecked_rows += 1
            continue
        counts = Counter({Why.EQUAL: len(row.values)})
        for difference in _differences(row, one, batch[row.factor][at], at, bars):
            counts[Why.EQUAL] -= 1
            counts[difference.why] += 1
            if difference.why is Why.UNEXPLAINED or len(result.differences) < kept:
                result.differences.append(difference)
        result.rows += 1
        result.counts += counts
        result.by_row[row.seq] = counts
    return result


@dataclass(frozen=True, slots=True)
class _Followed:
    factor: Factor

    @property
    def crosses(self) -> bool:
        """Whether a symbol's value depends on other symbols'."""
        own = (Family.BAR, Family.WINDOW)
        return any(
            isinstance(node, Call) and OPERATORS[node.name].family not in own
            for node in walk(self.factor.tree)
        )


class _Bars:
    """What the live had of each bar, beside what the lake has."""

    def __init__(
        self, interval: Interval, truth: Panel, heard: Bars, said: Iterable[Signal]
    ) -> None:
        self._interval = interval
        self._truth = truth
        self._heard = heard
        self._first = index_at(interval, int(truth.times_ms[0])) if truth.n_bars else 0
        self._column = {symbol: at for at, symbol in enumerate(truth.symbols)}
        self._listened_ms = min((bar for _, bar in heard), default=None)
        # bar -> what its rows say: (number, when, who was absent), where that changed
        self._said: dict[int, list[tuple[int, int, frozenset[str]]]] = {}
        for row in said:
            of_bar, absent = self._said.setdefault(row.bar_time, []), frozenset(row.absent)
            if not of_bar or of_bar[-1][2] != absent:
                of_bar.append((row.seq, row.published_at, absent))

    def row_of(self, bar_ms: int) -> int | None:
        """The row of a bar, or None."""
        at = index_at(self._interval, bar_ms) - self._first
        return at if 0 <= at < self._truth.n_bars else None

    def open_ms(self, at: int) -> int:
        """Open time of a row."""
        return int(self._truth.times_ms[at])

    def known(self, at: int) -> bool:
        """Whether the lake has any bar of that row: else it was not fetched yet."""
        return bool(np.isfinite(self._truth["close"][at]).any())

    def column(self, symbol: str) -> int:
        """Where a symbol is in the panel."""
        return self._column[symbol]

    def fault(self, symbol: str, at: int, row: Signal) -> Why | None:
        """What was wrong with a bar when a row was published; None if it was as it is now."""
        bar_ms = self.open_ms(at)
        true = tuple(float(self._truth[name][at, self._column[symbol]]) for name in KLINE_FIELDS)
        there = not np.isnan(true[3])
        heard = self._heard.get((symbol, bar_ms), ())
        if bar_ms == row.bar_time and symbol in row.absent:
            return Why.LATE if heard else Why.ABSENT if there else None
        told = [one for one in self._said.get(bar_ms, ()) if one[0] < row.seq]
        if there and told and symbol in told[-1][2]:
            since_ms = told[-1][1]
            if not any(since_ms < one.at_ms <= row.published_at for one in heard):
                return Why.LATE if heard or self._came(symbol, bar_ms, row) else Why.ABSENT
        if heard:
            in_time = [one for one in heard if one.at_ms <= row.published_at]
            if not in_time:
                return Why.LATE
            same = there and _bits(in_time[-1].values) == _bits(true)
            return None if same else Why.CORRECTED
        # Told and not heard: it was there, and the record of when has gone with a follower.
        before = bool(told) or self._listened_ms is None or bar_ms < self._listened_ms
        return Why.ABSENT if there and not before else None

    def _came(self, symbol: str, bar_ms: int, row: Signal) -> bool:
        """Whether the chain says after `row` that the bar was there."""
        return any(seq > row.seq and symbol not in gone for seq, _, gone in self._said[bar_ms])


def _differences(
    row: Signal, one: _Followed, batch: FloatArray, at: int, bars: _Bars
) -> Iterator[Difference]:
    true = [float(batch[bars.column(symbol)]) for symbol in row.symbols]
    reasons: dict[str, tuple[Why, tuple[str, int]] | None] = {}
    for symbol, published, value in zip(row.symbols, row.values, true, strict=True):
        if _bits((published,)) == _bits((value,)):
            continue
        whose = "" if one.crosses else symbol
        if whose not in reasons:
            within = (*row.symbols, *row.absent) if one.crosses else (symbol,)
            reasons[whose] = _reason(within, one.factor, at, row, bars)
        why, because = reasons[whose] or (Why.UNEXPLAINED, None)
        yield Difference(
            row.seq, row.factor, row.bar_time, row.revision, symbol, published, value, why, because
        )


def _reason(
    symbols: Sequence[str], factor: Factor, at: int, published: Signal, bars: _Bars
) -> tuple[Why, tuple[str, int]] | None:
    """The newest bar in the factor's window that was not then what it is now."""
    for row in range(at, at - factor.lookback_bars - 1, -1):
        for symbol in symbols:
            if why := bars.fault(symbol, row, published):
                return why, (symbol, bars.open_ms(row))
    return None


def _bits(values: Sequence[float]) -> bytes:
    plain = np.asarray(values, dtype=np.float64)
    return np.where(np.isnan(plain), np.nan, plain).tobytes()
