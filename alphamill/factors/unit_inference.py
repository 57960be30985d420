"""The unit of an expression, worked out from its fields and each operator's rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from alphamill.factors.fields import unit_of
from alphamill.factors.operators import OPERATORS
from alphamill.factors.printer import to_text
from alphamill.factors.syntax import Call, Field, Group, Node, Number
from alphamill.factors.units import PURE, Unit, UnitRule

_Rule = Callable[[Call, list[Unit]], Unit | str]  # the unit, or why there is none


def unit_name(tree: Node, units: Mapping[str, str]) -> str:
    """The tree's unit: "ratio", "price", ...; "unknown" if it has faults or unknown fields."""
    inference = UnitInference(units)
    unit = inference.unit(tree)
    return "unknown" if unit is None or inference.problems else str(unit)


class UnitInference:
    """The units of one tree's nodes, given its fields' names of units.

    problems: nodes whose arguments' units do not go together and why, innermost first.
    """

    def __init__(self, units: Mapping[str, str]) -> None:
        self._units = units
        self._seen: dict[Node, Unit | None] = {}
        self.problems: list[tuple[Node, str]] = []

    def unit(self, node: Node) -> Unit | None:
        """The node's unit; None if unknown, of which no more is said."""
        if node not in self._seen:
            self._seen[node] = self._find(node)
        return self._seen[node]

    def _find(self, node: Node) -> Unit | None:
        if isinstance(node, Number | Group):
            return PURE
        if isinstance(node, Field):
            return unit_of(node.name, self._units)
        units = [self.unit(arg) for arg in node.args]
        rule = OPERATORS[node.name].unit
        if rule is UnitRule.INVARIANT:
            return PURE
        known = [unit for unit in units if unit is not None]
        if len(known) < len(units):
            return PURE if rule in (UnitRule.ACROSS, UnitRule.COMPARE) else None
        found = _RULES[rule](node, known)
        if isinstance(found, str):
            self.problems.append((node, found))
            return None
        return found


def _bars(call: Call) -> float:
    last = call.args[-1]
    return last.value if isinstance(last, Number) else 1.0


def _is_zero(node: Node) -> bool:
    return isinstance(node, Number) and node.value == 0


def _same(nodes: tuple[Node, ...], units: list[Unit]) -> Unit | str:
    """The unit shared by all; the literal 0 goes with every unit but a logarithm's."""
    log = any(unit.is_log for unit in units)
    pairs = zip(nodes, units, strict=True)
    kept = [u for n, u in pairs if log or not _is_zero(n)]
    for unit in kept[1:]:
        if unit != kept[0]:
            return f"{kept[0]} and {unit} do not go together"
    return kept[0] if kept else PURE


def _no_log(then: _Rule) -> _Rule:
    """The rule `then`, for arguments that scale."""

    def rule(call: Call, units: list[Unit]) -> Unit | str:
        if any(unit.is_log for unit in units):
            return "the log of a raw quantity shifts with the coin's scale; take a ratio before log"
        return then(call, units)

    return rule


def _add(call: Call, units: list[Unit], sign: float = 1.0) -> Unit | str:
    x, y = units
    if not (x.is_log or y.is_log):
        return _same(call.args, units)
    if all(unit.is_log or unit.is_pure for unit in units):
        return x.plus(y, sign)
    return f"{x} and {y} do not go together"


def _mul(call: Call, units: list[Unit], sign: float = 1.0) -> Unit | str:
    x, y = units
    if not (x.is_log or y.is_log):
        return x.plus(y, sign)
    left, right = call.args
    if isinstance(right, Number):
        return x.times(right.value if sign > 0 else 1 / right.value)
    if isinstance(left, Number) and sign > 0:
        return y.times(left.value)
    return "the log of a raw quantity times a series depends on the coin's scale"


def _power(call: Call, units: list[Unit]) -> Unit | str:
    base, exponent = units
    if isinstance(call.args[1], Number):
        return base.times(call.args[1].value)
    if base.is_pure and exponent.is_pure:
        return PURE
    return f"{base} to the power {exponent} has no unit; both must be ratios"


def _pure(call: Call, units: list[Unit]) -> Unit | str:
    if all(unit.is_pure for unit in units):
        return PURE
    return f"{call.name} needs a ratio; {units[0]} given"


def _exp(call: Call, units: list[Unit]) -> Unit | str:
    unit = units[0]
    if unit.is_log:
        return Unit(unit.price, unit.volume, unit.count)
    return _pure(call, units)


def _log(_: Call, units: list[Unit]) -> Unit | str:
    unit = units[0]
    return Unit(unit.price, unit.volume, unit.count, not unit.is_pure)


def _spread(_: Call, units: list[Unit]) -> Unit:
    return PURE if units[0].is_log else units[0]


def _sum(call: Call, units: list[Unit]) -> Unit | str:
    if call.name == "ts_sum_if" and units[0].is_log:
        return "a sum over some bars of the log of a raw quantity depends on the coin's scale"
    return units[0].times(_bars(call)) if units[0].is_log else units[0]


def _across(call: Call, units: list[Unit]) -> Unit | str:
    for arg, unit in zip(call.args, units, strict=True):
        if not unit.is_comparable:
            return f"{to_text(arg)} is in {unit}, which cannot be compared between coins"
    return PURE


def _across_same(call: Call, units: list[Unit]) -> Unit | str:
    found = _across(call, units)
    return found if isinstance(found, str) else _spread(call, units)


def _compare(call: Call, units: list[Unit]) -> Unit | str:
    found = _same(call.args, units)
    return found if isinstance(found, str) else PURE


def _pure_of(_: Call, __: list[Unit]) -> Unit:
    return PURE


_RULES: Mapping[UnitRule, _Rule] = {
    UnitRule.ADD: _add,
    UnitRule.SUB: lambda call, units: _add(call, units, -1.0),
    UnitRule.MUL: _mul,
    UnitRule.DIV: lambda call, units: _mul(call, units, -1.0),
    UnitRule.POWER: _no_log(_power),
    UnitRule.SAME: lambda _, units: units[0].times(-1.0) if units[0].is_log else units[0],
    UnitRule.SHIFT: lambda _, units: units[0],
    UnitRule.SPREAD: _spread,
    UnitRule.SCALED: _no_log(lambda _, units: units[0]),
    UnitRule.SUM: _sum,
    UnitRule.PRODUCT: _no_log(lambda call, units: units[0].times(_bars(call))),
    UnitRule.VARIANCE: lambda call, units: _spread(call, units).times(2.0),
    UnitRule.COVARIANCE: lambda call, units: _spread(call, units).plus(_spread(call, units[1:])),
    UnitRule.BETA: lambda call, units: _spread(call, units).plus(_spread(call, units[1:]), -1.0),
    UnitRule.RATIO: _no_log(_pure_of),
    UnitRule.SIGN: _no_log(_pure_of),
    UnitRule.TRUTH: _no_log(_pure_of),
    UnitRule.COMPARE: _compare,
    UnitRule.WHERE: _no_log(lambda call, units: _same(call.args[1:], units[1:])),
    UnitRule.CHOICE: lambda call, units: _same(call.args, units),
    UnitRule.FILL: _no_log(lambda call, units: _same(call.args, units)),
    UnitRule.LOG: _no_log(_log),
    UnitRule.EXP: _exp,
    UnitRule.SQRT: _no_log(lambda _, units: units[0].times(0.5)),
    UnitRule.SQUARE: _no_log(lambda _, units: units[0].times(2.0)),
    UnitRule.INVERSE: _no_log(lambda _, units: units[0].times(-1.0)),
    UnitRule.PURE: _pure,
    UnitRule.ACROSS: _across,
    UnitRule.ACROSS_SAME: _across_same,
}
