"""One form for expressions that mean the same.

Only rewrites that leave every value bit-equal: constants folded, powers of two in a product
gathered, arguments of commutative operators sorted, signs pulled out, delays merged, comparisons
turned to < and <=, defaults left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from alphamill.errors import FactorError
from alphamill.factors.bounds import Bounds
from alphamill.factors.operators import OPERATORS, Family
from alphamill.factors.printer import to_text
from alphamill.factors.syntax import Call, Node, Number

_SYNONYMS = {"wma": "decay_linear", "group_neutralize": "group_demean"}
_LARGEST = Bounds().max_constant  # of a constant that can be written
_MIRRORED = {"gt": "lt", "ge": "le"}


def canonical(node: Node) -> Node:
    """The canonical tree. Raises FactorError where constants make no finite number."""
    if not isinstance(node, Call):
        return node
    args = tuple(canonical(arg) for arg in node.args)
    return _simplify(_SYNONYMS.get(node.name, node.name), args)


def _simplify(name: str, args: tuple[Node, ...]) -> Node:
    """A call whose arguments are canonical already."""
    operator = OPERATORS[name]
    if operator.family is Family.BAR and all(isinstance(arg, Number) for arg in args):
        return _fold(name, args)
    if name in _MIRRORED:
        return _simplify(_MIRRORED[name], args[::-1])
    if name in _SIMPLER:
        simpler = _SIMPLER[name](args)
        if simpler is not None:
            return simpler
    if operator.commutative:
        first, second = sorted(args[:2], key=_order)
        args = (first, second, *args[2:])
    while len(args) > operator.required and args[-1] == Number(
        operator.params[len(args) - 1].default or 0.0
    ):
        args = args[:-1]
    return Call(name, args)


def _order(node: Node) -> tuple[bool, str]:
    """Numbers last, the rest by text."""
    return isinstance(node, Number), to_text(node)


def _fold(name: str, args: tuple[Node, ...]) -> Number:
    import numpy as np  # the few texts with something to fold pay for it, not every reader

    from alphamill.factors.elementwise import ELEMENTWISE

    values = [np.array([arg.value]) for arg in args if isinstance(arg, Number)]
    with np.errstate(all="ignore"):
        value = float(ELEMENTWISE[name](*values)[0])
    if not math.isfinite(value):
        raise FactorError(f"{to_text(Call(name, args))} is not a finite number")
    return Number(value + 0.0)  # no negative zero


def _negated(node: Node) -> Node | None:
    """What is under a minus sign; None without one."""
    if isinstance(node, Call) and node.name == "neg":
        return node.args[0]
    if isinstance(node, Number) and node.value < 0:
        return Number(-node.value)
    return None


def _neg(args: tuple[Node, ...]) -> Node | None:
    (x,) = args
    if isinstance(x, Call) and x.name == "neg":
        return x.args[0]
    if isinstance(x, Call) and x.name == "sub":
        return _simplify("sub", x.args[::-1])
    return None


def _add(args: tuple[Node, ...]) -> Node | None:
    x, y = args
    under = _negated(y)
    if under is not None:
        return _simplify("sub", (x, under))
    under = _negated(x)
    if under is not None:
        return _simplify("sub", (y, under))
    return None


def _sub(args: tuple[Node, ...]) -> Node | None:
    x, y = args
    under = _negated(y)
    if under is not None:
        return _simplify("add", (x, under))
    if x == Number(0.0):
        return _simplify("neg", (y,))
    if isinstance(y, Call) and y.name == "delay" and y.args[0] == x:
        return Call("delta", y.args)
    return None


def _mul(args: tuple[Node, ...]) -> Node | None:
    x, y = sorted(args, key=_order)
    if y == Number(1.0):
        return x
    for one, other in ((x, y), (y, x)):
        under = _negated(one)
        if under is not None:
            return _simplify("neg", (_simplify("mul", (under, other)),))
    for one, other in ((x, y), (y, x)):
        if isinstance(one, Call) and one.name == "mul" and isinstance(one.args[1], Number):
            gathered = _gathered(one.args[0], one.args[1], other)
            if gathered is not None:
                return gathered
    return None


def _gathered(x: Node, constant: Number, factor: Node) -> Node | None:
    """`x * constant * factor` with its constants as one, last; None where that could change a bit.

    Powers of two multiply exactly, in whatever order: `close * 2 * 3` is `close * 6`, while
    `close * 3 * 5` rounds twice, and `close * 15` once.
    """
    if not isinstance(factor, Number):
        if not _is_power_of_two(constant):
            return None
        return _simplify("mul", (_simplify("mul", (x, factor)), constant))
    product = constant.value * factor.value
    exact = _is_power_of_two(constant) or _is_power_of_two(factor)
    if exact and 1 / _LARGEST <= product <= _LARGEST:
        return _simplify("mul", (x, Number(product)))
    return None


def _is_power_of_two(number: Number) -> bool:
    return math.frexp(number.value)[0] == 0.5


def _div(args: tuple[Node, ...]) -> Node | None:
    x, y = args
    if y == Number(0.0):
        raise FactorError(f"{to_text(x)} / 0 is not a number")
    if y == Number(1.0):
        return x
    for under, pair in ((_negated(x), (None, y)), (_negated(y), (x, None))):
        if under is not None:
            a, b = (under if part is None else part for part in pair)
            return _simplify("neg", (_simplify("div", (a, b)),))
    return None


def _pow(args: tuple[Node, ...]) -> Node | None:
    return args[0] if args[1] == Number(1.0) else None


def _delay(args: tuple[Node, ...]) -> Node | None:
    x, bars = args
    if isinstance(x, Call) and x.name == "delay" and isinstance(bars, Number):
        inner = x.args[1]
        if isinstance(inner, Number):
            return Call("delay", (x.args[0], Number(inner.value + bars.value)))
    return None


def _sma_cn(args: tuple[Node, ...]) -> Node | None:
    x, bars, weight = args
    if isinstance(bars, Number) and isinstance(weight, Number):
        if weight.value > bars.value:
            raise FactorError("sma_cn: weight must not be above bars")
        if weight.value == 1:
            return Call("rma", (x, bars))
    return None


def _of_both(outer: str, first: str, second: str) -> Callable[[tuple[Node, ...]], Node]:
    """An operator that is short for `outer` of two windows."""
    return lambda args: _simplify(outer, (Call(first, args), Call(second, args)))


SHORTHANDS = frozenset({"ts_range", "ts_av_diff", "ts_ir"})
"""Operators that canonical trees spell out."""
_SIMPLER: Mapping[str, Callable[[tuple[Node, ...]], Node | None]] = {
    "neg": _neg,
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "pow": _pow,
    "delay": _delay,
    "sma_cn": _sma_cn,
    "ts_range": _of_both("sub", "ts_max", "ts_min"),
    "ts_av_diff": lambda args: _simplify("sub", (args[0], Call("ts_mean", args))),
    "ts_ir": _of_both("div", "ts_mean", "ts_std"),
    "square": lambda args: _simplify("pow", (args[0], Number(2.0))),
    "inv": lambda args: _simplify("div", (Number(1.0), args[0])),
}
