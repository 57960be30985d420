"""The factor language: fields, operators, dialects, indicators, from their registries."""

from __future__ import annotations

import math
from dataclasses import astuple

from alphamill.factors import DIFFERENCES, OPERATORS
from alphamill.factors.fields import BASE_FIELDS
from alphamill.factors.manual import manual
from alphamill.factors.record import Family, History, Operator, Param
from alphamill.factors.vocabulary import FIELD_UNITS
from alphamill.indicators import INDICATORS, LEFT_OUT
from alphamill.language import GIVEN_GROUPS
from reference.markdown import code, page, table, words

_FIELD_HEAD = ("field", "unit")


def language_page() -> str:
    """Rules, fields and operators."""
    rules = manual().split("\n\n")[0]
    fields = [(code(name), unit) for name, unit in BASE_FIELDS.items()]
    fields.append((code("adv20"), "quote: mean `quote_volume` of so many bars, here 20"))
    parts = [
        *(words(line) for line in rules.splitlines()),
        "## Fields",
        table(_FIELD_HEAD, fields),
        "Every [indicator](indicators.md) is a field too. Groups are the columns of "
        "`--groups FILE`; without one, `evaluate` takes all symbols for one "
        f"{', '.join(GIVEN_GROUPS)}.",
    ]
    for family in Family:
        members = [one for one in OPERATORS.values() if one.family is family]
        parts += [f"## Over {family.value}", table(_HEAD, map(_operator, members))]
    parts += [
        "## Where other dialects compute other numbers",
        "Formulas in the paper's spelling parse with the dialect `alpha101`, qlib's with `qlib`.",
        table(
            ("point", "here", "alpha101", "qlib"),
            (tuple(map(words, astuple(row))) for row in DIFFERENCES),
        ),
    ]
    return page("Language", "The same as `alphamill operators`.", *parts)


_HEAD = ("operator", "meaning", "example", "arguments", "bars before", "other spellings")


def _operator(one: Operator) -> tuple[str, ...]:
    spelt = f"x {one.symbol} y" if one.symbol and len(one.params) == 2 else one.name + one.signature
    return (
        code(spelt),
        words(one.meaning),
        code(one.example),
        "; ".join(filter(None, map(_param, one.params))),
        "" if one.history is History.NONE else code(one.history.value),
        " ".join(code(alias) for alias in one.aliases),
    )


def _param(param: Param) -> str:
    """Its range, where it is a literal."""
    if param.kind.value not in ("bars", "number"):
        return ""
    low = "" if math.isinf(param.low) else f"{param.low:g} <= "
    high = "" if math.isinf(param.high) else f" <= {param.high:g}"
    return f"`{low}{param.name}{high}`" if low or high else ""


def indicators_page() -> str:
    """Every column of `features`."""
    parts = []
    for family in dict.fromkeys(one.family for one in INDICATORS.values()):
        rows = []
        for one in INDICATORS.values():
            if one.family != family:
                continue
            parameters = ", ".join(f"{name} {value:g}" for name, value in one.parameters.items())
            span = f"{one.span_ms / 3_600_000:g} h" if one.span_ms else str(one.first_bar)
            rows.append(
                (
                    code(one.name),
                    words(one.summary),
                    FIELD_UNITS.get(one.name, one.unit.value),
                    _range(one.low, one.high),
                    span,
                    str(one.settle_bars or ""),
                    parameters,
                    words(one.source),
                )
            )
        parts += [f"## {family.capitalize()}", table(_INDICATOR_HEAD, rows)]
    parts += [
        "## Left out",
        table(("indicator", "why"), ((code(name), words(why)) for name, why in LEFT_OUT.items())),
    ]
    about = (
        f"{len(INDICATORS)} columns, computed by `alphamill features` and named in expressions. A "
        "ratio has no unit and compares across symbols. *warm-up*: bars without a value at the "
        "start of every unbroken stretch; *settles*: further bars until the history's start moves "
        "no value any more."
    )
    return page("Indicators", about, *parts)


_INDICATOR_HEAD = ("column", "is", "unit", "range", "warm-up", "settles", "parameters", "source")


def _range(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return ""
    return f"{'' if math.isinf(low) else f'{low:g}'} … {'' if math.isinf(high) else f'{high:g}'}"
