"""A factor's series, computed from the panel that its run kept, on the segments that it has seen.

A holdout belongs to a factor only if the run has opened it for that factor: for one that was vetoed
or was no finalist its bars are not read here either, since whoever looks at a plot has looked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from alphamill.errors import FactorError, GiveUp
from alphamill.evaluation import Segment, SegmentSeries, one_way_bps, signal_correlation
from alphamill.factors import Factor
from alphamill.frames import FloatArray, Interval, Panel
from alphamill.jobs import RunKind, RunSpec
from alphamill.language import read_expression, read_given
from alphamill.report.values import percent
from alphamill.runs.figures import JUDGED_SEGMENTS, Measures
from alphamill.runs.known_factors import STRIDE_BARS
from alphamill.runs.panels import PanelManifest
from alphamill.runs.published import PublishedRun, named
from alphamill.runs.reader import SegmentReader
from alphamill.runs.rows import JudgedFactor, Trial, as_traded, by_strength
from alphamill.runs.terms import group_tables


@dataclass(frozen=True, slots=True)
class Subject:
    """What is plotted: a judged factor, or a given expression that nobody has judged.

    figures: of record, of the segments that it has seen; as written, not turned round.
    horizon_bars: where its run has several, else None.
    """

    name: str  # "#1"
    hash: str
    expression: str
    interval: Interval
    direction: int
    figures: Mapping[Segment, Measures]
    factor: JudgedFactor | None = None
    trial: Trial | None = None
    horizon_bars: int | None = None

    @property
    def at(self) -> str:
        """What it is measured on: "1h", or of several horizons "1h, horizon 4"."""
        of = "" if self.horizon_bars is None else f", horizon {self.horizon_bars}"
        return f"{self.interval}{of}"

    @property
    def traded(self) -> str:
        """As it is traded, to be pasted back."""
        return as_traded(self.expression, self.direction)

    def factor_of(self, run: PublishedRun) -> Factor:
        """As the run read it. Raises FactorError where this version reads it no more."""
        read = read_given if run.kind is RunKind.EVALUATE else read_expression
        return read(self.expression)

    def spec_of(self, run: PublishedRun) -> RunSpec:
        """What the run asked for, at the horizon that it is measured at."""
        return run.spec.at_horizon(self.horizon_bars or run.spec.horizons[0])

    @property
    def half_life_bars(self) -> float | None:
        """Of record, on the bars that chose its direction."""
        if self.factor:
            return self.factor.discovery.half_life_bars
        score = self.trial.score if self.trial else None
        return score.half_life_bars if score else None


@dataclass(frozen=True, slots=True)
class Piece:
    """One segment that the factor has seen.

    ends_ms: (bars,) close of each scored bar, when its
    value was known. held_ms: (n_obs,) end of each bar of the book. missing: symbol -> bars between
    its first and its last of the panel that are not there.
    """

    segment: Segment
    ends_ms: FloatArray
    held_ms: FloatArray
    series: SegmentSeries
    missing: Mapping[str, int]

    @classmethod
    def of(
        cls,
        segment: Segment,
        panel: Panel,
        scored: slice,
        series: SegmentSeries,
        entry_lag_bars: int,
        missing: Mapping[str, int],
    ) -> Self:
        """With the times of a series that was measured on those rows of a panel."""
        times, ms = panel.times_ms, panel.interval.ms
        first, lag = series.book.first_bar, max(entry_lag_bars, 1)
        held = times[first : first + len(series.book.net)] + (lag + 1) * ms
        ends = (times[scored] + ms).astype(np.float64)
        return cls(segment, ends, held.astype(np.float64), series, missing)


@dataclass(frozen=True, slots=True)
class Likeness:
    """Another factor beside this one.

    correlation: mean rank correlation of their values, of a finalist both as they are traded, of an
    earlier run's factor as the verdict has it.
    """

    name: str
    expression: str
    correlation: float


@dataclass(frozen=True, slots=True)
class TearSheet:
    """All that a factor's plots show. Without pieces, `why` says why there are none.

    spans: segment -> its first scored bar's open and last bar's close, shown or sealed.
    likenesses: with other finalists of the run, on validation, and with the nearest factor of
    earlier runs as the verdict has it.
    """

    subject: Subject
    symbols: tuple[str, ...] = ()
    horizon_bars: int = 1
    fee_bps: float = 0.0
    participation: str = ""  # of a bar's volume that a trade may be, in words
    spans: Mapping[Segment, tuple[int, int]] = field(default_factory=dict)
    pieces: tuple[Piece, ...] = ()
    likenesses: tuple[Likeness, ...] = ()
    why: str = ""

    @property
    def sealed(self) -> list[Segment]:
        """The segments that it has not seen."""
        return [segment for segment in self.spans if segment not in self.subject.figures]

    @property
    def in_time(self) -> bool:
        """Whether there was no cross-section to correlate."""
        return any(figures.in_time for figures in self.subject.figures.values())


def subjects(run: PublishedRun) -> list[Subject]:
    """What of a run can be plotted: its finalists, the best first, or the measured expressions."""
    if run.kind is RunKind.MINE:
        return [_judged(factor, at) for at, factor in enumerate(run.factors, 1)]
    several = len(run.spec.horizons) > 1
    return [
        Subject(
            f"#{at}",
            trial.hash or "",
            trial.text,
            trial.interval,
            trial.direction or 1,
            {Segment.WHOLE: trial.discovery},
            trial=trial,
            horizon_bars=trial.horizon_bars if several else None,
        )
        for at, trial in enumerate(by_strength(run.trials), 1)
        if trial.evaluated
    ]


def chosen(run: PublishedRun, text: str) -> Subject:
    """The one with this number, as "3" or "#3", this hash or its unique beginning.

    Raises GiveUp, naming what there is.
    """
    there = subjects(run)
    known = [
        (
            int(one.name[1:]),
            one.hash,
            f"{one.traded} ({one.at})" if one.horizon_bars else one.traded,
        )
        for one in there
    ]
    return there[named(run.id, text, known)]


def _judged(factor: JudgedFactor, at: int) -> Subject:
    figures = dict(
        zip(JUDGED_SEGMENTS, (factor.discovery, factor.validation, factor.holdout), strict=True)
    )
    if not saw_holdout(factor):
        del figures[Segment.HOLDOUT]
    return Subject(
        f"#{at}",
        factor.hash,
        factor.expression,
        factor.interval,
        factor.direction,
        figures,
        factor=factor,
    )


def saw_holdout(factor: JudgedFactor) -> bool:
    """Whether the run opened the holdout for it; of a run that did not count, by its figures."""
    if factor.holdout_looks is None:
        return factor.holdout.coverage is not None
    return factor.holdout_looks > 0


class Sheets:
    """Tear sheets of one run; each panel is read and its labels are ranked once."""

    def __init__(self, run: PublishedRun) -> None:
        self._run = run
        self._all = subjects(run)
        self._factors: dict[str, Factor] = {}
        self._readers: dict[tuple[Interval, Segment], SegmentReader] = {}
        self._missing: dict[tuple[Interval, Segment], dict[str, int]] = {}
        self._values: dict[str, FloatArray] = {}

    def of(self, wanted: Sequence[Subject]) -> list[TearSheet]:
        """The sheets of some subjects, likenesses with all finalists of the run."""
        # A horizon after the other: labels are ranked for one at a time.
        order = sorted(range(len(wanted)), key=lambda at: wanted[at].horizon_bars or 0)
        made = {at: self._sheet(wanted[at], wanted) for at in order}
        return [made[at] for at in range(len(wanted))]

    def _sheet(self, subject: Subject, beside: Sequence[Subject]) -> TearSheet:
        try:
            manifest = self._run.manifest(subject.interval)
            if manifest is None:
                raise GiveUp(f"the run's panel at {subject.interval} is no longer in the lake")
            self._read_once(subject, beside)
            return self._drawn(subject, manifest)
        except (GiveUp, FactorError) as error:
            return TearSheet(subject, why=str(error))

    def _read_once(self, subject: Subject, beside: Sequence[Subject]) -> None:
        """Read at once what the subject and those beside it need of each segment they have seen."""
        for segment in subject.figures:
            if (subject.interval, segment) not in self._readers:
                reader = self._reader(subject.interval, segment)
                columns: set[str] = set()
                for one in (*beside, *self._all):
                    if one.interval == subject.interval and segment in one.figures:
                        columns |= self._columns(one, reader)
                reader.panel(columns)

    def _columns(self, subject: Subject, reader: SegmentReader) -> frozenset[str]:
        """What it needs; nothing of one that cannot be computed here."""
        try:
            factor = self._factor(subject)
            reader.check(factor)
        except FactorError:
            return frozenset()
        return frozenset(factor.columns)

    def _factor(self, subject: Subject) -> Factor:
        if subject.hash not in self._factors:
            self._factors[subject.hash] = subject.factor_of(self._run)
        return self._factors[subject.hash]

    def _spec(self, subject: Subject) -> RunSpec:
        return subject.spec_of(self._run)

    def _drawn(self, subject: Subject, manifest: PanelManifest) -> TearSheet:
        spec = self._spec(subject)
        pieces = [self._piece(subject, segment) for segment in subject.figures]
        ms = subject.interval.ms
        return TearSheet(
            subject,
            symbols=manifest.symbols,
            horizon_bars=spec.segments.horizon_bars,
            fee_bps=one_way_bps(spec.fees),
            participation=percent(spec.portfolio.participation_frac, 1),
            spans={
                segment: (
                    facts.start_ms + (facts.history_bars + facts.embargo_bars) * ms,
                    facts.start_ms + facts.bars * ms,
                )
                for segment, facts in sorted(
                    manifest.segments.items(), key=lambda item: item[1].start_ms + item[1].bars
                )
            },
            pieces=tuple(piece for piece in pieces if piece is not None),
            likenesses=tuple(self._likenesses(subject)),
        )

    def _piece(self, subject: Subject, segment: Segment) -> Piece | None:
        reader = self._reader(subject.interval, segment)
        spec = self._spec(subject)
        series = reader.series(self._factor(subject), spec, subject.direction)
        if series is None:
            return None
        panel, lag = reader.panel(()), spec.segments.entry_lag_bars
        missing = self._missing_of(subject.interval, segment)
        return Piece.of(segment, panel.panel, panel.scored, series, lag, missing)

    def _missing_of(self, interval: Interval, segment: Segment) -> dict[str, int]:
        key = (interval, segment)
        if key not in self._missing:
            panel = self._reader(interval, segment).panel(())
            self._missing[key] = missing_bars(panel.panel, panel.scored)
        return self._missing[key]

    def _likenesses(self, subject: Subject) -> Iterable[Likeness]:
        """With the run's other finalists at the interval, and the earlier factor of record."""
        if subject.factor is None:
            return
        for other in self._all:
            if other.interval == subject.interval and other.hash != subject.hash:
                alike = signal_correlation(self._compared(subject), self._compared(other))
                signed = subject.direction * other.direction * alike
                yield Likeness(other.name, other.traded, signed)
        factor = subject.factor
        if factor.earlier_nearest and factor.earlier_correlation is not None:
            yield Likeness(
                factor.earlier_run or "", factor.earlier_nearest, factor.earlier_correlation
            )

    def _compared(self, subject: Subject) -> FloatArray:
        """Its values on validation, on the bars that finalists were compared on."""
        if subject.hash not in self._values:
            reader = self._reader(subject.interval, Segment.VALIDATION)
            values = reader.values(self._factor(subject))
            self._values[subject.hash] = values[::STRIDE_BARS].copy()
        return self._values[subject.hash]

    def _reader(self, interval: Interval, segment: Segment) -> SegmentReader:
        key = (interval, segment)
        if key not in self._readers:
            self._readers[key] = segment_reader(self._run, interval, segment)
        return self._readers[key]


def segment_reader(run: PublishedRun, interval: Interval, segment: Segment) -> SegmentReader:
    """Of a segment of the run, with the groups that its factors were computed with."""
    return SegmentReader(run.lake, run.id, interval, segment, group_tables(run.spec))


def missing_bars(panel: Panel, scored: slice) -> dict[str, int]:
    """Symbol -> bars between its first and its last of those rows that are not there."""
    there = np.isfinite(panel["close"][scored])
    return {symbol: _holes(there[:, at]) for at, symbol in enumerate(panel.symbols)}


def _holes(there: Sequence[bool] | np.ndarray) -> int:
    """How many are not there between the first and the last that is."""
    known = np.flatnonzero(there)
    return int(known[-1] - known[0] + 1 - len(known)) if len(known) else 0
