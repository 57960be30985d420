"""score: given expressions over the whole range. No model, no segments, no verdict."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from alphamill.errors import FactorError
from alphamill.evaluation import Segment
from alphamill.evaluation.out_of_sample import in_sample_deflated_sharpe
from alphamill.factors import check
from alphamill.jobs import Facts, RunSpec, ScoreJob
from alphamill.language import read_given
from alphamill.runs.figures import load_score
from alphamill.runs.reader import SegmentReader
from alphamill.runs.rows import Trial
from alphamill.runs.schemas import GIVEN_TRIALS, RunDeps, interval_key, write_rows
from alphamill.runs.terms import group_tables


@dataclass(frozen=True, slots=True)
class ScoreFacts(Facts):
    """The file of the trials, and how many of them, a horizon each, could be measured."""

    key: str
    evaluated: int
    expressions: int


def run(job: ScoreJob, deps: RunDeps) -> ScoreFacts:
    """One trial an expression and horizon; what does not parse is a row with its reason."""
    groups = group_tables(deps.spec)
    reader = SegmentReader(deps.lake, deps.run_id, job.interval, Segment.WHOLE, groups)
    given = _given(job, deps.spec)
    trials = _deflated([_scored(trial, reader, deps.spec) for trial in given])
    key = interval_key(deps.run_id, "trials", job.interval, "given")
    write_rows(deps.lake, key, trials, GIVEN_TRIALS)
    evaluated = sum(trial.evaluated for trial in trials)
    return ScoreFacts(key, evaluated, len(trials))


def _deflated(trials: Sequence[Trial]) -> list[Trial]:
    """The trials with what luck leaves of their Sharpe ratios.

    A direction is chosen on the very bars that are scored, so that each expression is two trials at
    each horizon, like though they are: see docs/verdicts.md. Few expressions say little of how far
    luck spreads, so that is 1/(T-1), never what they spread.
    """
    n_trials = 2 * sum(bool(trial.hash) for trial in trials)
    return [
        replace(
            trial,
            n_trials=n_trials,
            deflated_sharpe=(
                in_sample_deflated_sharpe(load_score(trial.score_text), n_trials)
                if trial.evaluated
                else None
            ),
        )
        for trial in trials
    ]


def unscored(job: ScoreJob, spec: RunSpec, reason: str) -> list[Trial]:
    """The trials of a run whose bars make no panel: each expression with the reason."""
    return [_unscored(blank, reason) for blank in _given(job, spec)]


def _unscored(trial: Trial, reason: str) -> Trial:
    try:
        factor = read_given(trial.text)
    except FactorError as error:
        return replace(trial, reason=str(error))
    read = replace(trial, expression=factor.text, hash=factor.hash)
    return replace(read, status="fault", reason=reason, lookback_bars=factor.lookback_bars)


def _given(job: ScoreJob, spec: RunSpec) -> Iterator[Trial]:
    """The expressions of a run at each of its horizons, before anything is made of them."""
    expressions = list(itertools.zip_longest(spec.expressions, spec.names, fillvalue=""))
    for horizon, (text, name) in itertools.product(spec.horizons, expressions):
        yield Trial(
            interval=job.interval,
            status="invalid",
            tier="given",
            symbol="",
            call_id="",
            proposed=text,
            hypothesis=name,
            horizon_bars=horizon,
        )


def _scored(trial: Trial, reader: SegmentReader, spec: RunSpec) -> Trial:
    try:
        factor = read_given(trial.text)
        score = reader.score(factor, spec.at_horizon(trial.horizon_bars or spec.horizons[0]))
    except FactorError as error:
        return replace(trial, reason=str(error))
    faults = "; ".join(check(factor))
    read = replace(trial, expression=factor.text, hash=factor.hash, reason=faults)
    return read.with_score(score, factor.lookback_bars)
