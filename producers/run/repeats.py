"""How often a control arm is done, and on how many cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import click

from producers import options
from producers.options import Function

_MAX_JOBS = 32


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
