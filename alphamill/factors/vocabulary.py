"""Names that an expression may hold beside the bars' own fields, with their units."""

from __future__ import annotations

from alphamill.factors.operators import OPERATORS
from alphamill.factors.wide import wide_units
from alphamill.factors.zoo import ZOO_FIELDS
from alphamill.frames import Wide
from alphamill.indicators import INDICATORS

# `returns` is a base field of the language and an indicator of the same meaning.
FIELD_UNITS = {
    name: indicator.unit.value
    for name, indicator in INDICATORS.items()
    if name != "returns" and name not in OPERATORS
}
"""Every indicator that can be named in an expression -> its unit, "" where it has none of ours."""

GIVEN_FIELDS = {**FIELD_UNITS, **wide_units(tuple(Wide)), **ZOO_FIELDS}
"""What a person may name: indicators, what is beside bars, the fields of published factors."""
