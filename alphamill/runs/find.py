"""Which run is meant: by its id, the beginning of it, or as the newest."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence

from alphamill.errors import GiveUp
from alphamill.lake import Lake, run_key
from alphamill.ledger import (
    FAILED,
    SETTLED,
    Counts,
    JobState,
    Ledger,
    RedisLedger,
    RunRecord,
    RunState,
)
from alphamill.redis_store import connect
from alphamill.runs.schemas import SUMMARY
from alphamill.settings import Settings


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


def progress(counts: Counts) -> tuple[int, int, int]:
    """Jobs settled, failed (dead or skipped), and all."""

    def number(states: Collection[JobState]) -> int:
        return sum(stage.get(state, 0) for stage in counts.values() for state in states)

    total = sum(sum(stage.values()) for stage in counts.values())
    return number(SETTLED), number(FAILED), total
