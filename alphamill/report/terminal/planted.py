"""Planted factors and what came nearest to them, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from alphamill.controls.recovered import Match
from alphamill.report.values import VERDICT_STYLES, number, plain


def planted_table(matches: Sequence[Match]) -> Table:
    """A planted expression, and beneath it the factor that came nearest."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for match in matches:
        style = "green" if match.found else "yellow"
        mark = Text("found" if match.found else "not found", style=style)
        table.add_row(mark, Text(""), Text("planted", style="dim"), Text(plain(match.planted)))
        verdict = Text(match.verdict or "-", style=VERDICT_STYLES.get(match.verdict, ""))
        nearest = plain(match.nearest) if match.nearest else "no factor to compare"
        table.add_row(Text(""), Text(number(match.correlation, 2, signed=True)), verdict,
                      Text(nearest))  # fmt: skip
    return table
