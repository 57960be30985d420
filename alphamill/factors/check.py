"""Faults that parse but mean nothing: units that do not match, raw prices compared across coins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alphamill.factors.unit_inference import Fault, _Checker

if TYPE_CHECKING:
    from alphamill.factors.factor import Factor


def check(factor: Factor) -> list[Fault]:
    """All faults, innermost first; empty for a factor that is the same on any coin's scale.

    A field whose unit was not given to `parse` is taken on trust: nothing is said about what is
    made of it.
    """
    checker = _Checker(factor.units)
    unit = checker.unit(factor.tree)
    if unit is not None and not unit.is_comparable and not checker.faults:
        checker.fault(
            factor.tree,
            f"the factor is in {unit}, which cannot be compared between coins; divide by a {unit}",
        )
    return list(dict.fromkeys(checker.faults))
