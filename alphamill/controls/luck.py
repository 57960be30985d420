"""A run's own bars mined again with random formulas: what as much luck would have found.

The same panel, the same number of trials, the same gates; no model, no idea. In a lake of its own,
so that the run's holdout keeps its count of looks.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

from alphamill.errors import GiveUp
from alphamill.evaluation import Grade, Segment
from alphamill.factors import Factor
from alphamill.frames import KLINE_FIELDS, Interval
from alphamill.jobs import EvaluateJob, PublishJob, RankJob, RunSpec, ValidateJob, VerifyJob
from alphamill.lake import Lake, run_key
from alphamill.runs.funnel import TierFunnel, tier_funnels
from alphamill.runs.panels import read_manifest, write_manifest
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import JudgedFactor, RankedTrial, Trial
from alphamill.runs.schemas import (
    PROPOSALS,
    RunDeps,
    proposals_key,
    read_interval,
    read_trials,
    write_rows,
)
from alphamill.search.formulas import random_formulas
from alphamill.settings import Tier
from alphamill.stages import evaluate, publish, rank, validate, verify

_LEAVES = (*KLINE_FIELDS, "vwap", "returns")


@dataclass(frozen=True, slots=True)
class Arm:
    """What one search found at one interval. t-values are in the direction of discovery."""

    interval: str
    trials: int
    measured: int  # of them, with a validation number
    best_validation_t: float | None
    median_abs_t: float | None  # on discovery
    finalists: int
    predictive: int  # tradable ones too
    tradable: int
    best: str  # the best admitted factor; "" without one

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def arm_of_run(lake: Lake, run_id: str, interval: Interval) -> Arm:
    """What the run itself found."""
    trials = read_trials(lake, run_id, interval)
    ranking = read_interval(lake, run_id, "ranking", interval, RankedTrial)
    factors = read_interval(lake, run_id, "verdicts", interval, JudgedFactor)
    held = sorted((one for one in factors if one.admitted), key=lambda one: one.rank)
    oriented = [one.oriented_t for one in ranking if math.isfinite(one.oriented_t)]
    found = (trial.discovery.association_t for trial in trials)
    discovery = sorted(abs(t) for t in found if t is not None)
    return Arm(
        interval=interval.value,
        trials=sum(trial.counted for trial in trials),
        measured=len(oriented),
        best_validation_t=max(oriented, default=None),
        median_abs_t=discovery[len(discovery) // 2] if discovery else None,
        finalists=len(factors),
        predictive=len(held),
        tradable=sum(one.verdict is Grade.TRADABLE for one in held),
        best=held[0].expression if held else "",
    )


def mine_luck(
    lake: Lake, spec: RunSpec, interval: Interval, seed: int, operators: Sequence[str] = ()
) -> Arm:
    """As many random formulas as the run had trials, through the same stages on its own panel.

    operators: to draw from; default: all.
    Raises GiveUp if the run has no panel or no trial at that interval.
    """
    with _searched(lake, spec, interval, seed, operators) as deps:
        return arm_of_run(deps.lake, deps.run_id, interval)


def luck_funnel(lake: Lake, spec: RunSpec, seed: int, operators: Sequence[str] = ()) -> TierFunnel:
    """The random search of all the run's intervals; its tier is "random".

    Raises what `mine_luck` does.
    """
    trials: list[Trial] = []
    factors: list[JudgedFactor] = []
    for interval in spec.intervals:
        with _searched(lake, spec, interval, seed, operators) as deps:
            publish.run(
                PublishJob(), publish.PublishDeps(deps.lake, deps.run_id, deps.spec, (), ())
            )
            published = PublishedRun.open(deps.lake, deps.run_id)
            trials += published.trials
            factors += published.factors
    return replace(tier_funnels(trials, factors, (), spec.gates.validation_t)[-1], tier="random")


@contextmanager
def _searched(
    lake: Lake, spec: RunSpec, interval: Interval, seed: int, operators: Sequence[str]
) -> Iterator[RunDeps]:
    """The search with its verdicts, in a lake that lasts as long as the block."""
    trials = read_trials(lake, spec.run_id, interval)
    count = sum(trial.counted for trial in trials)
    if not count or read_manifest(lake, spec.run_id, interval) is None:
        raise GiveUp(f"{spec.run_id} has no trials at {interval.value} to compare with")
    with tempfile.TemporaryDirectory(prefix="alphamill-luck-") as folder:
        own = replace(
            spec,
            lake=folder,
            intervals=(interval,),
            shards=1,
            salt=f"random formulas {seed}",
            # The run's variants are among the trials that are equalled.
            search=spec.search.model_copy(update={"slower_variants": 0}),
        )
        deps = RunDeps(Lake(folder), own.run_id, own)
        _copy_panel(lake, spec.run_id, deps, interval)
        _propose(deps, interval, random_formulas(seed, count, _leaves(deps, interval), operators))
        evaluate.run(EvaluateJob(Tier.QUICK_SCAN, interval, 0, 0, 1), deps)
        validate.run(ValidateJob(interval, 0, 1), deps)
        rank.run(RankJob(interval), deps)
        verify.run(VerifyJob(interval), deps)
        yield deps


def _copy_panel(lake: Lake, run_id: str, deps: RunDeps, interval: Interval) -> None:
    """The files as they are: their hashes are in the manifest. Discovery's end goes unused."""
    source = run_key(run_id, f"panel/interval={interval.value}")
    target = run_key(deps.run_id, f"panel/interval={interval.value}")
    for key in lake.list(source):
        deps.lake.write_bytes(target + key.removeprefix(source), lake.read_bytes(key))
    manifest = read_manifest(lake, run_id, interval)
    if manifest is not None:
        write_manifest(deps.lake, deps.run_id, manifest)


def _leaves(deps: RunDeps, interval: Interval) -> list[str]:
    """Of the bars' own fields, those that the panel holds."""
    panel = read_manifest(deps.lake, deps.run_id, interval)
    held = panel.segments[Segment.DISCOVERY].fields if panel else {}
    return [name for name in _LEAVES if name in held or name in ("vwap", "returns")]


def _propose(deps: RunDeps, interval: Interval, formulas: Iterable[Factor]) -> None:
    proposals = (
        Trial(
            interval=interval,
            status="parsed",
            tier=Tier.QUICK_SCAN.value,
            symbol="",
            call_id="",
            call_cost_usd_micros=0,
            proposed=factor.text,
            expression=factor.text,
            hash=factor.hash,
            hypothesis="none: drawn at random",
            reason="",
            repair="",
        )
        for factor in formulas
    )
    key = proposals_key(deps.run_id, interval, 0, Tier.QUICK_SCAN, "")
    write_rows(deps.lake, key, proposals, PROPOSALS)
