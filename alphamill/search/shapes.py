"""Which expressions are one idea with other numbers."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(?<![\w.])\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def shape(text: str) -> str:
    """An expression without its numbers: other windows of one idea have the same."""
    return _NUMBER.sub("#", text)
