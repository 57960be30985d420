"""Factor expressions: parsed, checked, compared and computed; never executed as code."""

from alphamill.errors import FactorError
from alphamill.factors.check import Fault, check
from alphamill.factors.compute import compute
from alphamill.factors.operators import OPERATORS, manual
from alphamill.factors.parser import MINING_BOUNDS, Bounds, Factor, parse

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
