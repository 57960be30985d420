"""The Python API, from what `import alphamill` offers."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import alphamill
from alphamill.notebook.factor import GivenFactor
from alphamill.notebook.lake import LakeReader
from alphamill.notebook.panel import Panel
from alphamill.notebook.run import Run
from alphamill.notebook.score import PlottedScore
from producers.submit import in_python
from reference.markdown import page
from reference.sources import docstring

# What is called as `am.NAME`, and the class of what it gives.
_CALLS: tuple[tuple[str, Callable[..., object], type | None], ...] = (
    ("lake", alphamill.open_lake, LakeReader),
    ("Panel", Panel, Panel),
    ("factor", alphamill.factor, GivenFactor),
    ("run", alphamill.run, Run),
    ("sample_lake", alphamill.sample_lake, None),
    *(
        (f"submit.{name}", function, None)
        for name, function in vars(in_python).items()
        if inspect.isfunction(function)
        and function.__module__ == in_python.__name__
        and not name.startswith("_")
    ),
)
_MEMBER = re.compile(r"<\w+\.\w+: '?(\w+)'?>")  # of an enumeration, as a signature shows it


def python_page() -> str:
    """Every public call and method with its signature and docstring."""
    parts = []
    for name, call, kind in _CALLS:
        parts += [f"## `am.{name}`", *_entry(f"am.{name}", call)]
        for method, function in _methods(kind):
            title = method if isinstance(function, property) else f"{method}()"
            parts += [f"### `{_of(kind)}.{title}`", *_entry(f".{method}", function)]
    parts += ["## Score", "What `am.factor(...).evaluate(...)` gives.", *_told(PlottedScore)]
    for method, function in _methods(PlottedScore):
        title = method if isinstance(function, property) else f"{method}()"
        parts += [f"### `Score.{title}`", *_entry(f".{method}", function)]
    about = (
        "`import alphamill as am`. [alphamill in Python](../python.md) has it in five lines and in "
        "one table; four notebooks run anywhere."
    )
    return page("Python", about, *parts)


def _of(kind: type | None) -> str:
    return (
        {"LakeReader": "Lake", "GivenFactor": "Factor"}.get(kind.__name__, kind.__name__)
        if kind
        else ""
    )


def _methods(kind: type | None) -> Iterator[tuple[str, Any]]:
    """Of the class and its bases in this project, in the order in which they are written."""
    seen = set()
    for base in kind.__mro__ if kind else ():
        if not base.__module__.startswith("alphamill.notebook"):
            continue
        for name, found in vars(base).items():
            callable_one = isinstance(found, property | classmethod | staticmethod)
            if name.startswith("_") or name in seen:
                continue
            if callable_one or inspect.isfunction(found):
                seen.add(name)
                yield name, found


def _entry(name: str, call: Any) -> list[str]:
    """Its signature, unless it is a property, and its docstring."""
    if isinstance(call, property):
        return _told(call.fget)
    function = getattr(call, "__func__", call)
    own = inspect.signature(function)
    kept = [one for one in own.parameters.values() if one.name not in ("self", "cls")]
    text = _MEMBER.sub(r'"\1"', f"{name}{own.replace(parameters=kept)}").replace("'", "")
    return [f"```python\n{text}\n```", *_told(function)]


def _is_code(paragraph: str) -> bool:
    """Prose is no Python; an example is."""
    try:
        return bool(ast.parse(inspect.cleandoc(paragraph)).body)
    except SyntaxError:
        return False


def _told(thing: object) -> list[str]:
    """Paragraphs; what is indented is an example."""
    parts = []
    for paragraph in docstring(thing).split("\n\n"):
        if _is_code(paragraph):
            parts.append(f"```python\n{inspect.cleandoc(paragraph)}\n```")
        else:
            parts.append(paragraph)
    return parts
