"""A long series as the points that a screen can show."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLUMNS = 340  # of a plot: a column is about a pixel where it is drawn at its own size


def thinned(
    x: NDArray[np.float64], y: NDArray[np.float64], columns: int = COLUMNS
) -> NDArray[np.int64]:
    """Which points to draw: of each column the lowest and the highest, and both ends.

    x ascending, y finite, of the same length. What is drawn covers the same pixels as the whole
    series, so that no extreme is lost. Source: min and max of M4, Jugel, Jerzak, Hackenbroich and
    Markl (2014); its first and last of a column, which matter to lines that jump, would double it.
    """
    n = len(x)
    if n <= 2 * columns:
        return np.arange(n)
    column = ((x - x[0]) * (columns / (x[-1] - x[0]))).astype(np.int64)
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    lengths = np.diff(np.append(starts, n))
    kept = [np.array([0, n - 1])]
    for extreme in (np.minimum, np.maximum):
        places = np.flatnonzero(y == np.repeat(extreme.reduceat(y, starts), lengths))
        kept.append(places[np.unique(column[places], return_index=True)[1]])
    return np.unique(np.concatenate(kept))
