"""What a run's trials so far teach the next call: discovery numbers, motifs, what is known.

Calls side by side are sent in different directions: a theme each, in turn, by the symbol's place in
the run and the round. Equal trials, equal feedback: nothing here depends on time or chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from alphamill.errors import FactorError
from alphamill.factors.printer import to_text
from alphamill.factors.syntax import Call, has_field, walk
from alphamill.llm.prompts import Feedback, Tried
from alphamill.stages.language import read_expression
from alphamill.stages.trials import Row, association, association_t, in_time

BEST = 10
FAILED_SHOWN = 8
PARTS_SHOWN = 5
KNOWN_SHOWN = 24
TAKEN_SHOWN = 12
_KNOWN_CHARS = 70  # a longer expression is not worth its tokens in a list of what is known
_LARGEST_PART = 5  # nodes

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


def theme_of(symbols: Sequence[str], symbol: str, number: int) -> str:
    """The theme of a symbol's call in a round: neighbours differ, and so do a symbol's rounds."""
    return THEMES[(symbols.index(symbol) + 3 * number) % len(THEMES)]


def feedback(trials: Sequence[Row], taken: Sequence[Row] = ()) -> Feedback:
    """The best trials, some failures, what they are made of, and what else was tried.

    taken: of the library, newest first. Told are expressions alone, in the order of the alphabet:
    neither a number nor a place says how one did behind discovery.
    """
    measured = [row for row in trials if row["status"] == "evaluated"]
    measured.sort(key=lambda row: (-abs(association_t(row) or 0.0), row["hash"]))
    broken = [row for row in trials if row["status"] in ("unclean", "invalid", "fault")]
    best, rest = measured[:BEST], measured[BEST:]
    worst = rest[-FAILED_SHOWN // 2 :]
    shown = [*best, *worst]
    names = {row["hash"] for row in shown}
    known = [row["expression"] for row in reversed(rest) if row["hash"] not in names]
    return Feedback(
        worked=tuple(tried(row) for row in best),
        failed=tuple(tried(row) for row in [*broken[-FAILED_SHOWN // 2 :], *worst]),
        shared=_shared(best),
        fruitless=_fruitless(best, rest[len(rest) // 2 :]),
        known=_short(known)[:KNOWN_SHOWN],
        taken=tuple(sorted(_short([row["expression"] for row in taken])[:TAKEN_SHOWN])),
    )


def _short(expressions: Iterable[str]) -> tuple[str, ...]:
    return tuple(text for text in expressions if len(text) <= _KNOWN_CHARS)


def tried(row: Row) -> Tried:
    """A trial as a prompt may name it: discovery numbers only."""
    return Tried(
        expression=row["expression"] or row["proposed"],
        ic=association(row),
        ic_t=association_t(row),
        in_time=in_time(row),
        turnover_frac=row["turnover_per_bar"],
        hypothesis=row["hypothesis"] or "",
        problem=row["reason"] or "",
    )


def _shared(best: Sequence[Row]) -> tuple[str, ...]:
    """Parts of at least two of the best, the commonest first."""
    found = _parts(best)
    common = [(part, n) for part, n in _ordered(found) if n > 1]
    return tuple(f"{part} (in {n} of {len(best)})" for part, n in common[:PARTS_SHOWN])


def _fruitless(best: Sequence[Row], worse: Sequence[Row]) -> tuple[str, ...]:
    """Parts of at least three of the worse half and of none of the best."""
    good = set(_parts(best))
    bad = [(part, n) for part, n in _ordered(_parts(worse)) if n > 2 and part not in good]
    return tuple(f"{part} (in {n})" for part, n in bad[:PARTS_SHOWN])


def _ordered(found: Counter[str]) -> list[tuple[str, int]]:
    return sorted(found.items(), key=lambda item: (-item[1], -len(item[0]), item[0]))


def _parts(rows: Iterable[Row]) -> Counter[str]:
    """In how many of the rows a small part occurs; a bare field or number is no part."""
    found: Counter[str] = Counter()
    for row in rows:
        try:
            tree = read_expression(row["expression"]).tree
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
