"""What a plot is made of: marks on panels in pixels, and a figure with its question and its table.

A figure is drawn at most WIDTH pixels wide, so that its words are as large on a phone as on a desk:
a page sets several side by side instead of one that is stretched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from alphamill.report.plots.scales import Scale, Tick, linear_ticks, log_ticks
from alphamill.report.plots.thinning import COLUMNS, thinned

WIDTH = 400.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 10.0, 20.0, 20.0  # around a panel: ticks, unit
STRIP = 14.0  # above a panel, for the names of what is shaded
_LABEL_PX = 12.5  # between two labels at the end of lines
_LETTER_PX = 6.2  # about; no font is measured here

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """A path, see `path`; kind: its class in page.css."""

    path: str
    kind: str


@dataclass(frozen=True, slots=True)
class Box:
    """A bar, or a stretch of the background. title: what a pointer that rests on it is told."""

    x: float
    y: float
    width: float
    height: float
    kind: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Word:
    """A label on a panel; anchor: start, middle or end."""

    x: float
    y: float
    text: str
    kind: str = ""
    anchor: str = "start"


@dataclass(frozen=True, slots=True)
class Table:
    """A figure's data; the first column names the row."""

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a panel's key: a dot of that kind, and its name."""

    kind: str
    text: str


@dataclass
class Panel:
    """One pair of axes. x and y: scales onto the figure's pixels. unit: of y, words above it."""

    x: Scale
    y: Scale
    unit: str
    x_ticks: Sequence[Tick] = ()
    y_ticks: Sequence[Tick] = ()
    x_unit: str = ""
    unit_left: float = 2.0  # where the words above it begin
    unit_up: float = 0.0  # how much higher than usual they stand
    key: Sequence[Key] = ()  # at the right end of that line
    baseline: bool = True  # a line where y is 0
    backgrounds: list[Box] = field(default_factory=list)
    areas: list[Shape] = field(default_factory=list)
    boxes: list[Box] = field(default_factory=list)
    lines: list[Shape] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Pixels of the panel's edges, as those below."""
        return self.x.low_px

    @property
    def right(self) -> float:
        return self.x.high_px

    @property
    def top(self) -> float:
        return self.y.high_px

    @property
    def bottom(self) -> float:
        return self.y.low_px

    @property
    def zero(self) -> float | None:
        """Where y is 0, if that is on the panel."""
        within = self.baseline and not self.y.log and self.y.low <= 0 <= self.y.high
        return self.y.px(0.0) if within else None

    @property
    def entries(self) -> list[tuple[Box, Word]]:
        """The key, from left to right up to the right edge."""
        made, right, y = [], self.right, self.top - 8 - self.unit_up
        for entry in reversed(self.key):
            left = right - _LETTER_PX * len(entry.text)
            dot = Box(left - 11, y - 7, 6, 6, f"dot {entry.kind}")
            made.append((dot, Word(left, y, entry.text)))
            right = left - 22
        return made[::-1]

    def shade(self, start: float, end: float, kind: str, text: str = "") -> None:
        """A stretch of x behind everything; a word in a strip above it, where there is room."""
        left, right = self.x.px(start), self.x.px(end)
        top = self.top - (STRIP if text else 0.0)
        self.backgrounds.append(Box(left, top, right - left, self.bottom - top, kind))
        if text and right - left > 5.6 * len(text):
            self.words.append(Word((left + right) / 2, self.top - 4, text, "shade", "middle"))
        self.unit_up = max(self.unit_up, self.top - top)

    def line(self, x: Floats, y: Floats, kind: str) -> None:
        """A series, thinned; x ascending, both finite."""
        if len(x):
            shown = thinned(x, y)
            self.lines.append(Shape(path(self.x(x[shown]), self.y(y[shown])), kind))

    def area(self, x: Floats, low: Floats, high: Floats, kind: str) -> None:
        """What lies between two series, thinned by both."""
        if len(x):
            shown = np.union1d(
                thinned(x, low, COLUMNS // 2), thinned(x, high, COLUMNS // 2)
            ).astype(int)
            there, back = shown, shown[::-1]
            px = self.x(np.concatenate((x[there], x[back])))
            py = self.y(np.concatenate((high[there], low[back])))
            self.areas.append(Shape(path(px, py) + "z", kind))

    def bar(self, at: float, width_px: float, value: float, kind: str, title: str) -> None:
        """An upright bar on the zero line, `width_px` wide, its middle `at` x."""
        base, top = self.y.px(0.0), self.y.px(value)
        x = self.x.px(at) - width_px / 2
        self.boxes.append(Box(x, min(base, top), width_px, abs(base - top), kind, title))

    def interval_bar(self, at: float, value: float, half: float, title: str) -> None:
        """One of several bars that stand at 0, 1, 2, ..., with its interval if that is known."""
        if not np.isfinite(value):
            return
        width = min(24.0, 0.64 * (self.x.px(1.0) - self.x.px(0.0)))
        self.bar(at, width, value, "fill", title)
        if np.isfinite(half):
            self.whisker(self.x.px(at), value - half, value + half)

    def whisker(self, at_px: float, low: float, high: float, kind: str = "whisker") -> None:
        """An upright interval."""
        ends = self.y(np.array([low, high]))
        self.lines.append(Shape(path(np.array([at_px, at_px]), ends), kind))

    def dot(self, at_px: float, value: float, kind: str, title: str) -> None:
        """A small square on its point: it is drawn as a box, rounded by its kind."""
        self.boxes.append(Box(at_px - 3, self.y.px(value) - 3, 6, 6, f"dot {kind}", title))

    def end_labels(self, ends: Sequence[tuple[float, str, str]]) -> None:
        """Labels at the right end of lines: (last value, text, kind), moved until none overlap."""
        placed = sorted(ends, key=lambda end: -end[0])
        spots = spread([self.y.px(value) for value, _, _ in placed], self.top + 4, self.bottom)
        for spot, (_, text, kind) in zip(spots, placed, strict=True):
            self.words.append(Word(self.right + 4, spot + 3.5, text, kind))


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot that answers one question. caption: what is drawn, in the words of the field."""

    question: str
    caption: str
    height: float
    panels: Sequence[Panel]
    table: Table
    note: str = ""  # in place of panels, where there is nothing to draw

    @property
    def width(self) -> float:
        """In pixels."""
        return WIDTH


def panel(
    x: Scale, y: Sequence[float], unit: str, top: float, height: float, *, log: bool = False
) -> Panel:
    """Axes whose y goes from y[0] to y[1], with its ticks."""
    scale = Scale(y[0], y[1], top + height, top, log)
    ticks = (log_ticks if log else linear_ticks)(scale, max(3, int(height / 24)))
    return Panel(x, scale, unit, y_ticks=ticks)


def across(low: float, high: float, *, left: float = LEFT, right: float = WIDTH - RIGHT) -> Scale:
    """A scale from left to right."""
    return Scale(low, high, left, right)


def path(x: Floats, y: Floats) -> str:
    """A line through points in tenths of a pixel: the first absolute, the others as steps.

    plots.html.j2 draws it at a tenth of its size.
    """
    tenths = np.rint(np.column_stack((x, y)) * 10).astype(np.int64)
    steps = np.diff(tenths, axis=0)
    steps = steps[steps.any(axis=1)]
    start = f"M{tenths[0, 0]} {tenths[0, 1]}"
    if not len(steps):
        return start
    return f"{start}l{' '.join(map(str, steps.ravel().tolist()))}".replace(" -", "-")


def spread(wanted: Sequence[float], low: float, high: float) -> list[float]:
    """Places as near to those wanted as a distance of _LABEL_PX allows; wanted ascending."""
    spots: list[float] = []
    for place in wanted:
        spots.append(max(place, spots[-1] + _LABEL_PX if spots else low))
    over = spots[-1] - high if spots else 0.0
    if over > 0:
        spots[-1] -= over
        for at in range(len(spots) - 2, -1, -1):
            spots[at] = min(spots[at], spots[at + 1] - _LABEL_PX)
    return spots
