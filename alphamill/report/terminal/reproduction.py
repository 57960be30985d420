"""Published figures beside ours, as a table."""

from __future__ import annotations

from rich.console import Console, Group, RenderableType
from rich.text import Text

from alphamill.report.terminal.tables import empty_grid, empty_table
from alphamill.report.values import NOTHING, counted, number
from alphamill.reproduction import Reproduction, Row, State

_STYLES = {
    State.AGREES: "green",
    State.DIFFERS: "bold red",
    State.KNOWN: "yellow",
    State.UNCHECKED: "dim",
    State.SHOWN: "cyan",
}


def reproduction_view(found: Reproduction) -> RenderableType:
    """The rows, what they amount to, what is lacking, and where the figures were read.

    What was not checked has no line of its own but its reason, with the first row and the number.
    """
    table = empty_table("figure", ">published", ">ours", ">to", "")
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    shown = [row for row in found.rows if row.state is not State.UNCHECKED]
    for row in shown:
        table.add(
            row.what,
            row.published or NOTHING,
            NOTHING if row.ours is None else number(row.ours, row.decimals),
            _to(row),
            Text(row.state, style=_STYLES[row.state]),
        )
    parts: list[RenderableType] = [table, Text()] if shown else []
    notes = _notes(found)
    if notes:
        grid = empty_grid("", "", gap=2)
        for note, rows in notes.items():
            grid.add(rows, Text(note, style="dim"))
        parts += [grid, Text()]
    parts.append(Text(summary(found), style="bold red" if found.failed else ""))
    parts += [Text(f"to bring what is lacking: {cure}", style="yellow") for cure in found.cures]
    parts += [
        Text(f"read {source.read}: {source.place} ({source.licence})", style="dim")
        for source in found.sources
    ]
    return Group(*parts)


def _to(row: Row) -> str:
    """How near they must be."""
    if row.band is not None:
        return "{:.3g} to {:.3g}".format(*row.band)
    return f"{row.tolerance:.1g}" if row.published else ""


def _notes(found: Reproduction) -> dict[str, str]:
    """Each note once, with the rows that it is of."""
    rows: dict[str, list[Row]] = {}
    for row in found.rows:
        if note := row.known or row.note:
            rows.setdefault(note, []).append(row)
    return {
        note: of[0].what if len(of) == 1 else f"{counted(len(of), 'row')}, first {of[0].what}"
        for note, of in rows.items()
    }


def summary(found: Reproduction) -> str:
    """As in "18 rows: 12 agree, 6 not checked"."""
    said = [
        f"{count} {word}"
        for state, word in (
            (State.AGREES, "agree"),
            (State.DIFFERS, "differ"),
            (State.KNOWN, "differ as is known"),
            (State.UNCHECKED, "not checked"),
            (State.SHOWN, "ours alone"),
        )
        if (count := found.count(state))
    ]
    return f"{found.name}: {counted(len(found.rows), 'row')}: {', '.join(said)}"


def print_reproduction(found: Reproduction) -> None:
    """On the terminal, nothing cut."""
    Console().print(reproduction_view(found))
