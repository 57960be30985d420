"""Scoring many factors on one segment: the panel is read and its labels are ranked once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from alphamill.evaluation.correlation import (
    DECAY_HORIZONS_BARS,
    MIN_SYMBOLS,
    at_once,
    coverage,
    decay_half_life_bars,
    mean_ic,
    time_series_products,
)
from alphamill.evaluation.one_pass import Measured, RankedLabels, measured
from alphamill.evaluation.portfolio import Backtest, MarketToTrade
from alphamill.evaluation.quantiles import mean_over_bars, monotonicity, quantile_spread
from alphamill.evaluation.ranks import demean_rows
from alphamill.evaluation.rebalancing import AT_ONCE, Rebalancing
from alphamill.evaluation.returns import forward_returns
from alphamill.evaluation.score import LAGS_PER_HORIZON, MIN_OBSERVATIONS, Score, scheme_for
from alphamill.evaluation.series import SegmentSeries
from alphamill.evaluation.significance import default_lags, newey_west_t, one_sided_p, two_sided_p
from alphamill.evaluation.stability import Folds
from alphamill.evaluation.weights import Scheme, portfolio_weights
from alphamill.frames import FloatArray

QUANTILES = 5
_AT_A_TIME = 512  # bars that are looked at for whether a factor says anything at all


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
    """Measure one factor on a segment, with a book by rank; see `Scorer` and `Scorer.score`."""
    scorer = Scorer(
        panel,
        horizon_bars=horizon_bars,
        entry_lag_bars=entry_lag_bars,
        skip_bars=skip_bars,
        fee_bps=fee_bps,
        bars_per_year=bars_per_year,
    )
    return scorer.score(values, direction)


class Scorer:
    """One segment, made ready for any number of factors.

    panel: "open", "close", and "volume", "quote_volume", "funding_rate" if there are any; (bars,
    symbols). skip_bars: bars at the start that only served the look-back or are embargoed; nothing
    is decided there. weighting, quantiles (at most one a symbol), participation_frac, rebalancing:
    see `portfolio.backtest`; below three symbols at once the weighting is "time_series".
    log_returns: of the labels. members: bool (bars, symbols), who belongs at each bar, None for
    all: of the others no value and no label counts, and a book holds of them what was decided
    before they left.
    Holds about five arrays of a field's size, and a score one or two more.
    """

    def __init__(
        self,
        panel: Mapping[str, FloatArray],
        *,
        horizon_bars: int,
        entry_lag_bars: int,
        skip_bars: int,
        fee_bps: float,
        bars_per_year: float,
        weighting: Scheme = "rank",
        quantiles: int = QUANTILES,
        participation_frac: float = 0.01,
        log_returns: bool = False,
        members: NDArray[np.bool_] | None = None,
        rebalancing: Rebalancing = AT_ONCE,
    ) -> None:
        if skip_bars < 0:
            raise ValueError(f"skip_bars {skip_bars} must be >= 0")
        self._shape = panel["open"].shape
        self._members = members
        self._present = np.isfinite(panel["close"][skip_bars:])
        if members is not None:
            self._present &= members[skip_bars:]
        n_symbols = int(self._present.any(axis=0).sum()) if self._present.size else 0
        # Two coins that had one name are two symbols, and never a cross-section.
        together = at_once(self._present)
        self._across = together >= MIN_SYMBOLS
        self._scheme = scheme_for(together, weighting)
        self._quantiles = max(2, min(quantiles, n_symbols))
        self._base = Score(
            horizon_bars,
            entry_lag_bars,
            skip_bars,
            fee_bps,
            bars_per_year,
            direction=1,
            n_bars=len(self._present),
            n_symbols=n_symbols,
            weighting=self._scheme,
            participation_frac=participation_frac,
            log_returns=log_returns,
            band=rebalancing.band,
            hold_bars=rebalancing.hold_bars,
        )
        self._rebalancing = rebalancing
        self._fault = segment_fault(panel, horizon_bars, entry_lag_bars, skip_bars)
        if not self._fault and not self._present.any():
            self._fault = "no member of the universe has a bar in the segment"
        if self._fault:
            return
        self._market = MarketToTrade.of(panel, entry_lag_bars, participation_frac)
        self._forward = self._label(panel, horizon_bars)
        self._horizons = sorted({*DECAY_HORIZONS_BARS, horizon_bars})
        self._labels = (
            {}
            if self._across
            else {horizon: self._label(panel, horizon) for horizon in self._horizons}
        )
        self._ranked = RankedLabels.of(
            [self._label(panel, horizon) for horizon in self._horizons if self._across],
            self._present.shape,
        )
        self._folds = Folds.of(len(self._present), horizon_bars + entry_lag_bars)

    def _label(self, panel: Mapping[str, FloatArray], horizon_bars: int) -> FloatArray:
        base = self._base
        label = forward_returns(panel, horizon_bars, base.entry_lag_bars, base.log_returns)
        if self._members is not None:
            label[~self._members] = np.nan
        return label[base.skip_bars :]

    def score(self, values: FloatArray, direction: int | None = None) -> Score:
        """The factor's Score; see `measure`."""
        return self.measure(values, direction)[0]

    def measure(
        self, values: FloatArray, direction: int | None = None
    ) -> tuple[Score, Backtest | None]:
        """The factor's Score and its book; one that cannot be measured has a `fault` and no book.

        values: float64 (bars, symbols), of the same bars as the panel. direction: None on
        discovery, where it becomes the sign of the mean RankIC; on validation and holdout it must
        be the one found on discovery, never chosen anew.
        Raises ValueError only for arguments that do not fit each other.
        """
        values = self._checked(values, direction)
        scored = values[self._base.skip_bars :]
        base = replace(
            self._base, direction=direction or 1, coverage=coverage(scored, self._present)
        )
        fault = self._fault or _factor_fault(scored, self._across)
        if fault:
            return replace(base, fault=fault), None
        targets = self._blank_targets()
        found = self._measured(scored, targets)
        associated = self._associate(scored, found, base, direction)
        if associated.fault:
            return associated, None
        chosen = direction or (-1 if associated.association < 0 else 1)
        self._fill_targets(values, targets)
        return self._trade(targets, replace(associated, direction=chosen))

    def _checked(self, values: FloatArray, direction: int | None) -> FloatArray:
        if values.shape != self._shape:
            raise ValueError(f"values {values.shape} do not fit the panel {self._shape}")
        if direction not in (None, -1, 1):
            raise ValueError(f"direction {direction} must be None, 1 or -1")
        if self._members is None:
            return np.ascontiguousarray(values, dtype=np.float64)
        return np.where(self._members, values, np.nan)

    def series(self, values: FloatArray, direction: int) -> SegmentSeries | None:
        """The factor bar by bar, in its direction; None for one that cannot be measured.

        What `score` says of the same values are the means and sums of these, so that a plot of them
        shows the figures of record. values, direction: as `measure`.
        """
        values = self._checked(values, direction)
        scored = values[self._base.skip_bars :]
        if self._fault or _factor_fault(scored, self._across):
            return None
        targets, base = self._blank_targets(), self._base
        found = self._measured(scored, targets)
        by_horizon = {
            horizon: self._correlations(scored, found, horizon) for horizon in self._horizons
        }
        if np.isfinite(by_horizon[base.horizon_bars]).sum() < MIN_OBSERVATIONS:
            return None
        self._fill_targets(values, targets)
        return SegmentSeries(
            direction=direction,
            horizon_bars=base.horizon_bars,
            by_horizon={horizon: direction * series for horizon, series in by_horizon.items()},
            quantile_returns=found.quantiles[:, ::direction],
            book=self._market.series(
                targets, base.fee_bps, base.horizon_bars, self._rebalancing, direction
            ),
        )

    def _measured(self, scored: FloatArray, targets: FloatArray) -> Measured:
        """All that its cross-sections say, and into targets the weights of a book by rank."""
        return measured(
            scored,
            self._ranked,
            self._forward,
            min_pairs=MIN_SYMBOLS,
            pearson=self._across,
            quantiles=min(QUANTILES, self._base.n_symbols) if self._across else 0,
            persistence=self._across,
            weights=targets[self._base.skip_bars :] if self._scheme == "rank" else None,
        )

    def _correlations(self, scored: FloatArray, found: Measured, horizon_bars: int) -> FloatArray:
        """One a bar: across symbols, or of each in time."""
        if self._across:
            return np.asarray(found.rank_ic[self._horizons.index(horizon_bars)])
        return time_series_products(scored, self._labels[horizon_bars])

    def _associate(
        self, scored: FloatArray, found: Measured, base: Score, direction: int | None
    ) -> Score:
        """With the correlations filled in, or a fault when too few bars have one."""
        series = self._correlations(scored, found, base.horizon_bars)
        n_known = int(np.isfinite(series).sum())
        if n_known < MIN_OBSERVATIONS:
            return replace(
                base, fault=f"only {n_known} bars have a correlation; {MIN_OBSERVATIONS} needed"
            )
        decay = {
            horizon: mean_ic(
                series
                if horizon == base.horizon_bars
                else self._correlations(scored, found, horizon)
            )
            for horizon in DECAY_HORIZONS_BARS
        }
        lags = default_lags(n_known, LAGS_PER_HORIZON * base.horizon_bars)
        t = newey_west_t(series, lags)
        p = one_sided_p(direction * t) if direction else two_sided_p(t)
        common = replace(
            base, hac_lags=lags, p_value=p, decay=decay, half_life_bars=decay_half_life_bars(decay)
        )
        if direction is None:
            common = replace(common, **self._folds.stability(series))
        if not self._across:
            return replace(common, time_series_rank_corr=mean_ic(series), time_series_t=t)
        across = replace(
            common, rank_ic_mean=mean_ic(series), rank_ic_t=t, rank_icir=_ratio(series)
        )
        quantiles = mean_over_bars(found.quantiles)
        return replace(
            across,
            ic_mean=mean_ic(found.pearson),
            icir=_ratio(found.pearson),
            rank_autocorrelation=mean_ic(found.persistence),
            quantile_spread=quantile_spread(quantiles),
            monotonicity=monotonicity(quantiles),
        )

    def _trade(self, targets: FloatArray, base: Score) -> tuple[Score, Backtest]:
        """With the book's figures filled in, and the book."""
        book = self._market.run(
            targets,
            base.fee_bps,
            base.horizon_bars,
            base.bars_per_year,
            self._rebalancing,
            base.direction,
        )
        names = {entry.name for entry in fields(Score)} & {entry.name for entry in fields(book)}
        return replace(base, **{name: getattr(book, name) for name in names}), book

    def _blank_targets(self) -> FloatArray:
        """Target weights of one tranche, (bars, symbols); none before the first scored bar."""
        targets = np.empty(self._shape)
        targets[: self._base.skip_bars] = 0.0
        return targets

    def _fill_targets(self, values: FloatArray, targets: FloatArray) -> None:
        """From the first scored bar on; those of a book by rank are there already."""
        skip = self._base.skip_bars
        if not self._across:  # a z-score in time also reads the bars before
            targets[skip:] = portfolio_weights(values, self._scheme)[skip:]
        elif self._scheme != "rank":
            targets[skip:] = portfolio_weights(values[skip:], self._scheme, self._quantiles)


def segment_fault(
    panel: Mapping[str, FloatArray], horizon_bars: int, entry_lag_bars: int, skip_bars: int
) -> str | None:
    """Why no factor can be measured on this segment, or None; arguments as those of `Scorer`."""
    reach, n_bars = horizon_bars + entry_lag_bars, len(panel["open"]) - skip_bars
    if not panel["open"].size:
        return "the panel has no bars"
    if n_bars <= 0:
        return f"fewer bars ({len(panel['open'])}) than look-back and embargo ({skip_bars})"
    if n_bars <= reach:
        return f"horizon and lag of {reach} bars do not fit into a segment of {n_bars}"
    if not np.isfinite(panel["close"][skip_bars:]).any():
        return "no symbol has a bar in the segment"
    if "volume" in panel and not np.any(panel["volume"][skip_bars:] > 0):
        return "nothing was traded in the segment: volume is 0 throughout"
    return None


def _factor_fault(values: FloatArray, across: bool) -> str | None:
    """Why these values cannot be measured, or None."""
    parts = [values[start : start + _AT_A_TIME] for start in range(0, len(values), _AT_A_TIME)]
    if not any(np.isfinite(part).any() for part in parts):
        return "the factor has no value in the segment"
    if across and not any(demean_rows(part).any() for part in parts):
        return "the factor is constant across symbols"
    if not across and not demean_rows(values.T).any():
        return "the factor is constant in time"
    return None


def _ratio(ic: FloatArray) -> float:
    """ICIR: mean / std (ddof 1)."""
    known = ic[np.isfinite(ic)]
    spread = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    return float(known.mean()) / spread if spread > 0 else np.nan
