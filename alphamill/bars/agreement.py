"""Bars of trades beside the exchange's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from alphamill.bars.trades import BoolArray
from alphamill.frames import KLINE_FIELDS, FloatArray, times_ms


@dataclass(frozen=True, slots=True)
class Agreement:
    """How many bars are equal, to the last bit.

    bars: that both have. equal: in all fields. by_field: in this one.
    absent_ours, absent_theirs: bars that only the other has.
    """

    bars: int
    equal: int
    by_field: Mapping[str, int]
    absent_ours: int
    absent_theirs: int

    @property
    def differing_frac(self) -> float:
        """Share of the common bars that differ in any field; NaN without one."""
        return 1 - self.equal / self.bars if self.bars else float("nan")


def compare(ours: pa.Table, theirs: pa.Table) -> Agreement:
    """Two tables of KLINES, each ascending; unknown (null) equals unknown alone."""
    left, right = times_ms(ours), times_ms(theirs)
    common, at_left, at_right = np.intersect1d(left, right, return_indices=True)
    equal = {
        name: _same(ours[name].to_numpy()[at_left], theirs[name].to_numpy()[at_right])
        for name in KLINE_FIELDS
    }
    whole = np.logical_and.reduce(list(equal.values())) if equal else np.zeros(0, np.bool_)
    return Agreement(
        bars=int(common.size),
        equal=int(whole.sum()),
        by_field={name: int(same.sum()) for name, same in equal.items()},
        absent_ours=int(right.size - common.size),
        absent_theirs=int(left.size - common.size),
    )


def _same(a: FloatArray, b: FloatArray) -> BoolArray:
    same: BoolArray = (a == b) | (np.isnan(a) & np.isnan(b))
    return same
