"""publish: a run's results as trials.parquet, factors.parquet, calls.parquet and run.json."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import pyarrow as pa

from alphamill.errors import GiveUp
from alphamill.evaluation import Grade
from alphamill.frames import Interval
from alphamill.jobs import Facts, PublishJob, RunKind, ScoreJob
from alphamill.lake import Lake, run_key
from alphamill.ledger import BudgetRaise, JobRecord
from alphamill.llm.cutoffs import CutoffTable
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.messages import Message
from alphamill.runs.builds import Share
from alphamill.runs.combined import COMBINATIONS, WEIGHTS, CombinedSignal, FactorWeight
from alphamill.runs.failures import Unasked, missing_row
from alphamill.runs.figures import NO_FIGURES
from alphamill.runs.panels import read_refusal
from alphamill.runs.prompts_sent import keep_prompts
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import (
    UNMEASURED,
    Columns,
    JudgedFactor,
    RankedTrial,
    Trial,
    ValidatedTrial,
)
from alphamill.runs.schemas import (
    CALLS,
    GIVEN_TRIALS,
    MINED_TRIALS,
    SUMMARY,
    VERDICTS,
    RunDeps,
    read_by_hash,
    read_rows,
    read_trials,
    write_rows,
)
from alphamill.runs.training import TrainedModel, models_that_answered
from alphamill.runs.unfunded import committed_usd_micros, shortfall
from alphamill.stages.score import unscored

_NOTHING_KNOWN = CutoffTable({})


@dataclass(frozen=True, slots=True)
class PublishDeps(RunDeps):
    """calls: the run's journal. missing: jobs that ended badly, by id. unasked: that asked none.

    builds: which code did how many of its jobs, this one with them.
    raises: of the run's budget. prompt: a call's messages, as the journal has them. cutoffs: of
    models' training data.
    """

    calls: Iterable[CallRecord]
    missing: Sequence[JobRecord]
    unasked: Sequence[Unasked] = ()
    builds: Sequence[Share] = ()
    raises: Sequence[BudgetRaise] = ()
    prompt: Callable[[CallRecord], Sequence[Message]] = lambda _call: ()
    cutoffs: CutoffTable = _NOTHING_KNOWN


@dataclass(frozen=True, slots=True)
class PublishFacts(Facts):
    """How many trials there are, how many jobs ended badly, and how many factors by grade."""

    trials: int
    missing: int
    counts: dict[str, int]


def run(_: PublishJob, deps: PublishDeps) -> PublishFacts:
    """Gather everything; raises GiveUp if there is nothing at all, with the first reason why.

    Bars that no factor could be measured on are a row with that reason. Where a fetch failed they
    are none: the run may be resumed.
    """
    if deps.spec.kind is RunKind.COMBINE:
        return _publish_combined(deps)
    calls = list(deps.calls)
    trials = [trial for interval in deps.spec.intervals for trial in _joined(deps, interval)]
    factors = read_rows(deps.lake, run_key(deps.run_id, "verdicts"), JudgedFactor)
    if not trials:
        raise GiveUp(f"the run has no trial to show: {_why_empty(deps, calls)}")
    grades = list(Grade)
    factors.sort(key=lambda factor: (-grades.index(factor.verdict), factor.rank))
    mined = deps.spec.kind is RunKind.MINE
    _write(deps, "trials", trials, MINED_TRIALS if mined else GIVEN_TRIALS)
    if mined:
        _write(deps, "factors", factors, VERDICTS)
        _write(deps, "calls", calls, CALLS)
        keep_prompts(deps.lake, deps.run_id, calls, deps.prompt)
    _write_summary(deps, calls)
    found = {grade.value: sum(factor.verdict is grade for factor in factors) for grade in grades}
    return PublishFacts(len(trials), len(deps.missing), found)


def _publish_combined(deps: PublishDeps) -> PublishFacts:
    """The methods of every interval, and their weights."""
    combined = read_rows(deps.lake, run_key(deps.run_id, "combined"), CombinedSignal)
    if not combined:
        raise GiveUp(f"nothing could be combined: {_why_not_combined(deps)}")
    weights = read_rows(deps.lake, run_key(deps.run_id, "weights"), FactorWeight)
    _write(deps, "combinations", combined, COMBINATIONS)
    _write(deps, "weights", weights, WEIGHTS)
    _write_summary(deps)
    found = Counter(one.judged.verdict.value for one in combined)
    counts = {grade.value: found[grade.value] for grade in Grade}
    return PublishFacts(len(combined), len(deps.missing), counts)


def _why_not_combined(deps: PublishDeps) -> str:
    refusals = (read_refusal(deps.lake, deps.run_id, one) for one in deps.spec.intervals)
    lost = (job.error for job in deps.missing)
    return next((why for why in (*refusals, *lost) if why), "no method was asked for")


def _write_summary(deps: PublishDeps, calls: Sequence[CallRecord] = ()) -> None:
    summary = {
        "run": deps.run_id,
        "spec": deps.spec.to_message(),
        "missing": [missing_row(job) for job in deps.missing],
        "unasked": [asdict(group) for group in deps.unasked],
        "builds": [asdict(share) for share in deps.builds],
        "budget_raises": [asdict(one) for one in deps.raises],
        "trained_models": [asdict(one) for one in _trained(deps, calls)],
    }
    text = json.dumps(summary, indent=1, sort_keys=True)
    deps.lake.write_bytes(run_key(deps.run_id, SUMMARY), text.encode())


def _trained(deps: PublishDeps, calls: Sequence[CallRecord]) -> list[TrainedModel]:
    """What is known now of the models that answered; of a combination those of its searches."""
    if deps.spec.kind is RunKind.COMBINE and deps.spec.combination:
        searches = deps.spec.combination.searches
        found = [one for run_id in searches for one in _trained_in(deps.lake, run_id)]
        return list({one.model: one for one in found}.values())
    known = {name: deps.cutoffs.of(name) for name in models_that_answered(calls)}
    return [
        TrainedModel(name, row.until, row.source, row.as_of) if row else TrainedModel(name)
        for name, row in known.items()
    ]


def _trained_in(lake: Lake, run_id: str) -> list[TrainedModel]:
    """Of a search; nothing is known of one that is no longer in the lake."""
    try:
        return PublishedRun.open(lake, run_id).trained_models
    except GiveUp:
        return [TrainedModel(f"whoever answered {run_id}")]


def _why_empty(deps: PublishDeps, calls: Sequence[CallRecord]) -> str:
    """A budget first, since that can be mended; else the first job that ended badly."""
    unfunded = [group for group in deps.unasked if group.unfunded]
    if unfunded:
        budget = deps.raises[-1].usd_micros if deps.raises else deps.spec.budget_usd_micros
        short = shortfall(deps.run_id, deps.unasked, budget, committed_usd_micros(calls))
        return f"{unfunded[0].reason}; {short.advice}" if short else unfunded[0].reason
    if deps.missing:
        return deps.missing[0].error
    return deps.unasked[0].reason if deps.unasked else "no candidate was proposed"


def _joined(deps: PublishDeps, interval: Interval) -> Iterator[Trial]:
    """Discovery and validation side by side; from here on no model is asked."""
    validated = read_by_hash(deps, "validation", interval, ValidatedTrial)
    ranking = read_by_hash(deps, "ranking", interval, RankedTrial)
    yield from _refused(deps, interval)
    for trial in read_trials(deps.lake, deps.run_id, interval):
        own = (trial.hash if trial.evaluated else None) or ""
        later, ranked = validated.get(own), ranking.get(own)
        yield replace(
            trial,
            validation=later.figures if later else NO_FIGURES,
            validation_rank=ranked.rank if ranked else None,
            finalist=ranked.finalist if ranked else None,
            why_not_finalist=ranked.why if ranked else None,
        )


def _refused(deps: PublishDeps, interval: Interval) -> list[Trial]:
    """Rows that say why an interval has no panel; none if it has one, or a fetch was in its way."""
    reason = read_refusal(deps.lake, deps.run_id, interval)
    if reason is None or any(job.stage == "fetch" for job in deps.missing):
        return []
    if deps.spec.kind is RunKind.EVALUATE:
        return unscored(ScoreJob(interval), deps.spec, reason)
    return [Trial(interval=interval, status=UNMEASURED, reason=reason)]


def _write(deps: PublishDeps, name: str, rows: Iterable[Columns], schema: pa.Schema) -> None:
    write_rows(deps.lake, run_key(deps.run_id, f"{name}.parquet"), rows, schema)
