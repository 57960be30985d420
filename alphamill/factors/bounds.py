"""How large an expression may be."""

from __future__ import annotations

from dataclasses import dataclass

from alphamill.errors import FactorError


@dataclass(frozen=True, slots=True)
class Bounds:
    """Limits on an expression, checked before anything is computed.

    The defaults hold all of the 101 formulas; MINING_BOUNDS are tighter.
    """

    max_chars: int = 2000
    max_depth: int = 16
    max_nodes: int = 64
    max_window_bars: int = 5_000
    max_lookback_bars: int = 10_000
    max_constant: float = 1e12

    def check_constant(self, value: float, position: int) -> None:
        """A constant may be 0, or between 1 / max_constant and max_constant, with either sign."""
        if not abs(value) <= self.max_constant:
            limit = f"at most {self.max_constant:g}"
            raise FactorError(f"{value:g} is too large", position, limit)
        if 0 < abs(value) < 1 / self.max_constant:
            limit = f"0 or at least {1 / self.max_constant:g}"
            raise FactorError(f"{value:g} is too small", position, limit)


GIVEN_BOUNDS = Bounds(max_chars=500_000, max_depth=64, max_nodes=50_000, max_constant=1e300)
"""For what a person gives: a combination of many factors too, each as large as the defaults."""

MINING_BOUNDS = Bounds(max_chars=1000, max_depth=12, max_nodes=64)
"""For expressions from models: what a person can still read."""
