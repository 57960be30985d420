"""Everything that is said about one factor on one segment, as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from alphamill.evaluation.correlation import MIN_SYMBOLS
from alphamill.evaluation.weights import Scheme

SCORES_VERSION = 2  # raise it when a figure changes, be it in its last bit; runs keep it
MIN_OBSERVATIONS = 30  # bars with a correlation; below this a t-value means nothing

# Bartlett weights shrink the autocovariances that h-bar labels are known to have: with h-1 lags
# they keep 2/3 of the variance at long horizons, with 3h-1 lags 8/9.
LAGS_PER_HORIZON = 3

_NAN = math.nan


@dataclass(frozen=True, slots=True)
class Score:
    """One factor on one segment. A figure that cannot be had is NaN; `fault` says why if none can.

    Correlations, quantiles and decay are of the factor as written; the book trades
    `direction` x factor. With fewer than three symbols there is no cross-section: rank_ic_* and
    ic_* are NaN, time_series_* hold the rank correlation in time, and `decay` is of that.
    """

    horizon_bars: int
    entry_lag_bars: int
    skip_bars: int
    fee_bps: float  # one way, fee and half spread
    bars_per_year: float
    direction: int  # +1 or -1; chosen on discovery, given elsewhere
    n_bars: int = 0  # scored: without skip_bars
    n_symbols: int = 0  # with at least one scored bar
    coverage: float = _NAN  # of existing bars, the share with a value
    hac_lags: int = 0
    rank_ic_mean: float = _NAN
    rank_ic_t: float = _NAN  # Newey-West
    rank_icir: float = _NAN  # mean / std over bars, not annualised
    ic_mean: float = _NAN
    icir: float = _NAN
    time_series_rank_corr: float = _NAN
    time_series_t: float = _NAN  # Newey-West
    p_value: float = _NAN  # of whichever t there is; two-sided, one-sided where direction is given
    rank_autocorrelation: float = _NAN  # of the values, one bar apart
    decay: Mapping[int, float] = field(default_factory=dict)  # horizon in bars -> RankIC
    half_life_bars: float = _NAN
    fold_rank_corrs: tuple[float, ...] = ()  # on discovery, in order of time; see `stability`
    walk_forward_rank_corr: float = _NAN  # in the direction that the bars before each fold show
    cpcv_same_sign_frac: float = _NAN  # of the splits: the sign learnt in training holds in testing
    quantile_spread: float = _NAN  # mean return over the horizon, highest less lowest quantile
    monotonicity: float = _NAN  # of up to five quantiles, -1 to 1
    n_obs: int = 0  # bars of the book's returns
    turnover_per_bar: float = _NAN  # one-way
    gross_sharpe: float = _NAN  # annualised
    net_sharpe: float = _NAN  # annualised
    gross_sharpe_per_bar: float = _NAN
    net_sharpe_per_bar: float = _NAN
    volatility: float = _NAN  # annualised
    skew: float = _NAN
    kurtosis: float = _NAN  # raw
    max_drawdown_frac: float = _NAN
    max_drawdown_bars: int = 0
    break_even_bps: float = _NAN
    funding_per_bar: float = _NAN  # received less paid, of the capital
    capacity_quote: float = _NAN  # capital; see `portfolio.backtest`
    weighting: str = ""  # of the book; see `weights.portfolio_weights`
    participation_frac: float = _NAN  # of a bar's volume that a trade may be
    log_returns: bool = False  # of the label; what the book earns is simple
    band: float = 0.0  # of the book; see `portfolio.Rebalancing`
    hold_bars: int = 0  # likewise
    fault: str | None = None

    @property
    def association(self) -> float:
        """Mean RankIC, or the time-series rank correlation where there is no cross-section."""
        return self.time_series_rank_corr if math.isnan(self.rank_ic_mean) else self.rank_ic_mean

    @property
    def association_t(self) -> float:
        """Newey-West t of `association`."""
        return self.time_series_t if math.isnan(self.rank_ic_mean) else self.rank_ic_t

    def to_dict(self) -> dict[str, Any]:
        """JSON values; None where a number is NaN or infinite, and as ever without rebalancing."""
        plain = asdict(self)
        for name in ("band", "hold_bars"):
            if not plain[name]:
                del plain[name]
        plain["decay"] = {str(horizon): _finite(ic) for horizon, ic in self.decay.items()}
        plain["fold_rank_corrs"] = [_finite(ic) for ic in self.fold_rank_corrs]
        return {name: _finite(value) for name, value in plain.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The reverse of `to_dict`; None becomes NaN again."""
        known = {entry.name for entry in fields(cls)} - {"decay", "fold_rank_corrs", "fault"}
        numbers: dict[str, Any] = {
            name: _NAN if plain[name] is None else plain[name] for name in known & plain.keys()
        }
        folds = tuple(_NAN if ic is None else ic for ic in plain.get("fold_rank_corrs", ()))
        decay = {int(h): _NAN if ic is None else ic for h, ic in plain["decay"].items()}
        return cls(**numbers, decay=decay, fold_rank_corrs=folds, fault=plain["fault"])


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def scheme_for(n_symbols: int, across: Scheme) -> Scheme:
    """How a book is weighted: `across` symbols, or each in time where there are too few."""
    return across if n_symbols >= MIN_SYMBOLS else "time_series"
