"""What a run's trials so far teach the next call: discovery numbers, motifs, what is known.

Calls side by side are sent in different directions: a theme each, in turn, by the symbol's place in
the run and the round. Equal trials, equal feedback: nothing here depends on time or chance.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from alphamill.errors import FactorError
from alphamill.factors.printer import to_text
from alphamill.factors.syntax import Call, has_field, walk
from alphamill.language import read_expression
from alphamill.llm.prompts import Failed, Feedback, TooFast, Tried
from alphamill.runs.rows import Admission, Trial
from alphamill.search.slower import too_fast

BEST = 10
OF_ONE_SHAPE = 3  # among the best
PARTS_SHOWN = 5
KNOWN_SHOWN = 24
TAKEN_SHOWN = 12
WEAK_T = 1.0  # |t| below it: nothing is there
_KNOWN_CHARS = 70  # a longer expression is not worth its tokens in a list of what is known
_LARGEST_PART = 5  # nodes
_PARTICULAR = re.compile(r"^col \d+: |'[^']*'|\d+(?:\.\d+)?")  # of one candidate, not of its fault
_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?")
_KINDS = {
    "invalid": "does not parse: ",
    "unclean": "means nothing: ",
    "fault": "cannot be measured: ",
    "unreadable": "reply: ",
}

# Directions that a desk would spread its people over; sim/proposer.py knows them by their names.
THEMES = (
    "reversal: what moved too far comes back",
    "momentum: what rises steadily goes on",
    "volume: attention before and after a move",
    "price and volume: whether moves are confirmed",
    "order flow: takers' buying and selling",
    "volatility: calm against wild, and changes of it",
    "shape of the bar: where in its range a bar closes",
    "relative value: a coin against all coins at the bar",
)


def shape(text: str) -> str:
    """An expression without its numbers: other windows of one idea have the same."""
    return _NUMBER.sub("#", text)


def theme_of(symbols: Sequence[str], symbol: str, number: int) -> str:
    """The theme of a symbol's call in a round: neighbours differ, and so do a symbol's rounds."""
    return THEMES[(symbols.index(symbol) + 3 * number) % len(THEMES)]


def feedback(
    trials: Sequence[Trial], taken: Sequence[Admission] = (), cost_bps: float | None = None
) -> Feedback:
    """The best trials, failures by reason, what both are made of, and what else was tried.

    cost_bps: of trading, one way: where most of the best earn less, slower ones are asked for.
    taken: of the library, newest first. Told are expressions alone, in the order of the alphabet:
    neither a number nor a place says how one did behind discovery.
    """
    measured = [trial for trial in trials if trial.evaluated]
    measured.sort(key=lambda trial: (-_abs_t(trial), trial.hash or ""))
    best, rest = _varied(measured)
    return Feedback(
        worked=tuple(tried(trial) for trial in best),
        failed=_failures(trials),
        shared=_shared(best),
        fruitless=_fruitless(best, rest[len(rest) // 2 :]),
        known=_short(trial.text for trial in rest)[:KNOWN_SHOWN],
        taken=tuple(sorted(_short(one.expression for one in taken)[:TAKEN_SHOWN])),
        too_fast=_too_fast(best, cost_bps),
    )


def _too_fast(best: Sequence[Trial], cost_bps: float | None) -> TooFast | None:
    """None unless more than half of what predicts at all costs more than it earns."""
    strong = [trial for trial in best if _strong(trial)]
    if cost_bps is None:
        return None
    fast = sum(too_fast(trial, cost_bps, WEAK_T) for trial in strong)
    return TooFast(fast, len(strong), cost_bps) if 2 * fast > len(strong) else None


def _varied(measured: Sequence[Trial]) -> tuple[list[Trial], list[Trial]]:
    """The best, few of them of one shape, and the rest: ten windows of one idea teach no more.

    What is weak is among the best only where all is.
    """
    all_weak = not any(map(_strong, measured))
    best: list[Trial] = []
    rest: list[Trial] = []
    shapes: Counter[str] = Counter()
    for trial in measured:
        of_it = shape(trial.text)
        shapes[of_it] += 1
        fits = len(best) < BEST and shapes[of_it] <= OF_ONE_SHAPE and (all_weak or _strong(trial))
        (best if fits else rest).append(trial)
    return best, rest


def _abs_t(trial: Trial) -> float:
    return abs(trial.discovery.association_t or 0.0)


def _strong(trial: Trial) -> bool:
    return _abs_t(trial) >= WEAK_T


def _failures(trials: Sequence[Trial]) -> tuple[Failed, ...]:
    """What failed, by reason, the commonest first; the latest of each reason is its example."""
    grouped: dict[str, list[tuple[str, str]]] = {}
    for trial in trials:
        if (found := _failure(trial)) is not None:
            kind, said, example = found
            grouped.setdefault(kind, []).append((said, example))
    ordered = sorted(grouped.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(Failed(rows[-1][0], len(rows), rows[-1][1]) for _, rows in ordered)


def _failure(trial: Trial) -> tuple[str, str, str] | None:
    """The kind of a failure, its reason in words, and the expression; None for a success."""
    status, example = trial.status, trial.text
    if status == "duplicate":
        return status, "proposed before, refused", example
    if trial.evaluated:
        return None if _strong(trial) else ("weak", f"weak, t within {WEAK_T:g} of 0", example)
    if status not in _KINDS:
        return None
    # A fault names the part first that it is about: `ts_mean(close, 5): PROBLEM`.
    reason = trial.reason or ""
    said = reason.rpartition(": ")[2] if status == "unclean" else reason
    kind = _KINDS[status] + _PARTICULAR.sub("", said)
    return kind, _KINDS[status] + said, "" if status == "unreadable" else example


def _short(expressions: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for text in expressions if len(text) <= _KNOWN_CHARS)


def tried(trial: Trial) -> Tried:
    """A trial as a prompt may name it: discovery numbers only."""
    figures = trial.discovery
    return Tried(
        expression=trial.text,
        ic=figures.association,
        ic_t=figures.association_t,
        in_time=figures.in_time,
        turnover_frac=figures.turnover_per_bar,
        break_even_bps=figures.break_even_bps,
        hypothesis=trial.hypothesis or "",
    )


def _shared(best: Sequence[Trial]) -> tuple[str, ...]:
    """Parts of at least two of the best, the commonest first."""
    found = _parts(best)
    common = [(part, n) for part, n in _ordered(found) if n > 1]
    return tuple(f"{part} (in {n} of {len(best)})" for part, n in common[:PARTS_SHOWN])


def _fruitless(best: Sequence[Trial], worse: Sequence[Trial]) -> tuple[str, ...]:
    """Parts of at least three of the worse half and of none of the best."""
    good = set(_parts(best))
    bad = [(part, n) for part, n in _ordered(_parts(worse)) if n > 2 and part not in good]
    return tuple(f"{part} (in {n})" for part, n in bad[:PARTS_SHOWN])


def _ordered(found: Counter[str]) -> list[tuple[str, int]]:
    return sorted(found.items(), key=lambda item: (-item[1], -len(item[0]), item[0]))


def _parts(trials: Iterable[Trial]) -> Counter[str]:
    """In how many of the trials a small part occurs; a bare field or number is no part."""
    found: Counter[str] = Counter()
    for trial in trials:
        try:
            tree = read_expression(trial.text).tree
        except FactorError:
            continue  # of a language that has changed since
        found.update(
            {
                to_text(node)
                for node in walk(tree)
                if isinstance(node, Call)
                and has_field(node)
                and sum(1 for _ in walk(node)) <= _LARGEST_PART
            }
        )
    return found
