"""The verdict on a combined signal, by the gates that judge any factor.

A walk-forward signal has never seen the labels that it is tested on. What it is made of has: a
factor's direction was chosen on discovery, and which factors there are to combine may have been
chosen on validation. So a combination is cut into the same discovery, validation and holdout as the
run that its factors came from: discovery, from the first refit on, is shown and gates nothing but
its coverage; every combiner and setting that was tried is one more trial of the search on
validation; and the holdout counts the looks that it has had. Its direction is 1 throughout: weights
carry signs, and a signal that must be turned round has failed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from alphamill.combination.schedule import Schedule
from alphamill.evaluation.gates import GateThresholds
from alphamill.evaluation.out_of_sample import TrialFacts
from alphamill.evaluation.score import Score
from alphamill.evaluation.scorer import Scorer
from alphamill.evaluation.significance import benjamini_hochberg, benjamini_hochberg_hurdles
from alphamill.evaluation.splits import Segment, SegmentBars, split_bars
from alphamill.evaluation.verdict import Verdict, judge
from alphamill.frames import FloatArray


@dataclass(frozen=True, slots=True)
class ChargedTrial:
    """One trial of the search that a combination belongs to, as it came out on validation."""

    p_value: float  # NaN if it was never measured: it counts as 1
    gross_sharpe_per_bar: float  # NaN if its book never traded

    @classmethod
    def of(cls, validation: Score) -> Self:
        """Of a trial's score on validation."""
        return cls(validation.p_value, validation.gross_sharpe_per_bar)


def combination_segments(
    schedule: Schedule, discovery_frac: float, validation_frac: float, embargo_bars: int
) -> dict[Segment, SegmentBars]:
    """The segments of a run over the same bars, discovery from the first refit on.

    embargo_bars: horizon + entry lag. Raises ValueError, with cause and cure, where the first refit
    comes after discovery.
    """
    segments = split_bars(schedule.n_bars, discovery_frac, validation_frac, embargo_bars)
    end = segments[Segment.DISCOVERY].stop_bar
    if schedule.first_bar >= end:
        raise ValueError(
            f"the first refit, at bar {schedule.first_bar}, comes after discovery, which ends at "
            f"bar {end} of {schedule.n_bars}; train on fewer bars, refit more often or ask for "
            "more bars"
        )
    segments[Segment.DISCOVERY] = SegmentBars(0, end, history_bars=schedule.first_bar)
    return segments


def score_combination(
    signal: FloatArray,
    panel: Mapping[str, FloatArray],
    segments: Mapping[Segment, SegmentBars],
    *,
    members: NDArray[np.bool_] | None = None,
    **terms: Any,
) -> dict[Segment, Score]:
    """A combined signal on each segment, bought where it is high.

    members: bool (bars, symbols). terms: as those of `Scorer`, without skip_bars.
    """
    scores = {}
    for segment, bars in segments.items():
        scorer = Scorer(
            {name: field[bars.rows] for name, field in panel.items()},
            skip_bars=bars.skip_bars,
            members=None if members is None else members[bars.rows],
            **terms,
        )
        scores[segment] = scorer.score(signal[bars.rows], 1)
    return scores


def judge_combination(
    scores: Mapping[Segment, Score],
    tried: Sequence[ChargedTrial],
    *,
    earlier: Sequence[ChargedTrial] = (),
    thresholds: GateThresholds,
    look_ahead_ok: bool | None,
    looks_before: int = 0,
    library_correlation: float | None = None,
    n_effective: float | None = None,
) -> Verdict:
    """Grade one combiner's scores, as `score_combination` gives them.

    tried: every combiner and setting that was walked over these bars, this one among them. earlier:
    the trials of the search that the factors came out of. look_ahead_ok: whether every factor was
    certified; the walk itself never looks. looks_before: how often bars of the holdout were shown
    before, the factors' own verdicts among them. library_correlation: with the nearest known factor
    that is no part of the combination. n_effective: reported; default: every trial.
    Raises ValueError if `tried` does not hold this combiner's own score.
    """
    validation = scores[Segment.VALIDATION]
    own = ChargedTrial.of(validation)
    places = [place for place, one in enumerate(tried) if _same(one, own)]
    if not places:
        raise ValueError(
            "the combiner that is judged is not among those tried; charge every combiner that was "
            "walked, this one too"
        )
    trials = [*tried, *earlier]
    p_values = [one.p_value for one in trials]
    adjusted = benjamini_hochberg(p_values)
    hurdles = benjamini_hochberg_hurdles(p_values, thresholds.fdr)
    known = np.array([one.gross_sharpe_per_bar for one in trials], dtype=np.float64)
    known = known[np.isfinite(known)]
    facts = TrialFacts(
        n_trials=len(trials),
        n_effective=float(len(trials)) if n_effective is None else n_effective,
        sharpe_variance=float(known.var(ddof=1)) if len(known) > 1 else math.nan,
        bh_p=float(adjusted[places[0]]),
        fdr_hurdle_p=float(hurdles[places[0]]),
    )
    return judge(
        scores[Segment.DISCOVERY],
        validation,
        scores.get(Segment.HOLDOUT),
        trials=facts,
        thresholds=thresholds,
        library_correlation=library_correlation,
        look_ahead_ok=look_ahead_ok,
        looks_before=looks_before,
    )


def _same(one: ChargedTrial, other: ChargedTrial) -> bool:
    """Equal, NaN to NaN."""
    pairs = ((one.p_value, other.p_value), (one.gross_sharpe_per_bar, other.gross_sharpe_per_bar))
    return all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in pairs)
