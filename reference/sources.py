"""What the source says beside a field: its comment, and its place in the docstring."""

from __future__ import annotations

import ast
import inspect
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator
from functools import cache

_SCHEMA_FIELD = re.compile(r'pa\.field\("(\w+)"[^#\n]*#\s*(.+)')
_TOLD = re.compile(r"((?:[a-z_]\w*, )*[a-z_]\w*): (.+)", re.DOTALL)
_BREAK = re.compile(r"(?:\s*\n|(?<=[.;])\s)\s*(?=(?:[a-z_]\w*, )*[a-z_]\w+: )")


@cache
def told(kind: type) -> dict[str, str]:
    """Field -> what is said of it, those of the bases too; a field without a word is not there."""
    return {name: text for _, words in _ways(kind) for name, text in words.items()}


@cache
def told_in_docstring(kind: type) -> dict[str, str]:
    """Of it, what docstrings say."""
    return {name: text for way, words in _ways(kind) if way for name, text in words.items()}


def _ways(kind: type) -> Iterator[tuple[bool, dict[str, str]]]:
    """From bases to the class, docstring before comments; whether it is a docstring's."""
    for base in reversed(kind.__mro__):
        if base.__module__.startswith("alphamill"):
            yield True, _docstring(base)
            yield False, _comments(base)


def docstring(thing: object) -> str:
    """A docstring, dedented; "" where there is none of its own."""
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "")


def first_paragraph(thing: object) -> str:
    """Of a docstring."""
    return docstring(thing).split("\n\n")[0]


def schema_comments(module: object) -> dict[str, str]:
    """Column -> the comment behind its `pa.field` in a module's source."""
    source = inspect.getsource(module)  # type: ignore[arg-type]
    return {name: text.strip() for name, text in _SCHEMA_FIELD.findall(source)}


def _docstring(kind: type) -> dict[str, str]:
    found = {}
    for paragraph in inspect.cleandoc(kind.__dict__.get("__doc__") or "").split("\n\n")[1:]:
        for entry in _BREAK.split(paragraph):
            if match := _TOLD.fullmatch(entry.strip()):
                for name in match[1].split(", "):
                    found[name] = " ".join(match[2].split()).rstrip(";")
    return found


def _comments(kind: type) -> dict[str, str]:
    """Comments at the end of a field's line, else those on the lines right above it."""
    source = textwrap.dedent(inspect.getsource(kind))
    body = ast.parse(source).body[0]
    by_line = dict(_by_line(source))
    found = {}
    for node in body.body if isinstance(body, ast.ClassDef) else ():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            behind = by_line.get(node.end_lineno or node.lineno, ("", False))[0]
            above: list[str] = []
            line = node.lineno - 1
            while by_line.get(line, ("", False))[1]:
                above.insert(0, by_line[line][0])
                line -= 1
            if behind or above:
                found[node.target.id] = " ".join([*above, behind] if behind else above)
    return found


def _by_line(source: str) -> Iterator[tuple[int, tuple[str, bool]]]:
    """Line -> its comment, and whether it stands alone there."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("# ").strip()
            if not text.startswith(("noqa", "type:")):
                yield token.start[0], (text, token.line.lstrip().startswith("#"))
