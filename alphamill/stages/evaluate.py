"""evaluate: score candidates on discovery. Every candidate is a trial, whatever becomes of it."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from alphamill.evaluation import Segment, one_way_bps
from alphamill.factors import Factor, FactorError, check
from alphamill.jobs import EvaluateJob, Facts, RunSpec
from alphamill.language import read_expression
from alphamill.runs.reader import SegmentReader
from alphamill.runs.rows import Trial
from alphamill.runs.schemas import (
    TRIALS,
    RunDeps,
    proposals_prefix,
    read_rows,
    read_trials,
    trials_key,
    write_rows,
)
from alphamill.search.slower import slower


@dataclass(frozen=True, slots=True)
class EvaluateFacts(Facts):
    """The file of the shard's trials, and how many have which status."""

    key: str
    counts: dict[str, int]


def run(job: EvaluateJob, deps: RunDeps) -> EvaluateFacts:
    """Score this job's share of a round's candidates."""
    prefix = proposals_prefix(deps.run_id, job.interval, job.round, job.tier)
    proposed = read_rows(deps.lake, prefix, Trial)
    mine = [proposal for proposal in proposed if _shard(proposal, job) == job.shard]
    panels = SegmentReader(
        deps.lake, deps.run_id, job.interval, Segment.DISCOVERY, deps.spec.groups
    )
    known = _known(job, deps)
    trials = _trials(mine, known, panels, deps.spec)
    if deps.spec.search.slower_variants and trials:
        n_bars = panels.panel(()).panel.n_bars
        variants = _slower(trials, {one.hash for one in proposed} | known, n_bars, job, deps.spec)
        trials += _trials(variants, known, panels, deps.spec)
    key = trials_key(deps.run_id, job.interval, job.round, job.tier, job.shard)
    write_rows(deps.lake, key, trials, TRIALS)
    return EvaluateFacts(key, dict(Counter(trial.status for trial in trials)))


def _shard(proposal: Trial, job: EvaluateJob) -> int:
    """Equal factors go to one shard, so that a duplicate meets its original."""
    return zlib.crc32((proposal.hash or proposal.proposed or "").encode()) % job.shards


def _known(job: EvaluateJob, deps: RunDeps) -> set[str | None]:
    """Hashes scored in earlier steps; a run that was resumed has files of later ones too."""
    trials = read_trials(deps.lake, deps.run_id, job.interval)
    return {trial.hash for trial in trials if trial.scored and trial.before(job.round, job.tier)}


def _slower(
    trials: Sequence[Trial], known: set[str | None], n_bars: int, job: EvaluateJob, spec: RunSpec
) -> list[Trial]:
    """Smoothed variants of this shard's trials, as many as its part of the setting allows.

    n_bars: of discovery, more than any of them looks back. Another shard makes none of these: equal
    candidates are in one.
    """
    limit = len(range(job.shard, spec.search.slower_variants, job.shards))
    made: list[Trial] = []
    least_t, horizon = spec.search.promising_t, spec.segments.horizon_bars
    for trial, text in slower(trials, one_way_bps(spec.fees), least_t, horizon):
        if len(made) == limit:
            break
        factor = read_expression(text, groups=spec.groups, wide=spec.wide)
        if factor.hash in known or factor.lookback_bars >= n_bars or check(factor):
            continue
        made.append(
            Trial(
                interval=trial.interval,
                status="parsed",
                round=trial.round,
                tier=trial.tier,
                symbol=trial.symbol,
                call_id=trial.call_id,
                call_cost_usd_micros=trial.call_cost_usd_micros,
                proposed=text,
                expression=factor.text,
                hash=factor.hash,
                hypothesis=f"Smoothed, so that it trades less. {trial.hypothesis or ''}".strip(),
                slower_of=trial.hash,
            )
        )
    return made


def _trials(
    proposals: Sequence[Trial], known: set[str | None], panels: SegmentReader, spec: RunSpec
) -> list[Trial]:
    """The proposals as trials, in their order; what can be scored is computed together."""
    trials: list[Trial] = []
    factors: dict[int, Factor] = {}
    for proposal in proposals:
        trial = proposal
        if proposal.ready:
            try:
                trial, factor = _readable(proposal, known, panels)
            except FactorError as error:  # a field or a group that this run does not have
                trial, factor = replace(proposal, status="invalid", reason=str(error)), None
            if factor is not None:
                factors[len(trials)] = factor
        trials.append(trial)
        known.add(proposal.hash)
    places = list(factors)
    for index, result in panels.scores(list(factors.values()), spec):
        place = places[index]
        trials[place] = trials[place].with_score(result, factors[place].lookback_bars)
    return trials


def _readable(
    proposal: Trial, known: set[str | None], panels: SegmentReader
) -> tuple[Trial, Factor | None]:
    """The proposal, and its factor if it is to be scored. Raises FactorError if it cannot be."""
    if proposal.hash in known:
        return replace(proposal, status="duplicate", reason="scored before in this run"), None
    factor = read_expression(proposal.text)
    panels.check(factor)
    return proposal, factor
