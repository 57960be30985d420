"""What a run that was waited for has found: its figures, and what to type next."""

from __future__ import annotations

import click
from rich.console import Console, RenderableType
from rich.text import Text

from alphamill.errors import AlphamillError
from alphamill.evaluation.by_group import Grouping
from alphamill.jobs import RunKind
from alphamill.lake import Lake
from alphamill.ledger import RunRecord, RunState
from alphamill.report.terminal.combinations import combinations_board
from alphamill.report.terminal.leaderboard import run_board
from alphamill.report.values import plain
from alphamill.runs.published import OFFLINE_NOTICE, PublishedRun
from producers.read.by_group import boards_by

_FACTORS = 5  # of a mining run; of given expressions all are shown, they were asked for


def show_result(run: RunRecord, by: Grouping | None = None) -> None:
    """Print the verdicts and the best factors, or the figures of given expressions, by group too.

    Nothing for a run that is not done, or that found data and no factors. A lake that cannot be
    read from here is said, since the run itself is done all the same.
    """
    if run.state is not RunState.DONE:
        return
    console = Console()
    if run.kind in (RunKind.MINE, RunKind.EVALUATE, RunKind.COMBINE):
        try:
            found = PublishedRun.open(Lake(run.spec["lake"]), run.id)
            board = _board(found)
            if found.offline:
                console.print(Text(OFFLINE_NOTICE, style="yellow"))
            console.print(board)
            if by is not None:
                for one in boards_by(found, by):
                    console.print()
                    console.print(one)
        except AlphamillError as error:
            click.echo(f"its figures cannot be shown here: {plain(error)}", err=True)
            return
        console.print()
    for command, meaning in _next(run):
        console.print(Text(f"{command}  # {meaning}"), soft_wrap=True)


def _board(run: PublishedRun) -> RenderableType:
    if run.kind is RunKind.COMBINE:
        return combinations_board(run)
    return run_board(run, _FACTORS if run.kind is RunKind.MINE else None)


def _next(run: RunRecord) -> list[tuple[str, str]]:
    """Commands to copy and what they do."""
    if run.kind == RunKind.MINE:
        return [
            (f"alphamill factors {run.id}", "all finalists, and why each has its verdict"),
            (f"alphamill factors {run.id} 1", "all there is of the first"),
            (f"alphamill report {run.id} --open", "plots and certificates"),
        ]
    if run.kind == RunKind.EVALUATE:
        return [(f"alphamill report {run.id} --open", "plots")]
    if run.kind == RunKind.COMBINE:
        return [
            (f"alphamill factors {run.id} 1", "weights, gates and the newest refit's expression"),
            (f"alphamill report {run.id} --open", "gates, and the weights of every refit"),
            (f"alphamill live start --run {run.id} 1", "follow that at every bar's close"),
        ]
    return []
