"""A run's candidates, trials and verdicts as tables, and where they lie in the lake.

runs/run=ID/proposals/...   what the models said, read and parsed
runs/run=ID/trials/...      every candidate with its discovery numbers, one file a shard
runs/run=ID/validation/...  the trials' validation numbers, kept apart: no prompt reads them
runs/run=ID/ranking/...     finalists; runs/run=ID/verdicts/... judged factors

A file has no column that its path states, such as `run` or `interval`: it is there for whoever
reads the folder, and `rows_in` gives it back. A number that is not known is null and never NaN, of
which a file's statistics say nothing, so that filters would skip or keep such rows by chance.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from alphamill.frames import Interval
from alphamill.jobs import RunSpec
from alphamill.lake import Lake, run_key, stated_in
from alphamill.llm.journal.records import CallRecord
from alphamill.runs.figures import JUDGED_SEGMENTS, Measures
from alphamill.runs.rows import AnyRow, Columns, Trial
from alphamill.settings import Tier

SUMMARY = "run.json"  # what was asked for and what is missing; written when a run is published
RESUMED = "resumed.json"  # when a published run was put back to work


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
SCORE_COLUMNS = tuple(one.name for one in fields(Measures))

PROPOSALS = pa.schema(
    [
        *_columns(_TEXT, "interval tier symbol call_id proposed expression hash hypothesis"),
        *_columns(_TEXT, "status reason repair repair_unread"),
        pa.field("round", pa.int32()),
        pa.field("call_cost_usd_micros", pa.int64()),
        pa.field("cut", _BOOL),
    ]
)
TRIALS = pa.schema(
    [
        *PROPOSALS,
        pa.field("slower_of", _TEXT),
        pa.field("lookback_bars", pa.int32()),
        pa.field("direction", pa.int8()),
        *_columns(_FLOAT, SCORE_COLUMNS),
        pa.field("score", _TEXT),
    ]
)
# As published, of an `evaluate` run and of a `mine` run.
GIVEN_TRIALS = pa.schema(
    [
        *TRIALS,
        pa.field("horizon_bars", pa.int32()),
        pa.field("n_trials", pa.int64()),
        pa.field("deflated_sharpe", _FLOAT),
    ]
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
        *_columns(_FLOAT, "oriented_t bh_p fdr_hurdle_p library_correlation earlier_correlation"),
        *_columns(_TEXT, "earlier_nearest earlier_run"),
        pa.field("n_trials", pa.int64()),
        pa.field("n_effective", _FLOAT),
        pa.field("n_clusters", pa.int64()),
        *_columns(_FLOAT, "sharpe_variance discovery_pbo pbo residual_rank_ic residual_t"),
        pa.field("shared_subtree_frac", _FLOAT),
        pa.field("complexity_nodes", pa.int32()),
    ]
)
VETO = pa.schema([*_columns(_TEXT, "hash reason unread"), *_columns(_BOOL, "kept vetoed")])
VERDICTS = pa.schema(
    [
        *_columns(_TEXT, "hash expression interval verdict hypothesis tier symbol call_id"),
        *_columns(_TEXT, "veto_reason review_unread reasons gates snapshot code_version"),
        *_columns(_TEXT, "earlier_nearest earlier_run"),
        *_columns(pa.int32(), "round rank"),
        pa.field("direction", pa.int8()),
        pa.field("lookback_bars", pa.int32()),
        *_columns(_BOOL, "kept_by_model look_ahead_ok"),
        *_columns(pa.int64(), "n_trials holdout_looks holdout_looks_before n_clusters"),
        *_columns(pa.int64(), "power_bars power_bars_needed power_symbols_needed"),
        *_columns(pa.int32(), "complexity_nodes earlier_factors"),
        pa.field("call_cost_usd_micros", pa.int64()),
        *_columns(_FLOAT, "n_effective bh_p deflated_sharpe deflated_sharpe_effective"),
        *_columns(_FLOAT, "deflated_sharpe_uncapped library_correlation pbo discovery_pbo"),
        *_columns(_FLOAT, "residual_rank_ic residual_t shared_subtree_frac earlier_correlation"),
        *_columns(_FLOAT, "earlier_residual_rank_ic earlier_residual_t power power_correlation"),
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
        pa.field("direction", pa.int8()),
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


def interval_key(run_id: str, table: str, interval: Interval, name: str) -> str:
    """A file of one table and interval: validation, ranking, veto, verdicts."""
    return run_key(run_id, f"{table}/interval={interval.value}/{name}.parquet")


def read_rows(lake: Lake, prefix: str, kind: type[AnyRow]) -> list[AnyRow]:
    """The rows of every parquet file under a prefix, files in order of their names."""
    keys = (key for key in sorted(lake.list(prefix)) if key.endswith(".parquet"))
    return [kind.from_row(row) for key in keys for row in rows_in(lake, key)]


def read_trials(lake: Lake, run_id: str, interval: Interval) -> list[Trial]:
    """All trials of an interval so far, in order of round and tier."""
    trials = read_rows(lake, run_key(run_id, f"trials/interval={interval.value}"), Trial)
    order = [*Tier, "given"]
    return sorted(trials, key=lambda trial: (trial.round, order.index(trial.tier or "")))


def read_interval(
    lake: Lake, run_id: str, table: str, interval: Interval, kind: type[AnyRow]
) -> list[AnyRow]:
    """An interval's rows of one table: validation, ranking, veto or verdicts."""
    return read_rows(lake, run_key(run_id, f"{table}/interval={interval.value}"), kind)


def read_by_hash(
    deps: RunDeps, table: str, interval: Interval, kind: type[AnyRow]
) -> dict[str, AnyRow]:
    """As `read_interval`, by the factors' hashes."""
    rows = read_interval(deps.lake, deps.run_id, table, interval, kind)
    return {row.hash: row for row in rows}  # type: ignore[attr-defined]


def rows_in(lake: Lake, key: str) -> list[dict[str, Any]]:
    """A file's rows, values by column, with what its path states."""
    stated: dict[str, Any] = stated_in(key)
    if "round" in stated:
        stated["round"] = int(stated["round"])
    return [stated | row for row in lake.read(key).to_pylist()]


def write_rows(lake: Lake, key: str, rows: Iterable[Columns], schema: pa.Schema) -> None:
    """Write rows as one file; a column that a row does not know is null."""
    stated = stated_in(key)
    own = pa.schema([column for column in schema if column.name not in stated])
    table = pa.Table.from_pylist([row.to_row() for row in rows], schema=own)
    lake.write(key, pa.table([*map(_null_for_nan, table.columns)], schema=own), {})


def _null_for_nan(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if not pa.types.is_floating(column.type):
        return column
    import pyarrow.compute as pc  # makes its functions as it is imported; rows are read without

    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
