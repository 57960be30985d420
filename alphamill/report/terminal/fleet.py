"""The page of `alphamill top`: a narrow terminal loses columns, never digits."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.text import Text

from alphamill.fleet.snapshot import Fleet, LimitView, QueueView, RunView, WorkerView
from alphamill.ledger import RunState
from alphamill.report.terminal.followers import FOLLOWED, followed_rows, problem_lines
from alphamill.report.terminal.tables import Cell, TextTable, empty_grid, empty_table
from alphamill.report.values import NOTHING, elapsed, moment, number, percent, plain, usd, whole

_REASONS_SHOWN = 8
_DIFFERENCES_SHOWN = 3
_FULL_FRAC = 0.95
_STYLES = {"done": "green", "failed": "bold red", "cancelled": "yellow", "running": "cyan"}


def fleet_page(fleet: Fleet) -> RenderableType:
    """Everything, the most urgent first."""
    parts: list[RenderableType] = [_head(fleet)]
    for title, body in (
        ("", _troubles(fleet)),
        ("Runs", _runs(fleet)),
        ("Queues", _queues(fleet.queues)),
        ("Limits", _limits(fleet.limits)),
        ("Budgets", _budgets(fleet)),
        ("Failed jobs by reason", _failures(fleet)),
        ("Lives", _lives(fleet)),
        ("Workers", _workers(fleet.workers)),
    ):
        if body is not None:
            parts += [Text(), *([Text(title, style="bold")] if title else []), body]
    return Group(*parts)


class FittedTable:
    """A table that leaves out columns where it is narrow.

    columns: as `empty_table` has them; one that ends in a digit is left out where there is no room,
    the highest digit first.
    """

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
        self._columns, self._rows = columns, rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """What rich prints."""
        spare = sorted({c[-1] for c in self._columns if c[-1].isdigit()}, reverse=True)
        for kept in range(len(spare) + 1):
            table = self._table(set(spare[:kept]), options.max_width)
            wanted = Measurement.get(console, options.update(max_width=10_000), table).maximum
            if wanted <= options.max_width or kept == len(spare):
                yield table
                return

    def _table(self, dropped: set[str], width: int) -> TextTable:
        places = [i for i, name in enumerate(self._columns) if name[-1] not in dropped]
        names = [self._columns[i].rstrip("0123456789") for i in places]
        table = empty_table(*names, wide=width >= 100)
        table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
        for row in self._rows:
            table.add(*(row[i] for i in places))
        return table


def _head(fleet: Fleet) -> Text:
    active = [run for run in fleet.runs if RunState(run.state).active]
    slots = sum(view.worker.concurrency for view in fleet.workers)
    text = Text(f"{moment(fleet.at_ms)} UTC", style="dim")
    text.append(f"  {len(active)} active runs, ", style="not dim")
    text.append(f"{number(fleet.jobs_per_s, 1)} jobs a second, ", style="not dim")
    text.append(f"{len(fleet.workers)} workers with {slots} slots", style="not dim")
    return text


def _troubles(fleet: Fleet) -> RenderableType | None:
    """What stands still, and why."""
    lines = []
    if fleet.swept_s is None:
        lines.append("nobody sweeps the ledger: start beat and a control worker")
    for limit in {view.pool: view for view in fleet.limits if view.paused_s > 0}.values():
        reason = plain(limit.pause_reason, 200)
        lines.append(f"{plain(limit.pool, 80)} pauses for {elapsed(limit.paused_s)}: {reason}")
    for circuit in fleet.circuits:
        where = f"{circuit.host} {circuit.model}".rstrip()
        state = f"open for {elapsed(circuit.wait_s)}" if circuit.wait_s else "is being tried again"
        lines.append(f"circuit of {plain(where, 100)} {state}: {plain(circuit.cause, 200)}")
    lines += [plain(line, 400) for line in problem_lines(fleet.followers)]
    lines += [plain(line, 300) for line in fleet.differences[:_DIFFERENCES_SHOWN]]
    if len(fleet.differences) > _DIFFERENCES_SHOWN:
        hidden = len(fleet.differences) - _DIFFERENCES_SHOWN
        lines.append(f"{hidden} more differences between workers and here: alphamill doctor")
    grid = empty_grid("", "")
    for line in lines:
        grid.add(Text("!", style="bold red"), Text(line, style="yellow"))
    return grid if lines else None


def _runs(fleet: Fleet) -> RenderableType:
    if not fleet.runs:
        return Text("no run yet", style="dim")
    return FittedTable(
        ("run", "state", ">done", ">failed", ">left", ">jobs/s2", ">took1", ">spent3", ">prio4"),
        [_run_row(run, fleet.at_ms) for run in fleet.runs],
    )


def _run_row(run: RunView, now_ms: int) -> list[Cell]:
    jobs = run.jobs
    return [
        plain(run.id, 40),
        Text(run.state, style=_STYLES.get(run.state, "")),
        f"{jobs.done:,}/{jobs.total:,}",
        Text(whole(jobs.failed), style="bold red" if jobs.failed else "dim"),
        elapsed(run.left_s),
        number(run.jobs_per_s, 1) if run.finished_ms is None else NOTHING,
        elapsed(max(0, (run.finished_ms or now_ms) - run.created_ms) / 1000),
        usd(run.account.spent_usd_micros) if run.account else NOTHING,
        str(run.priority),
    ]


def _queues(queues: Sequence[QueueView]) -> RenderableType:
    return FittedTable(
        ("queue", ">waiting", ">running", ">oldest", ">slots", ">can run1", ">queued2"),
        [
            [
                queue.name,
                whole(queue.ready + queue.queued),
                whole(queue.running),
                elapsed(queue.oldest_s),
                Text(whole(queue.slots), style="" if queue.slots else "yellow"),
                whole(queue.backlog),
                whole(queue.queued),
            ]
            for queue in queues
        ],
    )


def _limits(limits: Sequence[LimitView]) -> RenderableType:
    return FittedTable(
        ("limit", "of", ">used", ">limit", ">full1"),
        [
            [
                plain(view.pool, 80),
                plain(view.name, 20),
                whole(view.used),
                whole(view.limit),
                Text(
                    percent(view.used / view.limit, 0),
                    style="yellow" if view.used >= _FULL_FRAC * view.limit else "",
                ),
            ]
            for view in limits
        ],
    )


def _budgets(fleet: Fleet) -> RenderableType:
    rows = [("today, all runs", fleet.day, fleet.day_cap_usd_micros)]
    rows += [
        (run.id, run.account, run.cap_usd_micros)
        for run in fleet.runs
        if run.account is not None and RunState(run.state).active
    ]
    return FittedTable(
        ("budget", ">spent", ">of", ">set aside1", ">unknown2"),
        [
            [
                plain(name, 40),
                usd(account.spent_usd_micros),
                usd(cap),
                usd(account.reserved_usd_micros),
                usd(account.unknown_usd_micros),
            ]
            for name, account, cap in rows
        ],
    )


def _workers(workers: Sequence[WorkerView]) -> RenderableType:
    if not workers:
        return Text("no worker is here; start them with: alphamill up", style="yellow")
    return FittedTable(
        ("worker", "pool", ">slots", ">heard", ">memory1", "host3", "build2", ">pid4"),
        [
            [
                Text(plain(view.worker.name, 80), style="yellow" if view.differs else ""),
                plain(view.worker.pool or "own queues", 20),
                str(view.worker.concurrency),
                elapsed(view.heard_s),
                _memory(view.worker.memory_bytes),
                plain(view.worker.host or None, 40),
                Text(
                    plain(view.worker.build.partition("+")[2] or view.worker.version or None, 20),
                    style="yellow" if view.differs else "",
                ),
                str(view.worker.pid),
            ]
            for view in workers
        ],
    )


def _lives(fleet: Fleet) -> RenderableType | None:
    """What is followed, and the newest parity result of each."""
    rows = followed_rows(fleet.followers)
    return FittedTable(FOLLOWED, rows) if rows else None


def _memory(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:,.0f} MiB" if size_bytes else NOTHING


def _failures(fleet: Fleet) -> RenderableType | None:
    if not fleet.failures:
        return None
    grid = empty_grid(">", "", "", gap=2)
    for (stage, reason), jobs in list(fleet.failures.items())[:_REASONS_SHOWN]:
        grid.add(whole(jobs), Text(plain(stage, 28), style="red"), plain(reason or None, 160))
    if len(fleet.failures) > _REASONS_SHOWN:
        grid.add("", "", f"and {len(fleet.failures) - _REASONS_SHOWN} more kinds: --json")
    return grid
