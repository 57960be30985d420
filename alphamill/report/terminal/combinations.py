"""What combining factors came to, for the terminal: a row a method, random formulas first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from alphamill.report.caveats import bars_lines, resumed_line, terms_line
from alphamill.report.excess import COMBINED_LEGEND, asked_line, headline, raw_line
from alphamill.report.terminal.factor import figures_table, gates_table
from alphamill.report.terminal.leaderboard import HASH_CHARS, short_reasons
from alphamill.report.terminal.tables import NotedTable, empty_table
from alphamill.report.values import VERDICT_STYLES, number, percent, plain, probability
from alphamill.runs.combined import CombinedSignal, FactorWeight
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import JudgedFactor

_LONGEST = 500_000  # letters of a frozen expression
_HEADERS = (
    *(">#", "verdict", "method", ">excess", ">95 % interval", ">combined", ">even", ">random"),
    *(">beats", ">p", ">t val", ">t hold", ">net|SR net", ">turn"),
)


def combinations_board(run: PublishedRun) -> RenderableType:
    """A `combine` run's methods, the best on validation first."""
    rows = run.combined
    sentences = (resumed_line(run), terms_line(run.spec), *bars_lines(run), asked_line(run))
    lines = [Text(plain(sentence), style="dim") for sentence in sentences if sentence]
    board = NotedTable(
        _HEADERS, [_cells(row) for row in rows], list(map(_note, rows)), COMBINED_LEGEND, 3
    )
    return Group(Text(headline(rows), style="bold"), *lines, Text(), board)


def combination_view(run: PublishedRun, judged: JudgedFactor) -> RenderableType:
    """One method of the run: its excess, figures, gates, weights, and the newest as a formula."""
    [row] = [one for one in run.combined if one.judged.hash == judged.hash]
    expression = judged.expression or "no formula can say what it does"
    return Group(
        Text(headline([row]), style="bold"),
        Text(plain(raw_line(row)), style="dim"),
        Padding(figures_table(judged), (1, 0)),
        gates_table(judged.gates),
        Padding(_weights_table(run.weights, row.method), (1, 0)),
        Text("the newest refit's weights, to follow or export:"),
        Text(plain(expression, _LONGEST), style="dim"),
    )


def _weights_table(weights: Sequence[FactorWeight], method: str) -> Table:
    """Of each factor at the first and the newest refit, and the mean over all."""
    by_factor: dict[str, list[FactorWeight]] = {}
    for one in weights:
        if one.method == method:
            by_factor.setdefault(one.hash, []).append(one)
    table = empty_table("factor", ">first", ">mean", ">newest", "expression")
    table.columns[-1].no_wrap, table.columns[-1].overflow = False, "fold"
    for own, series in by_factor.items():
        known = [one.weight for one in series if one.weight is not None]
        figures = (series[0].weight, sum(known) / len(known) if known else None, series[-1].weight)
        shown = (number(figure, 3, signed=True) for figure in figures)
        table.add(own[:HASH_CHARS], *shown, plain(series[0].expression, 600))
    return table


def _cells(row: CombinedSignal) -> list[Text | str]:
    judged = row.judged
    low, high = number(row.excess_low, 4, signed=True), number(row.excess_high, 4, signed=True)
    return [
        str(judged.rank),
        Text(judged.verdict, style=VERDICT_STYLES[judged.verdict]),
        plain(row.method, 40),
        number(row.excess_rank_ic, 4, signed=True),
        f"{low} {high}",
        number(row.combined_rank_ic, 4, signed=True),
        number(judged.validation.break_even_bps, 1),
        number(row.random_rank_ic, 4, signed=True),
        percent(row.random_percentile, 0).replace(" ", ""),
        probability(row.random_p_value),
        number(judged.validation.association_t, 1, signed=True),
        number(judged.holdout.association_t, 1, signed=True),
        number(judged.validation.net_sharpe, 1, signed=True),
        percent(judged.validation.turnover_per_bar, 0).replace(" ", ""),
    ]


def _note(row: CombinedSignal) -> Text:
    reasons = [short_reasons(row.judged), row.why_no_control]
    said = "; ".join(plain(reason, 300) for reason in reasons if reason)
    return Text(f"{row.judged.hash[:HASH_CHARS]}  {said}", style="dim")
