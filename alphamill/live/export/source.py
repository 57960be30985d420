"""The source of functions that stand by themselves, with all that they use."""

from __future__ import annotations

import ast
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Definition:
    """A top-level statement: its text, the names that it uses, whether it is an import."""

    text: str
    uses: frozenset[str]
    is_import: bool


@cache
def definitions(module: str) -> dict[str, Definition]:
    """Name -> what defines it in a module of this package, in the order of the file."""
    source = files("alphamill.live.export").joinpath(f"{module}.py").read_text(encoding="utf-8")
    found: dict[str, Definition] = {}
    for statement in ast.parse(source).body:
        text = ast.get_source_segment(source, statement) or ""
        uses = frozenset(node.id for node in ast.walk(statement) if isinstance(node, ast.Name))
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found[statement.name] = Definition(text, uses, False)
        elif isinstance(statement, ast.Assign):
            for target in statement.targets:
                if isinstance(target, ast.Name):
                    found[target.id] = Definition(text, uses - {target.id}, False)
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                found[alias.asname or alias.name] = Definition(text, frozenset(), True)
        elif isinstance(statement, ast.ImportFrom) and statement.module != "__future__":
            for alias in statement.names:
                one = f"from {statement.module} import {alias.name}"
                found[alias.asname or alias.name] = Definition(one, frozenset(), True)
    return found


def carried(module: str, names: Collection[str]) -> tuple[list[str], list[str]]:
    """(imports, definitions) of the names and of what they use, each once, in the file's order.

    Raises KeyError for a name that the module does not define.
    """
    known = definitions(module)
    wanted: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting += [used for used in known[name].uses if used in known]
    ordered = [known[name] for name in known if name in wanted]
    return (
        sorted({one.text for one in ordered if one.is_import}),
        [one.text for one in ordered if not one.is_import],
    )
