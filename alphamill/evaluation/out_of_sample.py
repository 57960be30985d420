"""What validation and holdout say together: the evidence that a search did not touch, or paid for.

A statistic of each segment is a standard normal under the null; together they are sum sqrt(n) z /
sqrt(sum n), n their observations, again one. Sources: Stouffer (1949), Liptak (1958).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from alphamill.evaluation.score import Score
from alphamill.evaluation.significance import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    normal_cdf,
    sharpe_z,
)

Returns = Literal["gross", "net"]


@dataclass(frozen=True, slots=True)
class TrialFacts:
    """The search that a factor came out of; every expression ever evaluated is a trial."""

    n_trials: int  # survivors, failures and faults alike
    n_effective: float  # independent trials that they amount to; reported, not gated on
    sharpe_variance: float  # of all trials' gross_sharpe_per_bar on validation; NaN if unknown
    bh_p: float  # this factor's validation p_value, Benjamini-Hochberg adjusted over all trials
    # Its largest p_value that would have passed beside those of the others; NaN: Bonferroni's.
    fdr_hurdle_p: float = math.nan


def oriented_t(segment: Score) -> float:
    """The segment's Newey-West t in the direction of discovery."""
    return segment.direction * segment.association_t


def combined_t(*segments: Score) -> float:
    """One t of separate segments, in the direction of discovery; n: scored bars."""
    return together([oriented_t(one) for one in segments], [one.n_bars for one in segments])


def combined_deflated_sharpe(
    segments: Sequence[Score], returns: Returns, trials: TrialFacts, n_trials: float | None = None
) -> float:
    """Probability that the Sharpe ratio over all segments beats what the luckiest trial would show.

    segments: validation, and the holdout once it was opened. n_trials: default all of the run's.
    The hurdle is sqrt(V) times the expected maximum of n_trials normals. V is the trials' variance
    on validation, or 1/(T-1) if that is less (what worthless trials spread over T bars; beyond it
    they differ in skill), times (T-1)/(sum T - 1), since luck spreads less over more bars. That is
    the hurdle of a search which had chosen its best on all of these bars; this one has chosen on
    validation only, so that it is too high, never too low.
    NaN where a segment's book never traded.
    """
    observed = [segment.n_obs for segment in segments]
    if not observed or min(observed) < 2:
        return math.nan
    luck = 1 / (observed[0] - 1)
    known = luck if math.isnan(trials.sharpe_variance) else min(trials.sharpe_variance, luck)
    variance = known / luck / (sum(observed) - 1)
    hurdle = expected_maximum_sharpe(variance, n_trials or trials.n_trials)
    return normal_cdf(together([_excess(one, returns, hurdle) for one in segments], observed))


def in_sample_deflated_sharpe(score: Score, n_trials: int) -> float:
    """The same of one segment on which everything was chosen, gross: n_trials tried on its bars.

    V is 1/(T-1), what worthless trials spread over T bars: a few given trials say too little of it.
    """
    facts = TrialFacts(n_trials, n_trials, sharpe_variance=math.nan, bh_p=math.nan)
    return combined_deflated_sharpe([score], "gross", facts)


def literal_deflated_sharpe(validation: Score, trials: TrialFacts) -> float:
    """The paper's formula to the letter, gross: on validation, V the trials' whole variance.

    That V grows with every true factor that a search finds. NaN where it is unknown and N above 1.
    """
    return deflated_sharpe_ratio(
        validation.gross_sharpe_per_bar,
        trials.sharpe_variance,
        trials.n_trials,
        validation.n_obs,
        validation.skew,
        validation.kurtosis,
    )


def _excess(segment: Score, returns: Returns, hurdle: float) -> float:
    gross = returns == "gross"
    sharpe = segment.gross_sharpe_per_bar if gross else segment.net_sharpe_per_bar
    return sharpe_z(sharpe, hurdle, segment.n_obs, segment.skew, segment.kurtosis)


def together(z: Sequence[float], n: Sequence[int]) -> float:
    """One standard normal of several, each of n observations; NaN where there are none."""
    weighted = sum(math.sqrt(one) * value for one, value in zip(n, z, strict=True))
    return weighted / math.sqrt(sum(n)) if sum(n) else math.nan
