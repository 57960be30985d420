"""From a release to what is published: the newest row of every factor, ranks and target weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import compress

import numpy as np

from alphamill.errors import AlphamillError
from alphamill.evaluation.ranks import Ranked
from alphamill.evaluation.weights import Scheme, portfolio_weights
from alphamill.factors import Factor, Tail
from alphamill.fleet.identity import build
from alphamill.frames import KLINE_FIELDS, FloatArray, Panel
from alphamill.grid import index_at, next_ms, open_ms
from alphamill.indicators import INDICATORS, IndicatorTail
from alphamill.language import read_given
from alphamill.live.indicator_window import IndicatorWindow
from alphamill.live.release import Cause, Release
from alphamill.live.signals import Signal, State
from alphamill.live.spec import LiveSpec
from alphamill.live.window import BarValues, Window

_REHEARSED_MS = 1_600_000_000_000  # any time does


class Engine:
    """One live's bars and factors.

    later_bars: how many bars after one it may still be asked for, for revisions. Raises FactorError
    for an expression that is none.
    """

    def __init__(self, spec: LiveSpec, later_bars: int = 2) -> None:
        self.spec = spec
        self.factors = [read_given(followed.expression) for followed in spec.factors]
        self.code = build().label
        self._live = spec.id
        self._tail = Tail(self.factors)
        self._rows = 1 + self._tail.lookback_bars
        names = indicators_of(self.factors)
        settled = IndicatorTail(names, spec.interval).lookback_bars if names else 0
        self.bars = self._rows + settled
        self.window = Window(spec.interval, spec.symbols, self.bars + later_bars)
        self._indicators = IndicatorWindow(names, self.window) if names else None

    def put(self, symbol: str, bar_ms: int, values: BarValues) -> bool:
        """Take a closed bar; False if it is too old or was known so."""
        changed = self.window.put(symbol, bar_ms, values)
        if changed and self._indicators is not None:
            self._indicators.changed(symbol, bar_ms)
        return changed

    def expect(self, symbol: str, bar_ms: int) -> None:
        """The symbol's bar has been put, and `signals` of that bar are to come: do what can be done
        before the others are here.
        """
        if self._indicators is not None:
            self._indicators.expect(symbol, bar_ms, self._rows)

    def signals(self, release: Release, now_ms: int) -> list[Signal]:
        """The rows of a release, one a factor, not yet links of the chain."""
        symbols = [symbol for symbol in self.spec.symbols if symbol in release.present]
        made = partial(self._row, release, now_ms, symbols, self._digest(release))
        if not release.signal:
            share = f"{len(release.present)} of {len(self.spec.symbols)} symbols"
            reason = f"{share} at the release; the quorum is {self.spec.quorum:g}"
            return [made(n, reason) for n in self._numbers]
        try:
            rows = self._tail.newest(self._panel(release.bar_ms))
        except (AlphamillError, ValueError) as error:
            return [made(n, str(error)) for n in self._numbers]
        there = np.array([symbol in release.present for symbol in self.spec.symbols])
        rows[:, ~there] = np.nan
        ranks = shares(rows)
        weights = portfolio_weights(rows, self._scheme, self.spec.quantiles)
        return [made(n, "", rows[n], ranks[n], weights[n]) for n in self._numbers]

    def rehearse(self) -> list[Signal]:
        """Signals of made-up bars, of an engine without others: then all kernels are compiled."""
        start_ms = open_ms(self.spec.interval, index_at(self.spec.interval, _REHEARSED_MS))
        last = index_at(self.spec.interval, start_ms) + self.bars - 1
        for number in range(last - self.bars + 1, last + 1):
            bar_ms = open_ms(self.spec.interval, number)
            for at, symbol in enumerate(self.spec.symbols):
                close = 100 + at + np.sin(number * (at + 1))
                made = {"open": close, "high": close + 1, "low": close - 1, "close": close}
                values = [made.get(name, 10.0 + at + number % 7) for name in KLINE_FIELDS]
                self.window.put(symbol, bar_ms, values)
        everybody = frozenset(self.spec.symbols)
        whole = Release(bar_ms, 0, Cause.WHOLE, everybody, frozenset(), signal=True)
        return self.signals(whole, bar_ms)

    def _panel(self, bar_ms: int) -> Panel:
        """What the tail reads: the bars, and the indicators that factors name."""
        panel = self.window.panel(bar_ms, self._rows)
        if self._indicators is None:
            return panel
        columns = self._indicators.columns(bar_ms, self._rows)
        return Panel(panel.interval, panel.times_ms, panel.symbols, {**panel.fields, **columns})

    @property
    def _numbers(self) -> range:
        return range(len(self.factors))

    @property
    def _scheme(self) -> Scheme:
        return self.spec.weighting  # type: ignore[return-value]  # checked where it is set

    def _row(
        self,
        release: Release,
        now_ms: int,
        symbols: Sequence[str],
        digest: str,
        number: int,
        reason: str,
        *figures: FloatArray,
    ) -> Signal:
        there = [symbol in release.present for symbol in self.spec.symbols]
        values, ranks, weights = (
            (tuple(compress(figure.tolist(), there)) for figure in figures)
            if figures
            else ((), (), ())
        )
        return Signal(
            live=self._live,
            factor=self.spec.factors[number].factor,
            bar_time=release.bar_ms,
            close_time=next_ms(self.spec.interval, release.bar_ms),
            revision=release.revision,
            published_at=now_ms,
            state=State.NO_SIGNAL if reason else State.SIGNAL,
            reason=reason,
            expected=len(self.spec.symbols),
            symbols=tuple(symbols),
            values=values,
            ranks=ranks,
            weights=weights,
            absent=tuple(sorted(release.absent)),
            data=digest,
            code=self.code,
        )

    def _digest(self, release: Release) -> str:
        try:
            return self.window.digest(release.bar_ms, self.bars)
        except ValueError:
            return ""


def indicators_of(factors: Sequence[Factor]) -> list[str]:
    """The indicators among the columns that factors need, by name."""
    columns = {column for factor in factors for column in factor.columns}
    return sorted(one for one in columns if one in INDICATORS and one not in KLINE_FIELDS)


def history_bars(spec: LiveSpec) -> int:
    """Bars before a bar that its values need, those that settle indicators included."""
    return Engine(spec, 0).bars - 1


def shares(rows: FloatArray) -> FloatArray:
    """Ranks from 0, the lowest of a row, to 1; ties share, a lone value has 0.5."""
    average = Ranked.of(rows).average
    count = np.isfinite(average).sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 1, (average - 1) / (count - 1), average - 0.5)
