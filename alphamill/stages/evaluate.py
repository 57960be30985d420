"""evaluate: score candidates on discovery. Every candidate is a trial, whatever becomes of it."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from alphamill.evaluation import Score, Segment
from alphamill.factors import Factor, FactorError
from alphamill.jobs import EvaluateJob, Facts, RunSpec
from alphamill.language import read_expression
from alphamill.runs.reader import SegmentReader
from alphamill.runs.schemas import (
    TRIALS,
    Row,
    RunDeps,
    proposals_prefix,
    read_rows,
    read_trials,
    score_columns,
    trials_key,
    write_rows,
)


@dataclass(frozen=True, slots=True)
class EvaluateFacts(Facts):
    """The file of the shard's trials, and how many have which status."""

    key: str
    counts: dict[str, int]


def run(job: EvaluateJob, deps: RunDeps) -> EvaluateFacts:
    """Score this job's share of a round's candidates."""
    prefix = proposals_prefix(deps.run_id, job.interval, job.round, job.tier)
    proposals = [row for row in read_rows(deps.lake, prefix) if _shard(row, job) == job.shard]
    panels = SegmentReader(
        deps.lake, deps.run_id, job.interval, Segment.DISCOVERY, deps.spec.groups
    )
    rows = _trials(proposals, _known(job, deps), panels, deps.spec)
    key = trials_key(deps.run_id, job.interval, job.round, job.tier, job.shard)
    write_rows(deps.lake, key, rows, TRIALS)
    return EvaluateFacts(key, dict(Counter(row["status"] for row in rows)))


def _shard(row: Row, job: EvaluateJob) -> int:
    """Equal factors go to one shard, so that a duplicate meets its original."""
    return zlib.crc32((row["hash"] or row["proposed"] or "").encode()) % job.shards


def _known(job: EvaluateJob, deps: RunDeps) -> set[str]:
    """Hashes scored in earlier steps of the run."""
    return {
        row["hash"]
        for row in read_trials(deps.lake, deps.run_id, job.interval)
        if row["status"] in ("evaluated", "fault")
        and (row["round"], row["tier"]) != (job.round, job.tier)
    }


def _trials(
    proposals: Sequence[Row], known: set[str], panels: SegmentReader, spec: RunSpec
) -> list[Row]:
    """The proposals as trials, in their order; what can be scored is computed together."""
    trials: list[Row] = []
    factors: dict[int, Factor] = {}
    for proposal in proposals:
        trial = proposal
        if proposal["status"] in ("parsed", "repaired"):
            try:
                trial, factor = _readable(proposal, known, panels)
            except FactorError as error:  # a field or a group that this run does not have
                trial, factor = proposal | {"status": "invalid", "reason": str(error)}, None
            if factor is not None:
                factors[len(trials)] = factor
        trials.append(trial)
        known.add(proposal["hash"])
    places = list(factors)
    for index, result in panels.scores(list(factors.values()), spec):
        place = places[index]
        trials[place] = _scored(trials[place], factors[place], result)
    return trials


def _readable(proposal: Row, known: set[str], panels: SegmentReader) -> tuple[Row, Factor | None]:
    """The proposal, and its factor if it is to be scored. Raises FactorError if it cannot be."""
    if proposal["hash"] in known:
        return proposal | {"status": "duplicate", "reason": "scored before in this run"}, None
    factor = read_expression(proposal["expression"])
    panels.check(factor)
    return proposal, factor


def _scored(proposal: Row, factor: Factor, result: Score) -> Row:
    return proposal | {
        "lookback_bars": factor.lookback_bars,
        **score_columns(result),
        "status": "fault" if result.fault else "evaluated",
        "reason": result.fault or proposal["reason"],
    }
