"""The newest bar of many factors, from the bars that it needs and no others.

Each node is computed over as many of the last rows as whatever reads it looks back on, and what
occurs in several factors once. Windows are counted in absolute bars, so that a value has the bits
that `compute` gives it over the whole history.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.factors.elementwise import ELEMENTWISE
from alphamill.factors.factor import Factor, own_history_bars
from alphamill.factors.nodes import GroupNumbers, across, check_field, expand, vwap, window
from alphamill.factors.operators import OPERATORS, Family
from alphamill.factors.syntax import Call, Field, Group, Node, Number, walk
from alphamill.frames import FloatArray, Panel
from alphamill.grid import index_at


class Tail:
    """Factors that are computed at every bar's close.

    lookback_bars: bars that a panel must hold before its newest. columns: fields that it must hold
    (see `Factor.columns`). groups: as of `compute`, for the symbols of every panel asked about.
    """

    def __init__(
        self, factors: Sequence[Factor], groups: Mapping[str, Sequence[object]] | None = None
    ) -> None:
        self.factors = tuple(factors)
        self.lookback_bars = max((factor.lookback_bars for factor in factors), default=0)
        self.columns = tuple(sorted({name for factor in factors for name in factor.columns}))
        self._groups = GroupNumbers(groups or {})
        self._plans: dict[tuple[frozenset[str], int], _Plan] = {}

    def newest(self, panel: Panel) -> FloatArray:
        """Values of the panel's last bar, float64 (factors, symbols); finite or NaN.

        Row i is `compute(factors[i], panel)[-1]` to the bit, for a panel that begins anywhere: NaN
        for a factor that looks back further than the panel goes. Earlier bars are not read.
        Raises FactorError naming a field or group that is missing, ValueError for no bar.
        """
        if not panel.n_bars:
            raise ValueError("a panel without a bar has no newest one")
        out = np.full((len(self.factors), len(panel.symbols)), np.nan)
        known = [i for i, one in enumerate(self.factors) if one.lookback_bars < panel.n_bars]
        plan = self._plan(panel, known)
        with np.errstate(all="ignore"):
            values = plan.run(panel, self._groups)
        for row, slot in zip(known, plan.roots, strict=True):
            out[row] = values[slot][-1]
        return out

    def _plan(self, panel: Panel, known: Sequence[int]) -> _Plan:
        """What is computed of such a panel; `known` grows with its bars, so its size names it."""
        key = frozenset(panel), len(known)
        if key not in self._plans:
            trees = [expand(factor.tree, panel) for factor in self.factors]
            for node in (node for tree in trees for node in walk(tree)):
                if isinstance(node, Field):
                    check_field(node.name, panel)
                elif isinstance(node, Group):
                    self._groups.numbers(node.name, len(panel.symbols))
            self._plans[key] = _Plan.of([trees[index] for index in known])
        return self._plans[key]


@dataclass(frozen=True, slots=True)
class _Step:
    """A node. rows: of its values that are needed. history: rows before these of its arguments.

    args: slots of its arguments, and the values of literal ones.
    """

    node: Node
    rows: int
    history: int
    args: tuple[int | np.float64, ...]


@dataclass(frozen=True, slots=True)
class _Plan:
    """Steps, each after its arguments'. roots: the slot of each tree's values."""

    steps: tuple[_Step, ...]
    roots: tuple[int, ...]

    @classmethod
    def of(cls, trees: Sequence[Node]) -> _Plan:
        """For one row of each tree."""
        order = _arguments_first(trees)
        rows = dict.fromkeys(order, 1)
        for node in reversed(order):
            if isinstance(node, Call):
                needed = rows[node] + own_history_bars(node)
                for arg in _series(node):
                    rows[arg] = max(rows[arg], needed)
        slots = {node: slot for slot, node in enumerate(order)}
        steps = (
            _Step(
                node,
                rows[node],
                own_history_bars(node) if isinstance(node, Call) else 0,
                tuple(
                    np.float64(arg.value) if isinstance(arg, Number) else slots[arg]
                    for arg in (node.args if isinstance(node, Call) else ())
                    if not isinstance(arg, Group)
                ),
            )
            for node in order
        )
        return cls(tuple(steps), tuple(slots[tree] for tree in trees))

    def run(self, panel: Panel, groups: GroupNumbers) -> list[FloatArray]:
        """The values of each step, its `rows` last ones."""
        newest_bar = index_at(panel.interval, int(panel.times_ms[-1]))
        values: list[FloatArray] = []
        for step in self.steps:
            node, needed = step.node, step.rows + step.history
            if isinstance(node, Field):
                values.append(_field(node.name, panel, step.rows))
                continue
            if not isinstance(node, Call):
                raise TypeError(f"{node} has no values")
            family = OPERATORS[node.name].family
            args = [arg if isinstance(arg, float) else values[arg][-needed:] for arg in step.args]
            if family is Family.BAR:
                values.append(ELEMENTWISE[node.name](*args))
                continue
            series = [arg for arg in args if not isinstance(arg, float)]
            if family is Family.WINDOW:
                made = window(node, series, newest_bar - needed + 1)
                values.append(made[step.history :])
            else:
                values.append(across(node, series, groups))
        return values


def _series(node: Call) -> Iterable[Node]:
    return (arg for arg in node.args if not isinstance(arg, Number | Group))


def _arguments_first(trees: Sequence[Node]) -> list[Node]:
    """Every node that has values, once, after those that it reads."""
    order: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node not in order:
            for arg in _series(node) if isinstance(node, Call) else ():
                visit(arg)
            order[node] = None

    for tree in trees:
        visit(tree)
    return list(order)


def _field(name: str, panel: Panel, rows: int) -> FloatArray:
    def last(column: str) -> FloatArray:
        return np.ascontiguousarray(panel[column][-rows:])

    if name == "vwap" and name not in panel:
        columns = ("high", "low", "close", "quote_volume", "volume")
        return vwap({column: last(column) for column in columns if column in panel})
    return last(name)
