"""Errors about names and arguments, in words that the reader can act on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from alphamill.errors import FactorError
from alphamill.factors.fields import BASE_FIELDS
from alphamill.factors.operators import OPERATORS, Family, Operator
from alphamill.factors.spellings import loose
from alphamill.factors.tokens import Token

if TYPE_CHECKING:
    from alphamill.factors.dialects import Dialect

_ALIKE = 0.7  # of two names, by difflib: "ts_maen" and "ts_mean" are 0.86
_FIELDS = ", ".join([*BASE_FIELDS, "adv20"])
_LENGTH = re.compile("_?[0-9]+$")
_AHEAD = ("forward", "future", "fwd", "next")
_CLASSES = ("sector", "industry", "subindustry")  # what people take for fields


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that is most like it, if one is much like it."""
    found = difflib.get_close_matches(name.lower(), list(known), n=1, cutoff=_ALIKE)
    return found[0] if found else None


def _other_lengths(name: str, known: Iterable[str]) -> str:
    """Fields that differ in their length alone: rsi_20 -> "rsi_6 or rsi_14"."""
    stem = re.escape(_LENGTH.sub("", name.lower()))
    return " or ".join(one for one in known if re.fullmatch(stem + "_[0-9]+", one))


def unknown_field(token: Token, extra: Collection[str], groups: Collection[str]) -> FactorError:
    """A name that stands where a field must."""
    name, position = token.text, token.position
    if name.startswith(_AHEAD):
        return FactorError(f"{name} looks ahead, which this language cannot say", position)
    group = name.rpartition(".")[2]
    if group in groups or group in _CLASSES:
        problem = f"'{name}' is a group, not a field"
        return FactorError(problem, position, "", "group_rank(x, group)")
    problem = f"unknown field '{name}'"
    alike = [one for one in (*BASE_FIELDS, *extra) if loose(one) == loose(name)]
    lengths = _other_lengths(name, extra)
    if lengths and not alike:
        return FactorError(problem, position, lengths)
    begun = [one for one in BASE_FIELDS if len(name) > 2 and one.startswith(name)]
    likely = [*alike, *begun]
    suggestion = likely[0] if likely else nearest(name, [*BASE_FIELDS, *extra, "adv20"])
    expected = "" if suggestion else _FIELDS + (" or an indicator" if extra else "")
    return FactorError(problem, position, expected, suggestion)


def unknown_operator(token: Token, dialect: Dialect, extra: Collection[str]) -> FactorError:
    """A name that is called, and no operator's."""
    name, position = token.text, token.position
    held = dialect.refusal(name)
    if held is not None:
        problem, instead = held
        return FactorError(f"{name} {problem}", position, "", instead or None)
    if name.startswith(_AHEAD):
        return FactorError(f"{name} looks ahead, which this language cannot say", position)
    tail = dialect.operator_name(name.rpartition(".")[2])
    if "." in name and tail:
        problem = f"'{name}' is not part of the language, which has no methods"
        return FactorError(problem, position, "", tail + OPERATORS[tail].signature)
    if name.lower() == "adv":
        return FactorError("adv is no operator", position, "the bars in its name: adv20")
    lengths = _other_lengths(name, extra)
    if lengths:
        return FactorError(f"'{name}' is no operator; indicators are fields", position, lengths)
    suggestion = nearest(name, dialect.spellings())
    expected = "" if suggestion else "an operator of the manual"
    return FactorError(f"unknown operator '{name}'", position, expected, suggestion)


def called_field(token: Token) -> FactorError:
    """A field with brackets behind it."""
    problem = f"{token.text} is a field, not an operator"
    return FactorError(problem, token.position, f"{token.text} without brackets")


def wrong_count(operator: Operator, given: int, token: Token) -> FactorError:
    """A call with too few or too many arguments."""
    plural = "argument" if given == 1 else "arguments"
    return FactorError(
        f"{token.text} needs {operator.signature}, as in {operator.example}; "
        f"{given or 'no'} {plural} given",
        token.position,
        "",
        _sibling(operator, given, token.text),
    )


def _sibling(operator: Operator, given: int, typed: str) -> str | None:
    """What a name without a prefix may have meant by so many arguments.

    `rank(x, 20)` a window, `MEAN(x)` all symbols, as AlphaAgent has it, `SMA(x, n, m)` a terminal's
    mean. One who wrote ts_ knows that it is a window.
    """
    stem = operator.name.removeprefix("ts_").removeprefix("cs_")
    names = {
        Family.CROSS: (f"ts_{stem}",),
        Family.WINDOW: (f"cs_{stem}", "sma_cn" if typed.lower() == "sma" else ""),
    }
    for name in names.get(operator.family, ()) if not typed.startswith("ts_") else ():
        other = OPERATORS.get(name)
        if other and other.required <= given <= len(other.params):
            return name + other.signature
    return None


def unknown_group(token: Token, groups: Collection[str]) -> FactorError:
    """A group of which there is no table."""
    expected = " or ".join(groups) if groups else "no operator over groups: there is no table"
    problem = f"there is no group table '{token.text}'"
    return FactorError(problem, token.position, expected, nearest(token.text, groups))
