"""Progress of a run in the terminal, from the ledger's counters."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from alphamill.errors import GiveUp, RetryLater
from alphamill.ledger import ENDED, FAILED, SETTLED, Ledger, RunRecord
from alphamill.report.terminal.progress import progress_table

_LINES_EVERY_S = 30.0  # of a log
_UNREACHABLE_S = 60.0  # a Redis server that restarts is back by then


def wait_for_run(
    ledger: Ledger,
    run_id: str,
    *,
    quiet: bool = False,
    each: Callable[[], object] = lambda: None,
    footer: Callable[[RunRecord], Text | None] = lambda _run: None,
) -> RunRecord:
    """Block until the run has ended, showing each stage's counts on stderr.

    A terminal gets one live table; a log gets a line whenever a stage has got on. `each` is called
    about twice a second; `footer` gives the lines beneath. Ctrl-C stops the watching, not the run.
    """
    console = Console(stderr=True)
    started_s = time.monotonic()
    if quiet or not sys.stderr.isatty():
        return _wait_in_lines(ledger, run_id, console, quiet, each, footer)
    with Live(console=console, refresh_per_second=4, transient=False) as live:
        while True:
            run = _record(ledger, run_id, each)
            beneath = footer(run)
            table = progress_table(run.counts, time.monotonic() - started_s)
            live.update(Group(table, *([beneath] if beneath else [])))
            if run.state in ENDED:
                return run
            each()
            time.sleep(0.4)


def _record(ledger: Ledger, run_id: str, each: Callable[[], object]) -> RunRecord:
    patience_s = time.monotonic() + _UNREACHABLE_S
    while True:
        try:
            run = ledger.run(run_id)
        except RetryLater:
            if time.monotonic() > patience_s:
                raise
            each()
            time.sleep(0.5)
            continue
        if run is None:
            raise GiveUp(f"the ledger does not know run {run_id}")
        return run


def _wait_in_lines(
    ledger: Ledger,
    run_id: str,
    console: Console,
    quiet: bool,
    each: Callable[[], object],
    footer: Callable[[RunRecord], Text | None],
) -> RunRecord:
    said: dict[str, int] = {}
    next_s = time.monotonic() + _LINES_EVERY_S
    while True:
        run = _record(ledger, run_id, each)
        for stage, states in run.counts.items():
            settled = sum(states.get(state, 0) for state in SETTLED)
            total = sum(states.values())
            # Each tenth, so that a log of a large run stays short.
            step = settled * 10 // max(total, 1)
            if not quiet and settled and said.get(stage) != step:
                said[stage] = step
                failed = sum(states.get(state, 0) for state in FAILED)
                note = f", {failed} failed" if failed else ""
                console.print(f"{stage:28s} {settled}/{total}{note}", highlight=False)
        beneath = None if quiet else footer(run)
        if beneath and (run.state in ENDED or time.monotonic() > next_s):
            next_s = time.monotonic() + _LINES_EVERY_S
            console.print(beneath, highlight=False)
        if run.state in ENDED:
            return run
        each()
        time.sleep(0.3)
