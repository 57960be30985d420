"""What a run found, for the terminal: leaderboard, costs, what is missing, where the files lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from alphamill.ledger import RedisLedger, RunRecord
from alphamill.report.values import (
    NOTHING,
    VERDICT_STYLES,
    dollars,
    elapsed,
    number,
    percent,
    plain,
    probability,
    real,
    whole,
)
from alphamill.settings import Settings
from alphamill.usage import UsageCounters
from producers.connect import connect
from producers.failures import failures_table, gathered
from producers.layout import ROOMY_COLUMNS, listing
from producers.planted import planted_table, search_planted
from producers.remarks import remarks
from producers.results import OFFLINE_NOTICE, offline, run_rows
from producers.usage import tiers_table

Row = Mapping[str, Any]

_WIDE_COLUMNS = 150
_LEGEND = (
    "t: Newey-West t of the RankIC on discovery, validation, holdout; SR: Sharpe ratio a year "
    "after costs, on validation and holdout; trials: of the search; DSR: deflated Sharpe ratio, "
    "the probability that it beats the luckiest of them; BH p: adjusted for all of them; turn: "
    "turnover a bar; even: cost of trading, in bps one way, at which the profit is gone; call: "
    "what the model's reply that named it cost"
)


@dataclass(frozen=True, slots=True)
class Board:
    """Figures in a table, and what they belong to beside them or, where it is narrow, beneath.

    headers (see `listing`) and cells: the figures. notes: a row's text, the expression first; it is
    folded, never cut. spare: columns at the end that go into the note where it is narrow.
    """

    headers: Sequence[str]
    cells: Sequence[Sequence[Text]]
    notes: Sequence[Text]
    legend: str
    spare: int = 0

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """What rich prints."""
        wide = options.max_width >= _WIDE_COLUMNS
        if self.spare and options.max_width < ROOMY_COLUMNS:
            yield self._narrowed()
            return
        table = listing(
            *self.headers[:2],
            *(["factor"] if wide else []),
            *self.headers[2:],
            wide=options.max_width >= ROOMY_COLUMNS,
        )
        if wide:
            factor = table.columns[2]
            factor.ratio, factor.no_wrap, factor.overflow = 1, False, "fold"
        for cells, note in zip(self.cells, self.notes, strict=True):
            table.add_row(*cells[:2], *([note] if wide else []), *cells[2:])
        yield table
        if not wide:
            beneath = Table.grid(padding=(0, 1, 0, 0))
            beneath.add_column(justify="right", no_wrap=True)
            beneath.add_column(overflow="fold")
            for cells, note in zip(self.cells, self.notes, strict=True):
                beneath.add_row(cells[0].copy(), note)
            yield Padding(beneath, (1, 0, 0, 0))
        yield Padding(Text(self.legend, style="dim"), (1, 0, 0, 0))

    def _narrowed(self) -> Board:
        """Without the spare columns: their headers and figures end the notes."""
        kept = len(self.headers) - self.spare
        names = [name.removeprefix(">") for name in self.headers[kept:]]
        notes = []
        for cells, note in zip(self.cells, self.notes, strict=True):
            figures = zip(names, cells[kept:], strict=True)
            words = ", ".join(f"{name} {cell.plain}" for name, cell in figures)
            notes.append(Text.assemble(note, ("\n" + words, "dim")))
        return Board(self.headers[:kept], [row[:kept] for row in self.cells], notes, self.legend)


def factors_board(factors: Sequence[Row], about: Sequence[str] = ()) -> RenderableType:
    """A mining run's judged factors in the order given, with the reasons for their verdicts.

    about: sentences that belong to all of them.
    """
    said = [Text(plain(sentence), style="dim") for sentence in about]
    if not factors:
        return Group(Text("No finalist came out of this run: nothing is claimed."), *said)
    intervals = len({factor["interval"] for factor in factors}) > 1
    headers = [
        ">#",
        "verdict",
        *(["bar"] if intervals else []),
        ">t disc",
        ">val",
        ">hold",
        ">SR val",
        ">hold",
        ">trials",
        ">DSR",
        ">BH p",
        ">turn",
        ">even",
        ">call",
    ]
    cells = [_factor_cells(factor, intervals) for factor in factors]
    notes = [_note(_signed(factor), short_reasons(factor)) for factor in factors]
    board = Board(headers, cells, notes, _LEGEND, spare=1)
    return Group(Text(verdicts_line(factors), style="bold"), *said, Text(), board)


def _signed(factor: Row) -> str:
    """The expression as it is traded: a factor that predicts falling prices is sold."""
    expression = str(factor["expression"])
    return f"sell {expression}" if (real(factor["direction"]) or 1) < 0 else expression


def verdicts_line(factors: Sequence[Row]) -> str:
    """For example "1 tradable, 3 predictive, 6 rejected; ...; 208 trials"."""
    counts = ", ".join(
        f"{sum(factor['verdict'] == name for factor in factors)} {name}" for name in VERDICT_STYLES
    )
    trials = {factor["interval"]: factor["n_trials"] for factor in factors}
    overfit = {real(factor.get("pbo")) for factor in factors} - {None}
    if len(overfit) == 1:
        counts += f"; probability of overfitting {number(overfit.pop(), 2)}"
    if len(trials) == 1:
        return f"{counts}; {whole(*trials.values())} trials"
    by = ", ".join(f"{whole(n)} at {plain(interval, 4)}" for interval, n in trials.items())
    return f"{counts}; trials: {by}"


def _factor_cells(factor: Row, intervals: bool) -> list[Text]:
    verdict = plain(factor["verdict"], 10)
    return [
        Text(whole(factor["rank"])),
        Text(verdict, style=VERDICT_STYLES.get(verdict, "")),
        *([Text(plain(factor["interval"], 4))] if intervals else []),
        *(
            Text(number(factor[f"{segment}_rank_ic_t"], 1, signed=True))
            for segment in ("discovery", "validation", "holdout")
        ),
        *(
            Text(number(factor[f"{segment}_net_sharpe"], 1, signed=True))
            for segment in ("validation", "holdout")
        ),
        Text(whole(factor["n_trials"])),
        Text(number(factor["deflated_sharpe"], 3)),
        Text(probability(factor["bh_p"])),
        Text(percent(factor["validation_turnover_per_bar"], 0).replace(" ", "")),
        Text(number(factor["validation_break_even_bps"], 1)),
        Text(dollars(factor.get("call_cost_usd_micros"))),
    ]


def trials_board(trials: Sequence[Row]) -> RenderableType:
    """Given expressions with their figures over the whole range; there is no verdict."""
    shown = sorted(trials, key=lambda row: -abs(real(row["rank_ic_t"]) or 0.0))
    headers = (">#", "status", "bar", "dir", ">RankIC", ">t", ">SR gross", ">net", ">even",
               ">turn", ">cover")  # fmt: skip
    cells = [
        [
            Text(str(position)),
            Text(plain(row["status"], 10)),
            Text(plain(row["interval"], 4)),
            Text(_direction(row["direction"])),
            Text(number(row["rank_ic_mean"], 4, signed=True)),
            Text(number(row["rank_ic_t"], 2, signed=True)),
            Text(number(row["gross_sharpe"], 2, signed=True)),
            Text(number(row["net_sharpe"], 2, signed=True)),
            Text(number(row.get("break_even_bps"), 1)),
            Text(percent(row["turnover_per_bar"])),
            Text(percent(row["coverage"])),
        ]
        for position, row in enumerate(shown, 1)
    ]
    notes = [
        _note(_named(row["expression"] or row["proposed"], row["hypothesis"]), row["reason"] or "")
        for row in shown
    ]
    legend = (
        "In-sample figures over the whole range: no holdout, no verdict. t: Newey-West t of the "
        "RankIC; SR: Sharpe ratio a year, before and after costs, not deflated: the best of "
        f"{whole(len(trials))} tried here is partly luck; even: cost of trading, in bps one way, "
        "at which the profit is gone; turn: turnover a bar"
    )
    return Board(headers, cells, notes, legend)


def _named(expression: str, name: str | None) -> str:
    return f"{name}: {expression}" if name else expression


def short_reasons(factor: Row, most: int = 2) -> str:
    """Why it is not better: the veto or the first failed gates; "" for a tradable factor."""
    if factor.get("veto_reason"):
        return f"vetoed by final_verification: {factor['veto_reason']}"
    rejected = factor["verdict"] == "rejected"
    failed = [
        gate
        for gate in factor.get("gates") or ()
        if not gate["passed"] and (not rejected or gate["needed_for"] == "predictive")
    ]
    parts = [_gate(gate) for gate in failed[:most]]
    if len(failed) > most:
        parts.append(f"{len(failed) - most} more")
    return ("fails " if rejected else "not tradable: ") + ", ".join(parts) if parts else ""


def _gate(gate: Row) -> str:
    value, threshold = real(gate["value"]), real(gate["threshold"])
    if value is None or threshold is None:
        return f"{plain(gate['name'], 40)} ({plain(gate['meaning'], 100)})"
    shown = f"{value:.3g}"
    if float(shown) == threshold:  # it failed by less than these digits tell
        shown = f"{value:.6g}"
    return f"{plain(gate['name'], 40)} {shown} (needs {threshold:g})"


def _note(expression: object, reason: str) -> Text:
    note = Text(plain(expression, 600))
    if reason:
        note.append("\n" + plain(reason, 300), style="dim")
    return note


def _direction(direction: object) -> str:
    known = real(direction)
    return NOTHING if not known else "+" if known > 0 else "-"


def run_board(run: RunRecord) -> RenderableType:
    """What a published run found: factors with verdicts, or given expressions."""
    if run.kind != "mine":
        return trials_board(run_rows(run, "trials"))
    factors = run_rows(run, "factors")
    return factors_board(factors, remarks(run, factors))


def show_results(settings: Settings, run: RunRecord, console: Console) -> None:
    """Print what came of a run that has ended: verdicts, costs, failures, files."""
    client = connect(settings)
    ledger = RedisLedger(client, settings.ledger)
    took = f" in {elapsed((run.finished_ms - run.created_ms) / 1000)}" if run.finished_ms else ""
    console.print(Text(f"Run {run.id}: {run.state}{took}", style="bold"))
    if offline(run):
        console.print(Text(OFFLINE_NOTICE, style="yellow"))
    if run.state == "done":
        console.print(Padding(run_board(run), (1, 0)))
    if run.kind == "mine":
        console.print(tiers_table(UsageCounters(client).report(run.id)))
        console.print()
    troubles = gathered(ledger.dead(run.id))
    if troubles:
        console.print(Text("Missing, and why", style="bold"))
        console.print(Padding(failures_table(troubles), (0, 0, 1, 0)))
    if run.state == "done":
        _show_files(run, console)


def _show_files(run: RunRecord, console: Console) -> None:
    """Where the parquet lies and how to open it; lines to copy are never wrapped."""
    lake = run.spec["lake"]
    names = ("trials", "factors", "calls") if run.kind == "mine" else ("trials",)
    listed = names[0] if len(names) == 1 else f"{{{','.join(names)}}}"
    files = f"runs/run={run.id}/{listed}.parquet"
    main = f"{lake}/runs/run={run.id}/{'factors' if run.kind == 'mine' else 'trials'}.parquet"
    lines = [
        f"{files}, klines/ and features/ (one file a symbol and month)",
        f"pandas:  pd.read_parquet({main!r})",
        f"duckdb:  FROM '{lake}/klines/**/*.parquet' LIMIT 10",
    ]
    console.print(Text(f"Files in {lake}", style="bold"), soft_wrap=True)
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)


def show_planted(
    settings: Settings,  # noqa: ARG001  the run says where its lake is
    run: RunRecord,
    planted: Sequence[str],
    console: Console,
) -> int:
    """Print which of the factors planted in a synthetic market came back; how many did.

    Found: a factor that was not rejected orders the symbols as the planted one does, with an
    absolute rank correlation of at least planted.FOUND_CORRELATION on the discovery panel.
    """
    if run.state != "done":
        console.print(Text("The run did not finish: what was planted cannot be looked for."))
        return 0
    matches = search_planted(run, planted, run_rows(run, "factors"))
    found = sum(match.found for match in matches)
    console.print(Text(f"\nPlanted factors found: {found} of {len(matches)}", style="bold"))
    console.print(
        Text(
            "This market is synthetic: returns were made to lean on the expressions below. The "
            "proposer was not told; found means a factor that was not rejected and correlates.",
            style="dim",
        )
    )
    console.print(planted_table(matches))
    return found
