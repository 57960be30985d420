"""A run as one self-contained page: no script, no font, no image, nothing from elsewhere.

`page.html.j2` is the page as a designer would read it, `page.css` its looks. What is put into it is
escaped, and every text is one line of bounded length; see `values.plain`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from alphamill.evaluation import Gate, Grade, Score, Segment
from alphamill.frames import Interval
from alphamill.jobs import RunKind, RunSpec
from alphamill.report import values
from alphamill.report.caveats import page_caveats, spent_line
from alphamill.report.legend import correlation, factors_legend, trials_legend
from alphamill.runs.figures import Measures
from alphamill.runs.panels import SegmentFacts
from alphamill.runs.published import OFFLINE_NOTICE, PublishedRun
from alphamill.runs.rows import UNMEASURED, JudgedFactor, Trial

_READ = ("evaluated", "duplicate", "fault", "unclean")  # candidates that were read as an expression
# Even text that slipped through the escaping could then load and run nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_BAR_PX, _STEP_PX, _HALF_PX = 12, 18, 14  # of the small bars under three correlations


@dataclass(frozen=True, slots=True)
class SearchFacts:
    """What a Sharpe ratio of one interval is to be read with."""

    n_trials: int | None
    pbo: float | None  # probability of backtest overfitting


@dataclass(frozen=True, slots=True)
class RunPage:
    """What the page shows. A part that is empty is left out.

    factors: of a mining run; given: of an `evaluate` run. scores: by hash, for their folds.
    funnel: steps with counts. usage: see `usage.build_report`.
    """

    run_id: str
    spec: RunSpec
    factors: Sequence[JudgedFactor] = ()
    given: Sequence[Trial] = ()
    scores: Mapping[str, Score] = field(default_factory=dict)
    searches: Mapping[Interval, SearchFacts] = field(default_factory=dict)
    funnel: Mapping[str, int] = field(default_factory=dict)
    segments: Sequence[tuple[Interval, Segment, SegmentFacts]] = ()
    usage: Mapping[str, Any] = field(default_factory=dict)
    caveats: Sequence[str] = ()
    notice: str = ""
    spent: str = ""
    correlation: str = "RankIC"  # or what stands in for it below three symbols
    legend: str = ""

    @property
    def grades(self) -> dict[Grade, int]:
        """How many factors have each verdict, the best first."""
        verdicts = [factor.verdict for factor in self.factors]
        return {grade: verdicts.count(grade) for grade in reversed(Grade)}


def page_of(run: PublishedRun) -> RunPage:
    """What there is to show of a finished run."""
    mined = run.kind is RunKind.MINE
    in_time = any(trial.discovery.in_time for trial in run.trials)
    book = run.spec.portfolio.participation_frac
    return RunPage(
        run_id=run.id,
        spec=run.spec,
        factors=run.factors,
        given=() if mined else run.trials,
        scores={
            trial.hash: trial.score
            for trial in run.trials
            if mined and trial.hash and trial.score and trial.evaluated
        },
        searches={row.interval: SearchFacts(row.n_trials, row.pbo) for row in run.factors},
        funnel=_funnel(run.trials, run.factors) if mined else {},
        segments=[
            (panel.interval, segment, panel.segments[segment])
            for panel in run.manifests
            for segment in Segment
            if segment in panel.segments
        ],
        usage=run.usage(),
        caveats=page_caveats(run),
        notice=OFFLINE_NOTICE if run.offline else "",
        spent=spent_line(run) if mined else "",
        correlation=correlation(in_time),
        legend=factors_legend(in_time, book) if mined else trials_legend(in_time),
    )


def _funnel(trials: Sequence[Trial], factors: Sequence[JudgedFactor]) -> dict[str, int]:
    """How many candidates came how far."""
    return {
        "proposed": sum(trial.status != UNMEASURED for trial in trials),
        "read as an expression": sum(trial.status in _READ for trial in trials),
        "measured on discovery": sum(trial.evaluated for trial in trials),
        "same sign on validation": sum(_keeps_sign(trial) for trial in trials),
        "finalists": sum(bool(trial.finalist) for trial in trials),
        "predictive": sum(factor.admitted for factor in factors),
        "tradable": sum(factor.verdict is Grade.TRADABLE for factor in factors),
    }


def _keeps_sign(trial: Trial) -> bool:
    later = trial.validation.association
    return bool(later is not None and trial.direction and later * trial.direction > 0)


def render(page: RunPage) -> str:
    """The page as HTML text."""
    style = files("alphamill.report").joinpath("page.css").read_text(encoding="utf-8")
    return _template().render(page=page, style=Markup(style), policy=_POLICY)  # noqa: S704  ours


@cache
def _template() -> Template:
    environment = Environment(
        loader=FunctionLoader(lambda name: files(__package__).joinpath(name).read_text("utf-8")),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for show in (
        values.amount,
        values.dollars,
        values.errors_text,
        values.milliseconds,
        values.moment,
        values.number,
        values.percent,
        values.plain,
        values.probability,
        values.usd,
        values.whole,
    ):
        environment.filters[show.__name__] = show
    environment.filters |= {"bars": _bars, "gate_text": _gate_text}
    return environment.get_template("page.html.j2")


def _shown(value: object) -> object:
    """What stands between braces: text is foreign until it was shortened, or is markup of ours."""
    if value is None or (isinstance(value, str) and not isinstance(value, Markup)):
        return values.plain(value, 1200)
    return value


@dataclass(frozen=True, slots=True)
class _Bar:
    """A bar of a small chart, in pixels from its upper left corner."""

    x: int
    y: float
    height: float
    side: str  # of the zero line


def _bars(figures: Sequence[Measures]) -> Iterator[_Bar]:
    """The correlations as bars, the largest as high as there is room; none of what is unknown."""
    known = [values.real(one.association) for one in figures]
    top = max((abs(value) for value in known if value is not None), default=0.0)
    for position, value in enumerate(known):
        if value is not None and top > 0:
            height = _BAR_PX * abs(value) / top
            x = 4 + _STEP_PX * position
            yield (
                _Bar(x, _HALF_PX - height, height, "up")
                if value > 0
                else _Bar(x, _HALF_PX, height, "down")
            )


def _gate_text(gate: Gate) -> str:
    """What was asked, the figure, and what was needed."""
    text = f"{gate.name}: {gate.meaning}"
    if values.real(gate.value) is not None:
        text += f" {gate.value:.4g}"
        if values.real(gate.threshold) is not None:
            text += f" (needs {gate.threshold:.4g})"
    return text
