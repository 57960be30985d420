"""How far a run is: a bar a stage, and how fast its bars come in."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from alphamill.ledger import FAILED, Counts, JobState
from alphamill.report.terminal.tables import TextTable
from alphamill.report.values import elapsed, percent, plain, whole
from alphamill.runs.fetch_rate import FetchProgress
from alphamill.runs.under_way import in_plan_order

_BAR_CELLS, _LEAST_CELLS = 24, 4


def progress_table(counts: Counts, elapsed_s: float | None, left_s: float | None = None) -> Table:
    """A bar a stage in the plan's order: jobs by state, as the ledger counts them.

    counts: stage -> state -> jobs. elapsed_s, left_s: of the whole run, if known. What somebody
    cancelled has not failed: it is a column of its own where there is any.
    """
    title = None if elapsed_s is None else f"{elapsed(elapsed_s)} elapsed{time_left(left_s)}"
    table = TextTable(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("stage", no_wrap=True)
    table.add_column("")
    any_cancelled = any(states.get(JobState.CANCELLED) for states in counts.values())
    names = ("done", "running", "waiting", "failed", *(["cancelled"] if any_cancelled else []))
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for stage, states in in_plan_order(counts).items():
        done, running = states.get(JobState.DONE, 0), states.get(JobState.RUNNING, 0)
        failed = sum(states.get(state, 0) for state in FAILED)
        cancelled = states.get(JobState.CANCELLED, 0)
        waiting = max(0, sum(states.values()) - done - running - failed - cancelled)
        ended = [Text(whole(cancelled), style="yellow" if cancelled else "dim")]
        table.add_row(
            Text(plain(stage.removeprefix("propose."), 40)),
            _Bar(done, failed, cancelled, running, waiting),
            *map(whole, (done, running, waiting)),
            Text(whole(failed), style="bold red" if failed else "dim"),
            *(ended if any_cancelled else []),
        )
    return table


def time_left(left_s: float | None) -> str:
    """What is said of the end of the whole run, behind something else; "" while it is not known."""
    return "" if left_s is None else f", about {elapsed(left_s)} left at this pace"


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
        brought = landed.bars or landed.settlements or landed.wide or not landed.made
        line.append(f"{whole(landed.bars)} bars landed" if brought else "")
        if landed.settlements:
            line.append(f", {whole(landed.settlements)} settlements of funding")
        if landed.wide:
            line.append(f", {whole(landed.wide)} rows beside bars")
        if landed.made:
            line.append(f"{', ' if brought else ''}{whole(landed.made)} bars made of trades")
    if rate := round(progress.bars_per_s):  # none once the last bar is in
        line.append(f"; {whole(rate)} a second")
    used, limit = progress.weight_used, landed.weight_limit
    if used is not None and limit:
        line.append(
            f"\nweight {whole(used)} of {whole(limit)} this minute ({percent(used / limit)})"
        )
        left_s = progress.left_s
        line.append("" if left_s is None else f"; fetch: about {elapsed(left_s)} left")
    return line


@dataclass(frozen=True, slots=True)
class _Bar:
    """Jobs by state as a bar that gives way where the terminal is narrow, before any figure."""

    done: int
    failed: int
    cancelled: int
    running: int
    waiting: int

    def __rich_measure__(self, _: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(_LEAST_CELLS, _BAR_CELLS).with_maximum(options.max_width)

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """What rich prints."""
        width = min(_BAR_CELLS, options.max_width)
        total = max(1, self.done + self.failed + self.cancelled + self.running + self.waiting)
        bar, shown, reached = Text(no_wrap=True), 0, 0
        for jobs, style in (
            (self.done, "green"),
            (self.failed, "red"),
            (self.cancelled, "dim yellow"),
            (self.running, "yellow"),
        ):
            reached += jobs
            cells = reached * width // total - shown
            bar.append("━" * cells, style=style)
            shown += cells
        yield bar.append("─" * (width - shown), style="dim")
