"""Coins that go on under another name, or in other units: never joined, only said."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Change:
    """One coin's end and the next one's beginning.

    on: the first day of the new one's bars. into: new ones for one of the old; None where it is
    another coin, or not known. old and new are alike where the units changed and the name stayed.
    """

    old: str
    new: str
    source: str
    on: date | None = None
    into: float | None = None

    def said_of(self, base: str) -> str:
        """In words, for the coin `base`; for example "goes on as POL since 2024-09-13 (1 to 1)"."""
        when = f" since {self.on}" if self.on else ""
        ratio = f" (1 to {self.into:g})" if self.into else ""
        if self.old == self.new:
            return f"{'in new units' if self.into else 'another coin'}{when}{ratio}"
        if base == self.old:
            return f"goes on as {self.new}{when}{ratio}"
        return f"was {self.old} before{f' {self.on}' if self.on else ''}{ratio}"


@functools.cache
def changes() -> Mapping[str, Sequence[Change]]:
    """Of each base asset, the changes that it is the old or the new one of."""
    text = files("alphamill.universe").joinpath("renames.toml").read_text(encoding="utf-8")
    found: dict[str, list[Change]] = {}
    for row in tomllib.loads(text)["change"]:
        change = Change(**row)
        for base in dict.fromkeys((change.old, change.new)):
            found.setdefault(base, []).append(change)
    return found
