"""`alphamill status RUN` of a finished run, from the lake: where Redis cannot be asked."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict

from rich.console import Console
from rich.text import Text

from alphamill.flow import plan
from alphamill.jobs import RunKind
from alphamill.ledger import Counts, JobState, RunRecord, RunState
from alphamill.ledger.raises import asked_usd_micros
from alphamill.report.terminal.progress import progress_table
from alphamill.report.terminal.status import budget_line, failures_table, state_text
from alphamill.runs.failures import group_failures
from alphamill.runs.published import PublishedRun
from alphamill.runs.under_way import job_totals
from alphamill.runs.unfunded import raises_line
from producers import options
from producers.read.status import OF_A_JOB, OF_A_RUN


def show_published(run: PublishedRun, as_json: bool) -> None:
    """What its summary and its calls tell; when it ran, and at what priority, they do not."""
    if as_json:
        _print_json(run)
        return
    console = Console()
    record = RunRecord(
        run.id,
        run.kind,
        dict(run.plain_spec),
        RunState.DONE,
        priority=0,
        created_ms=0,
        unfunded=run.unfunded,
    )
    console.print(Text(f"{run.id}  ").append(state_text(record)))
    console.print(progress_table(job_counts(run), None))
    if run.kind is RunKind.MINE:
        console.print(budget_line(run.account, run.budget_usd_micros))
        if raised := raises_line(asked_usd_micros(run.plain_spec), run.budget_raises):
            console.print(Text(raised), soft_wrap=True)
    if run.missing:
        console.print(Text("\nWhat did not get through, and why", style="bold"))
        console.print(failures_table(group_failures(run.missing)))
    if run.shortfall is not None:
        console.print(Text(f"\n{run.shortfall.sentence}", style="yellow"), soft_wrap=True)


def job_counts(run: PublishedRun) -> Counts:
    """Jobs by stage and state: of its plan all are done that are not missing."""
    states: dict[str, Counter[str]] = {}
    for job in plan(run.spec):
        states.setdefault(job.stage, Counter())[JobState.DONE.value] += 1
    for lost in run.missing:
        of_stage = states.setdefault(lost.stage, Counter())
        of_stage[JobState.DONE.value] -= 1
        of_stage[lost.state.value] += 1
    return {stage: dict(+of_stage) for stage, of_stage in states.items()}


def _print_json(run: PublishedRun) -> None:
    counts = job_counts(run)
    known = {"id": run.id, "kind": run.kind, "state": RunState.DONE}
    options.print_json(
        {
            **dict.fromkeys(OF_A_RUN),
            **known,
            "elapsed_s": None,
            "unfunded": run.unfunded,
            **asdict(job_totals(counts)),
            "stages": counts,
            "jobs": [{name: getattr(job, name) for name in OF_A_JOB} for job in run.missing],
            "budget": asdict(run.account) if run.kind is RunKind.MINE else None,
            "budget_usd_micros": run.budget_usd_micros,
            "budget_asked_usd_micros": asked_usd_micros(run.plain_spec),
            "budget_raises": [asdict(one) for one in run.budget_raises],
            "go_on": run.shortfall.command if run.shortfall else None,
            "bars": None,
        }
    )
