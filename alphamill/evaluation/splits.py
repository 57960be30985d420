"""Cutting time: what may be learnt from, what ranks, what is opened once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Segment:
    """Bars [start_bar, stop_bar) of a panel in which decisions are scored.

    Labels never reach past stop_bar as long as a score is given only the rows of `window`: the last
    horizon + lag bars of a segment then have no label, which is the purge.
    """

    start_bar: int
    stop_bar: int

    @property
    def n_bars(self) -> int:
        """Bars that are scored."""
        return self.stop_bar - self.start_bar

    def window(self, history_bars: int) -> tuple[slice, int]:
        """Rows to hand to `score`, and its skip_bars.

        history_bars: bars before the segment that an expression's look-back reads. They are past
        data, so reading them is no leak; deciding or labelling on them would be.
        """
        begin = max(0, self.start_bar - history_bars)
        return slice(begin, self.stop_bar), self.start_bar - begin


@dataclass(frozen=True, slots=True)
class Segments:
    """A run's three segments, in order of time."""

    discovery: Segment
    validation: Segment
    holdout: Segment


def split_bars(
    n_bars: int, discovery_frac: float, validation_frac: float, embargo_bars: int = 0
) -> Segments:
    """Discovery, validation, holdout as fractions of `n_bars`; the holdout has the rest.

    embargo_bars at the start of validation and holdout belong to nobody: give at least
    horizon + entry lag, so that no position of one segment is still held in the next.
    Raises ValueError if a fraction leaves nothing or a segment is swallowed by its embargo.
    """
    if min(discovery_frac, validation_frac) <= 0 or discovery_frac + validation_frac >= 1:
        raise ValueError(
            f"discovery_frac {discovery_frac} and validation_frac {validation_frac} "
            "must be positive and leave a holdout"
        )
    if embargo_bars < 0:
        raise ValueError(f"embargo_bars {embargo_bars} must not be negative")
    first = round(n_bars * discovery_frac)
    second = round(n_bars * (discovery_frac + validation_frac))
    segments = Segments(
        Segment(0, first),
        Segment(first + embargo_bars, second),
        Segment(second + embargo_bars, n_bars),
    )
    for name in ("discovery", "validation", "holdout"):
        if getattr(segments, name).n_bars < 1:
            raise ValueError(f"{n_bars} bars leave no {name} after {embargo_bars} bars of embargo")
    return segments


def purged_training_bars(
    n_bars: int, test_blocks: Sequence[slice], label_bars: int, embargo_bars: int
) -> NDArray[np.bool_]:
    """Which bars may train when `test_blocks` are tested: (n_bars,) bool.

    Dropped: test bars; bars t whose label [t, t + label_bars] touches a test block, and bars that a
    test label of that length reaches; then `embargo_bars` more. label_bars: horizon + entry lag.
    Source: Lopez de Prado (2018), chapter 7.
    """
    allowed = np.ones(n_bars, dtype=bool)
    for block in test_blocks:
        start, stop, _ = block.indices(n_bars)
        if stop > start:
            allowed[max(0, start - label_bars) : stop + label_bars + embargo_bars] = False
    return allowed
