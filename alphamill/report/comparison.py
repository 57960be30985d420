"""Two factors, or the best of two runs, side by side on the same axes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alphamill.report.caveats import spent_line, training_words
from alphamill.report.factor.certificate import deflated_after_costs
from alphamill.report.factor.plots import figures, side_by_side
from alphamill.report.factor.tear_sheet import Sheets, Subject, TearSheet, subjects
from alphamill.report.legend import correlation
from alphamill.report.plots.figures import Figure
from alphamill.report.values import (
    NOTHING,
    amount,
    graded,
    moment,
    number,
    percent,
    plain,
    probability,
    turned,
    usd,
    whole,
)
from alphamill.runs.figures import Measures
from alphamill.runs.published import OFFLINE_NOTICE, PublishedRun
from alphamill.runs.rows import JudgedFactor

Row = tuple[str, str, str]
"""A name, and what the first and the second have of it."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: which run, and which factor of it."""

    letter: str  # A or B
    run_id: str
    sheet: TearSheet


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides; rows have what each of them says.

    figures: of record. together: how like their books are. runs, settings: of two runs, and what
    was asked for otherwise. shared: expressions that both runs judged, with both verdicts. pairs: a
    question, and each side's plot, None where one has nothing to say.
    """

    sides: tuple[Side, Side]
    figures: Sequence[Row]
    together: str
    runs: Sequence[Row]
    settings: Sequence[Row]
    shared: Sequence[Row]
    pairs: Sequence[tuple[str, Figure | None, Figure | None]]
    notice: str = ""

    @property
    def same_axes(self) -> bool:
        """Whether what is drawn can be compared by eye: bars of one length."""
        first, second = (side.sheet.subject.interval for side in self.sides)
        return first == second

    @property
    def same_run(self) -> bool:
        """Whether both are of one run."""
        return self.sides[0].run_id == self.sides[1].run_id


def compare(
    first: tuple[PublishedRun, Subject], second: tuple[PublishedRun, Subject]
) -> Comparison:
    """The two side by side; of one run the panel is read once."""
    (run, subject), (other_run, other) = first, second
    if run.id == other_run.id:
        sheets = Sheets(run).of([subject, other])
    else:
        sheets = [*Sheets(run).of([subject]), *Sheets(other_run).of([other])]
    alike = subject.interval == other.interval
    plots = side_by_side(sheets) if alike else [figures(sheet) for sheet in sheets]
    drawn = [{one.question: one for one in own} for own in plots]
    questions = list(dict.fromkeys([*drawn[0], *drawn[1]]))
    sides = (Side("A", run.id, sheets[0]), Side("B", other_run.id, sheets[1]))
    two = run.id != other_run.id
    return Comparison(
        sides,
        list(_figures(sheets[0], sheets[1])),
        _together(sheets[0], sheets[1]),
        list(_runs(run, other_run)) if two else (),
        list(_settings(run, other_run)) if two else (),
        list(_shared(run, other_run)) if two else (),
        [(question, drawn[0].get(question), drawn[1].get(question)) for question in questions],
        OFFLINE_NOTICE if run.offline or other_run.offline else "",
    )


def _figures(first: TearSheet, second: TearSheet) -> Iterator[Row]:
    both = (first.subject, second.subject)

    def row(name: str, say: Callable[[Measures, int], str], oriented: bool = False) -> Row:
        cells = []
        for subject in both:
            sign = subject.direction if oriented else 1
            figures = subject.figures.values()
            cells.append(" / ".join(say(one, sign) for one in figures))
        return (name, cells[0], cells[1])

    def corr(one: Measures, sign: int) -> str:
        return number(turned(one.association, sign), 4, True)

    def corr_t(one: Measures, sign: int) -> str:
        return number(turned(one.association_t, sign), 2, True)

    yield ("segments", " / ".join(both[0].figures), " / ".join(both[1].figures))
    yield row(correlation(first.in_time and second.in_time), corr, oriented=True)
    yield row("t (Newey-West)", corr_t, oriented=True)
    yield row("Sharpe a year, gross", lambda one, _: number(one.gross_sharpe, 2, True))
    yield row("Sharpe a year, net", lambda one, _: number(one.net_sharpe, 2, True))
    yield row("turnover a bar", lambda one, _: percent(one.turnover_per_bar))
    yield row("break-even cost, bps", lambda one, _: number(one.break_even_bps, 1))
    yield row("max drawdown, net", lambda one, _: percent(one.max_drawdown_frac))
    yield row("capacity, quote", lambda one, _: amount(one.capacity_quote))
    yield from _verdicts(both)


def _verdicts(both: tuple[Subject, Subject]) -> Iterator[Row]:
    judged = [subject.factor for subject in both]

    def row(name: str, say: Callable[[JudgedFactor], str]) -> Row:
        cells = [NOTHING if factor is None else say(factor) for factor in judged]
        return (name, cells[0], cells[1])

    yield row("verdict", lambda one: str(one.verdict))
    yield row("trials of the search", lambda one: whole(one.n_trials))
    yield row(
        "deflated Sharpe ratio, before / after costs",
        lambda one: f"{number(one.deflated_sharpe, 3)} / {number(deflated_after_costs(one), 3)}",
    )
    yield row("adjusted p", lambda one: probability(one.bh_p))
    yield row("looks at its holdout so far", lambda one: whole(one.holdout_looks))
    yield row("the call that named it", lambda one: usd(one.call_cost_usd_micros))


def _together(first: TearSheet, second: TearSheet) -> str:
    """Correlation of what both books earned, gross, over the bars that both held."""
    times, gross = [], []
    for sheet in (first, second):
        pieces = sheet.pieces
        times.append(np.concatenate([piece.held_ms for piece in pieces] or [np.empty(0)]))
        gross.append(np.concatenate([piece.series.book.gross for piece in pieces] or [np.empty(0)]))
    shared, mine, theirs = np.intersect1d(times[0], times[1], return_indices=True)
    if len(shared) < 30:
        return "Their books hold no bars in common."
    r = float(np.corrcoef(gross[0][mine], gross[1][theirs])[0, 1])
    return (
        f"Their books' gross returns correlate {number(r, 2, True)} over the "
        f"{whole(len(shared))} bars that both hold."
    )


def _runs(first: PublishedRun, second: PublishedRun) -> Iterator[Row]:
    both = (first, second)

    def row(name: str, say: Callable[[PublishedRun], str]) -> Row:
        return (name, say(first), say(second))

    yield row("kind", lambda run: str(run.kind))
    found = [Counter(one.verdict for one in run.factors) for run in both]
    for grade in graded([*found[0], *found[1]]):
        yield (grade, whole(found[0][grade]), whole(found[1][grade]))
    yield row("trials", lambda run: whole(len(run.trials)))
    yield row("probability of overfitting", lambda run: " / ".join(_pbo(run)) or NOTHING)
    if any(run.calls for run in both):
        yield row("models", spent_line)
        yield row("what they may have read", training_words)


def _pbo(run: PublishedRun) -> list[str]:
    return [number(pbo, 2) for pbo in {one.interval: one.pbo for one in run.factors}.values()]


def _settings(first: PublishedRun, second: PublishedRun) -> Iterator[Row]:
    """What was asked for otherwise, by the names of the settings."""
    mine, theirs = (_asked(run) for run in (first, second))
    for name in sorted({*mine, *theirs}):
        if mine.get(name) != theirs.get(name) and name not in ("lake", "salt"):
            yield (name, _said(name, mine.get(name)), _said(name, theirs.get(name)))


def _asked(run: PublishedRun) -> dict[str, Any]:
    """A run's settings by name; of several horizons the first is not said a second time."""
    flat = dict(_flat(run.plain_spec))
    horizons = flat.pop("horizons_bars", None)
    return flat | ({"segments.horizon_bars": horizons} if horizons else {})


def _flat(message: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in message.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _said(name: str, value: Any) -> str:
    if value is None or value in ("", [], {}):
        return NOTHING
    if name.endswith("_ms"):
        return moment(value)
    return plain(", ".join(map(str, value)) if isinstance(value, list) else value, 300)


def _shared(first: PublishedRun, second: PublishedRun) -> Iterator[Row]:
    mine, theirs = ({one.hash: one for one in subjects(run)} for run in (first, second))
    for found in mine:
        if found in theirs:
            both = (mine[found], theirs[found])
            words = [str(one.factor.verdict) if one.factor else "in-sample" for one in both]
            yield (mine[found].traded, words[0], words[1])
