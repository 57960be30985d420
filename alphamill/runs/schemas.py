"""A run's candidates, trials and verdicts as tables, and where they lie in the lake.

runs/run=ID/proposals/...   what the models said, read and parsed
runs/run=ID/trials/...      every candidate with its discovery numbers, one file a shard
runs/run=ID/validation/...  the trials' validation numbers, kept apart: no prompt reads them
runs/run=ID/ranking/...     finalists; runs/run=ID/verdicts/... judged factors
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from alphamill.evaluation import Score
from alphamill.frames import Interval
from alphamill.jobs import RunSpec
from alphamill.lake import Lake, run_key
from alphamill.settings import Tier

Row = dict[str, Any]

SUMMARY = "run.json"  # what was asked for and what is missing; written when a run is published


@dataclass(frozen=True, slots=True)
class RunDeps:
    """What a stage that only computes works with."""

    lake: Lake
    run_id: str
    spec: RunSpec


_TEXTS = ("interval", "tier", "symbol", "call_id", "proposed", "expression", "hash", "hypothesis",
          "status", "reason", "repair")  # fmt: skip

UNMEASURED = "unmeasured"  # status of the one row of bars that nothing could be measured on

# repair: "" as proposed, "free" mended by rule, "model" mended by a paid call.
# cut: the reply broke off behind the expression, so that the hypothesis may be missing.
# call_cost_usd_micros: of the call that proposed it, repairs included; the same for all its rows.
PROPOSALS = pa.schema(
    [pa.field(name, pa.string()) for name in _TEXTS]
    + [pa.field("round", pa.int32()), pa.field("call_cost_usd_micros", pa.int64())]
    + [pa.field("cut", pa.bool_())]
)

# The numbers of a Score that are columns of their own; `score` holds all of it as JSON.
# rank_ic_* and ic_* are of a cross-section; time_series_* stand in for it below three symbols.
SCORE_COLUMNS = ("rank_ic_mean", "rank_ic_t", "time_series_rank_corr", "time_series_t", "p_value",
                 "ic_mean", "icir", "coverage",
                 "turnover_per_bar", "gross_sharpe", "net_sharpe", "gross_sharpe_per_bar",
                 "net_sharpe_per_bar", "max_drawdown_frac", "break_even_bps",
                 "capacity_quote")  # fmt: skip

# What discovery's folds say of one factor; no later segment has folds. See `evaluation.stability`.
STABILITY_COLUMNS = ("walk_forward_rank_corr", "cpcv_same_sign_frac", "half_life_bars")

TRIALS = pa.schema(
    [*PROPOSALS]
    + [pa.field("lookback_bars", pa.int32()), pa.field("direction", pa.int8())]
    + [pa.field(name, pa.float64()) for name in SCORE_COLUMNS]
    + [pa.field("score", pa.string())]
)


def score_columns(score: Score) -> Row:
    """A Score as columns: its main numbers, and all of it as JSON."""
    plain = score.to_dict()
    return {
        **{name: plain[name] for name in SCORE_COLUMNS},
        "direction": score.direction,
        "score": json.dumps(plain, separators=(",", ":")),
    }


def score_of(row: Mapping[str, Any]) -> Score:
    """The Score that `score_columns` wrote."""
    return Score.from_dict(json.loads(row["score"]))


def in_time(row: Mapping[str, Any], prefix: str = "") -> bool:
    """Whether the row's numbers are of each symbol in time, for want of a cross-section."""
    return _given(row, f"{prefix}rank_ic_t", f"{prefix}rank_ic_mean") is None and (
        _given(row, f"{prefix}time_series_t", f"{prefix}time_series_rank_corr") is not None
    )


def association(row: Mapping[str, Any], prefix: str = "") -> float | None:
    """The mean RankIC, or the rank correlation in time where there is none; None for neither.

    prefix: of the columns, "validation_" for instance.
    """
    return _given(row, f"{prefix}rank_ic_mean", f"{prefix}time_series_rank_corr")


def association_t(row: Mapping[str, Any], prefix: str = "") -> float | None:
    """Newey-West t of `association`."""
    return _given(row, f"{prefix}rank_ic_t", f"{prefix}time_series_t")


def _given(row: Mapping[str, Any], *names: str) -> float | None:
    """The first number that is there."""
    numbers = (row.get(name) for name in names)
    return next((n for n in numbers if n is not None and not math.isnan(n)), None)


def proposals_key(run_id: str, interval: Interval, number: int, tier: Tier, symbol: str) -> str:
    """What one model call proposed; `symbol` "" for a call about all."""
    folder = f"proposals/interval={interval.value}/round={number}/tier={tier.value}"
    return run_key(run_id, f"{folder}/{symbol or 'all'}.parquet")


def proposals_prefix(run_id: str, interval: Interval, number: int, tier: Tier) -> str:
    """All that a tier proposed in a round."""
    return run_key(run_id, f"proposals/interval={interval.value}/round={number}/tier={tier.value}")


def trials_key(run_id: str, interval: Interval, number: int, tier: Tier, shard: int) -> str:
    """The trials of one evaluate job."""
    folder = f"trials/interval={interval.value}/round={number}/tier={tier.value}"
    return run_key(run_id, f"{folder}/shard-{shard}.parquet")


def interval_key(run_id: str, kind: str, interval: Interval, name: str) -> str:
    """A file of one kind and interval: validation, ranking, veto, verdicts."""
    return run_key(run_id, f"{kind}/interval={interval.value}/{name}.parquet")


def read_rows(lake: Lake, prefix: str) -> list[Row]:
    """The rows of every parquet file under a prefix, files in order of their names."""
    rows: list[Row] = []
    for key in sorted(lake.list(prefix)):
        if key.endswith(".parquet"):
            rows.extend(lake.read(key).to_pylist())
    return rows


def read_trials(lake: Lake, run_id: str, interval: Interval) -> list[Row]:
    """All trials of an interval so far, in order of round and tier."""
    rows = read_rows(lake, run_key(run_id, f"trials/interval={interval.value}"))
    order = [*Tier, "given"]
    return sorted(rows, key=lambda row: (row["round"], order.index(row["tier"])))


def write_rows(lake: Lake, key: str, rows: Sequence[Row], schema: pa.Schema) -> None:
    """Write rows as one file; columns that a row lacks are null."""
    lake.write(key, pa.Table.from_pylist(list(rows), schema=schema), {})
