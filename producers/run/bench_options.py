"""What control arms are asked for: at which strengths, how often, on how many cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from producers import options
from producers.options import Function

_MAX_JOBS = 32


class Strengths(click.ParamType):  # type: ignore[type-arg]  # generic only from click 8.4 on
    """ICs separated by commas; 0 is pure noise."""

    name = "IC,IC,..."

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(dict.fromkeys(float(text) for text in value.split(",")))
        except ValueError:
            self.fail(f"{value!r} is not numbers separated by commas: 0,0.03,0.06", param, ctx)
        if not all(0 <= ic < 0.3 for ic in found):
            self.fail("each must be at least 0 and below 0.3", param, ctx)
        return found


@dataclass(frozen=True, slots=True)
class Repeats:
    """How often, and on how many cores."""

    seeds: int
    first_seed: int
    jobs: int

    @property
    def range(self) -> range:
        """The seeds."""
        return range(self.first_seed, self.first_seed + self.seeds)


def whole(
    flag: str, default: int, least: int, most: int, meaning: str | None = None
) -> Callable[[Function], Function]:
    """An option that is a whole number; meaning: its help."""
    limits = click.IntRange(least, most)
    return click.option(flag, default=default, show_default=True, type=limits, help=meaning)


def repeats_options(seeds: int, most: int, of: str) -> Callable[[Function], Function]:
    """How many seeds by default and at most; `of`: what one seed makes."""
    return options.gathered(
        "repeats",
        Repeats,
        whole("--seeds", seeds, 1, most, f"{of}."),
        click.option("--seed", "first_seed", default=0, show_default=True, help="The first."),
        click.option(
            "--jobs",
            default=min(os.cpu_count() or 1, 8),
            show_default="the machine's cores",
            type=click.IntRange(1, _MAX_JOBS),
            help="Processes.",
        ),
    )
