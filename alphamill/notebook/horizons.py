"""One factor at several horizons: a Score each, and all of them as one table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import pandas as pd
from markupsafe import escape

from alphamill.errors import GiveUp
from alphamill.evaluation.out_of_sample import in_sample_deflated_sharpe
from alphamill.notebook.score import PlottedScore
from alphamill.report.values import number, turned
from alphamill.runs.figures import Measures


class HorizonScores(Sequence[PlottedScore]):
    """A factor's Scores, a horizon each, ascending.

    n_trials: what was tried: each horizon, in both directions where the direction was chosen here.

        scores = am.factor("-ts_zscore(close, 24)").evaluate(panel, horizon=[1, 4, 24])
        scores.to_pandas()                     # a row a horizon
        scores[1].plot()                       # of the second one
    """

    def __init__(self, scores: Sequence[PlottedScore]) -> None:
        self._scores = tuple(scores)
        self.n_trials = sum(2 if score.in_sample else 1 for score in self._scores)

    @overload
    def __getitem__(self, at: int) -> PlottedScore: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[PlottedScore]: ...
    def __getitem__(self, at: int | slice) -> PlottedScore | Sequence[PlottedScore]:
        return self._scores[at]

    def __len__(self) -> int:
        return len(self._scores)

    def __iter__(self) -> Iterator[PlottedScore]:
        return iter(self._scores)

    def to_pandas(self) -> pd.DataFrame:
        """A row a horizon, with the columns that an `evaluate` run's trials have.

        Index horizon_bars; expression as it is traded at that horizon, correlations as the factor
        is written. deflated_sharpe: probability that the gross Sharpe ratio beats the luckiest of
        n_trials, each horizon counted; the best of several is luck's best too.
        """
        rows = [
            {"horizon_bars": score.horizon_bars, "expression": score.expression}
            | {"direction": score.direction, "fault": score.fault}
            | Measures.of(score).to_columns()
            | {"n_trials": self.n_trials, "deflated_sharpe": self._deflated(score)}
            for score in self._scores
        ]
        return pd.DataFrame(rows).set_index("horizon_bars")

    def _deflated(self, score: PlottedScore) -> float:
        return float("nan") if score.fault else in_sample_deflated_sharpe(score, self.n_trials)

    def _cells(self, score: PlottedScore) -> list[str]:
        if score.fault:
            return [str(score.horizon_bars), score.fault]
        return [
            str(score.horizon_bars),
            score.expression,
            number(turned(score.association, score.direction), 4, True),
            number(turned(score.association_t, score.direction), 2, True),
            number(score.gross_sharpe, 2, True),
            number(score.net_sharpe, 2, True),
            number(self._deflated(score), 3),
            number(score.break_even_bps, 1),
        ]

    def _repr_html_(self) -> str:
        names = ("horizon, bars", "factor as traded", "RankIC", "t", "SR gross", "SR net")
        head = "".join(f"<th>{name}</th>" for name in (*names, "DSR gross", "break-even, bps"))
        rows = "".join(
            "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in self._cells(score)) + "</tr>"
            for score in self._scores
        )
        return f"<table><tr>{head}</tr>{rows}</table><small>{escape(self._note())}</small>"

    def _note(self) -> str:
        return (
            f"{self.n_trials} trials, each horizon one (two where its direction was chosen on "
            "these bars); their t are of much the same bars, and not so many pieces of evidence"
        )

    def __repr__(self) -> str:
        lines = ["  ".join(self._cells(score)) for score in self._scores]
        return "\n".join(["horizon, factor, RankIC, t, SR gross, net, DSR, even", *lines])

    __str__ = __repr__


def horizons_asked(horizon: Sequence[int]) -> tuple[int, ...]:
    """Ascending, each once. Raises GiveUp for none, and for what is no number of bars."""
    if not horizon or any(isinstance(one, bool) or int(one) != one or one < 1 for one in horizon):
        given = horizon[0] if len(horizon) == 1 else list(horizon)
        raise GiveUp(f"horizon {given} must be at least 1 bar, as 4 or [1, 4, 24]")
    return tuple(sorted({int(one) for one in horizon}))
