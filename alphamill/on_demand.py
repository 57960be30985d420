"""Packages whose modules are loaded when a name of theirs is first asked for (PEP 562).

Most commands want one name of a package, and would pay for every module that it exports from: the
settings want the thresholds of the gates, and evaluation's figures are made with numpy. So a
package states what it exports, and from where, in imports under `if TYPE_CHECKING:`, which people,
type checkers and import-linter read as they read any other; and at its end it says
`export_on_demand(__name__)`, which does those imports one by one.
"""

from __future__ import annotations

import ast
import sys
from functools import cache
from importlib import import_module
from importlib.abc import InspectLoader
from types import ModuleType
from typing import Any


class OnDemand(ModuleType):
    """A package that exports what its `__all__` names; each is loaded once."""

    def __getattr__(self, name: str) -> Any:
        if name not in self.__dict__.get("__all__", ()):
            raise AttributeError(
                f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self
            )
        module, original = _origins(self.__name__)[name]
        found = getattr(import_module(module), original)
        super().__setattr__(name, found)
        return found

    def __setattr__(self, name: str, value: object) -> None:
        # Importing `factors.check` puts the module in its package, where the function of that name
        # belongs: the module is found in sys.modules all the same.
        if isinstance(value, ModuleType) and name in self.__dict__.get("__all__", ()):
            return
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *self.__dict__.get("__all__", ())})


def export_on_demand(package: str) -> None:
    """Make the imports that `package` states for type checkers when their names are asked for."""
    sys.modules[package].__class__ = OnDemand


@cache
def _origins(package: str) -> dict[str, tuple[str, str]]:
    """Exported name -> the module that has it, and its name there."""
    spec = sys.modules[package].__spec__
    loader = spec.loader if spec else None
    source = loader.get_source(package) if isinstance(loader, InspectLoader) else None
    return {
        alias.asname or alias.name: (node.module or "", alias.name)
        for block in ast.parse(source or "").body
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
