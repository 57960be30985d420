"""From what a run found, or an expression, to what a live follows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alphamill.errors import GiveUp
from alphamill.evaluation import Grade
from alphamill.factors import Factor
from alphamill.factors.wide import WIDE_FIELDS
from alphamill.frames import Interval
from alphamill.language import read_given
from alphamill.live.spec import Followed
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import JudgedFactor


def worth(run: PublishedRun, least: Grade) -> list[JudgedFactor]:
    """The run's factors with that verdict or better, the best first. GiveUp if there is none."""
    found = [factor for factor in run.factors if factor.verdict.reaches(least)]
    if not found:
        raise GiveUp(
            f"{run.id} has no {least} factor: alphamill factors {run.id} says why; name one by its "
            "number or hash to follow it all the same"
        )
    return found


def one_interval(factors: Iterable[JudgedFactor]) -> Interval:
    """The interval that all of them were judged at. GiveUp where they differ."""
    intervals = sorted({factor.interval.value for factor in factors})
    if len(intervals) != 1:
        raise GiveUp(
            f"these factors are of {' and '.join(intervals)}: a live follows one interval; "
            "choose with --interval"
        )
    return Interval(intervals[0])


def followed_from(run: PublishedRun, factors: Sequence[JudgedFactor]) -> tuple[Followed, ...]:
    """What a run judged, as it is traded, with the RankIC that its verdict was given on.

    The holdout's where it was opened, else validation's; both are of the traded expression, so
    that above 0 is what was found. Of two factors that are traded alike one is followed.
    """
    found: dict[str, Followed] = {}
    for factor in factors:
        as_traded = _of_bars(read_given(factor.traded))
        figures = {"holdout": factor.holdout, "validation": factor.validation}
        promised = next(
            (
                (on, one.rank_ic_mean * factor.direction)
                for on, one in figures.items()
                if one.rank_ic_mean is not None
            ),
            ("", None),
        )
        found.setdefault(
            as_traded.hash,
            Followed(
                as_traded.text,
                as_traded.hash,
                run.spec.segments.horizon_bars,
                run.id,
                factor.verdict.value,
                promised[1],
                promised[0],
            ),
        )
    return tuple(found.values())


def followed_by_hand(expressions: Sequence[str], horizon_bars: int) -> tuple[Followed, ...]:
    """Expressions that nobody judged. FactorError for one that is none."""
    found: dict[str, Followed] = {}
    for text in expressions:
        factor = _of_bars(read_given(text))
        found.setdefault(factor.hash, Followed(factor.text, factor.hash, horizon_bars))
    return tuple(found.values())


def _of_bars(factor: Factor) -> Factor:
    """The factor, if it needs nothing but bars. GiveUp for one that names other data."""
    beside = [name for name in factor.fields if name in WIDE_FIELDS]
    if beside:
        raise GiveUp(
            f"{factor.text} names {', '.join(beside)}, and a live follows bars alone: follow a "
            "factor of bars and indicators, or score this one with alphamill evaluate"
        )
    return factor
