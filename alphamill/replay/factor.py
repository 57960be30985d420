"""One factor's verdict computed again from the run's snapshot, to the last digit.

Its scores on all three segments, its rank, the luck of the search and the look-ahead certificate
are computed; the other trials' scores and the models' veto are read. No look is counted: what the
holdout says of this factor is known already.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from alphamill.errors import GiveUp
from alphamill.evaluation import Segment
from alphamill.lake import run_key
from alphamill.language import read_expression
from alphamill.replay.difference import Code, farthest
from alphamill.replay.rules import as_then
from alphamill.replay.run import NOT_COMPARED
from alphamill.runs.holdout_looks import HoldoutLooks, looks_before
from alphamill.runs.known_factors import KnownFactors
from alphamill.runs.library import Moment, recorded
from alphamill.runs.rows import JudgedFactor, ReviewedFinalist, ValidatedTrial
from alphamill.runs.schemas import VERDICTS, RunDeps, read_by_hash, read_interval, read_trials
from alphamill.stages.rank import ranked
from alphamill.stages.validate import validated
from alphamill.stages.verify import Finalist, judged, segment_readers


@dataclass(frozen=True, slots=True)
class ColumnDifference:
    """A column of the verdict that came out otherwise."""

    column: str
    stored: Any
    computed: Any


@dataclass(frozen=True, slots=True)
class Recheck:
    """What came out. `columns` were compared bit by bit; farthest, code: as of `Replayed`."""

    hash: str
    expression: str
    interval: str
    verdict: str  # as computed now
    columns: int
    differences: tuple[ColumnDifference, ...]
    farthest: float | None
    code: Code

    @property
    def equal(self) -> bool:
        """Whether every column is what the run stored."""
        return not self.differences


def recheck(factor: JudgedFactor, deps: RunDeps) -> Recheck:
    """Compute the verdict of a published factor again and compare it.

    Raises GiveUp if the run's panel or trials are no longer in the lake, or are damaged.
    """
    deps = replace(deps, spec=as_then(deps.lake, deps.run_id, deps.spec))
    computed = _computed(factor, deps)
    stored = deps.lake.read(run_key(deps.run_id, "factors.parquet")).column_names
    names = [name for name in VERDICTS.names if name not in NOT_COMPARED and name in stored]
    then, now = factor.to_row(), computed.to_row()
    differences = tuple(
        ColumnDifference(name, then[name], now[name])
        for name in names
        if not _same(then[name], now[name])
    )
    return Recheck(
        factor.hash,
        factor.expression,
        factor.interval,
        computed.verdict,
        len(names),
        differences,
        farthest([(one.stored, one.computed) for one in differences]),
        Code.of([factor]),
    )


def _computed(factor: JudgedFactor, deps: RunDeps) -> JudgedFactor:
    interval = factor.interval
    readers = segment_readers(deps, interval)
    trials = read_trials(deps.lake, deps.run_id, interval)
    own = [trial for trial in trials if trial.hash == factor.hash and trial.evaluated]
    before = read_interval(deps.lake, deps.run_id, "validation", interval, ValidatedTrial)
    if not own or factor.hash not in [one.hash for one in before]:
        raise GiveUp(f"the trials of {deps.run_id} are no longer in the lake")
    score = readers[Segment.DISCOVERY].score(read_expression(factor.expression), deps.spec)
    trial = own[0].with_score(score, own[0].lookback_bars or 0)
    validation = validated(trial, readers[Segment.VALIDATION], deps)
    beside = [validation if one.hash == factor.hash else one for one in before]
    places = {one.hash: one for one in ranked(trials, beside, deps, interval)}
    review = read_by_hash(deps, "veto", interval, ReviewedFinalist).get(factor.hash)
    finalist = Finalist(trial, validation, places[factor.hash], review)
    looks = HoldoutLooks(looks_before(deps.lake, deps.run_id, interval), factor.holdout_looks or 0)
    told = recorded(deps.lake, deps.run_id, interval, Moment.END) or ()
    known = KnownFactors(told, readers[Segment.VALIDATION])
    return judged(finalist, looks, known, readers, deps)


def _same(stored: Any, computed: Any) -> bool:
    """Equal to the last digit; what is not known is stored as null or NaN."""
    return bool(_known(stored) == _known(computed))


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
