"""The gates of a verdict: what each asks, what it must reach, and the grade that it is for.

Apart from the judging, since settings and boards name gates and compute nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(gt=0, lt=1)]


class Grade(StrEnum):
    """What a factor is worth, so far as the data can say; from the least to the most."""

    REJECTED = "rejected"
    UNDECIDABLE = "undecidable"  # not shown to be of use, on data that could hardly have shown it
    PREDICTIVE = "predictive"  # it orders returns, out of sample and beyond the luck of the search
    TRADABLE = "tradable"  # predictive, and paid for after costs

    @property
    def admitted(self) -> bool:
        """Whether it claims anything."""
        return self in (Grade.PREDICTIVE, Grade.TRADABLE)

    def reaches(self, least: Grade) -> bool:
        """Whether it is that or better."""
        grades = list(Grade)
        return grades.index(self) >= grades.index(least)


class GateThresholds(BaseModel):
    """What a factor must pass; docs/verdicts.md argues each default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    validation_t: float = 1.64  # one-sided 5 %; what the search took is for the next two
    fdr: Fraction = 0.05  # Benjamini-Hochberg, over all trials of the run
    deflated_sharpe: Fraction = 0.95
    holdout_t: float = 1.64  # one-sided 5 %: the sign is fixed by then, and it is one test
    out_of_sample_t: float = 3.0  # of validation and holdout together; Harvey, Liu and Zhu (2016)
    coverage: Fraction = 0.8
    library_correlation: Fraction = 0.7
    # A test that so large a true correlation would pass less often than this decides nothing when
    # it fails: undecidable, not rejected. 0: never
    least_power: Annotated[float, Field(ge=0, lt=1)] = 0.5
    power_correlation: Fraction = 0.03


@dataclass(frozen=True, slots=True)
class Gate:
    """One question with its answer. A NaN value never passes."""

    name: str
    passed: bool
    value: float  # NaN where the question has no number
    threshold: float
    meaning: str
    needed_for: Grade

    def to_dict(self) -> dict[str, Any]:
        """JSON values; None where a number is NaN or infinite."""
        return {
            "name": self.name,
            "passed": self.passed,
            "value": finite_or_none(self.value),
            "threshold": finite_or_none(self.threshold),
            "meaning": self.meaning,
            "needed_for": self.needed_for.value,
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """The reverse of `to_dict`; None becomes NaN again."""
        value, threshold = (
            math.nan if plain[name] is None else plain[name] for name in ("value", "threshold")
        )
        return cls(
            plain["name"],
            plain["passed"],
            value,
            threshold,
            plain["meaning"],
            Grade(plain["needed_for"]),
        )


def finite_or_none(value: float) -> float | None:
    """As JSON has it: None for NaN and the infinities."""
    return value if math.isfinite(value) else None
