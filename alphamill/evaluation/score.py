"""Everything that is said about one factor on one segment, as plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

import numpy as np

from alphamill.evaluation.correlation import (
    DECAY_HORIZONS_BARS,
    MIN_SYMBOLS,
    coverage,
    decay_half_life_bars,
    information_coefficient,
    mean_ic,
    rank_autocorrelation,
    rank_ic,
    time_series_products,
)
from alphamill.evaluation.portfolio import backtest
from alphamill.evaluation.quantiles import monotonicity, quantile_returns, quantile_spread
from alphamill.evaluation.ranks import Ranked, demean_rows, finite_or_nan
from alphamill.evaluation.returns import forward_returns
from alphamill.evaluation.significance import default_lags, newey_west_t, one_sided_p, two_sided_p
from alphamill.evaluation.weights import Scheme
from alphamill.frames import FloatArray

MIN_OBSERVATIONS = 30  # bars with a correlation; below this a t-value means nothing
QUANTILES = 5

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
        """JSON values; None where a number is NaN or infinite."""
        plain = asdict(self)
        plain["decay"] = {str(horizon): _finite(ic) for horizon, ic in self.decay.items()}
        return {name: _finite(value) for name, value in plain.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The reverse of `to_dict`; None becomes NaN again."""
        known = {entry.name for entry in fields(cls)} - {"decay", "fault"}
        numbers: dict[str, Any] = {
            name: _NAN if plain[name] is None else plain[name] for name in known
        }
        decay = {int(h): _NAN if ic is None else ic for h, ic in plain["decay"].items()}
        return cls(**numbers, decay=decay, fault=plain["fault"])


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def score(
    values: FloatArray,
    panel: Mapping[str, FloatArray],
    *,
    horizon_bars: int,
    entry_lag_bars: int,
    skip_bars: int,
    fee_bps: float,
    bars_per_year: float,
    direction: int | None = None,
) -> Score:
    """Measure a factor's values on a segment; a factor that cannot be measured has a `fault`.

    values: float64 (bars, symbols), of the same bars as the panel ("open", "close", and "volume" if
    there is one). skip_bars: bars at the start that only served the look-back or are embargoed;
    nothing is decided there. direction: None on discovery, where it becomes the sign of the mean
    RankIC; on validation and holdout it must be the one found on discovery, never chosen anew.
    Raises ValueError only for arguments that do not fit each other.
    """
    if values.shape != panel["open"].shape:
        raise ValueError(f"values {values.shape} do not fit the panel {panel['open'].shape}")
    if skip_bars < 0 or direction not in (None, -1, 1):
        raise ValueError(f"skip_bars {skip_bars} must be >= 0, direction {direction} None, 1 or -1")
    values = finite_or_nan(values)
    present = np.isfinite(panel["close"][skip_bars:])
    base = Score(
        horizon_bars, entry_lag_bars, skip_bars, fee_bps, bars_per_year, direction or 1,
        n_bars=len(present),
        n_symbols=int(present.any(axis=0).sum()) if present.size else 0,
        coverage=coverage(values[skip_bars:], present),
    )  # fmt: skip
    fault = _segment_fault(panel, base) or _factor_fault(values[skip_bars:], base)
    if fault:
        return replace(base, fault=fault)
    associated = _associate(values, panel, base, direction)
    if associated.fault:
        return associated
    chosen = direction or (-1 if associated.association < 0 else 1)
    return _trade(values, panel, replace(associated, direction=chosen))


def _segment_fault(panel: Mapping[str, FloatArray], base: Score) -> str | None:
    """Why no factor can be measured on this segment, or None."""
    reach = base.horizon_bars + base.entry_lag_bars
    if not panel["open"].size:
        return "the panel has no bars"
    if base.n_bars == 0:
        return f"fewer bars ({len(panel['open'])}) than look-back and embargo ({base.skip_bars})"
    if base.n_bars <= reach:
        return f"horizon and lag of {reach} bars do not fit into a segment of {base.n_bars}"
    if base.n_symbols == 0:
        return "no symbol has a bar in the segment"
    if "volume" in panel and not np.any(panel["volume"][base.skip_bars :] > 0):
        return "nothing was traded in the segment: volume is 0 throughout"
    return None


def _factor_fault(values: FloatArray, base: Score) -> str | None:
    """Why these values cannot be measured, or None."""
    if not np.isfinite(values).any():
        return "the factor has no value in the segment"
    across = base.n_symbols >= MIN_SYMBOLS
    if not demean_rows(values if across else values.T).any():
        return f"the factor is constant {'across symbols' if across else 'in time'}"
    return None


def _associate(
    values: FloatArray, panel: Mapping[str, FloatArray], base: Score, direction: int | None
) -> Score:
    """With the correlations filled in, or a fault when too few bars have one."""
    across = base.n_symbols >= MIN_SYMBOLS
    scored = values[base.skip_bars :]
    ranked = Ranked.of(scored)

    def labels(horizon_bars: int) -> FloatArray:
        return forward_returns(panel, horizon_bars, base.entry_lag_bars)[base.skip_bars :]

    def measure(forward: FloatArray) -> FloatArray:
        return (
            rank_ic(ranked, Ranked.of(forward)) if across else time_series_products(scored, forward)
        )

    forward = labels(base.horizon_bars)
    series = measure(forward)
    n_known = int(np.isfinite(series).sum())
    if n_known < MIN_OBSERVATIONS:
        return replace(
            base, fault=f"only {n_known} bars have a correlation; {MIN_OBSERVATIONS} needed"
        )
    decay = {
        horizon: mean_ic(series if horizon == base.horizon_bars else measure(labels(horizon)))
        for horizon in DECAY_HORIZONS_BARS
    }
    lags = default_lags(n_known, LAGS_PER_HORIZON * base.horizon_bars)
    t = newey_west_t(series, lags)
    p = one_sided_p(direction * t) if direction else two_sided_p(t)
    common = replace(
        base, hac_lags=lags, p_value=p, decay=decay,
        half_life_bars=decay_half_life_bars(decay),
    )  # fmt: skip
    if not across:
        return replace(common, time_series_rank_corr=mean_ic(series), time_series_t=t)
    pearson = information_coefficient(scored, forward, "pearson")
    quantiles = quantile_returns(ranked, forward, min(QUANTILES, base.n_symbols))
    return replace(
        common,
        rank_ic_mean=mean_ic(series),
        rank_ic_t=t,
        rank_icir=_ratio(series),
        ic_mean=mean_ic(pearson),
        icir=_ratio(pearson),
        rank_autocorrelation=mean_ic(rank_autocorrelation(scored)),
        quantile_spread=quantile_spread(quantiles),
        monotonicity=monotonicity(quantiles),
    )


def _ratio(ic: FloatArray) -> float:
    """ICIR: mean / std (ddof 1)."""
    known = ic[np.isfinite(ic)]
    spread = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    return float(known.mean()) / spread if spread > 0 else _NAN


def scheme_for(n_symbols: int) -> Scheme:
    """How a book is weighted: across symbols, or each in time where there are too few."""
    return "rank" if n_symbols >= MIN_SYMBOLS else "time_series"


def _trade(values: FloatArray, panel: Mapping[str, FloatArray], base: Score) -> Score:
    """With the book's figures filled in."""
    book = backtest(
        values, panel, base.fee_bps,
        horizon_bars=base.horizon_bars,
        entry_lag_bars=base.entry_lag_bars,
        bars_per_year=base.bars_per_year,
        scheme=scheme_for(base.n_symbols),
        direction=base.direction,
        skip_bars=base.skip_bars,
    )  # fmt: skip
    names = {entry.name for entry in fields(Score)} & {entry.name for entry in fields(book)}
    return replace(base, **{name: getattr(book, name) for name in names})
