"""Jobs that did not get through, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from alphamill.ledger import JobState
from alphamill.report.values import plain, whole
from alphamill.runs.failures import FailureGroup


def failures_table(failures: Sequence[FailureGroup], most: int = 12) -> Table:
    """A line a group: how many jobs of which stage, about what, and why."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for group in failures[:most]:
        style = "red" if group.state == JobState.DEAD else "yellow"
        about = ", ".join(filter(None, group.subjects))
        if about and group.jobs > len(group.subjects):
            about += ", ..."
        reason = Text(plain(group.reason or "no reason given"))
        if about:
            reason.append(f"  ({plain(about, 160)})", style="dim")
        table.add_row(
            Text(whole(group.jobs)),
            Text(f"{plain(group.stage, 28)} {_WORDS.get(group.state, group.state)}", style),
            reason,
        )
    if len(failures) > most:
        table.add_row(Text(""), Text(""), Text(f"and {len(failures) - most} more kinds: --json"))
    return table


_WORDS = {"dead": "failed", "delayed": "waits, tried before"}
