"""A Score that draws itself, with the figures and the code of a run's page."""

from __future__ import annotations

from dataclasses import fields
from typing import Self

from markupsafe import escape

from alphamill.errors import GiveUp
from alphamill.evaluation import Score, Scorer, Segment
from alphamill.factors import Factor
from alphamill.frames import FloatArray, Panel
from alphamill.notebook.names import unknown
from alphamill.report.drawing import Drawing
from alphamill.report.factor.plots import PLOTS, figures
from alphamill.report.factor.tear_sheet import Piece, Subject, TearSheet, missing_bars
from alphamill.report.values import amount, number, percent, turned
from alphamill.runs.figures import Measures
from alphamill.runs.rows import Trial


class PlottedScore(Score):
    """A Score with its series.

    score = am.factor("-ts_zscore(close, 24)").evaluate(panel, horizon=4)
    score.rank_ic_mean, score.rank_ic_t, score.net_sharpe
    score.plot()                       # every plot of a factor's page
    score.plot("ic", "quantiles").save("factor.svg")
    """

    __slots__ = ("_sheet", "in_sample")
    _sheet: TearSheet
    in_sample: bool  # its direction was chosen on the very bars that it is measured on

    @classmethod
    def of(cls, score: Score, sheet: TearSheet, *, in_sample: bool) -> Self:
        """The score, with what its plots are drawn from."""
        made = cls(**{one.name: getattr(score, one.name) for one in fields(Score)})
        object.__setattr__(made, "_sheet", sheet)
        object.__setattr__(made, "in_sample", in_sample)
        return made

    @property
    def expression(self) -> str:
        """As it is traded: "-(...)" of what predicts falling prices."""
        return self._sheet.subject.traded

    def plot(self, *names: str) -> Drawing:
        """Plots that a notebook shows, `.save("plot.svg")` writes; default: all.

        names: ic, decay, time (of the decision), quantiles, returns (after costs), turnover,
        periods (and coins). Raises GiveUp for a factor that could not be measured, saying why.
        """
        for name in names:
            if name not in PLOTS:
                raise unknown("plot", name, PLOTS)
        if self.fault:
            raise GiveUp(f"nothing to plot: {self.fault}")
        drawn = figures(self._sheet, names=names or tuple(PLOTS))
        if not drawn:
            raise GiveUp(f"nothing to plot of {', '.join(names) or 'this factor'} on these bars")
        return Drawing(drawn, self.expression)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td style='text-align: right'>{escape(text)}</td></tr>"
            for name, text in self._rows()
        )
        head = f"<p><code>{escape(self.expression)}</code><br><small>{escape(self._of())}</small>"
        plot = "" if self.fault else self.plot("ic")._repr_html_()
        return f"{head}</p><table>{rows}</table>{plot}"

    def _of(self) -> str:
        subject = self._sheet.subject
        costs = f"{number(self.fee_bps, 2)} bps one way"
        return (
            f"{self.n_bars:,} bars of {subject.interval} x {self.n_symbols} symbols, horizon "
            f"{self.horizon_bars}, entry {self.entry_lag_bars} later, {costs}; "
            f"direction {'chosen on these bars: in sample' if self.in_sample else 'given'}"
        )

    def _rows(self) -> list[tuple[str, str]]:
        if self.fault:
            return [("not measured", self.fault)]
        sign, in_time = self.direction, self._sheet.in_time
        measured = "rank correlation" if in_time else "RankIC"
        shown = [
            (measured, number(turned(self.association, sign), 4, True)),
            ("t (Newey-West)", number(turned(self.association_t, sign), 2, True)),
        ]
        if not in_time:
            shown += [
                ("ICIR a bar", number(turned(self.rank_icir, sign), 3, True)),
                ("quantile spread, bps", number(1e4 * sign * self.quantile_spread, 2, True)),
            ]
        return [
            *shown,
            ("half-life, bars", number(self.half_life_bars, 0)),
            ("Sharpe a year, gross", number(self.gross_sharpe, 2, True)),
            ("Sharpe a year, net", number(self.net_sharpe, 2, True)),
            ("turnover a bar", percent(self.turnover_per_bar)),
            ("break-even, bps one way", number(self.break_even_bps, 1)),
            ("largest drawdown", percent(self.max_drawdown_frac)),
            ("capacity, quote", amount(self.capacity_quote)),
            ("coverage", percent(self.coverage)),
        ]

    def __repr__(self) -> str:
        said = ", ".join(f"{name} {text}" for name, text in self._rows())
        return f"<Score of {self.expression}: {said}; {self._of()}>"

    __str__ = __repr__


def plotted(
    factor: Factor, panel: Panel, scorer: Scorer, values: FloatArray, direction: int | None
) -> PlottedScore:
    """The Score of a factor's values over all bars of a panel.

    scorer: of that panel, without bars that are skipped.
    """
    score = scorer.score(values, direction)
    trial = Trial(interval=panel.interval, status="evaluated").with_score(
        score, factor.lookback_bars
    )
    subject = Subject(
        "factor",
        factor.hash,
        factor.text,
        panel.interval,
        score.direction,
        {Segment.WHOLE: Measures.of(score)},
        trial=trial,
    )
    series = None if score.fault else scorer.series(values, score.direction)
    pieces: tuple[Piece, ...] = ()
    if series is not None:
        everything = slice(0, panel.n_bars)
        missing = missing_bars(panel, everything)
        pieces = (
            Piece.of(Segment.WHOLE, panel, everything, series, score.entry_lag_bars, missing),
        )
    first, last = (int(panel.times_ms[0]), int(panel.times_ms[-1])) if panel.n_bars else (0, 0)
    sheet = TearSheet(
        subject,
        symbols=panel.symbols,
        horizon_bars=score.horizon_bars,
        fee_bps=score.fee_bps,
        participation=percent(score.participation_frac, 1),
        spans={Segment.WHOLE: (first, last + panel.interval.ms)},
        pieces=pieces,
    )
    return PlottedScore.of(score, sheet, in_sample=direction is None)
