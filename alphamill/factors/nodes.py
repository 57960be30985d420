"""One node's values from those of its arguments, and what a panel gives: of one bar or of many."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

import numpy as np

from alphamill.errors import FactorError
from alphamill.factors.fields import definition, is_as_sent
from alphamill.factors.operators import OPERATORS
from alphamill.factors.syntax import Call, Field, Group, Node, Number
from alphamill.frames import FloatArray, IntArray

VWAP_COLUMNS = ("high", "low", "close", "quote_volume", "volume")
"""What `vwap` is made of, as far as the panel has it."""


def expand(node: Node, panel: Mapping[str, FloatArray]) -> Node:
    """The tree with derived fields spelt out where the panel lacks them."""
    if isinstance(node, Field) and node.name not in panel:
        derived = definition(node.name)
        return node if derived is None else expand(derived, panel)
    if isinstance(node, Call):
        return Call(node.name, tuple(expand(arg, panel) for arg in node.args))
    return node


def window(node: Call, series: Sequence[FloatArray], first_bar: int) -> FloatArray:
    """A window operator over whole columns. series: of its arguments that are no literals.

    first_bar: the number of the bar in row 0.
    """
    from alphamill.factors.kernels.table import FREE_OF_GRID, RANKING, WINDOW  # loads numba

    columns = iter(series)
    args: list[FloatArray | float] = []
    for arg in node.args:
        if isinstance(arg, Number):
            args.append(int(arg.value) if arg.value == int(arg.value) else arg.value)
        else:
            args.append(next(columns))
    if node.name == "ts_quantile":
        args[-1] = float(args[-1])
    if node.name in RANKING:
        args += [tie_of(arg) for arg in node.args if not isinstance(arg, Number)]
    if node.name not in FREE_OF_GRID:
        args.append(first_bar)
    return WINDOW[node.name](*args)


def across(node: Call, series: Sequence[FloatArray], groups: GroupNumbers) -> FloatArray:
    """An operator over the symbols of each bar. series: its arguments that are arrays."""
    from alphamill.factors.kernels import table  # loads numba

    x = np.ascontiguousarray(series[0])
    if node.name == "neutralize":
        return table.regress_out(x, np.ascontiguousarray(series[1]))
    codes = groups.numbers(group_of(node), x.shape[1])
    return table.across(node.name, x, amount_of(node), codes, tie_of(node.args[0]))


def amount_of(node: Call) -> float:
    """Of an operator over symbols: the literal given, or what stands in for it; 0 for none."""
    amounts = [arg.value for arg in node.args if isinstance(arg, Number)]
    return amounts[0] if amounts else OPERATORS[node.name].params[-1].default or 0.0


def group_of(node: Call) -> str:
    """The group table that an operator over symbols names, "" for all symbols."""
    return next((arg.name for arg in node.args if isinstance(arg, Group)), "")


def vwap(panel: Mapping[str, FloatArray]) -> FloatArray:
    """quote_volume / volume; the typical price where there is no quote volume or no trade."""
    typical = (panel["high"] + panel["low"] + panel["close"]) / 3.0
    if any(column not in panel for column in ("quote_volume", "volume")):
        return typical
    exact = panel["quote_volume"] / panel["volume"]
    return np.where(np.isfinite(exact), exact, typical)


def check_field(name: str, panel: Mapping[str, FloatArray]) -> None:
    """Raise FactorError for a field that the panel has not, once derived ones are spelt out."""
    if name == "vwap" and name not in panel:
        for price in ("high", "low", "close"):
            check_field(price, panel)
    elif name not in panel:
        raise FactorError(f"the panel has no field '{name}'", 0, "", nearest(name, panel))


class GroupNumbers:
    """The symbols' group numbers, by group table: 0, 1, ..., and -1 for none."""

    def __init__(self, tables: Mapping[str, Sequence[object]]) -> None:
        self._tables = tables
        self._numbers: dict[tuple[str, int], IntArray] = {}

    def numbers(self, name: str, n_symbols: int) -> IntArray:
        """Of one table; the name "" puts all symbols into one group. Raises FactorError."""
        key = name, n_symbols
        if key not in self._numbers:
            self._numbers[key] = self._number(name, n_symbols)
        return self._numbers[key]

    def _number(self, name: str, n_symbols: int) -> IntArray:
        if not name:
            return np.zeros(n_symbols, dtype=np.int64)
        if name not in self._tables:
            raise FactorError(f"no group table '{name}'", 0, "", nearest(name, self._tables))
        labels = list(self._tables[name])
        if len(labels) != n_symbols:
            raise FactorError(
                f"group table '{name}' has {len(labels)} labels for {n_symbols} symbols"
            )
        numbers = {label: i for i, label in enumerate(dict.fromkeys(labels) - {None: None}.keys())}
        return np.array([numbers.get(label, -1) for label in labels], dtype=np.int64)


def nearest(name: str, known: Mapping[str, object]) -> str | None:
    """The known name that it may be a slip of."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def tie_of(node: Node) -> float:
    """The fraction to which two of its values agree that share a rank."""
    from alphamill.factors.kernels import TIE

    return 0.0 if is_as_sent(node) else TIE
