"""A run as one self-contained page: no script, no font, no image, nothing from elsewhere.

`page.html.j2` is the page as a designer would read it, `page.css` its looks. What is put into it is
escaped, and every text is one line of bounded length; see `values.plain`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from alphamill.evaluation import Grade, Segment
from alphamill.frames import Interval
from alphamill.jobs import RunKind, RunSpec
from alphamill.report import values
from alphamill.report.caveats import page_caveats, spent_line
from alphamill.report.combined import CombinedPage
from alphamill.report.comparison import Comparison
from alphamill.report.factor.certificate import Certificate, certificate, deflated_after_costs
from alphamill.report.factor.plots import figures
from alphamill.report.factor.tear_sheet import Sheets, Subject, TearSheet, subjects
from alphamill.report.legend import ORIENTED, SOLD, correlation, factors_legend, trials_legend
from alphamill.report.plots.figures import Figure
from alphamill.report.values import graded, turned
from alphamill.runs.figures import Measures
from alphamill.runs.funnel import tier_funnels
from alphamill.runs.panels import SegmentFacts
from alphamill.runs.published import OFFLINE_NOTICE, PublishedRun
from alphamill.runs.rows import JudgedFactor, Trial, by_strength

# Even text that slipped through the escaping could then load and run nothing.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
PLOTTED = 10  # factors of a run that are shown in full, unless others are asked for
_IS_PATH = re.compile(r"[-0-9Mlz ]*")
_BAR_PX, _STEP_PX, _HALF_PX = 12, 18, 14  # of the small bars under three correlations


@dataclass(frozen=True, slots=True)
class SearchFacts:
    """What a Sharpe ratio of one interval is to be read with."""

    n_trials: int | None
    pbo: float | None  # probability of backtest overfitting


@dataclass(frozen=True, slots=True)
class FactorPage:
    """One factor: its series, its plots and what stands behind its verdict."""

    sheet: TearSheet
    figures: Sequence[Figure]
    certificate: Certificate


@dataclass(frozen=True, slots=True)
class RunPage:
    """What the page shows. A part that is empty is left out.

    factors: of a mining run; given: of an `evaluate` run. sheets: of those that are shown in full.
    funnel: steps with counts. usage: see `usage.build_report`.
    """

    run_id: str
    spec: RunSpec
    factors: Sequence[JudgedFactor] = ()
    given: Sequence[Trial] = ()
    sheets: Sequence[FactorPage] = ()
    alone: bool = False  # the page of one factor: nothing of the others
    searches: Mapping[Interval, SearchFacts] = field(default_factory=dict)
    funnel: Mapping[str, int] = field(default_factory=dict)
    segments: Sequence[tuple[Interval, Segment, SegmentFacts]] = ()
    usage: Mapping[str, Any] = field(default_factory=dict)
    caveats: Sequence[str] = ()
    notice: str = ""
    spent: str = ""
    correlation: str = "RankIC"  # or what stands in for it below three symbols
    legend: str = ""
    more: str = ""  # where those are that are not shown in full

    @property
    def anchors(self) -> dict[str, str]:
        """Where on the page each factor is shown in full, by its number, as "#1"."""
        return {one.sheet.subject.name: f"f{at}" for at, one in enumerate(self.sheets, 1)}

    @property
    def grades(self) -> dict[Grade, int]:
        """How many factors have each verdict, the best first."""
        return graded(factor.verdict for factor in self.factors)


def page_of(run: PublishedRun, alone: Subject | None = None) -> RunPage:
    """What there is to show of a finished run, the first PLOTTED factors in full; or of one."""
    mined = run.kind is RunKind.MINE
    in_time = any(trial.discovery.in_time for trial in run.trials)
    all_of_it = subjects(run)
    shown = all_of_it[:PLOTTED] if alone is None else [alone]
    return RunPage(
        run_id=run.id,
        spec=run.spec,
        factors=run.factors,
        given=() if mined else by_strength(run.trials),
        sheets=[
            FactorPage(sheet, figures(sheet), certificate(run, sheet))
            for sheet in Sheets(run).of(shown)
        ],
        alone=alone is not None,
        searches={row.interval: SearchFacts(row.n_trials, row.pbo) for row in run.factors},
        funnel=_funnel(run) if mined else {},
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
        legend=_legend(run, in_time) + ORIENTED + SOLD,
        more=_more(run, len(all_of_it)),
    )


def _legend(run: PublishedRun, in_time: bool) -> str:
    if run.kind is RunKind.MINE:
        return factors_legend(in_time, run.spec.portfolio.participation_frac)
    return trials_legend(in_time, len(run.spec.horizons) > 1)


def _more(run: PublishedRun, count: int) -> str:
    if count <= PLOTTED:
        return ""
    return (
        f"The first {PLOTTED} of {count} are shown in full below; another: "
        f"alphamill report {run.id} --factor {PLOTTED + 1}"
    )


def _funnel(run: PublishedRun) -> dict[str, int]:
    """How many candidates came how far, in the words and counts of `alphamill funnel`."""
    total = tier_funnels(run.trials, run.factors, run.calls, run.spec.gates.validation_t)[-1]
    return {
        "candidates": total.proposed,
        "read as an expression": total.parsed,
        "evaluated": total.evaluated,
        "same sign on validation": sum(_keeps_sign(trial) for trial in run.trials),
        "passed validation": total.passed_validation,
        "finalists": sum(bool(trial.finalist) for trial in run.trials),
        "admitted": total.admitted,
        "tradable": sum(factor.verdict is Grade.TRADABLE for factor in run.factors),
    }


def _keeps_sign(trial: Trial) -> bool:
    later = turned(trial.validation.association, trial.direction or 0)
    return later is not None and later > 0


def render(page: RunPage | Comparison | CombinedPage) -> str:
    """The page as HTML text."""
    templates = {Comparison: "compare.html.j2", CombinedPage: "combined.html.j2"}
    return rendered(templates.get(type(page), "page.html.j2"), page=page)


def rendered(template: str, **values: Any) -> str:
    """A template of this room with the page's looks as `style`; text put into it is escaped."""
    looks = Markup(style())  # noqa: S704  ours
    return _environment().get_template(template).render(**values, style=looks, policy=_POLICY)


@cache
def style() -> str:
    """How a page looks: page.css."""
    return files("alphamill.report").joinpath("page.css").read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
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
    environment.filters |= {
        "after_costs": deflated_after_costs,
        "bars": _bars,
        "path": _path,
        "pixels": _pixels,
        "turned": turned,
    }
    return environment


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


def _bars(figures: Sequence[Measures], direction: int) -> Iterator[_Bar]:
    """The correlations as bars, the largest as high as there is room; none of what is unknown."""
    known = [values.real(turned(one.association, direction)) for one in figures]
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


def _pixels(value: float) -> Markup:
    """A number for an attribute, to a tenth."""
    return Markup(f"{value:.1f}".removesuffix(".0"))  # noqa: S704  a number


def _path(text: str) -> Markup:
    """The points of a line; anything else would be no path."""
    return Markup(text if _IS_PATH.fullmatch(text) else "")  # noqa: S704  digits, letters of a path
