"""What a benchmark measured, beside what was aimed at, for people and for `benchmarks/table.py`.

    given = options(__doc__).parse_args()
    figures = Figures(given)
    figures.add("a score", 0.106 / 0.03, "times ed936c5", at_least=3.5, beside={"ms": 30})
    sys.exit(figures.exit_code)

Every benchmark has a short form, `--short`: seconds, with small sizes and peers compared where they
are quick. What it prints must be as finite, and outputs as equal, as of the long one; its figures
are judged by nobody, since sizes that small say nothing of speed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

FILE = "BENCH_FIGURES"  # environment: figures are appended to it, a line of JSON each
MISSED = 3  # exit code; 1 is Python's own, of a failure


@dataclass(frozen=True, slots=True)
class Figure:
    """value: in unit. beside: other numbers of the same measurement, by what they are."""

    what: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None
    beside: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        numbers = [self.value, *self.beside.values()]
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"{self.what}: {numbers} are not all finite")

    @property
    def met(self) -> bool | None:
        """None where nothing was aimed at."""
        if self.at_least is None and self.at_most is None:
            return None
        low, high = self.at_least, self.at_most
        return (low is None or self.value >= low) and (high is None or self.value <= high)

    @property
    def target(self) -> str:
        bounds = (("at least", self.at_least), ("at most", self.at_most))
        return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)

    def __str__(self) -> str:
        beside = ", ".join(f"{name} {number:.4g}" for name, number in self.beside.items())
        return f"{self.what}: {self.value:.4g} {self.unit}{beside and f' ({beside})'}"


class Figures:
    """The figures of one run of a benchmark; given has `short`."""

    def __init__(self, given: argparse.Namespace) -> None:
        self._judged = not given.short
        self._all: list[Figure] = []

    def add(
        self,
        what: str,
        value: float,
        unit: str,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        beside: Mapping[str, float] | None = None,
    ) -> None:
        """Print a figure with its target, and tell it to the table that is being made."""
        figure = Figure(what, float(value), unit, at_least, at_most, beside or {})
        self._all.append(figure)
        verdict = f"; asked: {figure.target}" if figure.target else ""
        if verdict and self._judged:
            verdict += ", met" if figure.met else ", MISSED"
        print(f"{figure}{verdict}", flush=True)
        if told := os.environ.get(FILE):
            with Path(told).open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(asdict(figure)) + "\n")

    @property
    def exit_code(self) -> int:
        """MISSED if a figure of the long form is not what it was aimed at, else 0."""
        return MISSED if self._judged and any(one.met is False for one in self._all) else 0


def options(doc: str | None, *, older: bool = False) -> argparse.ArgumentParser:
    """`--short`, and where a benchmark runs an older build too `--older`; doc: its docstring."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true", help="seconds; no figure is judged")
    if older:
        parser.add_argument(
            "--older",
            type=lambda text: Path(text).resolve(strict=True),
            metavar="FOLDER",
            default=os.environ.get("BENCH_OLDER") or None,
            help="a checkout of an older build, with its .venv; it is run in turns with this one "
            "(BENCH_OLDER)",
        )
    return parser
