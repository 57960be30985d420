"""From a release to what is published: the newest row of every factor, ranks and target weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress

import numpy as np

import alphamill
from alphamill.errors import AlphamillError
from alphamill.evaluation.ranks import Ranked
from alphamill.evaluation.weights import Scheme, portfolio_weights
from alphamill.factors import Factor, compute_many
from alphamill.frames import FloatArray, Panel
from alphamill.grid import next_ms
from alphamill.language import read_given
from alphamill.live.release import Release
from alphamill.live.signals import Signal, State
from alphamill.live.spec import LiveSpec
from alphamill.live.window import BarValues, Window

Newest = Callable[[Sequence[Factor], Panel], FloatArray]


def newest_rows(factors: Sequence[Factor], panel: Panel) -> FloatArray:
    """The last row of each factor: float64 (factors, symbols), to the bit what `compute` gives."""
    rows = np.empty((len(factors), len(panel.symbols)))
    for index, values in compute_many(factors, panel):
        rows[index] = values[-1]
    return rows


class Engine:
    """One live's bars and factors.

    later_bars: how many bars after one it may still be asked for, for revisions.
    """

    def __init__(self, spec: LiveSpec, later_bars: int = 2, newest: Newest = newest_rows) -> None:
        self.spec = spec
        self.factors = [read_given(followed.expression) for followed in spec.factors]
        self.bars = 1 + max(factor.lookback_bars for factor in self.factors)
        self.window = Window(spec.interval, spec.symbols, self.bars + later_bars)
        self._newest = newest
        self.code = alphamill.__version__
        self._live = spec.id

    def put(self, symbol: str, bar_ms: int, values: BarValues) -> bool:
        """Take a closed bar; False if it is too old or was known so."""
        return self.window.put(symbol, bar_ms, values)

    def signals(self, release: Release, now_ms: int) -> list[Signal]:
        """The rows of a release, one a factor, not yet links of the chain."""
        symbols = [symbol for symbol in self.spec.symbols if symbol in release.present]
        made = partial(self._row, release, now_ms, symbols, self._digest(release))
        if not release.signal:
            share = f"{len(release.present)} of {len(self.spec.symbols)} symbols"
            reason = f"{share} at the release; the quorum is {self.spec.quorum:g}"
            return [made(n, reason) for n in self._numbers]
        try:
            rows = self._newest(self.factors, self.window.panel(release.bar_ms, self.bars))
        except (AlphamillError, ValueError) as error:
            return [made(n, str(error)) for n in self._numbers]
        there = np.array([symbol in release.present for symbol in self.spec.symbols])
        rows[:, ~there] = np.nan
        ranks = _shares(rows)
        weights = portfolio_weights(rows, self._scheme, self.spec.quantiles)
        return [made(n, "", rows[n], ranks[n], weights[n]) for n in self._numbers]

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


def _shares(rows: FloatArray) -> FloatArray:
    """Ranks from 0, the lowest of a row, to 1; ties share, a lone value has 0.5."""
    average = Ranked.of(rows).average
    count = np.isfinite(average).sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count > 1, (average - 1) / (count - 1), average - 0.5)
