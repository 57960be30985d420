"""One segment of a run's panel, read as factors need it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from alphamill.evaluation import Backtest, Score, Scorer, Segment, SegmentSeries
from alphamill.factors import Factor, FactorError, compute, compute_many
from alphamill.factors.syntax import Group, walk
from alphamill.frames import FloatArray, Interval
from alphamill.jobs import RunSpec
from alphamill.lake import Lake
from alphamill.lake.listings import symbol_of
from alphamill.runs.panels import PanelManifest, SegmentPanel, load_panel, read_manifest
from alphamill.runs.terms import scorer_terms

_OF_THE_BOOK = ("quote_volume", "funding_rate")  # read for capacity and funding where they are


class SegmentReader:
    """One segment's panel, its fields read when a factor first needs them.

    groups: group -> symbol -> label; a symbol without a label belongs to no group, and every coin
    under a symbol to the symbol's.
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
        self._sealed: PanelManifest | None = None
        self._members: NDArray[np.bool_] | None = None
        self._held: frozenset[str] | None = None
        self._scorer: tuple[int, Scorer] | None = None  # of the horizon that was last asked for

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
        return compute(factor, panel, self.labels(), members=self.members())

    def members(self) -> NDArray[np.bool_] | None:
        """Who belongs at each bar, bool (bars, symbols); None where all do."""
        manifest = self._manifest()
        if manifest is None or manifest.universe is None:
            return None
        if self._members is None:
            panel = self.panel(()).panel
            self._members = manifest.universe.mask(panel.symbols, panel.times_ms)
        return self._members

    def labels(self) -> dict[str, list[str | None]]:
        """Group -> a label a symbol of the panel, as `compute` takes them."""
        symbols = [symbol_of(name) for name in self.panel(()).panel.symbols]
        return {
            name: [table.get(symbol) for symbol in symbols] for name, table in self._groups.items()
        }

    def known(self, fields: Iterable[str]) -> frozenset[str]:
        """Those of the fields that this segment's panel holds."""
        wanted = set(fields)
        return self._known_fields(wanted) & wanted

    def _refuse_unknown(self, wanted: set[str]) -> None:
        for name in sorted(wanted - self._known_fields(wanted)):
            raise FactorError(f"the run's panel has no field '{name}'")

    def _known_fields(self, wanted: set[str]) -> frozenset[str]:
        """Fields that the panel holds; all that are wanted where there is no panel to ask."""
        if self._held is None:
            manifest = self._manifest()
            facts = manifest.segments.get(self._where[2]) if manifest else None
            self._held = frozenset(facts.fields if facts else wanted)
        return self._held

    def _manifest(self) -> PanelManifest | None:
        if self._sealed is None:
            self._sealed = read_manifest(self._lake, *self._where[:2])
        return self._sealed

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
        computed = compute_many(factors, panel, self.labels(), members=self.members())
        for index, values in computed:
            yield index, self._scorer_of(spec).score(values)

    def score(self, factor: Factor, spec: RunSpec, direction: int | None = None) -> Score:
        """The factor's Score on this segment, by the run's settings."""
        return self.measure(factor, spec, direction)[0]

    def measure(
        self, factor: Factor, spec: RunSpec, direction: int | None = None
    ) -> tuple[Score, Backtest | None]:
        """The factor's Score and its book, which one with a fault does not have."""
        return self._scorer_of(spec).measure(self.values(factor), direction)

    def series(self, factor: Factor, spec: RunSpec, direction: int) -> SegmentSeries | None:
        """The factor bar by bar, as `score` measures it; None for one with a fault."""
        return self._scorer_of(spec).series(self.values(factor), direction)

    def _scorer_of(self, spec: RunSpec) -> Scorer:
        """Made once a horizon: what all factors of this segment are measured against.

        Of one at a time, since each holds ten arrays of a field's size.
        """
        horizon_bars = spec.segments.horizon_bars
        if self._scorer is None or self._scorer[0] != horizon_bars:
            self._scorer = None  # before the next is made
            self.panel(())
            segment = self.panel(self._known_fields(set()) & set(_OF_THE_BOOK))
            made = Scorer(
                segment.panel,
                skip_bars=segment.scored.start,
                bars_per_year=segment.panel.interval.bars_per_year,
                members=self.members(),
                **scorer_terms(spec),
            )
            self._scorer = (horizon_bars, made)
        return self._scorer[1]
