"""What a `combine` run found: a row a method, and each factor's weight from refit to refit.

runs/run=ID/combined/interval=1h/combined.parquet   as the stage left them
runs/run=ID/weights/interval=1h/weights.parquet
runs/run=ID/combinations.parquet, weights.parquet   as published
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from alphamill.frames import Interval
from alphamill.runs.rows import JudgedFactor, TableRow
from alphamill.runs.schemas import VERDICTS

_TEXT, _FLOAT, _COUNT = pa.string(), pa.float64(), pa.int32()
_EXCESS = (
    *("excess_rank_ic", "excess_low", "excess_high", "excess_confidence"),
    *("combined_rank_ic", "random_rank_ic", "combined_icir", "random_icir"),
    *("random_percentile", "random_p_value"),
)

# A method is judged as a factor is, and has all columns of one.
COMBINATIONS = pa.schema(
    [
        pa.field("method", _TEXT),
        *(pa.field(name, _FLOAT) for name in _EXCESS),
        *(pa.field(name, _COUNT) for name in ("random_draws", "excess_bars", "n_factors")),
        pa.field("refits", _COUNT),
        pa.field("why_no_control", _TEXT),
        *VERDICTS,
    ]
)
WEIGHTS = pa.schema(
    [
        *(pa.field(name, _TEXT) for name in ("interval", "method", "hash", "expression")),
        pa.field("from_ms", pa.int64()),
        pa.field("weight", _FLOAT),
    ]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CombinedSignal(TableRow):
    """A run's factors under one method. RankICs are over the bars after discovery.

    judged: as any factor is; its expression has the weights of the newest refit, its figures are of
    the walk-forward signal. None where there is no control arm, or the figure cannot be had.
    """

    method: str
    judged: JudgedFactor
    n_factors: int
    refits: int
    excess_rank_ic: float | None = None  # combined less random
    excess_low: float | None = None  # its interval
    excess_high: float | None = None
    excess_confidence: float | None = None
    combined_rank_ic: float | None = None
    random_rank_ic: float | None = None  # mean over the draws of as many random formulas
    combined_icir: float | None = None
    random_icir: float | None = None
    random_percentile: float | None = None  # share of the draws that are lower, 0 to 1
    random_p_value: float | None = None
    random_draws: int | None = None
    excess_bars: int | None = None
    why_no_control: str = ""

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """From a row of COMBINATIONS."""
        names = cls.__dataclass_fields__
        own = {name: row[name] for name in names if name != "judged" and name in row}
        return cls(**own, judged=JudgedFactor.from_row(row))

    def to_row(self) -> dict[str, Any]:
        """Plain values by column."""
        names = self.__dataclass_fields__
        own = {name: getattr(self, name) for name in names if name != "judged"}
        return self.judged.to_row() | own

    def _decoded(self) -> dict[str, Any]:
        return self.judged._decoded()  # noqa: SLF001  a row of the same kind


@dataclass(frozen=True, slots=True, kw_only=True)
class FactorWeight(TableRow):
    """A factor's weight under one method, from the opening of a bar to the next refit."""

    interval: Interval
    method: str
    from_ms: int
    hash: str
    expression: str
    weight: float | None  # the magnitudes of a refit's add up to 1

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """From a row of WEIGHTS."""
        own = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(**own | {"interval": Interval(row["interval"])})
