"""What combining factors came to, for the terminal: a row a method, random formulas first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from alphamill.report.caveats import bars_lines, resumed_line, terms_line
from alphamill.report.terminal.factor import figures_table, gates_table
from alphamill.report.terminal.leaderboard import HASH_CHARS, short_reasons
from alphamill.report.terminal.tables import NotedTable, empty_table
from alphamill.report.values import (
    VERDICT_STYLES,
    counted,
    number,
    percent,
    plain,
    probability,
    whole,
)
from alphamill.runs.combined import CombinedSignal, FactorWeight
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import JudgedFactor

_LONGEST = 500_000  # letters of a frozen expression
_HEADERS = (
    *(">#", "verdict", "method", ">excess", ">95 % interval", ">combined", ">random", ">beats"),
    *(">p", ">t val", ">t hold", ">net|SR net", ">turn", ">even"),
)
_LEGEND = (
    "excess: mean RankIC after discovery, less that of as many random formulas under the same "
    "method (random), with its interval; beats: of their draws, those that are lower; p: of a draw "
    "that is as high; t: Newey-West t of the RankIC on validation and holdout; SR net: Sharpe "
    "ratio a year after costs, on validation; turn: turnover a bar; even: cost of trading, in bps "
    "one way, at which the profit is gone. Every signal is walked forward: weights have seen "
    "matured labels alone."
)


def combinations_board(run: PublishedRun) -> RenderableType:
    """A `combine` run's methods, the best on validation first."""
    rows = run.combined
    sentences = (resumed_line(run), terms_line(run.spec), *bars_lines(run), _of_what(run))
    lines = [Text(plain(sentence), style="dim") for sentence in sentences if sentence]
    board = NotedTable(_HEADERS, [_cells(row) for row in rows], list(map(_note, rows)), _LEGEND, 3)
    return Group(Text(headline(rows), style="bold"), *lines, Text(), board)


def headline(rows: Sequence[CombinedSignal]) -> str:
    """The best method's excess over random formulas, before any raw figure."""
    if not rows:
        return "Nothing was combined."
    best = rows[0]
    judged = f"{best.method} is {best.judged.verdict}"
    if best.excess_rank_ic is None:
        return f"{judged}; {best.why_no_control or 'its control arm has no figure'}"
    return (
        f"{judged}: RankIC {number(best.excess_rank_ic, 4, signed=True)} over "
        f"{counted(best.n_factors, 'random formula')} under the same method, "
        f"{_interval(best)}"
    )


def combination_view(run: PublishedRun, judged: JudgedFactor) -> RenderableType:
    """One method of the run: its excess, figures, gates, weights, and the newest as a formula."""
    [row] = [one for one in run.combined if one.judged.hash == judged.hash]
    lines = [
        f"combined RankIC {number(row.combined_rank_ic, 4, signed=True)} (ICIR "
        f"{number(row.combined_icir, 3, signed=True)}) over {whole(row.excess_bars)} bars, random "
        f"{number(row.random_rank_ic, 4, signed=True)} ({number(row.random_icir, 3, signed=True)}) "
        f"in {counted(row.random_draws, 'draw')}"
        if row.random_draws
        else row.why_no_control
    ]
    expression = judged.expression or "no formula can say what it does"
    return Group(
        Text(headline([row]), style="bold"),
        *(Text(plain(line), style="dim") for line in lines),
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


def _of_what(run: PublishedRun) -> str:
    asked = run.spec.combination
    rows = run.combined
    if asked is None or not rows:
        return ""
    searches = f", out of {', '.join(asked.searches)}" if asked.searches else ""
    return (
        f"{counted(rows[0].n_factors, 'factor')}{searches}; {counted(rows[0].refits, 'refit')}, "
        f"every {asked.refit_ms / 86_400_000:g} days; every method and setting counts as a trial."
    )


def _interval(row: CombinedSignal) -> str:
    low, high = row.excess_low, row.excess_high
    if low is None or high is None:
        return "too few bars for an interval"
    share = percent(row.excess_confidence, 0)
    return f"{share} interval {number(low, 4, signed=True)} to {number(high, 4, signed=True)}"


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
        number(row.random_rank_ic, 4, signed=True),
        percent(row.random_percentile, 0).replace(" ", ""),
        probability(row.random_p_value),
        number(judged.validation.association_t, 1, signed=True),
        number(judged.holdout.association_t, 1, signed=True),
        number(judged.validation.net_sharpe, 1, signed=True),
        percent(judged.validation.turnover_per_bar, 0).replace(" ", ""),
        number(judged.validation.break_even_bps, 1),
    ]


def _note(row: CombinedSignal) -> Text:
    reasons = [short_reasons(row.judged), row.why_no_control]
    said = "; ".join(plain(reason, 300) for reason in reasons if reason)
    return Text(f"{row.judged.hash[:HASH_CHARS]}  {said}", style="dim")
