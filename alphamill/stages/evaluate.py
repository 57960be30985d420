"""evaluate: score candidates on discovery. Every candidate is a trial, whatever becomes of it."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from alphamill.evaluation import Backtest, Score, Scorer, one_way_bps
from alphamill.factors import Factor, FactorError, compute, compute_many
from alphamill.factors.syntax import Group, walk
from alphamill.frames import FloatArray, Interval
from alphamill.jobs import EvaluateJob, RunSpec
from alphamill.lake import Lake
from alphamill.stages.language import read_expression
from alphamill.stages.panels import Segment, SegmentPanel, load_panel, read_manifest
from alphamill.stages.trials import (
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

_OF_THE_BOOK = ("quote_volume", "funding_rate")  # read for capacity and funding where they are


def run(job: EvaluateJob, deps: RunDeps) -> dict[str, Any]:
    """Score this job's share of a round's candidates; returns the counts by status."""
    prefix = proposals_prefix(deps.run_id, job.interval, job.round, job.tier)
    proposals = [row for row in read_rows(deps.lake, prefix) if _shard(row, job) == job.shard]
    panels = SegmentReader(
        deps.lake, deps.run_id, job.interval, Segment.DISCOVERY, deps.spec.groups
    )
    rows = _trials(proposals, _known(job, deps), panels, deps.spec)
    key = trials_key(deps.run_id, job.interval, job.round, job.tier, job.shard)
    write_rows(deps.lake, key, rows, TRIALS)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    return {"key": key, **counts}


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


class SegmentReader:
    """One segment's panel, its fields read when a factor first needs them.

    groups: group -> symbol -> label; a symbol without a label belongs to no group.
    """

    def __init__(
        self,
        lake: Lake,
        run_id: str,
        interval: Interval,
        segment: Segment,
        groups: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._lake = lake
        self._where = (run_id, interval, segment)
        self._groups = groups or {}
        self._loaded: SegmentPanel | None = None
        self._held: frozenset[str] | None = None
        self._scorer: Scorer | None = None

    def panel(self, fields: Iterable[str]) -> SegmentPanel:
        """The panel with at least these fields, and what a score needs.

        Raises FactorError naming a field that the run's panel does not hold.
        """
        wanted = {*fields, "open", "close", "volume"}
        self._refuse_unknown(wanted)
        have = set(self._loaded.panel) if self._loaded else set()
        if self._loaded is None or not wanted <= have:
            self._loaded = load_panel(self._lake, *self._where, fields=sorted(wanted | have))
        return self._loaded

    def values(self, factor: Factor) -> FloatArray:
        """The factor on this segment, float64 (bars, symbols)."""
        panel = self.panel(factor.columns).panel
        return compute(factor, panel, self.labels())

    def labels(self) -> dict[str, list[str | None]]:
        """Group -> a label a symbol of the panel, as `compute` takes them."""
        symbols = self.panel(()).panel.symbols
        return {
            name: [table.get(symbol) for symbol in symbols] for name, table in self._groups.items()
        }

    def _refuse_unknown(self, wanted: set[str]) -> None:
        for name in sorted(wanted - self._known_fields(wanted)):
            raise FactorError(f"the run's panel has no field '{name}'")

    def _known_fields(self, wanted: set[str]) -> frozenset[str]:
        """Fields that the panel holds; all that are wanted where there is no panel to ask."""
        if self._held is None:
            run_id, interval, segment = self._where
            manifest = read_manifest(self._lake, run_id, interval)
            facts = manifest.segments.get(segment) if manifest else None
            self._held = frozenset(facts.fields if facts else wanted)
        return self._held

    def check(self, factor: Factor) -> None:
        """Raise FactorError for a field or group that this segment does not have."""
        self._refuse_unknown(set(factor.columns))
        for node in walk(factor.tree):
            if isinstance(node, Group) and node.name not in self._groups:
                raise FactorError(f"no group table '{node.name}'")

    def scores(self, factors: Sequence[Factor], spec: RunSpec) -> Iterator[tuple[int, Score]]:
        """(index, Score) of each factor; what they share is computed once."""
        columns = {column for factor in factors for column in factor.columns}
        panel = self.panel(columns).panel
        for index, values in compute_many(factors, panel, self.labels()):
            yield index, self._scorer_of(spec).score(values)

    def score(self, factor: Factor, spec: RunSpec, direction: int | None = None) -> Score:
        """The factor's Score on this segment, by the run's settings."""
        return self.measure(factor, spec, direction)[0]

    def measure(
        self, factor: Factor, spec: RunSpec, direction: int | None = None
    ) -> tuple[Score, Backtest | None]:
        """The factor's Score and its book, which one with a fault does not have."""
        return self._scorer_of(spec).measure(self.values(factor), direction)

    def _scorer_of(self, spec: RunSpec) -> Scorer:
        """Made once: what all factors of this segment are measured against."""
        if self._scorer is None:
            self.panel(())
            segment = self.panel(self._known_fields(set()) & set(_OF_THE_BOOK))
            self._scorer = Scorer(
                segment.panel,
                horizon_bars=spec.segments.horizon_bars,
                entry_lag_bars=spec.segments.entry_lag_bars,
                skip_bars=segment.scored.start,
                fee_bps=one_way_bps(spec.fees),
                bars_per_year=segment.panel.interval.bars_per_year,
                weighting=spec.portfolio.weighting,
                quantiles=spec.portfolio.quantiles,
                participation_frac=spec.portfolio.participation_frac,
                log_returns=spec.segments.returns == "log",
            )
        return self._scorer
