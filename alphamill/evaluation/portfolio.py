"""What trading a factor would have earned, before and after costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from alphamill.evaluation.costs import FUNDING, Fees, field_while_held, one_way_bps
from alphamill.evaluation.rebalancing import AT_ONCE, Rebalancing
from alphamill.evaluation.returns import Holding, holding_returns
from alphamill.evaluation.significance import moments
from alphamill.evaluation.weights import Scheme, portfolio_weights
from alphamill.frames import FloatArray, Panel

CAPACITY_QUANTILE = 0.05  # of the bars may ask for more than the participation allows


@dataclass(frozen=True, slots=True)
class Backtest:
    """A book's returns on its capital and what they amount to.

    Row k is the bar k+1 bars after the first decision's trade; drawdowns are of the compounded net
    returns. A figure that cannot be had (no trade, no variation) is NaN.
    """

    gross_returns: FloatArray = field(repr=False)  # (n_obs,), one a bar
    net_returns: FloatArray = field(repr=False)  # gross + funding - costs
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
    turnover_per_bar: float  # one-way: half of what is traded, drift included
    funding_per_bar: float  # received less paid, as a fraction of the capital; 0 without funding
    break_even_bps: float  # one-way cost at which what is traded here would earn nothing
    capacity_quote: float  # capital, see `backtest`; NaN where the panel has no quote volume


@dataclass(frozen=True, slots=True)
class BookSeries:
    """A book bar by bar, as fractions of its capital; row k holds what bar first_bar + k decided.

    (n_obs,) each: gross, net = gross + funding - costs, funding received less paid, traded (both
    sides, so that a turnover is half of it), room (capital of which a trade is all that may be
    traded of its symbol; infinite without a trade, NaN where the panel has no quote volume).
    earned_by_symbol: (symbols,) gross, added up over the bars.
    """

    first_bar: int
    gross: FloatArray
    net: FloatArray
    funding: FloatArray
    traded: FloatArray
    room: FloatArray
    earned_by_symbol: FloatArray


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
    participation_frac: float = 0.01,
    rebalancing: Rebalancing = AT_ONCE,
) -> Backtest:
    """Trade `direction` x values: decided at the close of bar t, done at the open of t + lag.

    values: (bars, symbols). fees: see `costs.Fees`, or basis points as a number. The book is the
    mean of the last `horizon_bars` target weights (overlapping tranches as in Jegadeesh and Titman
    1993), so each decision is held for its horizon and turnover falls with it. Returns are marked
    every bar and therefore do not overlap. A position cannot be changed at a missing bar and goes
    to cash after a symbol's last one. Costs: fees x what is traded, which is the difference between
    the new weight and what the old one has drifted to. Funding: where the panel has a field
    `funding_rate` (see `costs.funding_by_bar`), longs pay it and shorts receive it.
    bars_per_year: None takes it from a Panel's interval; without either, annualised figures are
    NaN. skip_bars: no decision before that bar.
    capacity_quote: the capital, in quote currency, with which in 95 % of the bars that trade no
    trade is more than `participation_frac` of its own bar's `quote_volume`.
    rebalancing: how slowly the book follows its targets; by default at once.
    """
    if direction not in (-1, 1) or horizon_bars < 1:
        raise ValueError(f"direction {direction} must be +-1, horizon_bars {horizon_bars} >= 1")
    if values.shape != panel["open"].shape:
        raise ValueError(f"values {values.shape} do not fit the panel {panel['open'].shape}")
    market = MarketToTrade.of(panel, entry_lag_bars, participation_frac)
    targets = portfolio_weights(values, scheme, quantiles)
    targets[:skip_bars] = 0.0
    if bars_per_year is None:
        bars_per_year = panel.interval.bars_per_year if isinstance(panel, Panel) else math.nan
    fee_bps = one_way_bps(fees)
    return market.run(targets, fee_bps, horizon_bars, bars_per_year, rebalancing, direction)


@dataclass(frozen=True, slots=True)
class MarketToTrade:
    """What every book on one panel faces, prepared once; rows as those of `Holding`."""

    holding: Holding
    funding: FloatArray  # (rows, symbols), or one row of zeros
    volume: FloatArray  # (rows, symbols) in quote currency that may be traded, or one row of NaN

    @classmethod
    def of(
        cls, panel: Mapping[str, FloatArray], entry_lag_bars: int, participation_frac: float = 0.01
    ) -> MarketToTrade:
        """From a panel's open and close, and its funding_rate and quote_volume if it has them."""
        holding = holding_returns(panel, entry_lag_bars)
        rows = len(holding.returns)
        absent = 0.0 if "quote_volume" in panel else math.nan
        return cls(
            holding,
            field_while_held(panel, FUNDING, entry_lag_bars, rows, 0.0),
            field_while_held(panel, "quote_volume", entry_lag_bars, rows, absent)
            * participation_frac,
        )

    def run(
        self,
        targets: FloatArray,
        fee_bps: float,
        horizon_bars: int,
        bars_per_year: float,
        rebalancing: Rebalancing = AT_ONCE,
        direction: int = 1,
    ) -> Backtest:
        """The book of direction x these target weights (bars, symbols), one tranche a bar.

        As `backtest`.
        """
        book = self.series(targets, fee_bps, horizon_bars, rebalancing, direction)
        return _summary(book, fee_bps, bars_per_year)

    def series(
        self,
        targets: FloatArray,
        fee_bps: float,
        horizon_bars: int,
        rebalancing: Rebalancing = AT_ONCE,
        direction: int = 1,
    ) -> BookSeries:
        """The same book bar by bar, from the first decision that is held at all."""
        from alphamill.evaluation import kernels  # loads the compiler

        holding = self.holding
        rows, n_symbols = holding.returns.shape
        found, earned = np.empty((5, rows)), np.empty(n_symbols)
        first = kernels.trade(
            np.ascontiguousarray(targets, dtype=np.float64),
            direction,
            rebalancing.tranches(horizon_bars),
            holding.returns,
            holding.tradable,
            holding.listed,
            self.funding,
            self.volume,
            fee_bps / 1e4,
            rebalancing.band,
            found,
            earned,
        )
        gross, net, funding, traded, room = found[:, first:]
        return BookSeries(first, gross, net, funding, traded, room, earned)


def _summary(book: BookSeries, fee_bps: float, bars_per_year: float) -> Backtest:
    gross, net = book.gross, book.net
    before, after = moments(gross), moments(net)
    yearly = math.sqrt(bars_per_year)
    depth, length = drawdown(net)
    total = float(book.traded.sum())
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
        turnover_per_bar=0.5 * float(book.traded.mean()) if len(gross) else math.nan,
        funding_per_bar=float(book.funding.mean()) if len(gross) else math.nan,
        break_even_bps=fee_bps + 1e4 * float(net.sum()) / total if total > 0 else math.nan,
        capacity_quote=capacity(book.room),
    )


def capacity(room: FloatArray) -> float:
    """The quantile over bars that trade of the capital that each has room for; see BookSeries.

    NaN where no bar trades or the room is unknown.
    """
    trading = room[~np.isinf(room)]
    if not trading.size or np.isnan(trading).any():
        return math.nan
    return float(np.quantile(trading, CAPACITY_QUANTILE))


def compounded(returns: FloatArray) -> FloatArray:
    """What 1 has become after each bar: (bars,); nothing is left once all of it was lost."""
    equity: FloatArray = np.multiply.accumulate(np.maximum(1.0 + returns, 0.0))
    return equity


def underwater(returns: FloatArray) -> FloatArray:
    """How far compounded returns stand below their peak after each bar: (bars,), 0 down to -1."""
    equity = compounded(returns)
    peaks = np.maximum(np.maximum.accumulate(equity), 1.0)
    depth: FloatArray = equity / peaks - 1.0
    return depth


def drawdown(returns: FloatArray) -> tuple[float, int]:
    """Deepest fall of compounded returns below their peak, and its bars to recovery or the end.

    A fraction, 0 to 1; (NaN, 0) without returns. Losing all of it lasts to the end.
    """
    if not len(returns):
        return math.nan, 0
    equity = np.concatenate(([1.0], compounded(returns)))
    peaks = np.maximum.accumulate(equity)
    depths = 1.0 - equity / peaks
    lowest = int(depths.argmax())
    if depths[lowest] <= 0:
        return 0.0, 0
    peak = int(np.flatnonzero(equity[: lowest + 1] == peaks[lowest])[-1])
    recovered = np.flatnonzero(equity[lowest:] >= peaks[lowest])
    end = lowest + int(recovered[0]) if recovered.size else len(equity) - 1
    return float(depths[lowest]), end - peak
