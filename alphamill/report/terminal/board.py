"""A table of figures with its text beside it or beneath it, whole at any width of the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from alphamill.report.terminal.tables import ROOMY_COLUMNS, listing

_WIDE_COLUMNS = 150


@dataclass(frozen=True, slots=True)
class Board:
    """Figures in a table, and what they belong to beside them or, where it is narrow, beneath.

    headers (see `listing`) and cells: the figures. notes: a row's text, the expression first; it is
    folded, never cut. spare: columns at the end that go into the note where it is narrow.
    """

    headers: Sequence[str]
    cells: Sequence[Sequence[Text]]
    notes: Sequence[Text]
    legend: str
    spare: int = 0

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich prints."""
        wide = options.max_width >= _WIDE_COLUMNS
        table = listing(
            *self.headers[:2],
            *(["factor"] if wide else []),
            *self.headers[2:],
            wide=options.max_width >= ROOMY_COLUMNS,
        )
        if wide:
            factor = table.columns[2]
            factor.ratio, factor.no_wrap, factor.overflow = 1, False, "fold"
        for cells, note in zip(self.cells, self.notes, strict=True):
            table.add_row(*cells[:2], *([note] if wide else []), *cells[2:])
        if self.spare and not wide and _width(table, console) > options.max_width:
            yield self._narrowed()
            return
        yield table
        if not wide:
            beneath = Table.grid(padding=(0, 1, 0, 0))
            beneath.add_column(justify="right", no_wrap=True)
            beneath.add_column(overflow="fold")
            for cells, note in zip(self.cells, self.notes, strict=True):
                beneath.add_row(cells[0].copy(), note)
            yield Padding(beneath, (1, 0, 0, 0))
        yield Padding(Text(self.legend, style="dim"), (1, 0, 0, 0))

    def _narrowed(self) -> Board:
        """Without the spare columns: their headers and figures end the notes."""
        kept = len(self.headers) - self.spare
        names = [name.removeprefix(">") for name in self.headers[kept:]]
        notes = []
        for cells, note in zip(self.cells, self.notes, strict=True):
            figures = zip(names, cells[kept:], strict=True)
            words = ", ".join(f"{name} {cell.plain}" for name, cell in figures)
            notes.append(Text.assemble(note, ("\n" + words, "dim")))
        return Board(self.headers[:kept], [row[:kept] for row in self.cells], notes, self.legend)


def _width(table: Table, console: Console) -> int:
    """Columns of the terminal that the table takes with every figure whole."""
    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum
