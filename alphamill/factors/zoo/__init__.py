"""Published factors in this language, scored like any other: `alphamill evaluate --zoo NAME`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from alphamill.errors import FactorError

if TYPE_CHECKING:
    from alphamill.factors.factor import Factor

ZOO_FIELDS = {"cap": "quote"}
"""Fields that a zoo's factors may name beside the usual ones -> unit; the panel must hold them."""


@dataclass(frozen=True, slots=True)
class ZooFactor:
    """A published factor: its name in the zoo, what it says in our language, and its source."""

    name: str
    expression: str
    reference: str

    def factor(self) -> Factor:
        """The factor, parsed."""
        from alphamill.factors.factor import parse  # names and texts are had without a parser

        return parse(self.expression, fields=ZOO_FIELDS)


def zoo_names() -> tuple[str, ...]:
    """The zoos that exist, in order."""
    shipped = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in shipped if name.endswith(".toml")))


@cache
def zoo(name: str) -> tuple[ZooFactor, ...]:
    """All factors of a zoo, in the source's order. Raises FactorError naming those that exist."""
    if name not in zoo_names():
        raise FactorError(f"unknown zoo '{name}'", 0, " or ".join(zoo_names()))
    data = tomllib.loads(files(__name__).joinpath(f"{name}.toml").read_text(encoding="utf-8"))
    return tuple(
        ZooFactor(entry["name"], entry["expression"], f"{data['reference']}, {entry['number']}")
        for entry in data["factor"]
    )
