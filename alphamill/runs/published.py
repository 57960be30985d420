"""A run as the reading commands need it: found, ended, and its parquet as plain rows."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from alphamill.errors import GiveUp
from alphamill.lake import Lake, run_key
from alphamill.ledger import (
    Counts,
    JobRecord,
    JobState,
    Ledger,
    RedisLedger,
    RunRecord,
    RunState,
)
from alphamill.llm.journal.records import CallStatus
from alphamill.redis_store import connect
from alphamill.runs.failures import Trouble, gathered
from alphamill.runs.schemas import SUMMARY
from alphamill.settings import Settings
from alphamill.sim.llm.proposer import NAME as PROPOSER
from alphamill.usage import MemoryUsageCounters, UsageEntry

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


def finished_run(settings: Settings, text: str | None, kinds: tuple[str, ...]) -> RunRecord:
    """The run that was named, or the newest of the first kind; it must be done.

    A run's results lie in the lake, so that what is there needs no Redis. Raises GiveUp, saying
    what to do, for a run of another kind or one that has no result.
    """
    found = _published(Lake(settings.lake_uri), text, kinds)
    if found is not None:
        return found
    ledger = RedisLedger(connect(settings), settings.ledger)
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


def _published(lake: Lake, text: str | None, kinds: tuple[str, ...]) -> RunRecord | None:
    """The run whose results are in the lake, or None if none fits, or more than one does."""
    fitting: list[tuple[int, str]] = []
    for key in lake.list("runs"):
        run_id = key.removesuffix(f"/{SUMMARY}").removeprefix("runs/run=")
        kind = run_id.partition("-")[0]
        wanted = run_id.startswith(text) and kind in kinds if text else kind == kinds[0]
        stat = lake.stat(key) if key.endswith(f"/{SUMMARY}") and wanted else None
        if stat is not None:
            fitting.append((stat.written_ns, run_id))
    if not fitting or (text and len(fitting) > 1):
        return None
    written_ns, run_id = max(fitting)
    summary = json.loads(lake.read_bytes(run_key(run_id, SUMMARY)))
    spec = summary["spec"] | {"lake": lake.uri}
    ended_ms = written_ns // 1_000_000
    return RunRecord(run_id, spec["kind"], spec, RunState.DONE, 0, ended_ms, ended_ms)


def run_troubles(run: RunRecord) -> list[Trouble]:
    """What the run ended without, from its summary in the lake."""
    summary = json.loads(Lake(run.spec["lake"]).read_bytes(run_key(run.id, SUMMARY)))
    return gathered(
        JobRecord(row["id"], row["stage"], "", row.get("message", {}),
                  JobState(row.get("state", JobState.DEAD)), error=row["reason"])
        for row in summary["missing"]
    )  # fmt: skip


def run_usage(run: RunRecord) -> Row:
    """The usage report of a run, added up again from its calls.parquet."""
    counters = MemoryUsageCounters()
    for call in run_rows(run, "calls"):
        where = call["run"], call["day"], call["tier"], call["model"]
        if call["status"] in (CallStatus.SETTLED, CallStatus.DUPLICATE):
            counters.record(
                UsageEntry(call["attempt"], *where, call["prompt_tokens"], call["cached_tokens"],
                           call["completion_tokens"], call["cost_usd_micros"], call["latency_ms"],
                           *_both_prices(call))
            )  # fmt: skip
        elif call["error_class"]:
            counters.record_error(*where, call["error_class"])
    return counters.report(run.id)


def _both_prices(call: Row) -> tuple[int, int]:
    """The provider's figure and ours, 0 and 0 where it states none."""
    theirs = call.get("provider_cost_usd_micros")
    return (0, 0) if theirs is None else (theirs, call.get("table_cost_usd_micros") or 0)


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


def signed(factor: Mapping[str, Any]) -> str:
    """The expression as it is traded: a factor that predicts falling prices is sold."""
    expression = str(factor["expression"])
    return f"sell {expression}" if (factor.get("direction") or 1) < 0 else expression


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


def find_run(ledger: Ledger, text: str | None, kinds: Sequence[str] = ()) -> RunRecord:
    """The run with this id or unique beginning; None: the newest (of those kinds).

    Raises GiveUp, naming what there is.
    """
    runs = [run for run in ledger.runs() if not kinds or run.kind in kinds]
    if text is None:
        if not runs:
            raise GiveUp("no run yet; submit one with: alphamill mine --help")
        return max(runs, key=lambda run: run.created_ms)
    fitting = [run for run in runs if run.id.startswith(text)]
    if len(fitting) == 1:
        return fitting[0]
    raise GiveUp(
        f"{text!r} fits {len(fitting)} runs; name one of: "
        + (", ".join(run.id for run in (fitting or runs)[:8]) or "(there is none yet)")
    )
