"""Could the data have decided? The power of the tests that a factor's correlation must pass.

They compare a t with a hurdle: validation's, the holdout's, and both together. A factor whose true
mean correlation is c has a t around c / se, where se is the standard error that was measured on
those bars (Newey-West's), with variance 1, and the two segments' are independent: how often all of
the hurdles are cleared is one integral. Validation's is the higher of its own and of what
false_discovery asks beside the other trials. Gates of the book are not in it: what a correlation
earns is not known beforehand. They can only lower the power.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from alphamill.evaluation.correlation import MIN_SYMBOLS
from alphamill.evaluation.out_of_sample import combined_t, oriented_t, together
from alphamill.evaluation.score import MIN_OBSERVATIONS, Score
from alphamill.evaluation.significance import normal_cdf

TESTS = ("validation_t", "holdout_t", "out_of_sample_t")
"""The gates that compare the t of a correlation with a hurdle."""

_REFUTED_Z = 1.64  # one-sided 5 %
_REACH = 9.0  # standard errors from the mean beyond which a normal's mass is nothing
_NODES = 48  # of each smooth piece of the integral
_MOST_TIMES = 1e6  # as many bars; whoever would need more is told nothing
_STEPS = 20  # of the bisection, of 14 powers of e: to a hundred thousandth


@dataclass(frozen=True, slots=True)
class Power:
    """What a factor could have hoped for if its mean correlation were truly `correlation`.

    frac: probability, 0 to 1, that it passes all of the tests. gate: the hardest of them.
    bars: scored ones of validation and holdout. bars_needed: so many of them would give the power
    that was asked for, at the same standard error a bar and the same trials; None if nothing is
    known of that error. symbols_needed: or so many in all, if they move as far apart as these do,
    since a RankIC's noise falls with the root of their number less one; None likewise, and below
    three, where there is no cross-section.
    refuted: what was seen would be less than 5 % likely with that correlation: over both segments,
    or on one of them with any that has its sign.
    """

    correlation: float
    frac: float
    gate: str
    bars: int
    bars_needed: int | None
    symbols_needed: int | None
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
    excluded. A segment too short for any t has none. None where a segment has no standard error for
    another reason; that of one whose t is 0 is the other's, at so many bars.
    """
    segments = (validation, holdout)
    observed = [one.n_bars for one in segments]
    for name, one in zip(TESTS, segments, strict=False):
        if one.n_bars - one.horizon_bars - one.entry_lag_bars < MIN_OBSERVATIONS:
            return Power(correlation, 0.0, name, sum(observed), None, None, refuted=False)
    errors = _standard_errors(segments)
    if any(math.isnan(error) for error in errors):
        return None
    expected = [correlation / error for error in errors]
    each = dict(zip(TESTS, (*expected, together(expected, observed)), strict=True))

    def power_at(times: float) -> float:
        """With as many times the bars: a t grows with their root."""
        grown = [math.sqrt(times) * one for one in expected]
        return pass_probability(grown, observed, [hurdles[name] for name in TESTS])

    frac = power_at(1.0)
    times = 1.0 if frac >= least_frac else _solve(power_at, least_frac)
    across = validation.n_symbols >= MIN_SYMBOLS and not math.isnan(validation.rank_ic_mean)
    return Power(
        correlation=correlation,
        frac=frac,
        gate=min(TESTS, key=lambda name: each[name] - hurdles[name]),
        bars=sum(observed),
        bars_needed=None if math.isnan(times) else _needed(sum(observed), times),
        symbols_needed=(
            1 + math.ceil(round((validation.n_symbols - 1) * times, 3))
            if across and not math.isnan(times)
            else None
        ),
        refuted=combined_t(*segments) < each["out_of_sample_t"] - _REFUTED_Z
        or min(map(oriented_t, segments)) < -_REFUTED_Z,
    )


def pass_probability(
    expected: Sequence[float], n_bars: Sequence[int], hurdles: Sequence[float]
) -> float:
    """That two independent normals of variance 1 clear three hurdles, 0 to 1.

    expected: their means. hurdles: of the first, of the second, and of both weighted by the roots
    of n_bars. The integral over the first of what the second has left to reach, by Gauss-Legendre
    on the two pieces that are smooth.
    """
    first, second, both = hurdles
    mine, its = (math.sqrt(n / sum(n_bars)) for n in n_bars)

    def integral(start: float, stop: float) -> float:
        half, total = (stop - start) / 2, 0.0
        for node, weight in zip(*_gauss_legendre(), strict=True):
            at = start + half * (1 + node)
            asked = max(second, (both - mine * at) / its)
            total += (
                weight * math.exp(-((at - expected[0]) ** 2) / 2) * normal_cdf(expected[1] - asked)
            )
        return float(total * half / math.sqrt(2 * math.pi))

    start = max(first, expected[0] - _REACH)
    stop = max(first, expected[0]) + _REACH
    # Up to here both together ask for more than the second does by itself.
    kink = min(max((both - its * second) / mine, start), stop)
    return integral(start, kink) + integral(kink, stop)


@cache
def _gauss_legendre() -> tuple[list[float], list[float]]:
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return nodes.tolist(), weights.tolist()


def _solve(power_at: Callable[[float], float], wanted: float) -> float:
    """Where a power that grows reaches `wanted`; NaN beyond _MOST_TIMES."""
    low, high = 1.0, _MOST_TIMES
    if power_at(high) < wanted:
        return math.nan
    for _ in range(_STEPS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if power_at(middle) >= wanted else (middle, high)
    return high


def _needed(bars: int, times: float) -> int:
    """So many times the bars, rounded up to two significant digits; as they are for one."""
    if times == 1:
        return bars
    count = bars * times
    step = int(10 ** max(math.floor(math.log10(count)) - 1, 0))
    return step * math.ceil(count / step)


def _standard_errors(segments: Sequence[Score]) -> list[float]:
    """Of each segment's mean correlation; see `power_of`."""
    own = [standard_error(one) for one in segments]
    of_a_bar = [
        error * math.sqrt(one.n_bars)
        for error, one in zip(own, segments, strict=True)
        if math.isfinite(error)
    ]
    return [
        of_a_bar[0] / math.sqrt(one.n_bars) if oriented_t(one) == 0 and of_a_bar else error
        for error, one in zip(own, segments, strict=True)
    ]


def standard_error(segment: Score) -> float:
    """Of the segment's mean correlation, Newey-West's; NaN where it has no t, or a t of 0."""
    t = abs(oriented_t(segment))
    return abs(segment.association) / t if t > 0 else math.nan
