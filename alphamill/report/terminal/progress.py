"""How far a run is, for the terminal: pure functions from plain counts to rich renderables.

Every cell is a `Text`, never a markup string, so that brackets in foreign words stay brackets.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from alphamill.report.values import elapsed, percent, plain, whole

Row = Mapping[str, Any]

_BAR_CELLS = 24
_DONE = ("done",)
_RUNNING = ("running",)
_FAILED = ("dead", "skipped", "cancelled")


def progress_table(counts: Mapping[str, Mapping[str, int]], elapsed_s: float) -> Table:
    """A bar a stage: jobs by state, as the ledger counts them (stage -> state -> jobs)."""
    table = Table(title=f"{elapsed(elapsed_s)} elapsed", title_justify="left", box=None)
    table.add_column("stage", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in ("done", "running", "waiting", "dead"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage, states in counts.items():
        done, running, failed = (
            sum(states.get(state, 0) for state in group) for group in (_DONE, _RUNNING, _FAILED)
        )
        waiting = max(0, sum(states.values()) - done - running - failed)
        dead = Text(whole(failed), style="bold red" if failed else "dim")
        bar = _bar(done, failed, running, waiting)
        label = Text(plain(stage.removeprefix("propose."), 40))
        table.add_row(label, bar, *(Text(whole(n)) for n in (done, running, waiting)), dead)
    return table


def bars_line(facts: Row) -> Text:
    """Bars landed or compared, a second's, the exchange's limit in use, the time left."""
    line = Text()
    compared = facts.get("compared") or 0
    if compared:
        line.append(f"compared {whole(compared)} bars: ")
        found = [
            f"{whole(facts.get(kind))} {kind}" for kind in ("corrected", "appeared", "vanished")
        ]
        line.append(", ".join(found), style="yellow" if _changed(facts) else "")
    else:
        line.append(f"{whole(facts.get('bars'))} bars landed")
        if settlements := facts.get("settlements"):
            line.append(f", {whole(settlements)} settlements of funding")
    if rate := round(facts.get("bars_per_s") or 0):  # none once the last bar is in
        line.append(f"; {whole(rate)} a second")
    used, limit = facts.get("weight_used"), facts.get("weight_limit")
    if used is not None and limit:
        line.append(
            f"\nweight {whole(used)} of {whole(limit)} this minute ({percent(used / limit)})"
        )
        left_s = facts.get("left_s")
        line.append("" if left_s is None else f"; about {elapsed(left_s)} left")
    return line


def _changed(facts: Row) -> bool:
    return any(facts.get(kind) for kind in ("corrected", "appeared", "vanished"))


def _bar(done: int, failed: int, running: int, waiting: int) -> Text:
    total = max(1, done + failed + running + waiting)
    bar, shown, reached = Text(), 0, 0
    for jobs, style in ((done, "green"), (failed, "red"), (running, "yellow")):
        reached += jobs
        cells = reached * _BAR_CELLS // total - shown
        bar.append("━" * cells, style=style)
        shown += cells
    return bar.append("─" * (_BAR_CELLS - shown), style="dim")
