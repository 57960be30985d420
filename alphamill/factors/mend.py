"""Slips in an expression that its parser's errors show how to mend, without asking a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from alphamill.errors import FactorError

MAX_STEPS = 6

_WHOLE_FLOAT = re.compile(r"(?<![\w.])(\d+)\.0*(?![\w.])")
_ASSIGNED = re.compile(r"^\s*[A-Za-z_]\w*\s*=(?!=)\s*")
_NAME = re.compile(r"[A-Za-z_]\w*")
_DURATION = re.compile(r"(?<![\w.])([1-9]\d*)(m|min|h|d|w)(?![\w.(])")
_UNIT_MS = {"m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
# Every sign here says one thing only. Not the em dash, which is also prose, nor raised digits.
_SIGNS = str.maketrans(
    {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width ASCII
    | {ord(sign): "-" for sign in "−–‐‑‒﹣"}
    | {ord(sign): "*" for sign in "×·∗⋅✕﹡"}
    | {ord(sign): "/" for sign in "÷∕⁄"}
    | {ord(sign): "" for sign in "“”「」『』"}
    | dict(zip(map(ord, "、﹐﹙﹚﹢"), ",,()+", strict=True))
    | {ord("\u3000"): " ", ord("≤"): "<=", ord("≥"): ">=", ord("≠"): "!="}
)
_TWO_DASHES = re.compile(r"[−–‐‑‒﹣－]\s*[-−–‐‑‒﹣－]|-\s*[−–‐‑‒﹣－]")


class Mended(NamedTuple):
    """`text` parses if `error` is None; otherwise it is as it was given, with the parser's word."""

    text: str
    error: FactorError | None


def mend(text: str, parse: Callable[[str], object], bar_ms: int | None = None) -> Mended:
    """The text with its slips mended, as far as the parser's errors show them; no meaning guessed.

    Mended are quotes, fences and `name =` around the expression, typographic and full-width signs
    (but not two dashes in a row, which may be one), missing or surplus closing parentheses at the
    end, windows such as 20.0, windows such as 4h that are whole bars of `bar_ms`, and the name that
    the parser suggests. `parse` raises FactorError for text that does not parse.
    """
    error = _try(text, parse)
    if error is None:
        return Mended(text, None)
    first, current, seen = error, text, {text}
    for _ in range(MAX_STEPS):
        current = next(
            (mended for mended in _candidates(current, error, bar_ms) if mended not in seen), ""
        )
        if not current:
            break
        seen.add(current)
        error = _try(current, parse)
        if error is None:
            return Mended(current, None)
    return Mended(text, first)


def _try(text: str, parse: Callable[[str], object]) -> FactorError | None:
    try:
        parse(text)
    except FactorError as error:
        return error
    return None


def _candidates(text: str, error: FactorError, bar_ms: int | None) -> Iterator[str]:
    """What the next text may be, the surest first."""
    if not _TWO_DASHES.search(text):
        yield _ASSIGNED.sub("", text.translate(_SIGNS)).strip(" \t`\"';")
    yield _with_suggestion(text, error)
    yield _balanced(text)
    yield _WHOLE_FLOAT.sub(r"\1", text)
    if bar_ms:
        yield _DURATION.sub(lambda found: _bars(found, bar_ms), text)


def _bars(duration: re.Match[str], bar_ms: int) -> str:
    bars, rest = divmod(int(duration[1]) * _UNIT_MS[duration[2]], bar_ms)
    return duration[0] if rest or not bars else str(bars)


def _with_suggestion(text: str, error: FactorError) -> str:
    found = _NAME.match(text, error.position)
    if found is None or error.suggestion is None or not _NAME.fullmatch(error.suggestion):
        return text
    return text[: found.start()] + error.suggestion + text[found.end() :]


def _balanced(text: str) -> str:
    missing = text.count("(") - text.count(")")
    if missing > 0:
        return text + ")" * missing
    surplus = text[len(text.rstrip(")")) :]
    return text[: len(text) + missing] if 0 < -missing <= len(surplus) else text
