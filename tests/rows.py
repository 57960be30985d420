"""Rows of a run's tables with plausible figures, for whoever tests what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from alphamill.evaluation import Gate, Grade, Score
from alphamill.frames import Interval
from alphamill.jobs import RunKind
from alphamill.lake import Lake, run_key
from alphamill.llm.journal.records import CallRecord, CallStatus
from alphamill.runs.builds import Share
from alphamill.runs.figures import DiscoveryFigures, Measures, SegmentFigures
from alphamill.runs.published import PublishedRun
from alphamill.runs.rows import JudgedFactor, Trial
from alphamill.runs.schemas import CALLS, GIVEN_TRIALS, MINED_TRIALS, SUMMARY, VERDICTS

FACTOR = JudgedFactor(
    hash="ab12",
    expression="rank(close / open)",
    interval=Interval.H1,
    verdict=Grade.REJECTED,
    rank=1,
    direction=-1,
    gates=(),
    reasons=("a reason",),
    discovery=DiscoveryFigures(rank_ic_mean=0.05, rank_ic_t=-13.94, cpcv_same_sign_frac=0.9286),
    validation=SegmentFigures(
        rank_ic_mean=0.05,
        rank_ic_t=-8.34,
        net_sharpe=-16.64,
        turnover_per_bar=0.1325,
        break_even_bps=8.31,
        capacity_quote=1_250_000.0,
    ),
    holdout=SegmentFigures(),
    hypothesis="why",
    tier="quick_scan",
    symbol="AUSDT",
    veto_reason="",
    holdout_looks=3,
    n_trials=1208,
    bh_p=9.2e-15,
    deflated_sharpe=0.4126,
    call_cost_usd_micros=449,
)
SCORE = Score(
    horizon_bars=4, entry_lag_bars=1, skip_bars=0, fee_bps=11.0, bars_per_year=8760.0, direction=1
)
TRIAL = Trial(
    interval=Interval.H1,
    status="evaluated",
    tier="quick_scan",
    proposed="rank(close)",
    expression="rank(close)",
    hash="cd34",
    hypothesis="",
    reason="",
    direction=1,
    discovery=Measures(
        rank_ic_mean=0.0312,
        rank_ic_t=4.5,
        gross_sharpe=2.0,
        net_sharpe=-1.0,
        turnover_per_bar=0.2,
        coverage=0.99,
        break_even_bps=3.2,
    ),
)
CALL = CallRecord(
    run="mine-1",
    call_id="quick_scan-1",
    attempt="quick_scan-1-1",
    day="2026-01-31",
    tier="quick_scan",
    model="m",
    prompt_version="1",
    prompt_hash="h",
    message_digests=(("user", "d1"), ("user", "d2")),
    max_tokens=100,
    temperature=0.5,
    started_ms=1000,
    reserved_usd_micros=5000,
    status=CallStatus.SETTLED,
    prompt_tokens=30,
    cost_usd_micros=1000,
)


def figures_of(row: Any, **figures: Mapping[str, float | None]) -> Any:
    """The row with other figures: `figures_of(FACTOR, holdout={"net_sharpe": 1.5})`."""
    return replace(
        row, **{name: replace(getattr(row, name), **new) for name, new in figures.items()}
    )


def gate(
    name: str,
    passed: bool,
    value: float = 1.0,
    threshold: float = 2.0,
    needed_for: Grade = Grade.PREDICTIVE,
) -> Gate:
    return Gate(name, passed, value, threshold, f"what {name} means", needed_for)


def publish(
    lake: Lake,
    run_id: str,
    spec: Mapping[str, Any],
    trials: Sequence[Trial] = (TRIAL,),
    factors: Sequence[JudgedFactor] = (FACTOR,),
    calls: Sequence[CallRecord] = (CALL,),
    missing: Sequence[Mapping[str, Any]] = (),
    builds: Sequence[Share] = (),
) -> PublishedRun:
    """The run as the publish stage leaves it; spec: as a message."""
    mined = spec["kind"] == RunKind.MINE
    tables = [("trials", trials, MINED_TRIALS if mined else GIVEN_TRIALS)]
    tables += [("factors", factors, VERDICTS), ("calls", calls, CALLS)] if mined else []
    for name, rows, schema in tables:
        table = pa.Table.from_pylist([row.to_row() for row in rows], schema=schema)
        lake.write(run_key(run_id, f"{name}.parquet"), table, {})
    summary = {"run": run_id, "spec": spec, "missing": missing}
    summary["builds"] = [asdict(share) for share in builds]
    lake.write_bytes(run_key(run_id, SUMMARY), json.dumps(summary).encode())
    return PublishedRun.open(lake, run_id)
