"""A tree as text that parses back to the same tree."""

from __future__ import annotations

from alphamill.factors.syntax import Call, Field, Group, Node, Number

PRECEDENCE = {
    "or": 1,
    "and": 2,
    "not": 3,
    "<": 4,
    "<=": 4,
    ">": 4,
    ">=": 4,
    "==": 4,
    "!=": 4,
    "+": 5,
    "-": 5,
    "*": 6,
    "/": 6,
    "^": 8,
}
"""Binding strength of the infix operators (and `not`); a sign binds with 7, below `^`."""
SIGN = 7
COMPARISONS = frozenset({"<", "<=", ">", ">=", "==", "!="})
_ATOM = 9
_SYMBOLS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "pow": "^",
    "lt": "<",
    "le": "<=",
    "gt": ">",
    "ge": ">=",
    "eq": "==",
    "ne": "!=",
    "and": "and",
    "or": "or",
}


def number_text(value: float) -> str:
    """Shortest text that reads back as the same float."""
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    return repr(value)


def to_text(node: Node) -> str:
    """The expression, with no more brackets than it needs."""
    return _text(node)[0]


def _text(node: Node) -> tuple[str, int]:
    """The text and how strongly its outermost operator binds."""
    if isinstance(node, Number):
        return number_text(node.value), SIGN if node.value < 0 else _ATOM
    if isinstance(node, Field | Group):
        return node.name, _ATOM
    if node.name == "neg":
        return f"-{_within(node.args[0], SIGN)}", SIGN
    if node.name == "not":
        return f"not {_within(node.args[0], PRECEDENCE['not'])}", PRECEDENCE["not"]
    symbol = _SYMBOLS.get(node.name)
    if symbol is None:
        return f"{node.name}({', '.join(to_text(arg) for arg in node.args)})", _ATOM
    return _infix(symbol, node), PRECEDENCE[symbol]


def _infix(symbol: str, node: Call) -> str:
    level = PRECEDENCE[symbol]
    left_level = level + 1 if symbol in COMPARISONS or symbol == "^" else level
    right_level = SIGN if symbol == "^" else level + 1
    left, right = node.args
    return f"{_within(left, left_level)} {symbol} {_within(right, right_level)}"


def _within(node: Node, level: int) -> str:
    text, binds = _text(node)
    return text if binds >= level else f"({text})"
