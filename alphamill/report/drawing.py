"""Plots outside the page: in a notebook, or as a file, drawn by the page's own code."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup

from alphamill.errors import GiveUp
from alphamill.report.page import rendered, style
from alphamill.report.plots.figures import WIDTH, Figure
from alphamill.report.values import plain

_HEADING = 26.0  # pixels above a figure, for its question
_GAP = 24.0
_MARGIN = 10.0
_ABREAST = 2
_RULE = re.compile(r"@media[^{}]*\{(?:[^{}]*\{[^{}]*\})*\s*\}|[^{}@]+\{[^{}]*\}")
_OF_PLOTS = re.compile(
    r"\s*(?:/\*.*?\*/\s*)?"
    r"(:root|@media \(prefers|figure text|path|rect|\.(grid|zero|line|interval|depth))"
)


@dataclass(frozen=True, slots=True)
class _Cell:
    figure: Figure
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class _Image:
    figure: Figure
    base64: Markup


class Drawing:
    """Figures that a notebook shows, and that can be saved.

    figures: see `report.plots.figures`; each has its data in `figure.table`.
    """

    def __init__(self, figures: Sequence[Figure], title: str) -> None:
        self.figures = tuple(figures)
        self.title = title

    def save(self, path: str | Path) -> Path:
        """Write one SVG image, or a page with captions, as the name ends; the path.

        Raises GiveUp for a name that ends otherwise than in .svg or .html.
        """
        path = Path(path).expanduser()
        if path.suffix not in (".svg", ".html"):
            raise GiveUp(f"{path.name} ends in {path.suffix or 'nothing'}; write .svg or .html")
        text = self._repr_svg_() if path.suffix == ".svg" else self._page()
        path.write_text(text, encoding="utf-8")
        return path

    def _page(self) -> str:
        return (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f"<title>{Markup.escape(plain(self.title, 300))}</title></head>"
            f"<body>{self._repr_html_()}</body></html>\n"
        )

    def _repr_svg_(self) -> str:
        """All figures as one image, two abreast."""
        return _svg(self.figures, self.title)

    def _repr_html_(self) -> str:
        """Each figure as an image of its own over its caption."""
        images = [
            _Image(one, Markup(base64.b64encode(_svg([one], one.question).encode()).decode()))  # noqa: S704  letters and digits
            for one in self.figures
        ]
        return rendered("drawing.html.j2", images=images)

    def __repr__(self) -> str:
        asked = "; ".join(figure.question for figure in self.figures)
        return f"<{len(self.figures)} plots of {self.title}: {asked}>"


def _looks() -> Markup:
    """Of page.css what concerns plots, for an image that stands alone."""
    rules = [rule.strip() for rule in _RULE.findall(style()) if _OF_PLOTS.match(rule)]
    return Markup("\n".join(rules).replace("figure text", "text"))  # noqa: S704  ours


def _svg(figures: Sequence[Figure], title: str) -> str:
    cells, bottom, column = [], _MARGIN, WIDTH + _GAP
    for start in range(0, len(figures), _ABREAST):
        row = figures[start : start + _ABREAST]
        cells += [_Cell(one, _MARGIN + at * column, bottom) for at, one in enumerate(row)]
        bottom += _HEADING + max(figure.height for figure in row) + _GAP
    abreast = min(len(figures), _ABREAST)
    return rendered(
        "drawing.svg.j2",
        looks=_looks(),
        cells=cells,
        title=title,
        heading=_HEADING,
        width=2 * _MARGIN + abreast * column - _GAP,
        height=bottom - _GAP + _MARGIN,
    )
