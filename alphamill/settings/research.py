"""Settings of what a run looks for and how it is measured; its gates are evaluation's own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from alphamill.settings.fields import Count, Fraction, Frozen, Positive


class SearchSettings(Frozen):
    """What a run starts from, and when later rounds are not worth asking for (None: never for it).

    A candidate counts as promising when its |t| on discovery reaches `promising_t`.
    """

    # Of those that earlier runs in the lake admitted, the newest: what they say is not new. 0: none
    library_factors: Annotated[int, Field(ge=0)] = 50

    promising_t: Positive = 3.0
    max_hours: Positive | None = None  # since the run was submitted
    enough_promising: Count | None = None
    max_usd_per_promising: Positive | None = None  # expected of the next one

    # Smoothed variants of promising candidates that cost more than they earn; at most so many more
    # trials of each evaluation of a round. 0: none
    slower_variants: Annotated[int, Field(ge=0, le=10_000)] = 0
    # Finalists are first those that break even on discovery at this cost or more. None: by t alone
    finalists_break_even_bps: (
        Annotated[float, Field(ge=-10_000, le=10_000, allow_inf_nan=False)] | None
    ) = None


class SegmentSettings(Frozen):
    """How a run's time is cut, and the label."""

    discovery_frac: Fraction = 0.4
    validation_frac: Fraction = 0.3  # the rest is the holdout
    horizon_bars: Count = 4
    # 1: a signal at the close of bar t trades at the open of bar t+1. 0: at that very close
    entry_lag_bars: Annotated[int, Field(ge=0)] = 1
    returns: Literal["simple", "log"] = "simple"  # of the label; a book's are always simple

    @model_validator(mode="after")
    def _leaves_a_holdout(self) -> SegmentSettings:
        if self.discovery_frac + self.validation_frac >= 1:
            raise ValueError("discovery_frac + validation_frac must leave a holdout (below 1)")
        return self


class PortfolioSettings(Frozen):
    """How a factor becomes a book. Below three symbols it is each one's z-score in time."""

    weighting: Literal["rank", "quantile", "zscore"] = "rank"  # across symbols, long-short
    quantiles: Annotated[int, Field(ge=2)] = 5  # "quantile": long the highest, short the lowest
    participation_frac: Annotated[float, Field(gt=0, le=1)] = 0.01  # of a bar's volume: capacity
    # A position is left alone within so many mean positions of its target. 0: it is always met
    band: Annotated[float, Field(ge=0, le=10)] = 0.0
    # A decision is held for at least so many bars, in tranches. 0: for the horizon
    hold_bars: Annotated[int, Field(ge=0, le=100_000)] = 0


class FeeSettings(Frozen):
    """Cost of trading, one way, in basis points of the traded value."""

    taker_bps: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    maker_bps: Annotated[float, Field(allow_inf_nan=False)] = (
        10.0  # of an order that waited in the book; negative: a rebate
    )
    maker_frac: Annotated[float, Field(ge=0, le=1)] = 0.0  # of the traded value filled as maker
    spread_bps: Annotated[float, Field(ge=0, allow_inf_nan=False)] = (
        1.0  # half of the quoted; not for makers
    )
