"""The operators, one record each. Parser, checker, prompts and the manual all read these records.

What they share: a value is NaN until its window is full and while a NaN is in the window; no
operator returns an infinity; comparison with NaN is NaN; true is 1 and false 0; operators over all
symbols leave NaN symbols out.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from alphamill.factors.bar_operators import BAR_OPERATORS
from alphamill.factors.cross_operators import CROSS_OPERATORS
from alphamill.factors.record import Family, History, Kind, Operator, Param
from alphamill.factors.window_operators import WINDOW_OPERATORS

__all__ = ["INFIX", "OPERATORS", "SPELLINGS", "Family", "History", "Kind", "Operator", "Param"]

OPERATORS: Mapping[str, Operator] = MappingProxyType(
    {operator.name: operator for operator in (*BAR_OPERATORS, *WINDOW_OPERATORS, *CROSS_OPERATORS)}
)
"""Every operator by its canonical name."""

SPELLINGS: Mapping[str, str] = MappingProxyType(
    {name: name for name in OPERATORS}
    | {alias: op.name for op in OPERATORS.values() for alias in op.aliases}
)
"""Every accepted spelling -> canonical name."""

INFIX: Mapping[str, str] = MappingProxyType(
    {op.symbol: op.name for op in OPERATORS.values() if op.symbol and len(op.params) == 2}
)
"""Infix symbol -> canonical name, for two arguments."""
