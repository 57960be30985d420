"""Factors' values over a panel.

Window operators need whole columns; everything between them looks at one bar at a time and is
evaluated in tiles of rows that stay in the processor's cache. What occurs twice is computed once,
and an array is dropped after its last use (see `schedule`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from alphamill.errors import FactorError
from alphamill.factors.elementwise import ELEMENTWISE
from alphamill.factors.factor import Factor
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
from alphamill.factors.schedule import Schedule, alike_in_turn
from alphamill.factors.syntax import Call, Field, Group, Node, Number, walk
from alphamill.frames import FloatArray, Panel
from alphamill.grid import index_at

VALUES_VERSION = 2  # raise it when a value changes, be it in its last bit; runs keep it
KEPT_COLUMNS = 12
"""Columns that are held at most for factors to come."""
_TILE_VALUES = 16_384  # 128 kB an array

BoolArray = NDArray[np.bool_]


def compute(
    factor: Factor,
    panel: Mapping[str, FloatArray],
    groups: Mapping[str, Sequence[object]] | None = None,
    first_bar: int | None = None,
    members: BoolArray | None = None,
) -> FloatArray:
    """The factor's values, a new float64 array (bars, symbols); finite or NaN.

    panel: fields -> (bars, symbols), ascending bars; `vwap`, `returns` and `adv{d}` are derived
        where they are absent. An infinity counts as NaN: a plain mapping is looked through for
        them at every call, a Panel was when it was made.
    groups: group name -> one label a symbol; a symbol labelled None belongs to no group.
    first_bar: the number of row 0 among all bars of its interval (see `grid`), which a Panel knows
        by its times; of arrays without times it is 0 unless given.
    members: bool (bars, symbols), who belongs at each bar; None for all. Operators over the symbols
        of a bar are over its members, and a value of no member is NaN. Windows of one symbol read
        its bars whether it belongs or not; a window over an operator across symbols has NaN where
        the symbol did not belong.
    Row t depends on rows t - `lookback_bars` to t alone, to the bit and whatever row a panel begins
    with, if its rows keep their numbers; the first `lookback_bars` rows are NaN.
    Raises FactorError naming a field or group that is missing.
    """
    return next(iter(compute_many((factor,), panel, groups, first_bar, members)))[1]


def compute_many(
    factors: Sequence[Factor],
    panel: Mapping[str, FloatArray],
    groups: Mapping[str, Sequence[object]] | None = None,
    first_bar: int | None = None,
    members: BoolArray | None = None,
) -> Iterator[tuple[int, FloatArray]]:
    """(index, values) of each factor, as `compute` gives them to the bit, alike ones in turn.

    What factors share is computed once and kept while it is worth its memory: besides the panel
    and the values handed out, about KEPT_COLUMNS arrays of a field's size are held.
    Raises FactorError naming a field or group that is missing, before anything is computed.
    """
    evaluation = _Evaluation(panel, groups or {}, _first_bar(panel, first_bar), members)
    trees = [expand(factor.tree, panel) for factor in factors]
    for tree in trees:
        evaluation.check_inputs(tree)
    order = alike_in_turn(trees)
    schedule = Schedule([trees[index] for index in order])
    for position, index in enumerate(order):
        with np.errstate(all="ignore"):
            values = evaluation.run(schedule, position)
        values[: factors[index].lookback_bars] = np.nan  # `where` and `fill` can answer before
        if members is not None:
            values[~members] = np.nan
        yield index, values
        del values  # the caller may drop it before the next is made


def _first_bar(panel: Mapping[str, FloatArray], given: int | None) -> int:
    if given is not None:
        return given
    if isinstance(panel, Panel) and panel.n_bars:
        return index_at(panel.interval, int(panel.times_ms[0]))
    return 0


class _Evaluation:
    """Factors over one panel."""

    def __init__(
        self,
        panel: Mapping[str, FloatArray],
        groups: Mapping[str, Sequence[object]],
        first_bar: int,
        members: BoolArray | None = None,
    ) -> None:
        self._panel = panel
        self._first_bar = first_bar
        self._members = members
        self._groups = GroupNumbers(groups)
        self._ready: dict[Node, FloatArray] = {}
        self._done: set[Node] = set()  # computed for the present tree
        self._pinned: Counter[Node] = Counter()  # read by what is being computed

    def check_inputs(self, tree: Node) -> None:
        """Raise FactorError for a field or group that was not given."""
        for node in walk(tree):
            if isinstance(node, Field):
                check_field(node.name, self._panel)
            elif isinstance(node, Group):
                self._groups.numbers(node.name, next(iter(self._panel.values())).shape[1])

    def run(self, schedule: Schedule, position: int) -> FloatArray:
        """The values of one tree of the schedule; trees are asked for in turn."""
        tree = schedule.roots[position]
        self._done.clear()
        self._obtain(tree, schedule, position)
        values = self._ready.pop(tree)
        if isinstance(tree, Field) or schedule.is_wanted_later(tree, position, self._ready):
            self._ready[tree] = values
            values = values.copy()
        for node in list(self._ready):
            if not schedule.is_wanted_later(node, position, self._ready):
                del self._ready[node]
        return values

    def _obtain(self, node: Node, schedule: Schedule, position: int) -> None:
        """Have the node's column ready, and what it was made of only if it is read again."""
        if node in self._ready:
            return
        needs = schedule.needs[node]
        self._pinned.update(needs)
        for need in needs:
            self._obtain(need, schedule, position)
        self._make_room(schedule, position)
        self._ready[node] = self._column(node)
        self._done.add(node)
        self._pinned.subtract(needs)
        for need in needs:
            if self._is_spare(need, schedule, position) and not schedule.is_wanted_later(
                need, position, self._ready
            ):
                del self._ready[need]

    def _is_spare(self, node: Node, schedule: Schedule, position: int) -> bool:
        """Whether the present tree can do without the node's column."""
        return not self._pinned[node] and not schedule.is_due(
            node, position, self._ready, self._done
        )

    def _make_room(self, schedule: Schedule, position: int) -> None:
        """Drop what later trees would share, the latest first; they compute it anew."""
        kept = [node for node in self._ready if not isinstance(node, Field)]
        spare = [node for node in kept if self._is_spare(node, schedule, position)]
        spare.sort(key=lambda node: schedule.next_use(node, position))
        while len(kept) >= KEPT_COLUMNS and spare:
            node = spare.pop()
            kept.remove(node)
            del self._ready[node]

    def _column(self, node: Node) -> FloatArray:
        if isinstance(node, Field):
            return self._field(node.name)
        if isinstance(node, Call) and OPERATORS[node.name].family is Family.WINDOW:
            return self._window(node)
        return self._tiled(node)

    def _window(self, node: Call) -> FloatArray:
        series = [self._ready[arg] for arg in node.args if not isinstance(arg, Number)]
        return window(node, series, self._first_bar)

    def _tiled(self, node: Node) -> FloatArray:
        """Nodes that look at one bar at a time, a tile of rows after another."""
        shape = next(iter(self._ready.values())).shape
        out = np.empty(shape)
        step = max(1, _TILE_VALUES // max(1, shape[1]))
        for start in range(0, shape[0], step):
            rows = slice(start, start + step)
            out[rows] = self._rows(node, rows, top=True)
        return out

    def _rows(self, node: Node, rows: slice, top: bool = False) -> FloatArray:
        if not top and node in self._ready:
            return self._ready[node][rows]
        if isinstance(node, Number):
            return np.float64(node.value)  # type: ignore[return-value]  # broadcasts as an array
        if not isinstance(node, Call):
            raise TypeError(f"{node} has no values")
        if OPERATORS[node.name].family is Family.BAR:
            return ELEMENTWISE[node.name](*(self._rows(arg, rows) for arg in node.args))
        return self._across(node, rows)

    def _across(self, node: Call, rows: slice) -> FloatArray:
        series = [arg for arg in node.args if not isinstance(arg, Number | Group)]
        values = [self._rows(arg, rows) for arg in series]
        if self._members is not None:
            here = self._members[rows]
            values = [np.where(here, one, np.nan) for one in values]
        return across(node, values, self._groups)

    def _field(self, name: str) -> FloatArray:
        if name == "vwap" and name not in self._panel:
            return vwap({name: self._field(name) for name in VWAP_COLUMNS if name in self._panel})
        values = np.require(self._panel[name], np.float64, ["C", "W"])
        if isinstance(self._panel, Panel):
            return values
        from alphamill.factors.kernels.pointwise import has_infinity  # loads numba

        if values.ndim != 2:
            raise FactorError(f"field '{name}' has {values.ndim} dimensions, not (bars, symbols)")
        return np.where(np.isinf(values), np.nan, values) if has_infinity(values) else values
