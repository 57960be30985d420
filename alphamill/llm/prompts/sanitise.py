"""Words of a model, of a parser or of a user, fit to stand in a prompt: data, whatever they say.

One line, printable, bounded; neither a section, nor a column of a line, nor a control token of a
chat template (`<|im_start|>`, `</s>`, `[INST]`), which some servers obey even inside a message.
"""

from __future__ import annotations

import re

from alphamill.llm.replies import clean

_OPENED = re.compile(r"[<＜](?=\S)")
_SIGNS_OF_NO_EXPRESSION = str.maketrans("#[]{}", " ()()")
_SIGNS = str.maketrans("|<>#`[]{}", "/    ()()")


def safe_expression(text: str, max_chars: int) -> str:
    """An expression, read or not. What the language has stays as it is, but for a space after <."""
    line = " ".join(clean(text).translate(_SIGNS_OF_NO_EXPRESSION).split())
    return _cut(_OPENED.sub("< ", line), max_chars)


def safe_prose(text: str, max_chars: int) -> str:
    """Words without the signs that prompts and templates are made of."""
    return _cut(" ".join(clean(text).translate(_SIGNS).split()), max_chars)


def _cut(text: str, max_chars: int) -> str:
    return text if len(text) <= max_chars else f"{text[: max_chars - 3].rstrip()}..."
