"""score: given expressions over the whole range. No model, no segments, no verdict."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from alphamill.errors import FactorError
from alphamill.evaluation import Segment, TrialFacts
from alphamill.evaluation.out_of_sample import combined_deflated_sharpe
from alphamill.factors import check
from alphamill.jobs import Facts, RunSpec, ScoreJob
from alphamill.language import GIVEN_GROUPS, read_given
from alphamill.runs.reader import SegmentReader
from alphamill.runs.schemas import (
    GIVEN_TRIALS,
    Row,
    RunDeps,
    interval_key,
    score_columns,
    score_of,
    write_rows,
)


@dataclass(frozen=True, slots=True)
class ScoreFacts(Facts):
    """The file of the trials, and how many of the given expressions could be measured."""

    key: str
    evaluated: int
    expressions: int


def run(job: ScoreJob, deps: RunDeps) -> ScoreFacts:
    """One trial an expression; what does not parse is a row with its reason."""
    one_group = dict.fromkeys(deps.spec.symbols, "all")
    groups = {**dict.fromkeys(GIVEN_GROUPS, one_group), **deps.spec.groups}
    reader = SegmentReader(deps.lake, deps.run_id, job.interval, Segment.WHOLE, groups)
    given = itertools.zip_longest(deps.spec.expressions, deps.spec.names, fillvalue="")
    trials = [_trial(text, name, job, reader, deps) for text, name in given]
    trials = _deflated(trials)
    key = interval_key(deps.run_id, "trials", job.interval, "given")
    write_rows(deps.lake, key, trials, GIVEN_TRIALS)
    evaluated = sum(trial["status"] == "evaluated" for trial in trials)
    return ScoreFacts(key, evaluated, len(trials))


def _deflated(trials: Sequence[Row]) -> list[Row]:
    """The trials with what luck leaves of their Sharpe ratios.

    A direction is chosen on the very bars that are scored, so that each expression is two trials;
    few expressions say little of how far luck spreads, so that is 1/(T-1), never what they spread.
    """
    n_trials = 2 * sum(bool(row.get("hash")) for row in trials)
    facts = TrialFacts(n_trials, n_trials, sharpe_variance=math.nan, bh_p=math.nan)
    return [
        row
        | {
            "n_trials": n_trials,
            "deflated_sharpe": combined_deflated_sharpe([score_of(row)], "gross", facts),
        }
        if row["status"] == "evaluated"
        else row | {"n_trials": n_trials}
        for row in trials
    ]


def unscored(job: ScoreJob, spec: RunSpec, reason: str) -> list[Row]:
    """The trials of a run whose bars make no panel: each expression with the reason."""
    given = itertools.zip_longest(spec.expressions, spec.names, fillvalue="")
    return [_unscored(_blank(text, name, job), text, reason) for text, name in given]


def _unscored(row: Row, text: str, reason: str) -> Row:
    try:
        factor = read_given(text)
    except FactorError as error:
        return row | {"status": "invalid", "reason": str(error)}
    return row | {
        "expression": factor.text,
        "hash": factor.hash,
        "status": "fault",
        "reason": reason,
        "lookback_bars": factor.lookback_bars,
    }


def _blank(text: str, name: str, job: ScoreJob) -> Row:
    return {"interval": job.interval.value, "tier": "given", "symbol": "", "call_id": "",
            "hypothesis": name, "round": 0, "proposed": text}  # fmt: skip


def _trial(text: str, name: str, job: ScoreJob, reader: SegmentReader, deps: RunDeps) -> Row:
    row = _blank(text, name, job)
    try:
        factor = read_given(text)
        result = reader.score(factor, deps.spec)
    except FactorError as error:
        return row | {"status": "invalid", "reason": str(error)}
    return row | {
        "expression": factor.text,
        "hash": factor.hash,
        "status": "fault" if result.fault else "evaluated",
        "reason": result.fault or "; ".join(check(factor)),
        "lookback_bars": factor.lookback_bars,
        **score_columns(result),
    }
