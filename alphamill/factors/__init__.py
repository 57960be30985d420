"""Factor expressions: parsed, checked, compared and computed; never executed as code."""

from typing import TYPE_CHECKING

from alphamill.on_demand import export_on_demand

if TYPE_CHECKING:
    from alphamill.errors import FactorError
    from alphamill.factors.bounds import MINING_BOUNDS, Bounds
    from alphamill.factors.check import Fault, check
    from alphamill.factors.compute import VALUES_VERSION, compute, compute_many
    from alphamill.factors.dialects import DIFFERENCES
    from alphamill.factors.factor import Factor, parse
    from alphamill.factors.manual import dialect_table, manual
    from alphamill.factors.operators import OPERATORS
    from alphamill.factors.tail import Tail
    from alphamill.factors.zoo import ZOO_FIELDS, ZooFactor, zoo, zoo_names

__all__ = [
    "DIFFERENCES",
    "MINING_BOUNDS",
    "OPERATORS",
    "VALUES_VERSION",
    "ZOO_FIELDS",
    "Bounds",
    "Factor",
    "FactorError",
    "Fault",
    "Tail",
    "ZooFactor",
    "check",
    "compute",
    "compute_many",
    "dialect_table",
    "manual",
    "parse",
    "zoo",
    "zoo_names",
]

export_on_demand(__name__)
