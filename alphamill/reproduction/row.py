"""One published figure beside ours, and whether the two agree."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from alphamill.reproduction.figures import Source

_SLACK = 1e-9  # of half a unit: a difference of exactly that much is a tie of two roundings


class State(StrEnum):
    """What a row says."""

    AGREES = "agrees"
    DIFFERS = "differs"
    KNOWN = "differs, known"
    UNCHECKED = "not checked"
    SHOWN = "ours alone"


@dataclass(frozen=True, slots=True)
class Row:
    """A figure. what: of what it is.

    published: as it was printed, "" where nothing was. ours: None where it could not be computed,
    and then `note` says why. known: why the two are known to differ; "" where they should not.
    band: from and to where ours agrees, of a figure of which equality cannot be expected.
    """

    what: str
    published: str
    ours: float | None
    note: str = ""
    known: str = ""
    band: tuple[float, float] | None = None

    @property
    def decimals(self) -> int:
        """Digits after the point that were printed; four where nothing was."""
        return len(self.published.partition(".")[2]) if self.published else 4

    @property
    def tolerance(self) -> float:
        """The largest difference that agrees: half a unit of the last digit that was printed."""
        return 0.5 * 10.0**-self.decimals

    @property
    def difference(self) -> float | None:
        """Ours less the published figure; None where one of them is absent."""
        return (
            self.ours - float(self.published) if self.published and self.ours is not None else None
        )

    @property
    def state(self) -> State:
        """A figure of ours that is not a number differs from any."""
        if self.ours is None:
            return State.UNCHECKED
        difference = self.difference
        if difference is None:
            return State.SHOWN
        if self.band is not None:
            agrees = self.band[0] <= self.ours <= self.band[1]
        else:
            agrees = abs(difference) <= self.tolerance * (1 + _SLACK)  # False for NaN
        if agrees:
            return State.AGREES
        return State.KNOWN if self.known else State.DIFFERS

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "what": self.what,
            "published": float(self.published) if self.published else None,
            "ours": self.ours if self.ours is not None and math.isfinite(self.ours) else None,
            "difference": self.difference,
            "tolerance": self.tolerance if self.published and not self.band else None,
            "band": self.band,
            "state": self.state.value,
            "note": self.known or self.note,
        }


@dataclass(frozen=True, slots=True)
class Reproduction:
    """All rows of one name. cures: commands that bring the data that was lacking."""

    name: str
    sources: Sequence[Source]
    rows: Sequence[Row]
    cures: Sequence[str] = ()

    def count(self, state: State) -> int:
        """How many rows say so."""
        return sum(row.state is state for row in self.rows)

    @property
    def failed(self) -> bool:
        """Whether a figure that could be checked is another, and was not known to be."""
        return self.count(State.DIFFERS) > 0

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "name": self.name,
            "sources": [source.to_dict() for source in self.sources],
            "rows": [row.to_dict() for row in self.rows],
            "counts": {state.value: self.count(state) for state in State},
            "cures": list(self.cures),
        }
