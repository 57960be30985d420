"""PANEL: fields of all symbols on one grid of bars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from alphamill.frames.arrays import FloatArray, IntArray
from alphamill.frames.intervals import Interval


@dataclass(frozen=True, slots=True)
class Panel(Mapping[str, FloatArray]):
    """PANEL: all symbols on one regular grid of bars.

    times_ms: int64 (bars,), open times, UTC epoch milliseconds, a step of `interval` apart.
    symbols: the columns, in order.
    fields: name -> float64 (bars, symbols); NaN where the exchange has no bar. Finite or NaN: of
        an array that holds an infinity a copy without it is kept, of any other the array itself,
        which must not be given one afterwards.
    """

    interval: Interval
    times_ms: IntArray
    symbols: tuple[str, ...]
    fields: Mapping[str, FloatArray]

    def __post_init__(self) -> None:
        shape = (len(self.times_ms), len(self.symbols))
        for name, values in self.fields.items():
            if values.shape != shape or values.dtype != np.float64:
                raise ValueError(f"{name}: {values.dtype} {values.shape}, not float64 {shape}")
        kept = {name: _without_infinities(values) for name, values in self.fields.items()}
        object.__setattr__(self, "fields", kept)

    def __getitem__(self, name: str) -> FloatArray:
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    @property
    def n_bars(self) -> int:
        """Rows of every field."""
        return len(self.times_ms)


def _without_infinities(values: FloatArray) -> FloatArray:
    infinite = np.isinf(values)
    return np.where(infinite, np.nan, values) if infinite.any() else values
