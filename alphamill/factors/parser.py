"""Text to a tree: a Pratt parser over the whole input. Nothing is ever executed.

What a look-ahead would need cannot be written: windows and lags are literal whole numbers, at
least 1, and no operator reads a later bar.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping

from alphamill.errors import FactorError
from alphamill.factors.bounds import Bounds
from alphamill.factors.dialects import Dialect
from alphamill.factors.fields import adv_bars, is_field
from alphamill.factors.hints import (
    called_field,
    unknown_field,
    unknown_group,
    unknown_operator,
    wrong_count,
)
from alphamill.factors.operators import INFIX, OPERATORS, Family, Kind, Operator, Param
from alphamill.factors.printer import COMPARISONS, PRECEDENCE, SIGN, number_text
from alphamill.factors.syntax import Call, Field, Group, Node, Number, has_field
from alphamill.factors.tokens import Kind as TokenKind
from alphamill.factors.tokens import Token, tokenize

_MAX_NESTING = 64  # brackets, signs and powers in one another; keeps Python's stack out of reach
_TERNARY = 0


def read_tree(
    text: str,
    dialect: Dialect,
    extra: Mapping[str, str],
    bounds: Bounds,
    groups: Collection[str] | None = None,
) -> Node:
    """The tree of the whole text, not yet canonical.

    extra: further fields. groups: the group tables there are (None: any name will do).
    """
    if len(text) > bounds.max_chars:
        problem = f"{len(text)} characters; at most {bounds.max_chars} are read"
        raise FactorError(problem, bounds.max_chars)
    return _Parser(text, dialect, extra, bounds, groups).whole()


class _Parser:
    """One pass over the tokens of one text."""

    def __init__(
        self,
        text: str,
        dialect: Dialect,
        extra: Mapping[str, str],
        bounds: Bounds,
        groups: Collection[str] | None,
    ) -> None:
        self._tokens = tokenize(text)
        self._next = 0
        self._nesting = 0
        self._nodes = 0
        self._dialect = dialect
        self._extra = extra
        self._bounds = bounds
        self._groups = groups

    def whole(self) -> Node:
        """The tree of the whole input."""
        if self._peek().kind is TokenKind.END:
            raise FactorError("the expression is empty", 0, "one such as close / open")
        tree = self._expression(_TERNARY)
        token = self._peek()
        if token.kind is not TokenKind.END:
            raise self._unexpected(token, "an operator or the end")
        return tree

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next += token.kind is not TokenKind.END
        return token

    def _accept(self, symbol: str) -> bool:
        token = self._peek()
        found = token.kind is TokenKind.SYMBOL and token.text == symbol
        self._next += found
        return found

    def _expect(self, symbol: str) -> None:
        if not self._accept(symbol):
            raise self._unexpected(self._peek(), f"'{symbol}'")

    @staticmethod
    def _unexpected(token: Token, expected: str) -> FactorError:
        if token.kind is TokenKind.END:
            return FactorError("the expression ends too early", token.position, expected)
        return FactorError(f"{token} does not fit here", token.position, expected)

    def _expression(self, level: int) -> Node:
        """An expression whose operators bind at least as strongly as `level`."""
        self._nesting += 1
        if self._nesting > _MAX_NESTING:
            problem = f"more than {_MAX_NESTING} levels of brackets and signs"
            raise FactorError(problem, self._peek().position)
        left = self._prefix()
        while True:
            token = self._peek()
            binds = PRECEDENCE.get(token.text) if token.kind is TokenKind.SYMBOL else None
            if binds is not None and binds >= level and token.text in INFIX:
                left = self._infix(left, binds)
            elif level == _TERNARY and token.text == "?" and token.kind is TokenKind.SYMBOL:
                left = self._ternary(left)
            else:
                break
        self._nesting -= 1
        return left

    def _infix(self, left: Node, binds: int) -> Node:
        token = self._take()
        right = self._expression(SIGN if token.text == "^" else binds + 1)
        following = self._peek()
        if token.text in COMPARISONS and following.text in COMPARISONS:
            raise FactorError(
                "comparisons do not chain", following.position, "'and' between two comparisons"
            )
        return self._build(OPERATORS[INFIX[token.text]], (left, right), token)

    def _ternary(self, condition: Node) -> Node:
        token = self._take()
        chosen = self._expression(_TERNARY)
        self._expect(":")
        return self._build(
            OPERATORS["where"], (condition, chosen, self._expression(_TERNARY)), token
        )

    def _prefix(self) -> Node:
        token = self._take()
        if token.kind is TokenKind.NUMBER:
            return self._number(token)
        if token.kind is TokenKind.NAME:
            return self._call(token) if self._accept("(") else self._field(token)
        if token.text == "(":
            return self._bracketed()
        if token.text in ("-", "+", "not"):
            return self._signed(token)
        raise self._unexpected(token, "a field, a number, an operator's name or '('")

    def _bracketed(self) -> Node:
        """The rest of a bracket that is open."""
        inner = self._expression(_TERNARY)
        self._expect(")")
        return inner

    def _signed(self, token: Token) -> Node:
        """The operand of a sign or `not`."""
        if token.text == "not":
            inner = self._expression(PRECEDENCE["not"])
            return self._build(OPERATORS["not"], (inner,), token)
        inner = self._expression(SIGN)
        if token.text == "+":
            return inner
        if isinstance(inner, Number):
            return Number(-inner.value)
        return self._build(OPERATORS["neg"], (inner,), token)

    def _number(self, token: Token) -> Number:
        value = float(token.text)
        self._bounds.check_constant(value, token.position)
        self._count(token)
        return Number(value)

    def _count(self, token: Token) -> None:
        self._nodes += 1
        if self._nodes > 4 * self._bounds.max_nodes:  # before constants are folded
            problem = f"too long; at most {self._bounds.max_nodes} nodes are allowed"
            raise FactorError(problem, token.position)

    def _field(self, token: Token) -> Node:
        name = self._dialect.field_name(token.text)
        self._count(token)
        if is_field(name, self._extra):
            bars = adv_bars(name) or 1
            if bars > self._bounds.max_window_bars:
                raise FactorError(f"{name} is too long a window", token.position)
            return Field(name)
        operator = self._dialect.operator_name(token.text)
        if operator is not None:
            form = OPERATORS[operator]
            raise FactorError(
                f"{token.text} is an operator", token.position, f"{token.text}{form.signature}"
            )
        raise unknown_field(token, self._extra, self._groups or ())

    def _call(self, token: Token) -> Node:
        name = self._dialect.operator_name(token.text)
        if name is None:
            if is_field(self._dialect.field_name(token.text), self._extra):
                raise called_field(token)
            raise unknown_operator(token, self._dialect, self._extra)
        args: list[tuple[Node, int]] = []
        if not self._accept(")"):
            args.append(self._argument(name, 0))
            while self._accept(","):
                args.append(self._argument(name, len(args)))
            if not self._accept(")"):
                raise self._unexpected(self._peek(), "',' or ')'")
        name = self._dialect.resolve(name, tuple(arg for arg, _ in args))
        node = self._build_call(OPERATORS[name], args, token)
        return self._dialect.rewritten(token.text, node) if isinstance(node, Call) else node

    def _argument(self, operator: str, index: int) -> tuple[Node, int]:
        """An argument and its column; a group's name is not a field."""
        token = self._peek()
        params = OPERATORS[operator].params
        if index < len(params) and params[index].kind is Kind.GROUP:
            if token.kind is not TokenKind.NAME:
                raise self._unexpected(token, "the name of a group table")
            self._take()
            name = self._dialect.field_name(token.text)
            if self._groups is not None and name not in self._groups:
                raise unknown_group(token, self._groups)
            if self._peek().text == "(":
                problem = f"the group of {operator} is a table's name, not an expression"
                raise FactorError(problem, token.position)
            return Group(name), token.position
        return self._expression(_TERNARY), token.position

    def _build_call(self, operator: Operator, args: list[tuple[Node, int]], token: Token) -> Node:
        given = len(args)
        if not operator.required <= given <= len(operator.params):
            raise wrong_count(operator, given, token)
        checked = tuple(
            self._checked(operator, param, arg, position)
            for param, (arg, position) in zip(operator.params, args, strict=False)
        )
        return self._build(operator, checked, token)

    def _build(self, operator: Operator, args: tuple[Node, ...], token: Token) -> Node:
        self._count(token)
        if operator.family is not Family.BAR:
            for param, arg in zip(operator.params, args, strict=False):
                if param.kind is Kind.SERIES and not has_field(arg):
                    problem = f"{operator.name} of a constant says nothing"
                    raise FactorError(
                        problem, token.position, f"a field such as close in {param.name}"
                    )
        return Call(operator.name, args)

    def _checked(self, operator: Operator, param: Param, arg: Node, position: int) -> Node:
        if param.kind is Kind.BARS:
            return self._bars(operator, param, arg, position)
        if param.kind is Kind.NUMBER:
            if not isinstance(arg, Number):
                problem = f"{param.name} of {operator.name} must be written as a number"
                raise FactorError(problem, position, _range(param.low, param.high))
            if not param.low <= arg.value <= param.high:
                problem = f"{operator.name}: {param.name} is {number_text(arg.value)}"
                raise FactorError(problem, position, _range(param.low, param.high))
        return arg

    def _bars(self, operator: Operator, param: Param, arg: Node, position: int) -> Number:
        """A window or lag: a literal whole number from param.low on."""
        low = int(param.low)
        high = int(min(param.high, self._bounds.max_window_bars))
        expected = f"a whole number, {low} to {high}"
        if not isinstance(arg, Number):
            problem = f"{param.name} of {operator.name} must be written as a number"
            raise FactorError(problem, position, expected)
        value = math.floor(arg.value) if self._dialect.floors_windows else arg.value
        if value < 0 and operator.name in ("delay", "delta"):
            problem = f"{operator.name} by {number_text(value)} bars would look ahead"
            raise FactorError(problem, position, expected, str(max(low, int(-value))))
        if value != int(value) or not low <= value <= high:
            problem = f"{operator.name} cannot have {number_text(value)} {param.name}"
            nearest = str(min(max(low, abs(round(value))), high))
            raise FactorError(problem, position, expected, nearest)
        return Number(float(value))


def _range(low: float, high: float) -> str:
    return "a number" if math.isinf(high) else f"{low:g} to {high:g}"
