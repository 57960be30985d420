"""How far what a run stored and what is computed now lie apart, and which code gave each."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from alphamill.runs.rows import JudgedFactor
from alphamill.stages.verify import CODE_VERSION

ROUNDING = 1e-9
"""Figures that agree to this fraction differ by the order in which the same numbers were added."""


@dataclass(frozen=True, slots=True)
class Code:
    """Versions of the code that computed a run and of this one; "" where a run has no verdict.

    Raised with any change of a value, so that a difference between equal versions has no excuse.
    """

    then: str
    now: str

    @classmethod
    def of(cls, factors: Sequence[JudgedFactor]) -> Code:
        """As a run's verdicts say it."""
        return cls(next((one.code_version or "" for one in factors), ""), CODE_VERSION)

    def explain(self, farthest: float | None) -> str:
        """What to make of a difference of that size; "" if the code is the same."""
        if self.then in ("", self.now):
            return ""
        size = "something else than a number differs" if farthest is None else f"by {farthest:.1g}"
        if farthest is not None and farthest <= ROUNDING:
            size = f"in their last digits only, by {farthest:.1g} of a figure at most"
        return (
            f"computed then by alphamill {self.then}, now by {self.now}, which has other values "
            f"({size}; CHANGELOG says which changed)"
        )


def farthest(pairs: Sequence[tuple[Any, Any]]) -> float | None:
    """The largest relative difference of two numbers; None if something else differs.

    Lists, mappings and their JSON are compared part by part; 0 where nothing differs.
    """
    most = max((_apart(one, two) for one, two in pairs), default=0.0)
    return most if math.isfinite(most) else None


def _apart(one: Any, two: Any) -> float:
    one, two = _read(one), _read(two)
    if one == two:
        return 0.0
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        return max(_apart(one.get(name), two.get(name)) for name in {*one, *two})
    if isinstance(one, list) and isinstance(two, list):
        return max(_apart(*pair) for pair in zip_longest(one, two))
    if isinstance(one, float) and isinstance(two, float):
        return abs(one - two) / max(abs(one), abs(two))
    return math.inf


def _read(value: Any) -> Any:
    """A NaN of older code is today's null; a column may hold JSON."""
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value
