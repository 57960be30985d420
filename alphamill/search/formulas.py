"""Random formulas: a seeded grammar over the whole language, with no idea behind it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from alphamill.errors import FactorError
from alphamill.factors import OPERATORS, Factor, check
from alphamill.factors.record import Family, Kind, Operator
from alphamill.language import read_expression

WINDOWS = (2, 3, 6, 12, 18, 24, 36, 48, 72, 96, 120, 168)
_MAX_DEPTH = 4
_LEAF = 0.35  # chance that a branch ends early
_TRIES = 200  # a formula


def random_formulas(
    seed: int, count: int, fields: Sequence[str], operators: Sequence[str] = ()
) -> Iterator[Factor]:
    """`count` different formulas that parse and whose units fit; equal seeds, equal formulas.

    fields: leaves to draw from. operators: names to draw from; default: all without groups.
    Raises ValueError if the grammar cannot give so many.
    """
    rng = Random(seed)  # noqa: S311  not for secrets
    known = [OPERATORS[name] for name in operators] or [
        operator for operator in OPERATORS.values() if operator.family is not Family.GROUPED
    ]
    seen: set[str] = set()
    for _ in range(count * _TRIES):
        if len(seen) == count:
            return
        factor = _drawn(rng, known, fields)
        if factor is not None and factor.hash not in seen:
            seen.add(factor.hash)
            yield factor
    if len(seen) < count:
        raise ValueError(f"only {len(seen)} of {count} formulas could be drawn from that grammar")


def _drawn(rng: Random, operators: Sequence[Operator], fields: Sequence[str]) -> Factor | None:
    try:
        factor = read_expression(_expression(rng, operators, fields, 1))
    except FactorError:
        return None
    return None if check(factor) else factor


def _expression(
    rng: Random, operators: Sequence[Operator], fields: Sequence[str], depth: int
) -> str:
    if depth > _MAX_DEPTH or (depth > 1 and rng.random() < _LEAF):
        return rng.choice(fields)
    operator = rng.choice(operators)
    given = [param for param in operator.params if param.default is None]
    args = []
    for param in given:
        if param.kind is Kind.SERIES:
            args.append(_expression(rng, operators, fields, depth + 1))
        elif param.kind is Kind.BARS:
            args.append(str(rng.choice([w for w in WINDOWS if param.low <= w <= param.high])))
        else:
            low, high = max(param.low, -2.0), min(param.high, 2.0)
            args.append(f"{rng.uniform(low, high):.2f}")
    if operator.symbol and len(given) == 2:
        return f"({args[0]} {operator.symbol} {args[1]})"
    if operator.symbol:
        return f"({operator.symbol} {args[0]})"
    return f"{operator.name}({', '.join(args)})"
