"""What trading a factor would have earned, before and after costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from alphamill.evaluation.returns import Holding, holding_returns
from alphamill.evaluation.significance import moments
from alphamill.evaluation.weights import Scheme, portfolio_weights, turnover
from alphamill.frames import FloatArray, Panel


class Fees(Protocol):
    """Cost of trading, one way, in basis points of the traded value."""

    @property
    def taker_bps(self) -> float:
        """The exchange's fee."""

    @property
    def spread_bps(self) -> float:
        """Half of the quoted spread."""


@dataclass(frozen=True, slots=True)
class Backtest:
    """A book's returns on its capital and what they amount to.

    Row k is the bar k+1 bars after the first decision's trade; drawdowns are of the compounded net
    returns. A figure that cannot be had (no trade, no variation) is NaN.
    """

    gross_returns: FloatArray = field(repr=False)  # (n_obs,), one a bar
    net_returns: FloatArray = field(repr=False)
    n_obs: int
    gross_sharpe_per_bar: float
    net_sharpe_per_bar: float
    gross_sharpe: float  # annualised by bars_per_year
    net_sharpe: float
    volatility: float  # of net returns, annualised
    skew: float  # of gross returns
    kurtosis: float  # of gross returns, raw: a normal has 3
    max_drawdown_frac: float  # 0 to 1
    max_drawdown_bars: int  # from the deepest drawdown's peak to its recovery, or to the end
    turnover_per_bar: float  # one-way
    break_even_bps: float  # one-way cost at which the mean net return is 0


def backtest(
    values: FloatArray,
    panel: Mapping[str, FloatArray],
    fees: Fees | float,
    *,
    horizon_bars: int = 1,
    entry_lag_bars: int = 1,
    bars_per_year: float | None = None,
    scheme: Scheme = "rank",
    quantiles: int = 5,
    direction: int = 1,
    skip_bars: int = 0,
) -> Backtest:
    """Trade `direction` x values: decided at the close of bar t, done at the open of t + lag.

    values: (bars, symbols). fees: `taker_bps` and `spread_bps`, or their sum as a number. The book
    is the mean of the last `horizon_bars` target weights (overlapping tranches as in Jegadeesh and
    Titman 1993), so each decision is held for its horizon and turnover falls with it. Returns are
    marked every bar and therefore do not overlap. A position cannot be changed at a missing bar and
    goes to cash after a symbol's last one. Costs: sum |w_t - w_t-1| x fees; the drift of weights
    between trades is not charged.
    bars_per_year: None takes it from a Panel's interval; without either, annualised figures are
    NaN. skip_bars: no decision before that bar.
    """
    if direction not in (-1, 1) or horizon_bars < 1:
        raise ValueError(f"direction {direction} must be +-1, horizon_bars {horizon_bars} >= 1")
    if values.shape != panel["open"].shape:
        raise ValueError(f"values {values.shape} do not fit the panel {panel['open'].shape}")
    targets = direction * portfolio_weights(values, scheme, quantiles)
    targets[:skip_bars] = 0.0
    holding = holding_returns(panel, entry_lag_bars)
    book = _held(_averaged(targets, horizon_bars)[: len(holding.returns)], holding)
    started = np.flatnonzero(book.any(axis=1))
    first = started[0] if started.size else len(book)
    book, returns = book[first:], holding.returns[first:]
    if bars_per_year is None:
        bars_per_year = panel.interval.bars_per_year if isinstance(panel, Panel) else math.nan
    gross = np.einsum("ij,ij->i", book, returns)
    return _summary(gross, turnover(book), cost_frac(fees), bars_per_year)


def cost_frac(fees: Fees | float) -> float:
    """One-way cost as a fraction of the traded value."""
    bps = fees if isinstance(fees, (int, float)) else fees.taker_bps + fees.spread_bps
    return bps / 1e4


def _averaged(targets: FloatArray, horizon_bars: int) -> FloatArray:
    """Mean of the last `horizon_bars` rows; before the first row there is cash."""
    book = targets.copy()
    for age in range(1, min(horizon_bars, len(targets))):
        book[age:] += targets[:-age]
    book /= horizon_bars
    return book


def _held(book: FloatArray, holding: Holding) -> FloatArray:
    """The book that could be had: unchanged while a symbol has no bar, cash after its last one."""
    if not holding.tradable.all():
        rows = np.where(holding.tradable, np.arange(len(book))[:, None], -1)
        latest = np.maximum.accumulate(rows, axis=0)
        book = np.where(latest >= 0, np.take_along_axis(book, np.maximum(latest, 0), axis=0), 0.0)
    return np.where(holding.listed, book, 0.0)


def _summary(
    gross: FloatArray, traded_one_way: FloatArray, cost: float, bars_per_year: float
) -> Backtest:
    net = gross - cost * 2 * traded_one_way
    before, after = moments(gross), moments(net)
    yearly = math.sqrt(bars_per_year)
    depth, length = drawdown(net)
    traded = 2 * float(traded_one_way.sum())
    return Backtest(
        gross_returns=gross,
        net_returns=net,
        n_obs=before.n_obs,
        gross_sharpe_per_bar=before.sharpe,
        net_sharpe_per_bar=after.sharpe,
        gross_sharpe=before.sharpe * yearly,
        net_sharpe=after.sharpe * yearly,
        volatility=after.std * yearly,
        skew=before.skew,
        kurtosis=before.kurtosis,
        max_drawdown_frac=depth,
        max_drawdown_bars=length,
        turnover_per_bar=float(traded_one_way.mean()) if len(gross) else math.nan,
        break_even_bps=1e4 * float(gross.sum()) / traded if traded > 0 else math.nan,
    )


def drawdown(returns: FloatArray) -> tuple[float, int]:
    """Deepest fall of compounded returns below their peak, and its bars to recovery or the end.

    A fraction, 0 to 1; (NaN, 0) without returns. Losing all of it lasts to the end.
    """
    if not len(returns):
        return math.nan, 0
    equity = np.concatenate(([1.0], np.cumprod(np.maximum(1.0 + returns, 0.0))))
    peaks = np.maximum.accumulate(equity)
    depths = 1.0 - equity / peaks
    lowest = int(depths.argmax())
    if depths[lowest] <= 0:
        return 0.0, 0
    peak = int(np.flatnonzero(equity[: lowest + 1] == peaks[lowest])[-1])
    recovered = np.flatnonzero(equity[lowest:] >= peaks[lowest])
    end = lowest + int(recovered[0]) if recovered.size else len(equity) - 1
    return float(depths[lowest]), end - peak
