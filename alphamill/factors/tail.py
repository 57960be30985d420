"""The newest bar of many factors, from the bars that it needs and no others.

Each node is computed over as many of the last rows as whatever reads it looks back on, and what
occurs in several factors once. Windows are counted in absolute bars, so that a value has the bits
that `compute` gives it over the whole history. Where the bar follows the one before and the bars
before it are the same, to the bit, only the new row of each node is computed (see `kept_rows`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from alphamill.factors.elementwise import ELEMENTWISE
from alphamill.factors.factor import Factor, own_history_bars
from alphamill.factors.nodes import (
    VWAP_COLUMNS,
    GroupNumbers,
    across,
    check_field,
    expand,
    vwap,
    window,
)
from alphamill.factors.operators import OPERATORS, Family
from alphamill.factors.syntax import Call, Field, Group, Node, Number, walk
from alphamill.frames import FloatArray, Panel
from alphamill.grid import index_at

if TYPE_CHECKING:
    from alphamill.factors.kept_rows import KeptRows


class Tail:
    """Factors that are computed at every bar's close. Not thread-safe.

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
        self._plans: dict[tuple[frozenset[str], int], Plan] = {}
        self._kept: KeptRows | None = None

    def newest(self, panel: Panel) -> FloatArray:
        """Values of the panel's last bar, float64 (factors, symbols); finite or NaN.

        Row i is `compute(factors[i], panel)[-1]` to the bit, for a panel that begins anywhere: NaN
        for a factor that looks back further than the panel goes. Earlier bars are not read.
        Raises FactorError naming a field or group that is missing, ValueError for no bar.
        """
        from alphamill.factors.kept_rows import KeptRows  # loads numba

        if not panel.n_bars:
            raise ValueError("a panel without a bar has no newest one")
        out = np.full((len(self.factors), len(panel.symbols)), np.nan)
        known = [i for i, one in enumerate(self.factors) if one.lookback_bars < panel.n_bars]
        plan = self._plan(panel, known)
        with np.errstate(all="ignore"):
            if self._kept is None or not self._kept.is_of(plan, panel):
                self._kept = KeptRows(plan, panel, self._groups)
            out[known] = self._kept.newest(panel)
        return out

    def _plan(self, panel: Panel, known: Sequence[int]) -> Plan:
        """What is computed of such a panel; `known` grows with its bars, so its size names it."""
        key = frozenset(panel), len(known)
        if key not in self._plans:
            trees = [expand(factor.tree, panel) for factor in self.factors]
            for node in (node for tree in trees for node in walk(tree)):
                if isinstance(node, Field):
                    check_field(node.name, panel)
                elif isinstance(node, Group):
                    self._groups.numbers(node.name, len(panel.symbols))
            self._plans[key] = Plan.of([trees[index] for index in known], panel)
        return self._plans[key]


@dataclass(frozen=True, slots=True)
class Step:
    """A node. rows: of its values that are needed. history: rows before these of its arguments.

    args: slots of its arguments, and the values of literal ones. columns: of a field that is made
    of others, whose arguments they are.
    """

    node: Node
    rows: int
    history: int
    args: tuple[int | np.float64, ...]
    columns: tuple[str, ...] = ()

    def compute(
        self, args: Sequence[FloatArray | np.float64], newest_bar: int, groups: GroupNumbers
    ) -> FloatArray:
        """Its values from its arguments', which are `history` rows longer.

        newest_bar: the number of the bar in the last row.
        """
        node = self.node
        if isinstance(node, Field):
            return vwap(
                {name: np.asarray(arg) for name, arg in zip(self.columns, args, strict=True)}
            )
        if not isinstance(node, Call):
            raise TypeError(f"{node} has no values")
        family = OPERATORS[node.name].family
        if family is Family.BAR:
            return ELEMENTWISE[node.name](*args)
        series = [arg for arg in args if not isinstance(arg, float)]
        if family is Family.WINDOW:
            return window(node, series, newest_bar - len(series[0]) + 1)[self.history :]
        return across(node, series, groups)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Steps, each after its arguments'. roots: the slot of each tree's values."""

    steps: tuple[Step, ...]
    roots: tuple[int, ...]

    @classmethod
    def of(cls, trees: Sequence[Node], panel: Mapping[str, FloatArray]) -> Plan:
        """For one row of each tree."""
        order = _arguments_first(trees, panel)
        rows = dict.fromkeys(order, 1)
        for node in reversed(order):
            needed = rows[node] + _history(node)
            for arg in _series(node, panel):
                rows[arg] = max(rows[arg], needed)
        slots = {node: slot for slot, node in enumerate(order)}

        def args(node: Node) -> Iterator[int | np.float64]:
            given = node.args if isinstance(node, Call) else _series(node, panel)
            for arg in given:
                if not isinstance(arg, Group):
                    yield np.float64(arg.value) if isinstance(arg, Number) else slots[arg]

        steps = (
            Step(
                node,
                rows[node],
                _history(node),
                tuple(args(node)),
                tuple(f.name for f in _series(node, panel) if isinstance(f, Field))
                if isinstance(node, Field)
                else (),
            )
            for node in order
        )
        return cls(tuple(steps), tuple(slots[tree] for tree in trees))

    def run(self, panel: Panel, groups: GroupNumbers) -> list[FloatArray]:
        """The values of each step, its `rows` last ones."""
        newest_bar = index_at(panel.interval, int(panel.times_ms[-1]))
        values: list[FloatArray] = []
        for step in self.steps:
            if not step.args:
                column = panel[step.node.name]  # type: ignore[union-attr]  # a field
                values.append(np.ascontiguousarray(column[-step.rows :]))
                continue
            needed = step.rows + step.history
            args = [arg if isinstance(arg, float) else values[arg][-needed:] for arg in step.args]
            values.append(step.compute(args, newest_bar, groups))
        return values


def _history(node: Node) -> int:
    """Rows of its arguments before those of its own."""
    return own_history_bars(node) if isinstance(node, Call) else 0


def _series(node: Node, panel: Mapping[str, FloatArray]) -> Sequence[Node]:
    """The nodes whose values it is made of."""
    if isinstance(node, Call):
        return [arg for arg in node.args if not isinstance(arg, Number | Group)]
    if isinstance(node, Field) and node.name == "vwap" and "vwap" not in panel:
        return [Field(name) for name in VWAP_COLUMNS if name in panel]
    return ()


def _arguments_first(trees: Sequence[Node], panel: Mapping[str, FloatArray]) -> list[Node]:
    """Every node that has values, once, after those that it reads."""
    order: dict[Node, None] = {}

    def visit(node: Node) -> None:
        if node not in order:
            for arg in _series(node, panel):
                visit(arg)
            order[node] = None

    for tree in trees:
        visit(tree)
    return list(order)
