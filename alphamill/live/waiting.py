"""What values would have been, had they been published sooner or later after a bar's end.

The bars are played again in the order in which a live took them, through the engine that it
publishes by; at each moment the cross-section is over who is there then. What it is held to is
batch on the final bars.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.evaluation.weights import portfolio_weights
from alphamill.factors import compute
from alphamill.frames import KLINE_FIELDS, FloatArray, Panel
from alphamill.grid import index_at, next_ms
from alphamill.language import read_given
from alphamill.live.engine import Engine, shares
from alphamill.live.parity import Bars
from alphamill.live.release import Cause, Release, ReleaseRule
from alphamill.live.signals import Signal, State
from alphamill.live.spec import LiveSpec
from alphamill.live.waited import AFTER_MS, Waited
from alphamill.live.window import BarValues


def price_of_waiting(
    spec: LiveSpec,
    bars: Sequence[int],
    truth: Panel,
    heard: Bars,
    after_ms: Sequence[int] = AFTER_MS,
) -> Iterator[Waited]:
    """A row for each of `bars` (open times, UTC epoch ms), moment and factor.

    truth: the bars as the lake has them now, symbols as in `spec`, from as far back as the factors
    look. heard: as the live took them, by the exchange's clock; a bar of which nobody was heard is
    not measured, and stands in the others' history as the lake has it.
    """
    told = {bar for _, bar in heard} & set(bars)
    if not told:
        return
    final = _Final(spec, truth)
    played = _Played(spec, truth, heard, later_ms=max(after_ms))
    wanted = sorted(told & set(truth.times_ms[played.history_bars :].tolist()))
    for bar_ms, after, there, rows in played.moments(wanted, sorted(after_ms)):
        yield from final.beside(bar_ms, after, there, rows)


class _Final:
    """What batch gives on the final bars: values, ranks and target weights by factor."""

    def __init__(self, spec: LiveSpec, truth: Panel) -> None:
        self._spec, self._truth = spec, truth
        self._values = {
            one.factor: compute(read_given(one.expression), truth) for one in spec.factors
        }
        self._first = index_at(spec.interval, int(truth.times_ms[0]))

    def beside(
        self, bar_ms: int, after_ms: int, there: frozenset[str], rows: Sequence[Signal] | None
    ) -> Iterator[Waited]:
        """A row a factor; rows: None below the quorum."""
        at = index_at(self._spec.interval, bar_ms) - self._first
        known = np.isfinite(self._truth["close"][at])
        here = np.array([symbol in there for symbol in self._spec.symbols])
        for number, followed in enumerate(self._spec.factors):
            differ, gap, moved = 0, np.nan, np.nan
            said = None if rows is None else rows[number]
            if said is not None and said.state is State.SIGNAL:
                true = np.where(known, self._values[followed.factor][at], np.nan)[None, :]
                values = self._placed(said.symbols, said.values)
                weights = np.nan_to_num(self._placed(said.symbols, said.weights))
                final = np.nan_to_num(self._weights(true)[0])
                differ = int((_bits(values[here & known]) != _bits(true[0][here & known])).sum())
                apart = np.abs(self._placed(said.symbols, said.ranks) - shares(true)[0])
                gap = float(np.nanmean(apart)) if np.isfinite(apart).any() else np.nan
                moved = float(np.abs(weights - final).sum() / 2)
            yield Waited(
                bar_ms,
                followed.factor,
                after_ms,
                int(known.sum()),
                int((here & known).sum()),
                rows is not None,
                differ,
                gap,
                moved,
            )

    def _placed(self, symbols: Sequence[str], figures: Sequence[float]) -> FloatArray:
        of = dict(zip(symbols, figures, strict=True))
        return np.array([of.get(symbol, np.nan) for symbol in self._spec.symbols])

    def _weights(self, values: FloatArray) -> FloatArray:
        return portfolio_weights(values, self._spec.weighting, self._spec.quantiles)  # type: ignore[arg-type]  # checked where it is set


@dataclass(slots=True)
class _Measured:
    """A bar whose moments are not all over."""

    there: set[str]
    newest: tuple[frozenset[str], list[Signal] | None] | None = None  # of the moment before


class _Played:
    """The bars in the order in which they were taken."""

    def __init__(self, spec: LiveSpec, truth: Panel, heard: Bars, later_ms: int) -> None:
        self._spec = spec
        first_ms = int(truth.times_ms[0])
        later = later_ms // (next_ms(spec.interval, first_ms) - first_ms) + 2
        self._engine = Engine(spec, later)
        rule = (spec.release_ms, spec.quorum, spec.correct_within_ms, first_ms)
        self._least = ReleaseRule(spec.interval, spec.symbols, *rule).least
        self.history_bars = self._engine.bars - 1
        self._taken = sorted(self._all(truth, heard), key=lambda one: one[:3])

    def _all(self, truth: Panel, heard: Bars) -> Iterator[tuple[int, int, str, BarValues]]:
        """When, bar, symbol and values; of a bar that nobody told of, the lake's at its end."""
        told = {bar for _, bar in heard}
        for (symbol, bar_ms), records in heard.items():
            if symbol in self._spec.symbols:
                for one in records:
                    yield one.at_ms, bar_ms, symbol, one.values
        for at, time in enumerate(truth.times_ms.tolist()):
            if time not in told:
                for column, symbol in enumerate(truth.symbols):
                    values = [float(truth[name][at, column]) for name in KLINE_FIELDS]
                    if not np.isnan(truth["close"][at, column]):
                        yield next_ms(self._spec.interval, time), time, symbol, values

    def moments(
        self, bars: Sequence[int], after_ms: Sequence[int]
    ) -> Iterator[tuple[int, int, frozenset[str], list[Signal] | None]]:
        """Bar, moment, who was there, and the rows of then: None below the quorum."""
        ends = {bar: next_ms(self._spec.interval, bar) for bar in bars}
        due = sorted((ends[bar] + after, bar, after) for bar in bars for after in after_ms)
        to_come = set(bars)
        measured: dict[int, _Measured] = {}
        taken = iter(self._taken)
        waiting = next(taken, None)
        for moment_ms, bar, after in due:
            while waiting is not None and waiting[0] <= moment_ms:
                self._take(waiting, measured, to_come)
                waiting = next(taken, None)
            one = measured.setdefault(bar, _Measured(set()))
            if one.newest is None:
                one.newest = self._rows(bar, one.there, moment_ms)
            yield bar, after, *one.newest
            if after == after_ms[-1]:
                del measured[bar]
                to_come.remove(bar)

    def _take(
        self,
        taken: tuple[int, int, str, BarValues],
        measured: dict[int, _Measured],
        to_come: set[int],
    ) -> None:
        _, bar_ms, symbol, values = taken
        self._engine.put(symbol, bar_ms, values)
        if bar_ms in to_come:
            measured.setdefault(bar_ms, _Measured(set())).there.add(symbol)
        for other, one in measured.items():
            if other >= bar_ms:  # its window holds it
                one.newest = None

    def _rows(
        self, bar_ms: int, there: set[str], now_ms: int
    ) -> tuple[frozenset[str], list[Signal] | None]:
        present = frozenset(there)
        if len(present) < self._least:
            return present, None
        absent = frozenset(self._spec.symbols) - present
        release = Release(bar_ms, 0, Cause.DEADLINE, present, absent, signal=True)
        return present, self._engine.signals(release, now_ms)


def _bits(values: FloatArray) -> np.ndarray:
    return np.where(np.isnan(values), np.nan, values).view(np.int64)
