"""A factor's plots: at most eight, each answering the question that is its title.

Every figure in a caption is the verdict's own; what is drawn are the series that it sums up, in the
direction that the factor is traded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from alphamill.report.factor.alike import alike
from alphamill.report.factor.earns import after_costs, traded, when_and_where
from alphamill.report.factor.laid_out import Axes, Drawn
from alphamill.report.factor.predicts import at_what_time, by_quantile, decaying, predicting
from alphamill.report.factor.tear_sheet import TearSheet
from alphamill.report.plots.figures import Figure

_PLOTS: tuple[Callable[[Drawn], Figure | None], ...] = (
    predicting,
    decaying,
    at_what_time,
    by_quantile,
    after_costs,
    traded,
    when_and_where,
    alike,
)


def figures(sheet: TearSheet, axes: Axes | None = None) -> list[Figure]:
    """The plots of a sheet; none of one without pieces, and none that would have nothing to say."""
    if not sheet.pieces:
        return []
    drawn = Drawn.of(sheet, axes or Axes())
    return [figure for figure in (plot(drawn) for plot in _PLOTS) if figure is not None]


def side_by_side(sheets: Sequence[TearSheet]) -> list[list[Figure]]:
    """The plots of several sheets, each as long as the others' axes need."""
    wanted = [Axes() for _ in sheets]
    for sheet, axes in zip(sheets, wanted, strict=True):
        figures(sheet, axes)
    return [figures(sheet, Axes(*wanted)) for sheet in sheets]
