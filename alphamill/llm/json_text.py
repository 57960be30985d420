"""Finding JSON in a model's reply: strict, fenced, wrapped in prose, or cut off.

Bounded in time for hostile text: at most MAX_CHARS are read and MAX_STARTS places tried.
"""

from __future__ import annotations

import json
from typing import Any

MAX_CHARS = 100_000
MAX_STARTS = 200

_DECODER = json.JSONDecoder()


def find_json(text: str, item_key: str) -> tuple[list[Any], bool]:
    """The JSON values of `text`, and whether they are whole.

    A whole reply gives its one value. A damaged one gives the whole objects inside it that have
    `item_key`: the items before the cut.
    """
    text = text[:MAX_CHARS]
    value, _ = _decode(text.strip(), 0, to_the_end=True)
    if value is not None:
        return [value], True
    found, whole = _scan(text, item_key)
    return found, whole


def _scan(text: str, item_key: str) -> tuple[list[Any], bool]:
    """Every object or array of use, left to right; what fails to decode is entered."""
    found: list[Any] = []
    whole, at = True, 0
    for _ in range(MAX_STARTS):
        at = _next_start(text, at)
        if at < 0:
            break
        value, end = _decode(text, at)
        if value is None:
            whole, at = False, at + 1
        else:
            if _of_use(value, item_key):
                found.append(value)
            at = end
    return found, whole and bool(found)


def _next_start(text: str, at: int) -> int:
    starts = [place for place in (text.find("{", at), text.find("[", at)) if place >= 0]
    return min(starts, default=-1)


def _decode(text: str, at: int, to_the_end: bool = False) -> tuple[Any, int]:
    try:
        value, end = _DECODER.raw_decode(text, at)
    except (ValueError, RecursionError):
        return None, at
    if not isinstance(value, dict | list) or (to_the_end and end != len(text)):
        return None, at
    return value, end


def _of_use(value: Any, item_key: str) -> bool:
    if isinstance(value, dict):
        lists = any(isinstance(item, list) for item in value.values())
        return item_key in value or lists
    return any(isinstance(item, dict) and item_key in item for item in value)
