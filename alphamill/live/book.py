"""The forward book: what holding the published weights would have earned, and the live RankIC.

It is fed with nothing but published rows, each from when it was published: the newest revision that
was out before the next bar closed. Nothing is filled in: a bar without a signal, or one that was
missed, puts its tranche into cash.

The code is the verdicts' (`evaluation.portfolio`) with the verdicts' entries: the open of the bar
after the decision. A row is out a moment after that open; so the same book is kept a second time
with every trade a bar later, at an open that nobody could have missed. The truth lies between.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from alphamill.evaluation import (
    Fees,
    Rebalancing,
    forward_returns,
    information_coefficient,
    one_way_bps,
)
from alphamill.evaluation.portfolio import BookSeries, MarketToTrade
from alphamill.evaluation.significance import default_lags, newey_west_t
from alphamill.frames import FloatArray, IntArray, Panel
from alphamill.grid import index_at
from alphamill.live.decay import Decay, decay_of
from alphamill.live.signals import Signal, State
from alphamill.live.spec import Followed, LiveSpec

_INTERVAL_Z = 1.959963984540054  # of a 95 % interval


@dataclass(frozen=True, slots=True)
class LiveIC:
    """RankIC of what was published.

    ic: (bars,), NaN where nothing was published or what follows is not known yet. low, high: 95 %
    interval of the mean, by Newey and West's standard error; NaN below 2 bars.
    """

    times_ms: IntArray = field(repr=False)
    ic: FloatArray = field(repr=False)
    n_bars: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Book:
    """One factor's forward book. Returns are fractions of the capital, bar by bar."""

    followed: Followed
    times_ms: IntArray = field(repr=False)  # open time of the bars that decided, one a row below
    at_open: BookSeries  # traded at the open after the decision, as the verdicts trade
    a_bar_later: BookSeries
    ic: LiveIC
    decay: Decay
    signals: int  # bars with a signal
    silent: int  # bars since the first signal without one


def published_rows(rows: Iterable[Signal], factor: str) -> list[Signal]:
    """One row a bar, in order: the newest revision that was out before the next bar had closed.

    What is known only later decided nothing.
    """
    chosen: dict[int, Signal] = {}
    for row in rows:
        length_ms = row.close_time - row.bar_time
        if row.factor == factor and row.published_at < row.close_time + length_ms:
            known = chosen.get(row.bar_time)
            if known is None or row.revision > known.revision:
                chosen[row.bar_time] = row
    return [chosen[bar_ms] for bar_ms in sorted(chosen)]


def forward_book(
    spec: LiveSpec, followed: Followed, rows: Iterable[Signal], panel: Panel, fees: Fees | float
) -> Book | None:
    """The book of a factor's published rows; None before the first signal.

    panel: the bars as the lake has them, symbols as in `spec`, with `funding_rate` on futures; rows
    outside it count for nothing.
    """
    first = index_at(spec.interval, int(panel.times_ms[0])) if panel.n_bars else 0
    column = {symbol: at for at, symbol in enumerate(panel.symbols)}
    shape = (panel.n_bars, len(panel.symbols))
    weights, values = np.zeros(shape), np.full(shape, np.nan)
    signals = 0
    begun: int | None = None
    for row in published_rows(rows, followed.factor):
        at = index_at(spec.interval, row.bar_time) - first
        if row.state is State.SIGNAL and 0 <= at < panel.n_bars:
            columns = [column[symbol] for symbol in row.symbols]
            weights[at, columns] = row.weights
            values[at, columns] = row.values
            signals += 1
            begun = at if begun is None else begun
    if begun is None:
        return None
    fee_bps = one_way_bps(fees)
    slowly = Rebalancing(spec.band, spec.hold_bars)
    later = np.vstack([np.zeros((1, shape[1])), weights[:-1]])
    market = MarketToTrade.of(panel, 1)
    ic = _live_ic(values, panel, followed.horizon_bars)
    return Book(
        followed,
        panel.times_ms,
        market.series(weights, fee_bps, followed.horizon_bars, slowly),
        market.series(later, fee_bps, followed.horizon_bars, slowly),
        ic,
        decay_of(ic.ic, followed.promised_ic, followed.horizon_bars),
        signals,
        panel.n_bars - begun - signals,
    )


def _live_ic(values: FloatArray, panel: Panel, horizon_bars: int) -> LiveIC:
    ic = information_coefficient(values, forward_returns(panel, horizon_bars, 1))
    known = ic[np.isfinite(ic)]
    mean = float(known.mean()) if known.size else math.nan
    half = math.nan
    if known.size > 1:
        t = newey_west_t(known, default_lags(known.size, horizon_bars))
        half = abs(_INTERVAL_Z * mean / t) if t else math.nan
    return LiveIC(panel.times_ms, ic, int(known.size), mean, mean - half, mean + half)
