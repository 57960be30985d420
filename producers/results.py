"""A run as the reading commands need it: found, ended, and its parquet as plain rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from alphamill.errors import GiveUp
from alphamill.lake import Lake, run_key
from alphamill.ledger import Counts, Ledger, RunRecord
from alphamill.sim.proposer import NAME as PROPOSER
from producers.submission import find_run

Row = dict[str, Any]

_SETTLED = ("done", "dead", "skipped", "cancelled")
_FAILED = ("dead", "skipped")
_DECODED = ("gates", "reasons", "score")  # columns that hold JSON

OFFLINE_NOTICE = (
    "The models' answers came from the offline proposer, a seeded grammar: a control arm that "
    "costs nothing, not what a language model finds."
)


def progress(counts: Counts) -> tuple[int, int, int]:
    """Jobs settled, failed (dead or skipped), and all."""

    def number(states: tuple[str, ...]) -> int:
        return sum(stage.get(state, 0) for stage in counts.values() for state in states)

    total = sum(sum(stage.values()) for stage in counts.values())
    return number(_SETTLED), number(_FAILED), total


def finished_run(ledger: Ledger, text: str | None, kinds: tuple[str, ...]) -> RunRecord:
    """The run that was named, or the newest of the first kind; it must be done.

    Raises GiveUp, saying what to do, for a run of another kind or one that has no result.
    """
    run = find_run(ledger, text, () if text else kinds[:1])
    if run.kind not in kinds:
        raise GiveUp(
            f"{run.id} is a {run.kind} run and has no factors; "
            f"its data: {'alphamill gaps' if run.kind == 'fetch' else 'features/ in the lake'}"
        )
    if run.state == "done":
        return run
    if run.state in ("submitting", "running"):
        settled, _, total = progress(ledger.counts(run.id))
        raise GiveUp(
            f"{run.id} has not finished ({settled} of {total} jobs settled); "
            f"follow it with: alphamill status {run.id} --wait"
        )
    ended = "was cancelled" if run.state == "cancelled" else "failed"
    raise GiveUp(
        f"{run.id} {ended}; see why with: alphamill status {run.id}; "
        f"go on with: alphamill resume {run.id}"
    )


def run_rows(run: RunRecord, name: str) -> list[Row]:
    """The rows of runs/run=ID/NAME.parquet with JSON columns decoded and NaN as None.

    Raises GiveUp if this machine does not see the file.
    """
    lake = Lake(run.spec["lake"])
    try:
        rows = lake.read(run_key(run.id, f"{name}.parquet")).to_pylist()
    except FileNotFoundError as error:
        raise GiveUp(
            f"{run.id} is done, but {lake.uri} has no {name}.parquet of it; "
            "ask on a machine that sees that lake"
        ) from error
    return [_plain(row) for row in rows]


def offline(run: RunRecord) -> bool:
    """Whether the run's models are the offline proposer."""
    tiers: Mapping[str, Mapping[str, Any]] = run.spec.get("tiers") or {}
    return any(tier.get("model") == PROPOSER for tier in tiers.values())


def _plain(row: Mapping[str, Any]) -> Row:
    return {
        name: json.loads(value)
        if name in _DECODED and value
        else None
        if isinstance(value, float) and not math.isfinite(value)
        else value
        for name, value in row.items()
    }
