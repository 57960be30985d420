"""Faults that parse but mean nothing: units that do not match, raw prices compared across coins."""

from __future__ import annotations

from typing import Self

from alphamill.factors.factor import Factor
from alphamill.factors.printer import to_text
from alphamill.factors.unit_inference import UnitInference


class Fault(str):
    """A sentence; `where` is the part of the expression that it is about."""

    __slots__ = ("where",)
    where: str

    def __new__(cls, problem: str, where: str) -> Self:
        """A fault about `where`."""
        fault = super().__new__(cls, f"{where}: {problem}")
        fault.where = where
        return fault


def check(factor: Factor) -> list[Fault]:
    """All faults, innermost first; empty for a factor that is the same on any coin's scale.

    A field whose unit was not given to `parse` is taken on trust: nothing is said about what is
    made of it.
    """
    inference = UnitInference(factor.units)
    unit = inference.unit(factor.tree)
    faults = [Fault(problem, to_text(node)) for node, problem in inference.problems]
    if unit is not None and not unit.is_comparable and not faults:
        problem = (
            f"the factor is in {unit}, which cannot be compared between coins; divide by a {unit}"
        )
        faults.append(Fault(problem, factor.text))
    return list(dict.fromkeys(faults))
