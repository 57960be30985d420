"""Cutting time: what may be learnt from, what ranks, what is opened once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

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
