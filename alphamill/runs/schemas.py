"""A run's candidates, trials and verdicts as tables, and where they lie in the lake.

runs/run=ID/proposals/...   what the models said, read and parsed
runs/run=ID/trials/...      every candidate with its discovery numbers, one file a shard
runs/run=ID/validation/...  the trials' validation numbers, kept apart: no prompt reads them
runs/run=ID/ranking/...     finalists; runs/run=ID/verdicts/... judged factors
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from alphamill.evaluation import Score
from alphamill.frames import Interval
from alphamill.jobs import RunSpec
from alphamill.lake import Lake, run_key
from alphamill.llm.journal.records import CallRecord
from alphamill.runs.rows import JUDGED_SEGMENTS, Measures
from alphamill.runs.rows import UNMEASURED as UNMEASURED
from alphamill.settings import Tier

Row = dict[str, Any]

SUMMARY = "run.json"  # what was asked for and what is missing; written when a run is published


@dataclass(frozen=True, slots=True)
class RunDeps:
    """What a stage that only computes works with."""

    lake: Lake
    run_id: str
    spec: RunSpec


_TEXT, _BOOL, _FLOAT = pa.string(), pa.bool_(), pa.float64()


def _columns(kind: pa.DataType, names: str | Iterable[str]) -> list[pa.Field]:
    """Columns of one type; names: in one string, or each by itself."""
    return [pa.field(name, kind) for name in (names.split() if isinstance(names, str) else names)]


# The numbers of a Score that are columns of their own; `score` holds all of it as JSON.
STABILITY_COLUMNS = ("walk_forward_rank_corr", "cpcv_same_sign_frac", "half_life_bars")
SCORE_COLUMNS = tuple(one.name for one in fields(Measures))

PROPOSALS = pa.schema(
    [
        *_columns(_TEXT, "interval tier symbol call_id proposed expression hash hypothesis"),
        *_columns(_TEXT, "status reason repair"),
        pa.field("round", pa.int32()),
        pa.field("call_cost_usd_micros", pa.int64()),
        pa.field("cut", _BOOL),
    ]
)
TRIALS = pa.schema(
    [
        *PROPOSALS,
        pa.field("lookback_bars", pa.int32()),
        pa.field("direction", pa.int8()),
        *_columns(_FLOAT, SCORE_COLUMNS),
        pa.field("score", _TEXT),
    ]
)
# As published, of an `evaluate` run and of a `mine` run.
GIVEN_TRIALS = pa.schema(
    [*TRIALS, pa.field("n_trials", pa.int64()), pa.field("deflated_sharpe", _FLOAT)]
)
MINED_TRIALS = pa.schema(
    [
        *TRIALS,
        *_columns(_FLOAT, (f"validation_{name}" for name in SCORE_COLUMNS)),
        pa.field("validation_rank", pa.int32()),
        pa.field("finalist", _BOOL),
        pa.field("why_not_finalist", _TEXT),
    ]
)
VALIDATION = pa.schema(
    [
        *_columns(_TEXT, "hash expression fault"),
        pa.field("direction", pa.int8()),
        *_columns(_FLOAT, SCORE_COLUMNS),
        pa.field("score", _TEXT),
        pa.field("gross_returns", pa.list_(_FLOAT)),
    ]
)
RANKING = pa.schema(
    [
        *_columns(_TEXT, "hash expression"),
        pa.field("rank", pa.int32()),
        pa.field("finalist", _BOOL),
        pa.field("why", _TEXT),
        pa.field("direction", pa.int8()),
        *_columns(_FLOAT, "oriented_t bh_p library_correlation earlier_correlation"),
        *_columns(_TEXT, "earlier_nearest earlier_run"),
        pa.field("n_trials", pa.int64()),
        pa.field("n_effective", _FLOAT),
        pa.field("n_clusters", pa.int64()),
        *_columns(_FLOAT, "sharpe_variance discovery_pbo pbo residual_rank_ic residual_t"),
        pa.field("shared_subtree_frac", _FLOAT),
        pa.field("complexity_nodes", pa.int32()),
    ]
)
VETO = pa.schema(
    [pa.field("hash", _TEXT), *_columns(_BOOL, "kept vetoed"), pa.field("reason", _TEXT)]
)
VERDICTS = pa.schema(
    [
        *_columns(_TEXT, "hash expression interval verdict hypothesis tier symbol call_id"),
        *_columns(_TEXT, "veto_reason reasons gates snapshot code_version"),
        *_columns(_TEXT, "earlier_nearest earlier_run"),
        *_columns(pa.int32(), "round rank"),
        pa.field("direction", pa.int8()),
        pa.field("lookback_bars", pa.int32()),
        *_columns(_BOOL, "kept_by_model look_ahead_ok"),
        *_columns(pa.int64(), "n_trials holdout_looks holdout_looks_before n_clusters"),
        *_columns(pa.int32(), "complexity_nodes earlier_factors"),
        pa.field("call_cost_usd_micros", pa.int64()),
        *_columns(_FLOAT, "n_effective bh_p deflated_sharpe deflated_sharpe_effective"),
        *_columns(_FLOAT, "deflated_sharpe_uncapped library_correlation pbo discovery_pbo"),
        *_columns(_FLOAT, "residual_rank_ic residual_t shared_subtree_frac earlier_correlation"),
        *_columns(_FLOAT, "earlier_residual_rank_ic earlier_residual_t"),
        *_columns(_FLOAT, (f"{s.value}_{name}" for s in JUDGED_SEGMENTS for name in SCORE_COLUMNS)),
        *_columns(_FLOAT, "discovery_walk_forward_rank_corr discovery_cpcv_same_sign_frac"),
        pa.field("discovery_half_life_bars", _FLOAT),
        *_columns(pa.int64(), (f"{segment.value}_start_ms" for segment in JUDGED_SEGMENTS)),
        *_columns(pa.int64(), (f"{segment.value}_end_ms" for segment in JUDGED_SEGMENTS)),
    ]
)
LIBRARY = pa.schema(
    [
        pa.field("number", pa.int64()),
        *_columns(_TEXT, "run hash expression verdict"),
        pa.field("rank", pa.int32()),
        pa.field("removed_ms", pa.int64()),
        *_columns(_TEXT, "removed_by removed_why"),
    ]
)
_CALL_TYPES = {"int": pa.int64(), "bool": _BOOL, "float": _FLOAT}
# CallRecord's fields; what is neither number nor truth is text.
CALLS = pa.schema(
    [
        *(
            pa.field(one.name, _CALL_TYPES.get(str(one.type).split(" ")[0], _TEXT))
            for one in fields(CallRecord)
        ),
        pa.field("cost_difference_usd_micros", pa.int64()),
    ]
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
