"""The language for a reader or a prompt, from the operators' records."""

from __future__ import annotations

from dataclasses import astuple

from alphamill.factors.dialects import DIFFERENCES, Difference
from alphamill.factors.operators import OPERATORS
from alphamill.factors.record import Family, Operator


def manual() -> str:
    """The language for a reader or a prompt: fields, operators, rules; plain text."""
    lines = [
        "An expression gives every symbol a value at every bar: rank(close / ts_mean(close, 20)).",
        "Fields: open high low close volume trades; quote_volume (volume in quote currency); "
        "taker_buy_base taker_buy_quote (the parts of both that takers bought); "
        "vwap (quote_volume / volume); returns (close / delay(close, 1) - 1); "
        "adv{d}, such as adv20 (mean quote_volume of d bars); and the indicator columns by name.",
        "Windows and lags are whole numbers of bars, as digits. There is no way to look ahead.",
        "A value is NaN until its window is full and while the window holds a NaN; operators over "
        "symbols leave out symbols that are NaN. True is 1, false 0.",
        "Never compare raw prices or raw volumes of different symbols: divide first.",
        "What binds first: ^, signs, * and /, + and -, comparisons, not, and, or, `cond ? x : y`.",
    ]
    for family in Family:
        lines.append(f"\nOver {family}:")
        members = (operator for operator in OPERATORS.values() if operator.family is family)
        lines.extend(_manual_line(operator) for operator in members)
    return "\n".join(lines)


def _manual_line(operator: Operator) -> str:
    names = ", ".join(param.name for param in operator.params)
    if operator.symbol and len(operator.params) == 2:
        head = f"x {operator.symbol} y"
    elif operator.symbol:
        head = f"{operator.symbol} {names}" if operator.symbol.isalpha() else f"-{names}"
    else:
        head = operator.name + operator.signature
    return f"  {head}: {operator.meaning} Example: {operator.example}"


def dialect_table() -> str:
    """Where the same formula gives other numbers elsewhere; plain text."""
    heads = Difference("point", "here", "alpha101 (the paper)", "qlib")
    rows: list[tuple[str, ...]] = [astuple(row) for row in (heads, *DIFFERENCES)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    rows.insert(1, tuple("-" * width for width in widths))
    lines = (map(str.ljust, row, widths) for row in rows)
    return (
        "Formulas in the spelling of the paper parse with dialect alpha101, qlib's with qlib; what "
        "they compute is this language's meaning, which differs where this table says so.\n\n"
    ) + "\n".join("  ".join(cells).rstrip() for cells in lines)
