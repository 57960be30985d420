"""How the commands' tables look: aligned figures, text that is never markup, nothing cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

ROOMY_COLUMNS = 100  # from here on two blanks stand between columns
_KEPT = 2  # columns that a table keeps however narrow it is: number and verdict
WIDE_COLUMNS = 150  # from here on a row's note stands beside its figures

Cell = Text | str


class TextTable(Table):
    """A table of which every cell is text, so that brackets in foreign words stay brackets."""

    def add(self, *cells: Cell) -> None:
        """Add a row."""
        self.add_row(*map(_text, cells))


def empty_table(*columns: str, wide: bool | None = None) -> TextTable:
    """A table without rows. A column that begins with ">" is of figures, set to the right.

    wide: whether there is room for more than one blank between columns; None asks the terminal.
    """
    if wide is None:
        wide = Console().width >= ROOMY_COLUMNS
    table = TextTable(box=box.SIMPLE_HEAD, padding=(0, int(wide), 0, 0), show_edge=False)
    for name in columns:
        justify: Literal["left", "right"] = "right" if name.startswith(">") else "left"
        table.add_column(name.removeprefix(">"), justify=justify, no_wrap=True)
    return table


def empty_grid(*columns: str, gap: int = 1) -> TextTable:
    """Rows without a header: ">" is a column set to the right, "" one set to the left.

    The last column is folded where it is too long, the others are shown whole.
    """
    grid = TextTable(
        box=None,
        padding=(0, gap, 0, 0),
        collapse_padding=True,
        show_header=False,
        show_edge=False,
        pad_edge=False,
    )
    for mark in columns[:-1]:
        grid.add_column(justify="right" if mark == ">" else "left", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


@dataclass(frozen=True, slots=True)
class NotedTable:
    """Figures in a table, and what they belong to beside them or, where it is narrow, beneath.

    headers (see `empty_table`) and cells: the figures. notes: a row's text, the expression first;
    it is folded, never cut. spare: columns at the end that go into the note where it is narrow, all
    of them at once; where that is not enough, more columns follow from the end, as few as will do,
    so that no figure is ever cut. "name|in words": how a header is called in a note.
    """

    headers: Sequence[str]
    cells: Sequence[Sequence[Cell]]
    notes: Sequence[Text]
    legend: str
    spare: int = 0
    moved: bool = False  # whether columns stand in the notes already

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich prints."""
        wide = options.max_width >= WIDE_COLUMNS
        heads = [name.partition("|")[0] for name in self.headers]
        table = empty_table(
            *heads[:2],
            *(["factor"] if wide else []),
            *heads[2:],
            wide=options.max_width >= ROOMY_COLUMNS,
        )
        if wide:
            factor = table.columns[2]
            factor.ratio, factor.no_wrap, factor.overflow = 1, False, "fold"
        for cells, note in zip(self.cells, self.notes, strict=True):
            table.add(*cells[:2], *([note] if wide else []), *cells[2:])
        if self.spare and not wide and _width(table, console) > options.max_width:
            yield self._narrowed()
            return
        yield table
        if not wide:
            beneath = empty_grid(">", "")
            for cells, note in zip(self.cells, self.notes, strict=True):
                if note:
                    beneath.add(_text(cells[0]).copy(), note)
            yield Padding(beneath, (1, 0, 0, 0))
        yield Padding(Text(self.legend, style="dim"), (1, 0, 0, 0))

    def _narrowed(self) -> NotedTable:
        """Without the spare columns: their headers and figures end the notes."""
        kept = len(self.headers) - self.spare
        names = [name.removeprefix(">").rpartition("|")[2] for name in self.headers[kept:]]
        notes = []
        for cells, note in zip(self.cells, self.notes, strict=True):
            named = zip(names, cells[kept:], strict=True)
            words = ", ".join(f"{name} {_text(cell).plain}" for name, cell in named)
            between = (", " if self.moved else "\n") if note else ""
            notes.append(Text.assemble(note, (between, "dim"), (words, "dim")))
        figures = [row[:kept] for row in self.cells]
        more = int(kept > _KEPT)
        return NotedTable(self.headers[:kept], figures, notes, self.legend, more, moved=True)


def _text(cell: Cell) -> Text:
    return Text(cell) if isinstance(cell, str) else cell


def _width(table: Table, console: Console) -> int:
    """Columns of the terminal that the table takes with every figure whole."""
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum
