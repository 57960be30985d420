"""A run's own panel searched again: its prompts, settings and gates, over the bars that are given.

The panel comes from the run's snapshot and not from market data, which may have been corrected
since. Everything after it is done by the run's own stages, in a lake that is dropped: no look at
the run's holdout is added, and its library is neither known nor changed, so that the search may
admit what the run could not. Indicators are computed anew, where they are wanted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import pandas as pd

from alphamill.clock import Clock
from alphamill.controls.luck import Arm, arm_of_run
from alphamill.controls.planted import Fate, OfflineChat
from alphamill.errors import GiveUp, RetryLater
from alphamill.evaluation import Segment
from alphamill.flow import plan
from alphamill.frames import KLINE_FIELDS, FloatArray, Interval, Panel
from alphamill.indicators import compute_indicators, indicator_names
from alphamill.jobs import PublishJob, RunSpec
from alphamill.lake import Lake
from alphamill.ledger import JobState
from alphamill.limits import OpenGate
from alphamill.llm.call import Call, PaidReply
from alphamill.llm.gateway import Gateway
from alphamill.llm.journal.memory import MemoryJournal
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.prices import PriceTable
from alphamill.llm.routes import OneEndpoint
from alphamill.mill import InProcess
from alphamill.runs.library import Moment, look_up
from alphamill.runs.panels import (
    PanelManifest,
    field_key,
    load_panel,
    read_manifest,
    snapshot_of,
    write_field,
    write_last_bars,
    write_manifest,
)
from alphamill.runs.published import PublishedRun
from alphamill.runs.schemas import RunDeps
from alphamill.settings import Price, Tier
from alphamill.sim.llm.proposer import NAME as PROPOSER
from alphamill.stages.asking import Asks
from alphamill.stages.panel import LAST_BARS
from alphamill.stages.registry import stage_of
from alphamill.usage import MemoryUsage

Change = Callable[[Panel], Mapping[str, FloatArray]]
"""The fields that are searched in place of a run's: of the whole range, without indicators."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What one search came to.

    p_value: of the first trial that was measured, on validation; None where none was. failed: why
    jobs were not done, or a budget kept one from asking a model. ic, fates: where a factor was
    planted.
    """

    seed: int
    arms: tuple[Arm, ...]  # an interval each
    p_value: float | None
    failed: tuple[str, ...] = ()
    cost_usd_micros: int = 0
    ic: float | None = None  # realised, of what was planted in its bars
    fates: tuple[Fate, ...] = ()  # what became of that
    funnel: Mapping[str, Any] = field(default_factory=dict)  # a TierFunnel, where models are priced
    luck: Mapping[str, Any] = field(default_factory=dict)  # that of as many random formulas

    @property
    def claims(self) -> int:
        """Factors that were admitted."""
        return sum(arm.predictive for arm in self.arms)

    @property
    def trials(self) -> int:
        """Candidates, each of which counts."""
        return sum(arm.trials for arm in self.arms)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The reverse of `to_dict`. Raises TypeError or KeyError for anything else."""
        arms = tuple(Arm(**arm) for arm in plain["arms"])
        fates = tuple(Fate.from_dict(fate) for fate in plain["fates"])
        failed = tuple(plain["failed"])
        return cls(**{**plain, "arms": arms, "fates": fates, "failed": failed})


def search_again(run: PublishedRun, spec: RunSpec, change: Change, process: InProcess) -> Searched:
    """Search the panels of a run as `change` makes them; see `searched_again`."""
    with searched_again(run, spec, change, process) as again:
        return came_to(again)


def came_to(again: PublishedRun) -> Searched:
    """What a search of `searched_again` came to."""
    p_values = (trial.validation.p_value for trial in again.trials)
    missing = {f"{job.stage}: {job.error}" for job in again.missing}
    unfunded = {f"{one.stage}: {one.reason}" for one in again.unasked if one.unfunded}
    return Searched(
        seed=seed_of(again.spec),
        arms=tuple(arm_of_run(again.lake, again.id, one) for one in again.spec.intervals),
        p_value=next((p for p in p_values if p is not None), None),
        failed=tuple(sorted(missing | unfunded)),
        cost_usd_micros=again.account.committed_usd_micros,
    )


@contextmanager
def searched_again(
    run: PublishedRun, spec: RunSpec, change: Change, process: InProcess
) -> Iterator[PublishedRun]:
    """The search with all its results, in a lake that lasts as long as the block.

    spec: the run's, as it is to be done again, with another salt. process: what asks the models;
    its `indicators` says whether the panels are to hold them. Raises GiveUp where the run has no
    panel, or nothing was proposed at all.
    """
    with tempfile.TemporaryDirectory(prefix="alphamill-own-bars-") as folder:
        deps = RunDeps(Lake(folder), spec.run_id, spec)
        for interval in spec.intervals:
            manifest, panel = whole_panel(run, interval)
            changed = replace(panel, fields=change(panel))
            if process.indicators:
                changed = _with_indicators(changed, manifest)
            write_panel(deps, manifest, changed)
            look_up(deps.lake, spec, interval, Moment.START)
        publishes = stage_of(PublishJob()).name
        jobs = [job for job in plan(spec) if job.needs or job.stage == publishes]
        last = process.work_in_order(jobs, deps)[-1]
        if last.state is not JobState.DONE:
            raise GiveUp(last.error)
        yield PublishedRun.open(deps.lake, deps.run_id)


def whole_panel(run: PublishedRun, interval: Interval) -> tuple[PanelManifest, Panel]:
    """The run's panel over its whole range, without indicators. Raises GiveUp if it has none."""
    manifest = read_manifest(run.lake, run.id, interval)
    if manifest is None:
        raise GiveUp(f"{run.id} has no panel at {interval}, so there are no bars to search again")
    known = indicator_names()
    names = [one for one in manifest.segments[Segment.DISCOVERY].fields if one not in known]
    parts = {
        part: load_panel(run.lake, run.id, interval, part, names).panel
        for part in manifest.segments
    }
    start_ms = min(int(part.times_ms[0]) for part in parts.values())
    end_ms = max(int(part.times_ms[-1]) for part in parts.values()) + interval.ms
    times_ms = np.arange(start_ms, end_ms, interval.ms, dtype=np.int64)
    whole = {name: np.full((len(times_ms), len(manifest.symbols)), np.nan) for name in names}
    for part in parts.values():
        first = (int(part.times_ms[0]) - start_ms) // interval.ms
        for name, values in part.items():
            whole[name][first : first + part.n_bars] = values
    return manifest, Panel(interval, times_ms, manifest.symbols, whole)


def write_panel(deps: RunDeps, manifest: PanelManifest, panel: Panel) -> None:
    """Write `panel` as the run's, cut and sealed as the manifest has it."""
    interval, step_ms = panel.interval, panel.interval.ms
    segments = {}
    for segment, facts in manifest.segments.items():
        first = (facts.start_ms - int(panel.times_ms[0])) // step_ms
        rows = slice(first, first + facts.bars)
        hashes = {
            name: write_field(
                deps.lake,
                field_key(deps.run_id, interval, segment, name),
                panel.times_ms[rows],
                panel.symbols,
                values[rows],
            )
            for name, values in panel.items()
        }
        segments[segment] = replace(facts, fields=hashes)
        if segment is Segment.DISCOVERY:
            shown = slice(max(first, rows.stop - LAST_BARS), rows.stop)
            last = {name: values[shown] for name, values in panel.items()}
            where = deps.lake, deps.run_id, interval
            write_last_bars(*where, panel.times_ms[shown], panel.symbols, last)
    hashes_of = {one: segments[one].fields for one in Segment if one in segments}
    snapshot = snapshot_of(hashes_of, manifest.universe)
    write_manifest(deps.lake, deps.run_id, replace(manifest, snapshot=snapshot, segments=segments))


def _with_indicators(panel: Panel, manifest: PanelManifest) -> Panel:
    """Those that the run's panel held, of the bars that are there now."""
    held = manifest.segments[Segment.DISCOVERY].fields
    names = [name for name in indicator_names(panel.interval) if name in held]
    made = {name: np.full((panel.n_bars, len(panel.symbols)), np.nan) for name in names}
    for column in range(len(panel.symbols)) if names else ():
        there = np.isfinite(panel["close"][:, column])
        klines = {name: panel[name][there, column] for name in KLINE_FIELDS}
        frame = pd.DataFrame({"open_time": panel.times_ms[there], **klines})
        computed = compute_indicators(frame, names, panel.interval)
        for name in names:
            made[name][there, column] = computed[name]
    return replace(panel, fields={**panel, **made})


def spec_again(spec: RunSpec, arm: str, seed: int, budget_usd_micros: int = 0) -> RunSpec:
    """The run's spec for one seed of an arm: its own id, so that its calls are its own too.

    budget_usd_micros: of that seed's calls. 0: they go to the offline proposer and cost nothing.
    """
    salt = f"{arm} of {spec.run_id} seed {seed}"
    again = replace(spec, shards=1, salt=salt, budget_usd_micros=budget_usd_micros)
    if budget_usd_micros:
        return again
    tiers = {
        tier: own.model_copy(update={"model": PROPOSER, "fallbacks": ()})
        for tier, own in spec.tiers.items()
    }
    return replace(again, tiers=tiers, budget_usd_micros=1_000_000)


class Patient:
    """A way to models that waits where a worker would give its job back to the queue.

    max_attempts: at one call, but for waits that are nobody's fault.
    """

    def __init__(self, gateway: Asks, clock: Clock, max_attempts: int) -> None:
        self._gateway, self._clock, self._max_attempts = gateway, clock, max_attempts

    def ask(self, call: Call) -> PaidReply:
        """As the gateway does. Raises GiveUp in place of the last RetryLater that counts."""
        failed = 0
        while True:
            try:
                return self._gateway.ask(replace(call, retries=failed))
            except RetryLater as error:
                failed += error.counts
                if failed >= self._max_attempts:
                    raise GiveUp(f"{error.reason}, {failed} times in a row") from error
                self._clock.sleep(error.after_s)

    def answered(self, run: str, call_id: str) -> CallRecord | None:
        """As the gateway does."""
        return self._gateway.answered(run, call_id)


def seed_of(spec: RunSpec) -> int:
    """The seed of a spec of `spec_again`."""
    return int(spec.salt.rpartition(" ")[2])


def offline_process(spec: RunSpec) -> InProcess:
    """What answers a run from the offline proposer, by the spec's seed. It names no indicator."""
    prices = PriceTable.shipped({PROPOSER: Price(input=0.0, output=0.0)})
    gates = {tier.value: OpenGate() for tier in Tier}
    routes = OneEndpoint(OfflineChat(seed_of(spec)), prices, gates)
    journal = MemoryJournal()
    gateway = Gateway(routes, prices, journal, MemoryUsage())
    return InProcess(gateway, journal=journal, indicators=False)
