"""Sections of a prompt: how one is written, and the titles by which a reader finds them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Title(StrEnum):
    """What a section of a user message is called. The offline model finds them by these."""

    RUN = "This run"
    TAKEN = "Taken: another window of these is worth nothing"
    WORKED = "What worked so far, best first"
    FAILED = "What failed so far"
    SHARED = "Parts that the best have in common"
    FRUITLESS = "Parts that only failures have"
    TRIED = "Tried as well: a repetition is refused"
    TOO_FAST = "Too fast for its costs"
    THEME = "Theme of this call"
    INDICATORS = "Its indicators at the last bar"
    FINALISTS = "Factors"
    BROKEN = "Expressions that do not parse, with the parser's word"
    TASK = "Task"


def section(title: str, lines: Iterable[str]) -> str:
    """A section of a prompt; "" without a line."""
    body = "\n".join(lines)
    return f"## {title}\n{body}" if body else ""
