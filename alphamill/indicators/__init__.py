"""Technical indicators of one symbol: a registry of records, and one function that computes them.

Importing this package loads no numerical library beyond numpy and pandas; TA-Lib is loaded by the
first computation that needs it.
"""

from alphamill.indicators.compute import compute_indicators, history_bars, indicator_names
from alphamill.indicators.registry import INDICATORS, LEFT_OUT, Indicator, Unit, registry_version
from alphamill.indicators.tail import IndicatorTail

__all__ = [
    "INDICATORS",
    "LEFT_OUT",
    "Indicator",
    "IndicatorTail",
    "Unit",
    "compute_indicators",
    "history_bars",
    "indicator_names",
    "registry_version",
]
