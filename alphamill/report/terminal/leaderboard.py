"""What a run found, for the terminal: the leaderboard, and what belongs to its figures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from alphamill.evaluation import Gate, Grade
from alphamill.jobs import RunKind
from alphamill.report.caveats import bars_lines, caveats, power_words, resumed_line, terms_line
from alphamill.report.factor.certificate import deflated_after_costs
from alphamill.report.legend import ORIENTED, SOLD, factors_legend, trials_legend
from alphamill.report.terminal.tables import NotedTable
from alphamill.report.values import (
    NOTHING,
    VERDICT_STYLES,
    amount,
    dollars,
    graded,
    number,
    percent,
    plain,
    probability,
    real,
    turned,
    whole,
)
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import JudgedFactor, Trial, by_strength

_CAUSES = 3  # for which expressions were not measured, that are told
_NUMBER = re.compile(r"\d[\d.,]*")
_TURNED = " dir: + as it is written, - sold. –: not measured."
HASH_CHARS = 8  # of a factor that are shown; any unique beginning names it


def run_board(run: PublishedRun, most: int | None = None) -> RenderableType:
    """What a published run found: factors with verdicts, or given expressions.

    most: rows that are shown, the best first; None: all.
    """
    if run.kind is RunKind.MINE:
        participation_frac = run.spec.portfolio.participation_frac
        about = [terms_line(run.spec), *caveats(run)]
        return factors_board(run.factors, about, participation_frac, most)
    sentences = (resumed_line(run), terms_line(run.spec), *bars_lines(run))
    lines = [Text(plain(sentence), style="dim") for sentence in sentences if sentence]
    return Group(*lines, Text(), trials_board(run.trials))


def factors_board(
    factors: Sequence[JudgedFactor],
    about: Sequence[str] = (),
    participation_frac: float = 0.01,
    most: int | None = None,
) -> RenderableType:
    """A mining run's judged factors in the order given, with the reasons for their verdicts.

    about: sentences that belong to all of them. most: of the factors, that are shown; the others
    are counted.
    """
    sentences = [Text(plain(sentence), style="dim") for sentence in about]
    if not factors:
        return Group(Text("No finalist came out of this run: nothing is claimed."), *sentences)
    intervals = len({factor.interval for factor in factors}) > 1
    headers = (
        *(
            ">#",
            "verdict",
            *(["bar"] if intervals else []),
            ">t disc",
            ">val|t val",
            ">hold|t hold",
        ),
        *(">SR val", ">hold|SR hold", ">trials", ">DSR gross", ">net|DSR net", ">BH p", ">turn"),
        *(">even", ">folds", ">capacity", ">call"),
    )
    shown = factors[:most]
    board = NotedTable(
        headers,
        [_factor_cells(at, factor, intervals) for at, factor in enumerate(shown, 1)],
        [_note(factor.traded, short_reasons(factor), factor.hash) for factor in shown],
        factors_legend(any(factor.discovery.in_time for factor in factors), participation_frac)
        + ORIENTED
        + SOLD,
        spare=3,
    )
    more = len(factors) - len(shown)
    rest = [Text(f"\nand {more} more", style="dim")] if more else []
    return Group(Text(verdicts_line(factors), style="bold"), *sentences, Text(), board, *rest)


def verdicts_line(factors: Sequence[JudgedFactor]) -> str:
    """For example "1 tradable, 3 predictive, 6 rejected; ...; 208 trials"."""
    found = graded(factor.verdict for factor in factors)
    counts = ", ".join(f"{count} {grade}" for grade, count in found.items())
    trials = {factor.interval: factor.n_trials for factor in factors}
    overfit = {factor.pbo for factor in factors} - {None}
    if len(overfit) == 1:
        counts += f"; probability of overfitting {number(overfit.pop(), 2)}"
    if len(trials) == 1:
        return f"{counts}; {whole(*trials.values())} trials"
    return f"{counts}; trials: " + ", ".join(f"{whole(n)} at {bar}" for bar, n in trials.items())


def _factor_cells(position: int, factor: JudgedFactor, intervals: bool) -> list[Text | str]:
    discovery, validation, holdout = factor.discovery, factor.validation, factor.holdout
    return [
        str(position),
        Text(factor.verdict, style=VERDICT_STYLES[factor.verdict]),
        *([factor.interval] if intervals else []),
        *(
            number(turned(figures.association_t, factor.direction), 1, signed=True)
            for figures in (discovery, validation, holdout)
        ),
        number(validation.net_sharpe, 1, signed=True),
        number(holdout.net_sharpe, 1, signed=True),
        whole(factor.n_trials),
        number(factor.deflated_sharpe, 3),
        number(deflated_after_costs(factor), 3),
        probability(factor.bh_p),
        _share(validation.turnover_per_bar),
        number(validation.break_even_bps, 1),
        _share(discovery.cpcv_same_sign_frac),
        amount(validation.capacity_quote),
        dollars(factor.call_cost_usd_micros),
    ]


def trials_board(trials: Sequence[Trial], only: Sequence[Trial] = ()) -> RenderableType:
    """Given expressions with their figures over the whole range; there is no verdict.

    only: some of them, with the numbers that they have among all; none: all.
    """
    ranked = by_strength(trials)
    numbers = [
        at for at, trial in enumerate(ranked, 1) if not only or any(trial is one for one in only)
    ]
    shown = [ranked[at - 1] for at in numbers]
    named = any(trial.hypothesis for trial in shown)
    timed = any(trial.discovery.in_time for trial in shown)
    several = len({trial.horizon_bars for trial in trials}) > 1
    headers = (
        *(
            ">#",
            "status",
            *(["name"] if named else []),
            "bar",
            *([">horizon"] if several else []),
            "dir",
            ">corr" if timed else ">RankIC",
            ">t",
            ">SR gross",
        ),
        *(">net|SR net", ">trials", ">DSR gross", ">even", ">turn", ">cover"),
    )
    cells = [
        _trial_cells(at, trial, named, several) for at, trial in zip(numbers, shown, strict=True)
    ]
    notes = [_note(_named(trial), trial.reason, trial.hash) for trial in shown]
    for at in range(1, len(shown) if several else 0):  # an expression once, at its first horizon
        if (shown[at].hash, shown[at].reason) == (shown[at - 1].hash, shown[at - 1].reason):
            notes[at] = Text()
    board = NotedTable(
        headers, cells, notes, trials_legend(timed, several) + ORIENTED + _TURNED, spare=1
    )
    summary = "" if only or len(trials) < 2 else measured_line(trials)
    return Group(Text(summary, style="bold"), Text(), board) if summary else board


def measured_line(trials: Sequence[Trial]) -> str:
    """For example "87 of 101 measured; 1 invalid; 13: constant across symbols"; "" if all were."""
    lacking = [trial for trial in trials if not trial.evaluated]
    if not lacking:
        return ""
    why = Counter(_cause(trial) for trial in lacking).most_common()
    parts = [f"{count}{cause}" for cause, count in why[:_CAUSES]]
    rest = sum(count for _, count in why[_CAUSES:])
    parts += [f"{rest} for other reasons"] if rest else []
    return f"{len(trials) - len(lacking)} of {len(trials)} measured; {'; '.join(parts)}"


def _cause(trial: Trial) -> str:
    """A fault by its reason, whatever numbers are in it; else the status."""
    if trial.status != "fault" or not trial.reason:
        return f" {plain(trial.status, 20)}"
    return f": {plain(_NUMBER.sub('…', trial.reason), 100)}"


def _trial_cells(position: int, trial: Trial, named: bool, several: bool) -> list[Text | str]:
    figures = trial.discovery
    return [
        str(position),
        plain(trial.status, 10),
        *([plain(trial.hypothesis or NOTHING, 24)] if named else []),
        trial.interval,
        *([whole(trial.horizon_bars)] if several else []),
        {None: NOTHING, 1: "+", -1: "-"}[trial.direction],
        number(turned(figures.association, trial.direction or 1), 4, signed=True),
        number(turned(figures.association_t, trial.direction or 1), 2, signed=True),
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


def _named(trial: Trial) -> str:
    return f"{trial.hypothesis}: {trial.text}" if trial.hypothesis else trial.text


def _note(expression: str, reason: str | None, own_hash: str | None) -> Text:
    """The expression behind the hash that commands take; then the reason."""
    note = Text(f"{plain(own_hash, 64)[:HASH_CHARS]}  " if own_hash else "", style="dim")
    note = Text.assemble(note, plain(expression, 600))
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
    if not parts:
        return ""
    says = "not tradable: " if factor.admitted else "fails "
    return (f"{power_words(factor)}; " if factor.undecidable else "") + says + ", ".join(parts)


def _failed_gate(gate: Gate) -> str:
    value, threshold = real(gate.value), real(gate.threshold)
    if value is None or threshold is None:
        return f"{plain(gate.name, 40)} ({plain(gate.meaning, 100)})"
    shown = f"{value:.3g}"
    if float(shown) == threshold:  # it failed by less than these digits tell
        shown = f"{value:.6g}"
    return f"{plain(gate.name, 40)} {shown} (needs {threshold:g})"
