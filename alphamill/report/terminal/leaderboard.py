"""What a run found, for the terminal: the leaderboard, and what belongs to its figures."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from alphamill.evaluation import Gate, Grade
from alphamill.jobs import RunKind
from alphamill.report.caveats import bars_lines, caveats
from alphamill.report.legend import factors_legend, trials_legend
from alphamill.report.terminal.tables import NotedTable
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
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import JudgedFactor, Trial


def run_board(run: PublishedRun) -> RenderableType:
    """What a published run found: factors with verdicts, or given expressions."""
    if run.kind is RunKind.MINE:
        return factors_board(run.factors, caveats(run), run.spec.portfolio.participation_frac)
    board = trials_board(run.trials)
    about = [Text(plain(sentence), style="dim") for sentence in bars_lines(run)]
    return Group(*about, Text(), board) if about else board


def factors_board(
    factors: Sequence[JudgedFactor], about: Sequence[str] = (), participation_frac: float = 0.01
) -> RenderableType:
    """A mining run's judged factors in the order given, with the reasons for their verdicts.

    about: sentences that belong to all of them.
    """
    sentences = [Text(plain(sentence), style="dim") for sentence in about]
    if not factors:
        return Group(Text("No finalist came out of this run: nothing is claimed."), *sentences)
    intervals = len({factor.interval for factor in factors}) > 1
    headers = (
        *(">#", "verdict", *(["bar"] if intervals else []), ">t disc", ">val", ">hold"),
        *(">SR val", ">hold", ">trials", ">DSR", ">BH p", ">turn", ">even"),
        *(">folds", ">capacity", ">call"),
    )
    board = NotedTable(
        headers,
        [_factor_cells(factor, intervals) for factor in factors],
        [_note(factor.signed, short_reasons(factor)) for factor in factors],
        factors_legend(any(factor.discovery.in_time for factor in factors), participation_frac),
        spare=3,
    )
    return Group(Text(verdicts_line(factors), style="bold"), *sentences, Text(), board)


def verdicts_line(factors: Sequence[JudgedFactor]) -> str:
    """For example "1 tradable, 3 predictive, 6 rejected; ...; 208 trials"."""
    counts = ", ".join(
        f"{sum(factor.verdict == grade for factor in factors)} {grade}" for grade in VERDICT_STYLES
    )
    trials = {factor.interval: factor.n_trials for factor in factors}
    overfit = {factor.pbo for factor in factors} - {None}
    if len(overfit) == 1:
        counts += f"; probability of overfitting {number(overfit.pop(), 2)}"
    if len(trials) == 1:
        return f"{counts}; {whole(*trials.values())} trials"
    return f"{counts}; trials: " + ", ".join(f"{whole(n)} at {bar}" for bar, n in trials.items())


def _factor_cells(factor: JudgedFactor, intervals: bool) -> list[Text | str]:
    discovery, validation, holdout = factor.discovery, factor.validation, factor.holdout
    return [
        whole(factor.rank),
        Text(factor.verdict, style=VERDICT_STYLES[factor.verdict]),
        *([factor.interval] if intervals else []),
        number(discovery.association_t, 1, signed=True),
        number(validation.association_t, 1, signed=True),
        number(holdout.association_t, 1, signed=True),
        number(validation.net_sharpe, 1, signed=True),
        number(holdout.net_sharpe, 1, signed=True),
        whole(factor.n_trials),
        number(factor.deflated_sharpe, 3),
        probability(factor.bh_p),
        _share(validation.turnover_per_bar),
        number(validation.break_even_bps, 1),
        _share(discovery.cpcv_same_sign_frac),
        amount(validation.capacity_quote),
        dollars(factor.call_cost_usd_micros),
    ]


def trials_board(trials: Sequence[Trial]) -> RenderableType:
    """Given expressions with their figures over the whole range; there is no verdict."""
    shown = sorted(trials, key=lambda trial: -abs(trial.discovery.association_t or 0.0))
    timed = any(trial.discovery.in_time for trial in shown)
    headers = (
        *(">#", "status", "bar", "dir", ">corr" if timed else ">RankIC", ">t", ">SR gross"),
        *(">net", ">trials", ">DSR", ">even", ">turn", ">cover"),
    )
    cells = [_trial_cells(position, trial) for position, trial in enumerate(shown, 1)]
    notes = [
        _note(f"{trial.hypothesis}: {trial.text}" if trial.hypothesis else trial.text, trial.reason)
        for trial in shown
    ]
    return NotedTable(headers, cells, notes, trials_legend(timed), spare=1)


def _trial_cells(position: int, trial: Trial) -> list[Text | str]:
    figures = trial.discovery
    return [
        str(position),
        plain(trial.status, 10),
        trial.interval,
        {None: NOTHING, 1: "+", -1: "-"}[trial.direction],
        number(figures.association, 4, signed=True),
        number(figures.association_t, 2, signed=True),
        number(figures.gross_sharpe, 2, signed=True),
        number(figures.net_sharpe, 2, signed=True),
        whole(trial.n_trials),
        number(trial.deflated_sharpe, 3),
        number(figures.break_even_bps, 1),
        _share(figures.turnover_per_bar),
        _share(figures.coverage),
    ]


def _share(frac: float | None) -> str:
    return percent(frac, 0).replace(" ", "")


def _note(expression: str, reason: str | None) -> Text:
    note = Text(plain(expression, 600))
    if reason:
        note.append("\n" + plain(reason, 300), style="dim")
    return note


def short_reasons(factor: JudgedFactor, most: int = 2) -> str:
    """Why it is not better: the veto or the first failed gates; "" for a tradable factor."""
    if factor.veto_reason:
        return f"vetoed by final_verification: {factor.veto_reason}"
    failed = [
        gate
        for gate in factor.gates
        if not gate.passed and (factor.admitted or gate.needed_for is Grade.PREDICTIVE)
    ]
    parts = [_failed_gate(gate) for gate in failed[:most]]
    if len(failed) > most:
        parts.append(f"{len(failed) - most} more")
    return ("not tradable: " if factor.admitted else "fails ") + ", ".join(parts) if parts else ""


def _failed_gate(gate: Gate) -> str:
    value, threshold = real(gate.value), real(gate.threshold)
    if value is None or threshold is None:
        return f"{plain(gate.name, 40)} ({plain(gate.meaning, 100)})"
    shown = f"{value:.3g}"
    if float(shown) == threshold:  # it failed by less than these digits tell
        shown = f"{value:.6g}"
    return f"{plain(gate.name, 40)} {shown} (needs {threshold:g})"
