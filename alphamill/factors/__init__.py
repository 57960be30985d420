"""Factor expressions: parsed, checked, compared and computed; never executed as code."""

from alphamill.errors import FactorError
from alphamill.factors.bounds import MINING_BOUNDS, Bounds
from alphamill.factors.check import Fault, check
from alphamill.factors.compute import compute
from alphamill.factors.factor import Factor, parse
from alphamill.factors.operators import OPERATORS, manual

__all__ = [
    "MINING_BOUNDS",
    "OPERATORS",
    "Bounds",
    "Factor",
    "FactorError",
    "Fault",
    "check",
    "compute",
    "manual",
    "parse",
]
