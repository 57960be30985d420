"""What a run found, for the terminal: leaderboard, costs, what is missing, where the files lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from alphamill.ledger import RunRecord
from alphamill.report.caveats import funding_line, remarks
from alphamill.report.terminal.board import Board
from alphamill.report.values import (
    NOTHING,
    VERDICT_STYLES,
    amount,
    dollars,
    number,
    percent,
    plain,
    probability,
    real,
    whole,
)
from alphamill.runs.published import run_rows, signed
from alphamill.runs.schemas import association, association_t, in_time
from alphamill.settings import PortfolioSettings

Row = Mapping[str, Any]

_LEGEND = (
    "t: Newey-West t of the {correlation} on discovery, validation, holdout; SR: Sharpe ratio a "
    "year after costs, on validation and holdout; trials: of the search; DSR: deflated Sharpe "
    "ratio, the probability that it beats the luckiest of them; BH p: adjusted for all of them; "
    "turn: turnover a bar; even: cost of trading, in bps one way, at which the profit is gone; "
    "folds: of the 28 ways to test two of discovery's eight folds on the other six, those that "
    "keep the sign; capacity: capital, in quote currency, whose trades stay below {share} % of "
    "their bars' volume on validation; call: what the model's reply that named it cost"
)


def factors_board(
    factors: Sequence[Row], about: Sequence[str] = (), share: float = 0.01
) -> RenderableType:
    """A mining run's judged factors in the order given, with the reasons for their verdicts.

    about: sentences that belong to all of them. share: portfolio.participation_frac.
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
        ">folds",
        ">capacity",
        ">call",
    ]
    cells = [_factor_cells(factor, intervals) for factor in factors]
    notes = [_note(signed(factor), short_reasons(factor)) for factor in factors]
    timed = any(in_time(factor, "discovery_") for factor in factors)
    legend = _LEGEND.format(correlation=_correlation(timed), share=f"{100 * share:g}")
    board = Board(headers, cells, notes, legend, spare=3)
    return Group(Text(verdicts_line(factors), style="bold"), *said, Text(), board)


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
            Text(number(association_t(factor, f"{segment}_"), 1, signed=True))
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
        Text(percent(factor.get("discovery_cpcv_same_sign_frac"), 0).replace(" ", "")),
        Text(amount(factor.get("validation_capacity_quote"))),
        Text(dollars(factor.get("call_cost_usd_micros"))),
    ]


def trials_board(trials: Sequence[Row]) -> RenderableType:
    """Given expressions with their figures over the whole range; there is no verdict."""
    shown = sorted(trials, key=lambda row: -abs(association_t(row) or 0.0))
    timed = any(in_time(row) for row in trials)
    headers = (">#", "status", "bar", "dir", ">corr" if timed else ">RankIC", ">t", ">SR gross",
               ">net", ">trials", ">DSR", ">even", ">turn", ">cover")  # fmt: skip
    cells = [
        [
            Text(str(position)),
            Text(plain(row["status"], 10)),
            Text(plain(row["interval"], 4)),
            Text(_direction(row["direction"])),
            Text(number(association(row), 4, signed=True)),
            Text(number(association_t(row), 2, signed=True)),
            Text(number(row["gross_sharpe"], 2, signed=True)),
            Text(number(row["net_sharpe"], 2, signed=True)),
            Text(whole(row.get("n_trials"))),
            Text(number(row.get("deflated_sharpe"), 3)),
            Text(number(row.get("break_even_bps"), 1)),
            Text(percent(row["turnover_per_bar"], 0).replace(" ", "")),
            Text(percent(row["coverage"], 0).replace(" ", "")),
        ]
        for position, row in enumerate(shown, 1)
    ]
    notes = [
        _note(_named(row["expression"] or row["proposed"], row["hypothesis"]), row["reason"] or "")
        for row in shown
    ]
    legend = (
        "In-sample figures over the whole range: no holdout, no verdict. t: Newey-West t of the "
        f"{_correlation(timed)}; SR: Sharpe ratio a year, before and after costs; trials: the "
        "expressions, each in both directions; DSR: deflated Sharpe ratio, the probability that it "
        "beats the luckiest of them, on the very bars that chose its direction; even: cost of "
        "trading, in bps one way, at which the profit is gone; turn: turnover a bar; cover: share "
        "of bars with a value"
    )
    return Board(headers, cells, notes, legend, spare=1)


def _correlation(timed: bool) -> str:
    """What is measured: below three symbols there is no cross-section, and then no IC."""
    return "rank correlation in time" if timed else "RankIC"


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
        board = trials_board(run_rows(run, "trials"))
        unknown = funding_line(run)
        return Group(Text(unknown, style="yellow"), Text(), board) if unknown else board
    factors = run_rows(run, "factors")
    book = PortfolioSettings.model_validate(run.spec.get("portfolio") or {})
    return factors_board(factors, remarks(run, factors), book.participation_frac)
