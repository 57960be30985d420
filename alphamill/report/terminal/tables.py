"""How the commands' tables look: aligned figures, nothing cut at 80 columns."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

ROOMY_COLUMNS = 100  # from here on two blanks stand between columns


def listing(*columns: str, wide: bool | None = None) -> Table:
    """An empty table. A name that begins with ">" is a column of figures, set to the right.

    wide: whether there is room for more than one blank between columns; None asks the terminal.
    """
    if wide is None:
        wide = Console().width >= ROOMY_COLUMNS
    table = Table(box=box.SIMPLE_HEAD, padding=(0, int(wide), 0, 0), show_edge=False)
    for name in columns:
        justify = "right" if name.startswith(">") else "left"
        table.add_column(name.removeprefix(">"), justify=justify, no_wrap=True)  # type: ignore[arg-type]
    return table
