"""Progress of a run in the terminal, from the ledger's counters."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from alphamill.ledger import ENDED, Ledger, RunRecord
from alphamill.report.terminal.progress import bars_line, progress_table, time_left
from alphamill.report.values import elapsed
from alphamill.runs.fetch_rate import FetchRate
from alphamill.runs.pace import Pace
from alphamill.runs.under_way import in_plan_order, job_totals, record_of

_LINES_EVERY_S = 30.0  # of a log
_LOOK_EVERY_S = 0.4

Show = Callable[[RunRecord], None]


def wait_for_run(
    ledger: Ledger,
    run_id: str,
    *,
    quiet: bool = False,
    each: Callable[[], object] = lambda: None,
    rate: FetchRate | None = None,
) -> RunRecord:
    """Block until the run has ended, showing each stage's counts on stderr.

    A terminal gets one live table; a log gets a line whenever a stage has got on. `each` is called
    about twice a second; `rate` gives the lines beneath. Ctrl-C stops the watching, not the run.
    """
    with _display(quiet, rate) as show:
        while True:
            run = record_of(ledger, run_id, each)
            show(run)
            if run.state in ENDED:
                return run
            each()
            time.sleep(_LOOK_EVERY_S)


def _display(quiet: bool, rate: FetchRate | None) -> AbstractContextManager[Show]:
    if quiet:
        return nullcontext(lambda _run: None)
    console = Console(stderr=True)
    return _table(console, rate) if sys.stderr.isatty() else nullcontext(_lines(console, rate))


@contextmanager
def _table(console: Console, rate: FetchRate | None) -> Iterator[Show]:
    """One table that changes where it stands."""
    started_s, pace = time.monotonic(), Pace()
    with Live(console=console, refresh_per_second=4, transient=False) as live:

        def show(run: RunRecord) -> None:
            beneath = _bars(run, rate)
            spent_s = time.monotonic() - started_s
            table = progress_table(run.counts, spent_s, pace.left_s(run))
            live.update(Group(table, *([beneath] if beneath else [])))

        yield show


def _lines(console: Console, rate: FetchRate | None) -> Show:
    """A line whenever a stage has got on by a tenth, so that a log of a large run stays short."""
    tenths: dict[str, int] = {}
    began_s, pace = time.monotonic(), Pace()
    next_s = began_s + _LINES_EVERY_S

    def show(run: RunRecord) -> None:
        nonlocal next_s
        left_s = pace.left_s(run)
        for stage in in_plan_order(run.counts):
            jobs = job_totals(run.counts, [stage])
            tenth = jobs.settled * 10 // max(jobs.total, 1)
            if jobs.settled and tenths.get(stage) != tenth:
                tenths[stage] = tenth
                note = f", {jobs.failed} failed" if jobs.failed else ""
                label = stage.removeprefix("propose.")
                console.print(f"{label:20s} {jobs.settled}/{jobs.total}{note}", highlight=False)
        beneath, now_s = _bars(run, rate), time.monotonic()
        if run.state not in ENDED and now_s <= next_s:
            return
        next_s = now_s + _LINES_EVERY_S
        if beneath:
            console.print(beneath, highlight=False)
        if left := time_left(left_s):
            console.print(f"{elapsed(now_s - began_s)} elapsed{left}", highlight=False)

    return show


def _bars(run: RunRecord, rate: FetchRate | None) -> Text | None:
    progress = rate.progress(run) if rate else None
    return bars_line(progress) if progress else None
