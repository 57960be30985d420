"""The factor language as this project's runs speak it: base fields plus every indicator."""

from __future__ import annotations

import re
from collections.abc import Collection

from alphamill.factors import MINING_BOUNDS, OPERATORS, Factor, manual, parse
from alphamill.factors.fields import is_field
from alphamill.factors.vocabulary import FIELD_UNITS, GIVEN_FIELDS
from alphamill.indicators import INDICATORS

_WORD = re.compile(r"[a-z_][a-z0-9_]*")

GIVEN_GROUPS = ("sector", "industry", "subindustry")
"""Group tables that the scoring of given expressions always has: one group of all by default."""


def read_expression(text: str, groups: Collection[str] | None = None) -> Factor:
    """A factor from a model's text; groups: the run's tables (None: any). Raises FactorError."""
    return parse(text, fields=FIELD_UNITS, bounds=MINING_BOUNDS, groups=groups)


def read_given(text: str, groups: Collection[str] | None = None) -> Factor:
    """A factor that a person gave or published: it may be larger than a model's. FactorError."""
    return parse(text, fields=GIVEN_FIELDS, groups=groups)


def names_anything(text: str) -> bool:
    """Whether a text names a field or an operator of the language; most prose does not."""
    words = _WORD.findall(text.lower())
    return any(word in OPERATORS or is_field(word, FIELD_UNITS) for word in words)


def language_manual() -> str:
    """The manual that prompts get: operators, then the indicators' names."""
    by_unit: dict[str, list[str]] = {}
    for name, unit in FIELD_UNITS.items():
        by_unit.setdefault(unit or "other", []).append(name)
    lines = [f"  {unit}: {' '.join(names)}" for unit, names in by_unit.items()]
    return "\n".join([manual().rstrip(), "", "Indicator fields, by unit:", *lines, ""])


def readers_manual() -> str:
    """The manual that people get: operators, groups, and what each indicator is."""
    tables = ", ".join(GIVEN_GROUPS)
    lines = [f"  {name} ({unit}): {INDICATORS[name].summary}" for name, unit in FIELD_UNITS.items()]
    groups = f"""
Groups are the columns of a table: --groups FILE of evaluate and mine. Without one,
evaluate takes all symbols for one {tables}, and mine has no groups.

Indicators, with their units; a ratio has none and compares across symbols:"""
    return "\n".join([manual().rstrip(), groups, *lines, ""])
