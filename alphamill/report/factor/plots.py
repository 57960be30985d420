"""A factor's plots: at most eight, each answering the question that is its title.

Every figure in a caption is the verdict's own; what is drawn are the series that it sums up, in the
direction that the factor is traded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType

from alphamill.report.factor.alike import alike
from alphamill.report.factor.earns import after_costs, traded, when_and_where
from alphamill.report.factor.laid_out import Axes, Drawn
from alphamill.report.factor.predicts import at_what_time, by_quantile, decaying, predicting
from alphamill.report.factor.tear_sheet import TearSheet
from alphamill.report.plots.figures import Figure

PLOTS: Mapping[str, Callable[[Drawn], Figure | None]] = MappingProxyType(
    {
        "ic": predicting,
        "decay": decaying,
        "time": at_what_time,
        "quantiles": by_quantile,
        "returns": after_costs,
        "turnover": traded,
        "periods": when_and_where,
        "correlation": alike,
    }
)
"""By the name that a notebook asks for, in the order of a page."""


def figures(
    sheet: TearSheet, axes: Axes | None = None, names: Collection[str] = tuple(PLOTS)
) -> list[Figure]:
    """The plots of a sheet; none of one without pieces, and none that would have nothing to say.

    names: of PLOTS; default: all.
    """
    if not sheet.pieces:
        return []
    drawn = Drawn.of(sheet, axes or Axes())
    plots = [plot(drawn) for name, plot in PLOTS.items() if name in names]
    return [figure for figure in plots if figure is not None]


def side_by_side(sheets: Sequence[TearSheet]) -> list[list[Figure]]:
    """The plots of several sheets, each as long as the others' axes need."""
    wanted = [Axes() for _ in sheets]
    for sheet, axes in zip(sheets, wanted, strict=True):
        figures(sheet, axes)
    return [figures(sheet, Axes(*wanted)) for sheet in sheets]
