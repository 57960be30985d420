"""Errors: the classes with what they mean, and every misconfiguration with its cure.

The latter stand in the code as `Misconfigured(setting, problem, cure)`; what is in braces there is
filled in when it happens.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import alphamill
from alphamill.errors import AlphamillError, GiveUp, Misconfigured, RetryLater
from reference.markdown import code, page, table, words
from reference.sources import docstring, first_paragraph

_ROOT = Path(__file__).resolve().parents[1]
_SAY_NOTHING = {"str", "repr", "type", "join", "len", "plain", "str_"}
_ROOMS = ("alphamill", "producers", "workers")
_NEXT = {
    RetryLater: "tried again after a while",
    GiveUp: "not tried again: the job is dead, with its reason",
    Misconfigured: "waits for a person; exit code 3",
}


def errors_page() -> str:
    """What can go wrong, what happens next, and what to do."""
    kinds = [
        (
            code(kind.__name__),
            words(first_paragraph(kind)),
            next((text for base, text in _NEXT.items() if issubclass(kind, base)), ""),
        )
        for kind in _classes()
    ]
    cures = [
        (words(setting), words(problem), words(cure)) for setting, problem, cure in misconfigured()
    ]
    parts = [
        "## Kinds",
        table(("error", "meaning", "next"), kinds),
        "## Misconfigured",
        "The message is `SETTING: problem; cure`. Words in braces are filled in when it happens.",
        table(("setting", "problem", "cure"), cures),
        "## Given up",
        "What a dead job, or a command that ends with 1, says.",
        "\n".join(f"- {words(text)}" for text in given_up()),
    ]
    about = (
        "A message is its cause and, behind a semicolon, its cure. "
        "[Troubleshooting](../how-to/troubleshooting.md) goes from symptoms to causes."
    )
    return page("Errors", about, *parts)


def _classes() -> list[type[AlphamillError]]:
    for module in pkgutil.walk_packages(alphamill.__path__, "alphamill."):
        importlib.import_module(module.name)
    return sorted(
        (kind for kind in dict.fromkeys(_below(AlphamillError)) if docstring(kind)),
        key=lambda kind: (_place(kind), kind.__name__),
    )


def _place(kind: type) -> int:
    return next((at for at, base in enumerate(_NEXT) if issubclass(kind, base)), len(_NEXT))


def _below(kind: type[AlphamillError]) -> Iterator[type[AlphamillError]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith("alphamill.") and not child.__name__.startswith("_"):
            yield child
            yield from _below(child)


def misconfigured() -> list[tuple[str, str, str]]:
    """(setting, problem, cure) of every place that raises it, as far as they are known there."""
    found = {
        entry
        for room in _ROOMS
        for path in (_ROOT / room).rglob("*.py")
        for entry in _raised(path.read_text(encoding="utf-8"))
    }
    return sorted(found)


def given_up() -> list[str]:
    """Every text that `GiveUp` and its kinds are raised with, as far as it is known there."""
    kinds = {kind.__name__ for kind in _classes() if issubclass(kind, GiveUp)}
    return sorted(
        {
            text
            for room in _ROOMS
            for path in (_ROOT / room).rglob("*.py")
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
            if getattr(node.exc.func, "id", "") in kinds and len(node.exc.args) == 1
            if len((text := _text(node.exc.args[0])).split()) > 2
        },
        key=lambda text: text.lower().lstrip("{"),
    )


def _raised(source: str) -> Iterator[tuple[str, str, str]]:
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Misconfigured"):
            continue
        said = [_text(argument) for argument in node.args]
        if len(said) == 3 and said[1] and said[2]:
            yield said[0] or "a setting", said[1], said[2]


def _text(node: ast.expr) -> str:
    """What an expression says as text, {names} where it is filled in; "" where nothing is known."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            str(part.value) if isinstance(part, ast.Constant) else f"{{{_name(part)}}}"
            for part in node.values
        )
    if isinstance(node, ast.BinOp):
        return _text(node.left) + _text(node.right)
    return f"{{{_name(node)}}}"


def _name(node: ast.expr) -> str:
    """A short name of what is filled in: the last word of it."""
    if isinstance(node, ast.FormattedValue):
        return _name(node.value)
    found = [
        one.attr if isinstance(one, ast.Attribute) else one.id
        for one in ast.walk(node)
        if isinstance(one, ast.Attribute | ast.Name)
    ]
    telling = [name for name in found if name not in _SAY_NOTHING and not name.startswith("__")]
    return telling[0].lower().strip("_") if telling else "…"
