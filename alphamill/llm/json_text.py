"""Finding JSON in a model's reply: strict, fenced, wrapped in prose, damaged or cut off.

Bounded in time for hostile text: at most MAX_CHARS are read and MAX_STARTS places tried.
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

MAX_CHARS = 100_000
MAX_STARTS = 200

_DECODER = json.JSONDecoder()
_KEY = re.compile(r'[\s,]*(?=")')
_COLON = re.compile(r"\s*:\s*")
_AFTER_VALUE = re.compile(r"\s*[,}]")
_NOTHING = object()


class Found(NamedTuple):
    """A JSON value. cut: an object that broke off or is damaged; what stood before that is here."""

    value: Any
    cut: bool = False


def find_json(text: str, *members: str) -> tuple[list[Found], bool]:
    """The JSON values of `text`, and whether they are whole.

    A whole reply gives its one value. A damaged one gives the whole objects inside it that have the
    first of `members`, and of an object that is not whole what stands before the damage, if all of
    `members` are in that.
    """
    text = text[:MAX_CHARS]
    value, _ = _decode(text.strip(), 0, to_the_end=True)
    if value is not None:
        return [Found(value)], True
    return _scan(text, members)


def _scan(text: str, members: tuple[str, ...]) -> tuple[list[Found], bool]:
    """Every object or array of use, left to right; what fails to decode is entered."""
    found: list[Found] = []
    whole, at = True, 0
    for _ in range(MAX_STARTS):
        at = _next_start(text, at)
        if at < 0:
            break
        value, end = _decode(text, at)
        if value is not None:
            if _of_use(value, members[0]):
                found.append(Found(value))
            at = end
            continue
        whole = False
        before = _before_damage(text, at)
        if all(name in before for name in members):
            found.append(Found(before, cut=True))
        at += 1
    return found, whole and bool(found)


def _next_start(text: str, at: int) -> int:
    starts = [place for place in (text.find("{", at), text.find("[", at)) if place >= 0]
    return min(starts, default=-1)


def _decode(text: str, at: int, to_the_end: bool = False) -> tuple[Any, int]:
    value, end = _any_value(text, at)
    if not isinstance(value, dict | list) or (to_the_end and end != len(text)):
        return None, at
    return value, end


def _any_value(text: str, at: int) -> tuple[Any, int]:
    """The value that starts at `at` and its end, or _NOTHING and `at`."""
    try:
        return _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return _NOTHING, at


def _before_damage(text: str, at: int) -> dict[str, Any]:
    """The whole members of the damaged object that opens at `at`; none of a list.

    A number at the very end may have lost digits and is left out.
    """
    members: dict[str, Any] = {}
    end = at + 1
    while text[at] == "{" and (found := _KEY.match(text, end)):
        name, after = _any_value(text, found.end())
        colon = _COLON.match(text, after)
        if not isinstance(name, str) or colon is None:
            break
        value, after = _any_value(text, colon.end())
        if value is _NOTHING or not (isinstance(value, str) or _AFTER_VALUE.match(text, after)):
            break
        members[name] = value
        end = after
    return members


def _of_use(value: Any, item_key: str) -> bool:
    if isinstance(value, dict):
        lists = any(isinstance(item, list) for item in value.values())
        return item_key in value or lists
    return any(isinstance(item, dict) and item_key in item for item in value)
