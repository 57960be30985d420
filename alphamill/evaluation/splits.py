"""Cutting time: what may be learnt from, what ranks, what is opened once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray


class Segment(StrEnum):
    """A stretch of a run's time. WHOLE stands alone: runs that only score given expressions."""

    DISCOVERY = "discovery"
    VALIDATION = "validation"
    HOLDOUT = "holdout"
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class SegmentBars:
    """Bars [start_bar, stop_bar) of a panel for one segment; all but the first of them are scored.

    history_bars: the first, of the segment before. They are past data, so that a look-back may read
    them; deciding or labelling on them would be a leak. embargo_bars: those after them, whose
    signals or labels may overlap the segment before.

    Labels never reach past stop_bar as long as a score is given only `rows`: the last
    horizon + lag bars of a segment then have no label, which is the purge.
    """

    start_bar: int
    stop_bar: int
    history_bars: int = 0
    embargo_bars: int = 0

    @property
    def rows(self) -> slice:
        """What to hand to `score` of a panel, with `skip_bars`."""
        return slice(self.start_bar, self.stop_bar)

    @property
    def skip_bars(self) -> int:
        """Leading bars of `rows` that are not scored."""
        return self.history_bars + self.embargo_bars

    @property
    def n_bars(self) -> int:
        """Bars that are scored."""
        return self.stop_bar - self.start_bar - self.skip_bars


def split_edges(n_bars: int, discovery_frac: float, validation_frac: float) -> tuple[int, int]:
    """The first bars of validation and of the holdout; fractions of a bar are cut off."""
    return int(n_bars * discovery_frac), int(n_bars * (discovery_frac + validation_frac))


def split_bars(
    n_bars: int,
    discovery_frac: float,
    validation_frac: float,
    embargo_bars: int = 0,
    history_bars: int = 0,
) -> dict[Segment, SegmentBars]:
    """Discovery, validation and holdout as fractions of `n_bars`; the holdout has the rest.

    embargo_bars at the start of validation and holdout belong to nobody: give at least
    horizon + entry lag, so that no position of one segment is still held in the next. Both are
    given up to history_bars of what lies before them. Raises ValueError if a fraction leaves
    nothing or a segment is swallowed by its embargo.
    """
    if min(discovery_frac, validation_frac) <= 0 or discovery_frac + validation_frac >= 1:
        raise ValueError(
            f"discovery_frac {discovery_frac} and validation_frac {validation_frac} "
            "must be positive and leave a holdout"
        )
    if embargo_bars < 0:
        raise ValueError(f"embargo_bars {embargo_bars} must not be negative")
    first, second = split_edges(n_bars, discovery_frac, validation_frac)
    segments = {Segment.DISCOVERY: SegmentBars(0, first)}
    for segment, start, stop in (
        (Segment.VALIDATION, first, second),
        (Segment.HOLDOUT, second, n_bars),
    ):
        history = min(history_bars, start)
        segments[segment] = SegmentBars(start - history, stop, history, embargo_bars)
    for segment, bars in segments.items():
        if bars.n_bars < 1:
            raise ValueError(
                f"{n_bars} bars leave no {segment} after {embargo_bars} bars of embargo"
            )
    return segments


@dataclass(frozen=True, slots=True)
class Split:
    """Bars that may be learnt from, and bars that it is tested on: (n_bars,) bool each."""

    train: NDArray[np.bool_]
    test: NDArray[np.bool_]


def fold_slices(n_bars: int, folds: int) -> list[slice]:
    """`folds` blocks of bars that follow each other, as equal as can be."""
    edges = np.linspace(0, n_bars, folds + 1).round().astype(int)
    return [slice(int(a), int(b)) for a, b in pairwise(edges)]


def walk_forward(n_bars: int, folds: int, label_bars: int, embargo_bars: int = 0) -> list[Split]:
    """Each fold but the first is tested on what was learnt from all bars before it, purged."""
    splits = []
    for block in fold_slices(n_bars, folds)[1:]:
        train = purged_training_bars(n_bars, [block], label_bars, embargo_bars)
        train[block.start :] = False
        splits.append(Split(train, _only(n_bars, [block])))
    return splits


def combinatorial_purged(
    n_bars: int, folds: int, test_folds: int, label_bars: int, embargo_bars: int = 0
) -> list[Split]:
    """Every choice of `test_folds` of the folds is tested on what the others teach, purged.

    Source: Lopez de Prado (2018), chapter 12.
    """
    splits = []
    for blocks in combinations(fold_slices(n_bars, folds), test_folds):
        train = purged_training_bars(n_bars, blocks, label_bars, embargo_bars)
        splits.append(Split(train, _only(n_bars, blocks)))
    return splits


def _only(n_bars: int, blocks: Sequence[slice]) -> NDArray[np.bool_]:
    chosen = np.zeros(n_bars, dtype=bool)
    for block in blocks:
        chosen[block] = True
    return chosen


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
