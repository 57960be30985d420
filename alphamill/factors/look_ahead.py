"""Proof, by trying, that a factor does not look ahead: the future is disturbed, then cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from alphamill.factors.compute import compute
from alphamill.factors.factor import Factor
from alphamill.frames import FloatArray, Panel

_MAX_BARS = 1500  # of the panel are computed, unless the factor looks back further
_CUTS = (0.6, 0.9)  # of these bars

Groups = Mapping[str, Sequence[object]]


def sees_no_future(factor: Factor, panel: Panel, groups: Groups | None = None) -> bool:
    """Whether values up to bar t are bit-equal when the bars after t are disturbed, and when cut.

    Tried at two bars of the panel's first part. False for a factor that has no value there.
    """
    n_bars = min(panel.n_bars, max(_MAX_BARS, 2 * factor.lookback_bars + 100))
    fields = {name: values[:n_bars] for name, values in panel.items()}
    whole = compute(factor, fields, groups)
    if not np.isfinite(whole).any():
        return False
    return all(_same_before(int(n_bars * cut), factor, fields, groups, whole) for cut in _CUTS)


def _same_before(
    cut: int,
    factor: Factor,
    fields: dict[str, FloatArray],
    groups: Groups | None,
    whole: FloatArray,
) -> bool:
    disturbed = {}
    for number, (name, values) in enumerate(sorted(fields.items())):
        changed = values.copy()
        changed[cut:] = changed[cut:] * (1.5 + number) + 1e6
        changed[-1] = np.nan
        disturbed[name] = changed
    shortened = {name: np.ascontiguousarray(values[:cut]) for name, values in fields.items()}
    past = whole[:cut].tobytes()
    return (
        compute(factor, disturbed, groups)[:cut].tobytes() == past
        and compute(factor, shortened, groups).tobytes() == past
    )
