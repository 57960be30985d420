"""How new a factor is beside others, measured on a run's own bars.

Values, not texts, are compared: two formulas may say one thing, and one formula two things on other
symbols. So what earlier runs admitted is computed anew on the panel of this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alphamill.errors import FactorError
from alphamill.evaluation import (
    default_lags,
    forward_returns,
    information_coefficient,
    newey_west_t,
    residual_signal,
    signal_correlation,
)
from alphamill.evaluation.correlation import mean_ic
from alphamill.evaluation.ranks import rank_rows
from alphamill.evaluation.score import LAGS_PER_HORIZON
from alphamill.factors import Factor, compute_many
from alphamill.frames import FloatArray
from alphamill.jobs import RunSpec
from alphamill.language import read_expression
from alphamill.runs.reader import SegmentReader
from alphamill.runs.rows import Admission

STRIDE_BARS = 8  # of the bars on which two factors' values are compared
_COMPARED_BARS = 4000  # at most; a longer segment is strided further
_REGRESSED_ON = 10  # of the library, the nearest: each is a whole array in memory


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A known factor beside the one asked about. correlation: mean rank correlation, -1 to 1."""

    factor: Factor
    run: str
    correlation: float


@dataclass(frozen=True, slots=True)
class Residual:
    """What is left of a factor's RankIC beside others, in the direction of discovery."""

    rank_ic: float
    t: float  # Newey-West


@dataclass(frozen=True, slots=True)
class Novelty:
    """How new a factor is beside those of earlier runs; the columns of a verdict that say so."""

    earlier_factors: int = 0  # that it was compared with
    earlier_correlation: float | None = None  # with the nearest
    earlier_nearest: str | None = None
    earlier_run: str | None = None
    earlier_residual_rank_ic: float | None = None  # beside the nearest ten
    earlier_residual_t: float | None = None


class KnownFactors:
    """Factors that earlier runs admitted, on the bars of one segment of this run's panel.

    One that this run cannot compute, for want of a field or a group or
    because the language has changed since, is left out.
    """

    def __init__(self, admissions: Sequence[Admission], reader: SegmentReader) -> None:
        self._reader = reader
        self._factors: list[Factor] = []
        self._runs: list[str] = []
        for admission in admissions:
            try:
                factor = read_expression(admission.expression)
                reader.check(factor)
            except FactorError:
                continue
            self._factors.append(factor)
            self._runs.append(admission.run)
        self._stride = 1
        self._values: dict[int, FloatArray] = {}
        if self._factors:
            columns = {column for factor in self._factors for column in factor.columns}
            panel = reader.panel(columns).panel
            self._stride = max(STRIDE_BARS, panel.n_bars // _COMPARED_BARS)
            members = reader.members()
            computed = compute_many(self._factors, panel, reader.labels(), members=members)
            for at, values in computed:
                self._values[at] = values[:: self._stride].copy()

    def __len__(self) -> int:
        return len(self._factors)

    def nearest_first(self, values: FloatArray) -> list[Neighbour]:
        """All that can be compared with `values` (bars, symbols), by falling |correlation|."""
        own = values[:: self._stride]
        found = [
            Neighbour(factor, run, signal_correlation(own, self._values[at]))
            for at, (factor, run) in enumerate(zip(self._factors, self._runs, strict=True))
        ]
        comparable = [one for one in found if not np.isnan(one.correlation)]
        return sorted(comparable, key=lambda one: (-abs(one.correlation), one.factor.hash))

    def measure(self, values: FloatArray, direction: int, spec: RunSpec) -> Novelty:
        """How new `values` are beside all that can be compared with them."""
        nearest = self.nearest_first(values)
        if not nearest:
            return Novelty()
        others = [self._reader.values(one.factor) for one in nearest[:_REGRESSED_ON]]
        left = what_is_left(values, others, direction, self._reader, spec)
        return Novelty(
            len(nearest),
            nearest[0].correlation,
            nearest[0].factor.text,
            nearest[0].run,
            left.rank_ic,
            left.t,
        )


def what_is_left(
    values: FloatArray,
    others: Sequence[FloatArray],
    direction: int,
    reader: SegmentReader,
    spec: RunSpec,
) -> Residual:
    """The RankIC that is left beside other factors; NaN without a cross-section."""
    segment, cut = reader.panel(()), spec.segments
    log = cut.returns == "log"
    forward = forward_returns(segment.panel, cut.horizon_bars, cut.entry_lag_bars, log)
    members = reader.members()
    if members is not None:
        forward[~members] = np.nan
    residual = direction * residual_signal(values, others)
    ranks = rank_rows(forward[segment.scored])  # the residual is of ranks already
    ic = information_coefficient(residual[segment.scored], ranks, "pearson")
    lags = default_lags(int(np.isfinite(ic).sum()), LAGS_PER_HORIZON * cut.horizon_bars)
    return Residual(mean_ic(ic), newey_west_t(ic, lags))
