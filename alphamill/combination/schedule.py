"""When weights change, and which labels had matured by then."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Schedule:
    """A calendar of refits over the bars of a panel. Arrays of one entry a refit, ascending.

    bars: the first bar whose signal has the new weights; they hold until the next refit.
    matured: labels of bars before this one were known at the close of that first bar: the label of
        bar t ends at bar t + purge_bars.
    times_ms: the opening of those first bars.
    """

    bars: NDArray[np.int64]
    matured: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    n_bars: int
    refit_ms: int
    purge_bars: int

    def __len__(self) -> int:
        return len(self.bars)

    @property
    def first_bar(self) -> int:
        """The first bar that has a signal."""
        return int(self.bars[0])

    def spans(self) -> Iterator[tuple[int, slice]]:
        """Each refit's number with the bars that it serves."""
        ends = [*self.bars[1:].tolist(), self.n_bars]
        for number, (start, end) in enumerate(zip(self.bars.tolist(), ends, strict=True)):
            yield number, slice(start, end)


def refit_schedule(
    times_ms: NDArray[np.int64], refit_ms: int, min_train_bars: int, purge_bars: int
) -> Schedule:
    """Refits at the first bar of each period of `refit_ms`, counted from 1970, UTC.

    So the calendar depends neither on where a panel begins nor on where it ends. times_ms: the
    bars' opens, ascending. min_train_bars: labels that the first refit must know. purge_bars:
    horizon + entry lag; at the close of bar t the label of bar t - purge_bars is the last known.
    Raises ValueError, with cause and cure, where the bars are too few for one refit.
    """
    times = np.asarray(times_ms, dtype=np.int64)
    n_bars = len(times)
    if min_train_bars < 1 or purge_bars < 1:
        raise ValueError(
            f"min_train_bars {min_train_bars} and purge_bars {purge_bars} must be 1 or more"
        )
    if n_bars < 2 or not (np.diff(times) > 0).all():
        raise ValueError(f"{n_bars} bars make no calendar; give two or more, in order of time")
    step = int(np.diff(times).min())
    length = int(times[-1] - times[0]) + step
    if refit_ms < step:
        raise ValueError(f"a refit every {_span(refit_ms)} is shorter than a bar of {_span(step)}")
    if refit_ms > length:
        raise ValueError(
            f"a refit every {_span(refit_ms)} is longer than the data, which is {_span(length)}; "
            "ask for a shorter one or for more bars"
        )
    period = times // refit_ms
    starts = np.flatnonzero(np.diff(period, prepend=period[0] - 1))
    matured = starts + 1 - purge_bars
    enough = matured >= min_train_bars
    if not enough.any():
        raise ValueError(
            f"{n_bars} bars hold no refit every {_span(refit_ms)} after {min_train_bars} bars of "
            f"training and {purge_bars} of labels that have not matured; refit more often, train "
            "on fewer or ask for more bars"
        )
    bars = starts[enough]
    return Schedule(bars, matured[enough], times[bars], n_bars, int(refit_ms), purge_bars)


def _span(ms: int) -> str:
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if ms >= size:
            return f"{ms / size:g}{unit}"
    return f"{ms}ms"
