"""Jobs that did not get through, as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from alphamill.ledger import JobState
from alphamill.report.values import plain, whole
from alphamill.runs.failures import Trouble


def failures_table(troubles: Sequence[Trouble], most: int = 12) -> Table:
    """A line a group: how many jobs of which stage, about what, and why."""
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for trouble in troubles[:most]:
        style = "red" if trouble.state == JobState.DEAD else "yellow"
        about = ", ".join(filter(None, trouble.subjects))
        if about and trouble.jobs > len(trouble.subjects):
            about += ", ..."
        reason = Text(plain(trouble.reason or "no reason given"))
        if about:
            reason.append(f"  ({plain(about, 160)})", style="dim")
        table.add_row(
            Text(whole(trouble.jobs)),
            Text(f"{plain(trouble.stage, 28)} {_WORDS.get(trouble.state, trouble.state)}", style),
            reason,
        )
    if len(troubles) > most:
        table.add_row(Text(""), Text(""), Text(f"and {len(troubles) - most} more kinds: --json"))
    return table


_WORDS = {"dead": "failed", "delayed": "waits, tried before"}
