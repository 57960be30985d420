"""verify: the holdout is opened once for each finalist, the look is counted, the verdict given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import alphamill
from alphamill.evaluation import SCORES_VERSION, Grade, Segment, TrialFacts, judge
from alphamill.factors import VALUES_VERSION, check
from alphamill.factors.look_ahead import sees_no_future
from alphamill.frames import Interval
from alphamill.jobs import Facts, VerifyJob
from alphamill.language import read_expression
from alphamill.runs.figures import JUDGED_SEGMENTS, DiscoveryFigures, SegmentFigures, load_score
from alphamill.runs.holdout_looks import HoldoutLooks, count_looks
from alphamill.runs.known_factors import KnownFactors, Novelty
from alphamill.runs.library import Moment, admit, look_up
from alphamill.runs.panels import SegmentPanel, read_manifest
from alphamill.runs.reader import SegmentReader
from alphamill.runs.rows import (
    JudgedFactor,
    RankedTrial,
    ReviewedFinalist,
    Trial,
    ValidatedTrial,
    said,
)
from alphamill.runs.schemas import (
    VERDICTS,
    RunDeps,
    interval_key,
    read_by_hash,
    read_trials,
    write_rows,
)

CODE_VERSION = f"{alphamill.__version__}+values.{VALUES_VERSION}.scores.{SCORES_VERSION}"
"""What computes: a run whose verdicts bear another one may have other last digits, or values."""

_OF_THE_TRIAL = (
    "hash expression interval hypothesis tier symbol call_id call_cost_usd_micros round direction "
    "lookback_bars"
)
_OF_THE_RANKING = (
    "rank bh_p library_correlation n_clusters pbo discovery_pbo "
    "residual_rank_ic residual_t shared_subtree_frac complexity_nodes"
)


@dataclass(frozen=True, slots=True)
class VerifyFacts(Facts):
    """The file of the verdicts, and how many factors have which grade."""

    key: str
    counts: dict[str, int]


def run(job: VerifyJob, deps: RunDeps) -> VerifyFacts:
    """Judge every finalist of the interval."""
    ranking = read_by_hash(deps, "ranking", job.interval, RankedTrial)
    vetoes = read_by_hash(deps, "veto", job.interval, ReviewedFinalist)
    validated = read_by_hash(deps, "validation", job.interval, ValidatedTrial)
    trials = {
        trial.hash: trial
        for trial in reversed(read_trials(deps.lake, deps.run_id, job.interval))
        if trial.evaluated
    }
    in_order = sorted(ranking.values(), key=lambda ranked: ranked.rank or 0)
    finalists = [
        Finalist(trials[one.hash], validated[one.hash], one, vetoes.get(one.hash))
        for one in in_order
        if one.finalist
    ]
    readers = segment_readers(deps, job.interval)
    opened = {one.ranked.hash: one.ranked.expression for one in finalists if not one.vetoed}
    looks = count_looks(opened, readers[Segment.HOLDOUT].panel(()), deps)
    factors: list[JudgedFactor] = []
    settled = False
    while not settled:  # once more for each run that admits factors meanwhile
        earlier = KnownFactors(
            look_up(deps.lake, deps.spec, job.interval, Moment.END), readers[Segment.VALIDATION]
        )
        factors = [judged(finalist, looks, earlier, readers, deps) for finalist in finalists]
        admitted = [factor for factor in factors if factor.admitted]
        settled = admit(deps.lake, deps.spec, job.interval, admitted)
    key = interval_key(deps.run_id, "verdicts", job.interval, "verdicts")
    write_rows(deps.lake, key, factors, VERDICTS)
    return VerifyFacts(key, dict(Counter(factor.verdict.value for factor in factors)))


def segment_readers(deps: RunDeps, interval: Interval) -> dict[Segment, SegmentReader]:
    """A reader of each of the run's three segments."""
    return {
        segment: SegmentReader(deps.lake, deps.run_id, interval, segment, deps.spec.groups)
        for segment in JUDGED_SEGMENTS
    }


@dataclass(frozen=True, slots=True)
class Finalist:
    """All that earlier stages said of one finalist; review: None where no model was asked."""

    trial: Trial
    validated: ValidatedTrial
    ranked: RankedTrial
    review: ReviewedFinalist | None

    @property
    def vetoed(self) -> bool:
        """Whether final_verification stopped it."""
        return self.review is not None and self.review.vetoed


def judged(
    finalist: Finalist,
    looks: HoldoutLooks,
    earlier: KnownFactors,
    readers: Mapping[Segment, SegmentReader],
    deps: RunDeps,
) -> JudgedFactor:
    """The finalist with its verdict; the holdout stays shut for one that was vetoed."""
    trial, ranked, review = finalist.trial, finalist.ranked, finalist.review
    factor, validation = read_expression(trial.text), finalist.validated.score
    discovery = load_score(trial.score_text)
    holdout = None
    if not finalist.vetoed:
        holdout = readers[Segment.HOLDOUT].score(factor, deps.spec, discovery.direction)
    validating, known = readers[Segment.VALIDATION], readers[Segment.DISCOVERY]
    novelty = earlier.measure(validating.values(factor), discovery.direction, deps.spec)
    certified = sees_no_future(factor, known.panel(factor.columns).panel, known.labels())
    verdict = judge(
        discovery,
        validation,
        holdout,
        trials=TrialFacts(
            ranked.n_trials,
            ranked.n_effective,
            ranked.sharpe_variance,
            ranked.bh_p,
            ranked.fdr_hurdle_p,
        ),
        thresholds=deps.spec.gates,
        library_correlation=_likest(ranked, novelty),
        look_ahead_ok=certified,
        check_faults=check(factor),
        looks_before=looks.before,
    )
    veto_reason = review.reason if review else ""
    dates = {segment: _dates(reader.panel(())) for segment, reader in readers.items()}
    return JudgedFactor(
        **_same(trial, _OF_THE_TRIAL),
        **_same(ranked, _OF_THE_RANKING),
        **asdict(novelty),
        **said(verdict) | (_vetoed(veto_reason) if finalist.vetoed else {}),
        veto_reason=veto_reason,
        kept_by_model=review is not None and review.kept,
        review_unread=review.unread if review else None,
        look_ahead_ok=certified,
        holdout_looks=looks.so_far if holdout else 0,
        holdout_looks_before=looks.before if holdout else 0,
        code_version=CODE_VERSION,
        snapshot=_snapshot(deps, trial.interval),
        discovery=DiscoveryFigures.of(discovery, **dates[Segment.DISCOVERY]),
        validation=SegmentFigures.of(validation, **dates[Segment.VALIDATION]),
        holdout=(
            SegmentFigures.of(holdout, **dates[Segment.HOLDOUT])
            if holdout
            else SegmentFigures(**dates[Segment.HOLDOUT])
        ),
    )


def _vetoed(reason: str) -> dict[str, Any]:
    return {"verdict": Grade.REJECTED, "reasons": (f"Vetoed by final_verification: {reason}",)}


def _same(row: object, names: str) -> dict[str, Any]:
    """The fields that a factor has as another row has them."""
    return {name: getattr(row, name) for name in names.split()}


def _likest(ranked: RankedTrial, novelty: Novelty) -> float:
    """The largest |correlation| with a better finalist or with what earlier runs admitted."""
    return max(ranked.library_correlation or 0.0, abs(novelty.earlier_correlation or 0.0))


def _snapshot(deps: RunDeps, interval: Interval) -> str:
    manifest = read_manifest(deps.lake, deps.run_id, interval)
    return manifest.snapshot if manifest else ""


def _dates(segment: SegmentPanel) -> dict[str, int]:
    """First and last bar that is scored; both are open times."""
    scored = segment.panel.times_ms[segment.scored]
    return {"start_ms": int(scored[0]), "end_ms": int(scored[-1])}
