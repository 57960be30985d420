"""The factor language as this project's runs speak it: base fields plus every indicator."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from alphamill.factors import MINING_BOUNDS, OPERATORS, Factor, manual, parse
from alphamill.factors.bounds import GIVEN_BOUNDS
from alphamill.factors.fields import is_field
from alphamill.factors.vocabulary import FIELD_UNITS, GIVEN_FIELDS
from alphamill.factors.wide import WIDE_FIELDS, wide_units
from alphamill.frames import Wide
from alphamill.indicators import INDICATORS

_WORD = re.compile(r"[a-z_][a-z0-9_]*")

_TITLES: Mapping[str, Collection[Wide]] = {
    "Fields of the futures contract beside its bars, with their units:": [
        kind for kind in Wide if kind is not Wide.FLOW
    ],
    "Fields of a bar's own trades, known at its close, with their units:": [Wide.FLOW],
}

GIVEN_GROUPS = ("sector", "industry", "subindustry")
"""Group tables that the scoring of given expressions always has: one group of all by default."""


def read_expression(
    text: str, groups: Collection[str] | None = None, wide: Collection[Wide] = tuple(Wide)
) -> Factor:
    """A factor from a model's text. Raises FactorError.

    groups: the run's tables (None: any). wide: what the run has beside bars (default: anything).
    """
    fields = {**FIELD_UNITS, **wide_units(wide)}
    return parse(text, fields=fields, bounds=MINING_BOUNDS, groups=groups)


def read_given(text: str, groups: Collection[str] | None = None) -> Factor:
    """A factor that a person gave or published, or one combined of many: it may be much larger than
    a model's. FactorError.
    """
    return parse(text, fields=GIVEN_FIELDS, bounds=GIVEN_BOUNDS, groups=groups)


def names_anything(text: str) -> bool:
    """Whether a text names a field or an operator of the language; most prose does not."""
    words = _WORD.findall(text.lower())
    return any(word in OPERATORS or is_field(word, GIVEN_FIELDS) for word in words)


def language_manual(wide: Collection[Wide] = ()) -> str:
    """The manual that prompts get: operators, then the indicators' names.

    wide: what the run has beside bars, whose fields are named too.
    """
    by_unit: dict[str, list[str]] = {}
    for name, unit in FIELD_UNITS.items():
        by_unit.setdefault(unit or "other", []).append(name)
    lines = [f"  {unit}: {' '.join(names)}" for unit, names in by_unit.items()]
    beside: list[str] = []
    for title, kinds in _TITLES.items():
        if fields := _told([kind for kind in kinds if kind in wide]):
            beside += [title, *fields, ""]
    return "\n".join([manual().rstrip(), "", *beside, "Indicator fields, by unit:", *lines, ""])


def readers_manual() -> str:
    """The manual that people get: operators, groups, and what each indicator is."""
    tables = ", ".join(GIVEN_GROUPS)
    lines = [f"  {name} ({unit}): {INDICATORS[name].summary}" for name, unit in FIELD_UNITS.items()]
    groups = f"""
Groups are the columns of a table: --groups FILE of evaluate and mine. Without one,
evaluate takes all symbols for one {tables}, and mine has no groups.

Indicators, with their units; a ratio has none and compares across symbols:"""
    beside = [""]
    for kind in Wide:
        of = "a bar's own trades, up to 1h" if kind is Wide.FLOW else "futures"
        beside.append(f"Fields of {of}, in runs that ask for them --with {kind}:")
        beside += _told((kind,))
    return "\n".join([manual().rstrip(), groups, *lines, *beside, ""])


def _told(wide: Collection[Wide]) -> list[str]:
    """A line a field."""
    fields = [one for one in WIDE_FIELDS.values() if one.of in wide]
    return [f"  {one.name} ({one.unit}): {one.meaning}" for one in fields]
