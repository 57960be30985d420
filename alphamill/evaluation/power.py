"""Could the data have decided? The power of the tests that a factor's correlation must pass.

Each of them compares a t with a hurdle. A factor whose true mean correlation is c has a t around
c / se, where se is the standard error that was measured on those bars (Newey-West's), so it passes
with probability Phi(c / se - hurdle); and it passes all tests at most as often as the hardest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

from alphamill.evaluation.out_of_sample import combined_t, oriented_t, together
from alphamill.evaluation.score import Score
from alphamill.evaluation.significance import normal_cdf

TESTS = ("validation_t", "holdout_t", "out_of_sample_t")
"""The gates that compare the t of a correlation with a hurdle."""

_NORMAL = NormalDist()
_REFUTED_Z = 1.64  # one-sided 5 %


@dataclass(frozen=True, slots=True)
class Power:
    """What a factor could have hoped for if its mean correlation were truly `correlation`.

    frac: probability, 0 to 1, that it passes the hardest of the tests, `gate`.
    bars: scored ones of validation and holdout. bars_needed: so many of them would give the hardest
    test the power that was asked for, at the same standard error a bar.
    refuted: what was seen would be less than 5 % likely with that correlation.
    """

    correlation: float
    frac: float
    gate: str
    bars: int
    bars_needed: int
    refuted: bool


def power_of(
    validation: Score,
    holdout: Score,
    hurdles: Mapping[str, float],
    correlation: float,
    least_frac: float,
) -> Power | None:
    """The power at a true correlation of `correlation` (above 0, in the direction of discovery).

    hurdles: what each of TESTS must reach. least_frac: the power that is asked for, 0 to 1, both
    excluded. None where a segment has no standard error.
    """
    segments = (validation, holdout)
    errors = [standard_error(one) for one in segments]
    if any(math.isnan(error) for error in errors):
        return None
    observed = [one.n_bars for one in segments]
    on_validation, on_holdout = (correlation / error for error in errors)
    expected = dict(
        zip(
            TESTS,
            (on_validation, on_holdout, together([on_validation, on_holdout], observed)),
            strict=True,
        )
    )
    # A t grows with the root of the number of bars.
    wanted = _NORMAL.inv_cdf(least_frac)
    times = {name: (max(hurdles[name] + wanted, 0.0) / expected[name]) ** 2 for name in TESTS}
    gate = min(TESTS, key=lambda name: expected[name] - hurdles[name])
    return Power(
        correlation=correlation,
        frac=normal_cdf(expected[gate] - hurdles[gate]),
        gate=gate,
        bars=sum(observed),
        bars_needed=math.ceil(round(sum(observed) * max(times.values()), 6)),
        refuted=combined_t(*segments) < expected["out_of_sample_t"] - _REFUTED_Z,
    )


def standard_error(segment: Score) -> float:
    """Of the segment's mean correlation, Newey-West's; NaN where it has no t, or a t of 0."""
    t = abs(oriented_t(segment))
    return abs(segment.association) / t if t > 0 else math.nan
