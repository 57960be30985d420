"""A factor's values over a panel.

Window operators need whole columns; everything between them looks at one bar at a time and is
evaluated in tiles of rows that stay in the processor's cache. What occurs twice is computed once,
and an array is dropped after its last use.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from alphamill.errors import FactorError
from alphamill.factors.elementwise import ELEMENTWISE
from alphamill.factors.factor import Factor
from alphamill.factors.fields import definition
from alphamill.factors.operators import OPERATORS, Family
from alphamill.factors.syntax import Call, Field, Group, Node, Number
from alphamill.frames import FloatArray, IntArray

_TILE_VALUES = 16_384  # 128 kB an array


def compute(
    factor: Factor,
    panel: Mapping[str, FloatArray],
    groups: Mapping[str, Sequence[object]] | None = None,
) -> FloatArray:
    """The factor's values, a new float64 array (bars, symbols); finite or NaN.

    panel: fields -> (bars, symbols), ascending bars; `vwap`, `returns` and `adv{d}` are derived
        where they are absent. An infinity counts as NaN.
    groups: group name -> one label a symbol; a symbol labelled None belongs to no group.
    Row t depends on rows up to t alone; the first `lookback_bars` rows are NaN.
    Raises FactorError naming a field or group that is missing.
    """
    evaluation = _Evaluation(panel, groups or {})
    tree = evaluation.expand(factor.tree)
    with np.errstate(all="ignore"):
        values = evaluation.run(tree)
    values[: factor.lookback_bars] = np.nan  # `where` and `fill` can answer before that
    return values


class _Evaluation:
    """One factor over one panel."""

    def __init__(
        self, panel: Mapping[str, FloatArray], groups: Mapping[str, Sequence[object]]
    ) -> None:
        self._panel = panel
        self._groups = groups
        self._codes: dict[str, IntArray] = {}
        self._ready: dict[Node, FloatArray] = {}

    def expand(self, node: Node) -> Node:
        """The tree with derived fields spelt out where the panel lacks them."""
        if isinstance(node, Field) and node.name not in self._panel:
            derived = definition(node.name)
            return node if derived is None else self.expand(derived)
        if isinstance(node, Call):
            return Call(node.name, tuple(self.expand(arg) for arg in node.args))
        return node

    def run(self, tree: Node) -> FloatArray:
        """Compute the whole-column nodes in order, dropping each after its last use."""
        order, needs = _schedule(tree)
        remaining = Counter(need for node in order for need in needs[node])
        for node in order:
            self._ready[node] = self._column(node)
            for need in needs[node]:
                remaining[need] -= 1
                if not remaining[need]:
                    del self._ready[need]
        values = self._ready.pop(tree)
        return values.copy() if isinstance(tree, Field) else values

    def _column(self, node: Node) -> FloatArray:
        if isinstance(node, Field):
            return self._field(node.name)
        if isinstance(node, Call) and OPERATORS[node.name].family is Family.WINDOW:
            return self._window(node)
        return self._tiled(node)

    def _window(self, node: Call) -> FloatArray:
        from alphamill.factors.kernels.table import WINDOW  # loads numba

        args: list[FloatArray | float] = []
        for arg in node.args:
            if isinstance(arg, Number):
                args.append(int(arg.value) if arg.value == int(arg.value) else arg.value)
            else:
                args.append(self._ready[arg])
        if node.name == "ts_quantile":
            args[-1] = float(args[-1])
        return WINDOW[node.name](*args)

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
        from alphamill.factors.kernels import table  # loads numba

        x = np.ascontiguousarray(self._rows(node.args[0], rows))
        if node.name == "neutralize":
            return table.regress_out(x, np.ascontiguousarray(self._rows(node.args[1], rows)))
        second = node.args[1] if len(node.args) > 1 else None
        amount = second.value if isinstance(second, Number) else None
        group = second.name if isinstance(second, Group) else ""
        return table.across(node.name, x, amount, self._group(group, x.shape[1]))

    def _group(self, name: str, n_symbols: int) -> IntArray:
        """The symbols' group numbers; the name "" puts all into one."""
        if name not in self._codes:
            self._codes[name] = self._number_groups(name, n_symbols)
        return self._codes[name]

    def _number_groups(self, name: str, n_symbols: int) -> IntArray:
        if not name:
            return np.zeros(n_symbols, dtype=np.int64)
        if name not in self._groups:
            raise FactorError(f"no group table '{name}'", 0, "", _nearest(name, self._groups))
        labels = list(self._groups[name])
        if len(labels) != n_symbols:
            raise FactorError(
                f"group table '{name}' has {len(labels)} labels for {n_symbols} symbols"
            )
        numbers = {label: i for i, label in enumerate(dict.fromkeys(labels) - {None: None}.keys())}
        return np.array([numbers.get(label, -1) for label in labels], dtype=np.int64)

    def _field(self, name: str) -> FloatArray:
        if name == "vwap" and name not in self._panel:
            return self._vwap()
        if name not in self._panel:
            raise FactorError(
                f"the panel has no field '{name}'", 0, "", _nearest(name, self._panel)
            )
        values = np.require(self._panel[name], np.float64, ["C", "W"])
        if values.ndim != 2:
            raise FactorError(f"field '{name}' has {values.ndim} dimensions, not (bars, symbols)")
        return np.where(np.isinf(values), np.nan, values) if np.isinf(values).any() else values

    def _vwap(self) -> FloatArray:
        """quote_volume / volume; the typical price where there is no quote volume or no trade."""
        typical = (self._field("high") + self._field("low") + self._field("close")) / 3.0
        if any(column not in self._panel for column in ("quote_volume", "volume")):
            return typical
        exact = self._field("quote_volume") / self._field("volume")
        return np.where(np.isfinite(exact), exact, typical)


def _schedule(tree: Node) -> tuple[list[Node], dict[Node, tuple[Node, ...]]]:
    """Nodes to compute over whole columns, arguments first, and what each of them reads.

    Those are: the root, fields, window operators and their arguments, and what occurs twice.
    """
    whole = _whole_nodes(tree)
    order: list[Node] = []
    needs: dict[Node, tuple[Node, ...]] = {}

    def visit(node: Node) -> None:
        if node in needs:
            return
        found: dict[Node, None] = {}
        _reads(node, whole, found)
        needs[node] = tuple(found)
        for need in found:
            visit(need)
        order.append(node)

    visit(tree)
    return order, needs


def _whole_nodes(tree: Node) -> set[Node]:
    whole: set[Node] = {tree}
    uses: Counter[Node] = Counter()
    pending, seen = [tree], {tree}
    while pending:
        node = pending.pop()
        if isinstance(node, Field):
            whole.add(node)
        if not isinstance(node, Call):
            continue
        series = [arg for arg in node.args if not isinstance(arg, Number | Group)]
        if OPERATORS[node.name].family is Family.WINDOW:
            whole.update((node, *series))
        uses.update(series)
        pending.extend(arg for arg in series if arg not in seen)
        seen.update(series)
    return whole | {node for node, count in uses.items() if count > 1}


def _reads(node: Node, whole: set[Node], found: dict[Node, None]) -> None:
    """The nearest whole-column nodes below `node`, into `found`."""
    for arg in node.args if isinstance(node, Call) else ():
        if arg in whole:
            found[arg] = None
        else:
            _reads(arg, whole, found)


def _nearest(name: str, known: Mapping[str, object]) -> str | None:
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return found[0] if found else None
