"""A factor's figures on one stretch of bars, as objects and as the columns that hold them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self

from alphamill.evaluation import Score, Segment

JUDGED_SEGMENTS = (Segment.DISCOVERY, Segment.VALIDATION, Segment.HOLDOUT)  # in order of time


@dataclass(frozen=True, slots=True)
class Measures:
    """A factor's main figures on one stretch of bars. None where a figure cannot be had.

    Correlations are of the factor as written; the book trades it in the direction that discovery
    found. rank_ic_* and ic_* are of a cross-section; below three symbols time_series_* stand in.
    """

    rank_ic_mean: float | None = None  # of the bars' rank correlations across symbols
    rank_ic_t: float | None = None  # Newey-West
    time_series_rank_corr: float | None = None  # mean over symbols, each in time
    time_series_t: float | None = None  # Newey-West
    p_value: float | None = None  # of whichever t there is; one-sided after discovery
    ic_mean: float | None = None  # as rank_ic_mean, of values
    icir: float | None = None  # mean / std over bars, not annualised
    coverage: float | None = None  # of existing bars, the share with a value
    turnover_per_bar: float | None = None  # one-way
    gross_sharpe: float | None = None  # annualised
    net_sharpe: float | None = None  # annualised
    gross_sharpe_per_bar: float | None = None  # mean / std of a bar's return
    net_sharpe_per_bar: float | None = None  # after costs
    max_drawdown_frac: float | None = None  # of the highest equity before, after costs
    break_even_bps: float | None = None  # one-way cost of trading at which the profit is gone
    capacity_quote: float | None = None  # capital, in quote currency

    @classmethod
    def of(cls, score: Score, **more: Any) -> Self:
        """The figures of a Score, and what it does not know."""
        names = [one.name for one in fields(cls) if one.name not in more]
        return cls(**{name: finite(getattr(score, name)) for name in names}, **more)

    @classmethod
    def from_columns(cls, row: Mapping[str, Any], prefix: str = "") -> Self:
        """From a row's columns of these names behind a prefix; None for one that is not there."""
        return cls(**{name: row.get(prefix + name) for name in cls.__dataclass_fields__})

    def to_columns(self, prefix: str = "") -> dict[str, Any]:
        """The reverse of `from_columns`."""
        return {prefix + name: getattr(self, name) for name in self.__dataclass_fields__}

    @property
    def in_time(self) -> bool:
        """Whether the figures are of each symbol in time, for want of a cross-section."""
        alone = (self.time_series_t, self.time_series_rank_corr)
        return self.rank_ic_t is None and self.rank_ic_mean is None and alone != (None, None)

    @property
    def association(self) -> float | None:
        """Mean RankIC, or the mean rank correlation in time where there is no cross-section."""
        return self.time_series_rank_corr if self.rank_ic_mean is None else self.rank_ic_mean

    @property
    def association_t(self) -> float | None:
        """Newey-West t of `association`."""
        return self.time_series_t if self.rank_ic_t is None else self.rank_ic_t


NO_FIGURES = Measures()  # of bars that were not measured, or not yet


@dataclass(frozen=True, slots=True)
class SegmentFigures(Measures):
    """Measures on one segment of a run, with the open times of its first and last scored bar."""

    start_ms: int | None = None  # open time of the first scored bar, UTC epoch
    end_ms: int | None = None  # of the last


@dataclass(frozen=True, slots=True)
class DiscoveryFigures(SegmentFigures):
    """What its folds say as well; no later segment has folds. See `evaluation.stability`."""

    walk_forward_rank_corr: float | None = None  # in the direction that the bars before show
    cpcv_same_sign_frac: float | None = None  # of the splits, those whose test keeps the sign
    half_life_bars: float | None = None  # of the correlation as the horizon grows


def finite(value: Any) -> Any:
    """The value; None for NaN and infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def dump_score(score: Score) -> str:
    """All of a Score, as a table keeps it."""
    return json.dumps(score.to_dict(), separators=(",", ":"))


def load_score(text: str | None) -> Score:
    """The Score that `dump_score` wrote. ValueError for a trial that was not scored."""
    if text is None:
        raise ValueError("a trial that was not scored has no score")
    return Score.from_dict(json.loads(text))
