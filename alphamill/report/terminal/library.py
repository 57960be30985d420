"""What is in a lake's factor library, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from alphamill.report.terminal.tables import empty_grid, empty_table
from alphamill.report.values import moment, plain
from alphamill.runs.library import LibraryEntry

HASH_SHOWN = 12  # characters of a hash: enough to name it


def library_table(entries: Sequence[LibraryEntry]) -> Table:
    """A line an admission, and beneath all of them their expressions."""
    table = empty_table("hash", "market", "bar", "verdict", "admitted by")
    notes = empty_grid("", "")
    for entry in entries:
        name = plain(entry.hash[:HASH_SHOWN], HASH_SHOWN)
        verdict = "removed" if entry.removed else plain(entry.verdict, 10)
        table.add(name, entry.market, entry.interval, verdict, plain(entry.run, 40))
        note = Text(plain(entry.traded, 600))
        if entry.removed:
            note.append(
                f"\nremoved {moment(entry.removed_ms)} UTC by {plain(entry.removed_by, 60)}: "
                f"{plain(entry.removed_why)}",
                style="dim",
            )
        notes.add(name, note)
    whole = Table.grid()
    whole.add_row(table)
    whole.add_row(Padding(notes, (1, 0, 0, 0)))
    return whole
