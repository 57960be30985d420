"""How far a run is: a bar a stage, and how fast its bars come in."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from alphamill.ledger import FAILED, JobState
from alphamill.report.terminal.tables import TextTable
from alphamill.report.values import elapsed, percent, plain, whole
from alphamill.runs.fetch_rate import FetchProgress

_BAR_CELLS = 24
_FAILED = (*FAILED, JobState.CANCELLED)


def progress_table(counts: Mapping[str, Mapping[str, int]], elapsed_s: float) -> Table:
    """A bar a stage: jobs by state, as the ledger counts them (stage -> state -> jobs)."""
    table = TextTable(title=f"{elapsed(elapsed_s)} elapsed", title_justify="left", box=None)
    table.add_column("stage", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name in ("done", "running", "waiting", "dead"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage, states in counts.items():
        done, running = states.get(JobState.DONE, 0), states.get(JobState.RUNNING, 0)
        failed = sum(states.get(state, 0) for state in _FAILED)
        waiting = max(0, sum(states.values()) - done - running - failed)
        table.add(
            plain(stage.removeprefix("propose."), 40),
            _bar(done, failed, running, waiting),
            *map(whole, (done, running, waiting)),
            Text(whole(failed), style="bold red" if failed else "dim"),
        )
    return table


def bars_line(progress: FetchProgress) -> Text:
    """Bars landed or compared, a second's, the exchange's limit in use, the time left."""
    line, landed = Text(), progress.landed
    if landed.compared:
        line.append(f"compared {whole(landed.compared)} bars: ")
        kinds = ("corrected", "appeared", "vanished")
        found = {kind: getattr(landed, kind) for kind in kinds}
        words = ", ".join(f"{whole(count)} {kind}" for kind, count in found.items())
        line.append(words, style="yellow" if any(found.values()) else "")
    else:
        line.append(f"{whole(landed.bars)} bars landed")
        if landed.settlements:
            line.append(f", {whole(landed.settlements)} settlements of funding")
    if rate := round(progress.bars_per_s):  # none once the last bar is in
        line.append(f"; {whole(rate)} a second")
    used, limit = progress.weight_used, landed.weight_limit
    if used is not None and limit:
        line.append(
            f"\nweight {whole(used)} of {whole(limit)} this minute ({percent(used / limit)})"
        )
        left_s = progress.left_s
        line.append("" if left_s is None else f"; about {elapsed(left_s)} left")
    return line


def _bar(done: int, failed: int, running: int, waiting: int) -> Text:
    total = max(1, done + failed + running + waiting)
    bar, shown, reached = Text(), 0, 0
    for jobs, style in ((done, "green"), (failed, "red"), (running, "yellow")):
        reached += jobs
        cells = reached * _BAR_CELLS // total - shown
        bar.append("━" * cells, style=style)
        shown += cells
    return bar.append("─" * (_BAR_CELLS - shown), style="dim")
