"""Which run is meant: by its id, the beginning of it, or as the newest."""

from __future__ import annotations

from collections.abc import Sequence

from alphamill.errors import GiveUp
from alphamill.jobs import RunKind
from alphamill.lake import Lake
from alphamill.ledger import Ledger, RedisLedger, RunRecord, RunState
from alphamill.redis_store import connect
from alphamill.runs.published import PublishedRun
from alphamill.runs.schemas import SUMMARY
from alphamill.runs.under_way import job_totals
from alphamill.settings import Settings


def find_run(ledger: Ledger, text: str | None, kinds: Sequence[RunKind] = ()) -> RunRecord:
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


def finished_run(settings: Settings, text: str | None, kinds: Sequence[RunKind]) -> PublishedRun:
    """The run that was named, or the newest of those kinds; it must be done.

    A run's results lie in the lake, so that what is there needs no Redis. Raises GiveUp, saying
    what to do, for a run of another kind or one that has no result.
    """
    lake = Lake(settings.lake_uri)
    run_id = published_id(lake, text, kinds)
    if run_id is not None:
        return PublishedRun.open(lake, run_id)
    ledger = RedisLedger(connect(settings), settings.ledger)
    run = find_run(ledger, text, () if text else kinds)
    if run.kind not in kinds:
        raise GiveUp(
            f"{run.id} is a {run.kind} run and has no factors; its data: "
            f"{'alphamill gaps' if run.kind == RunKind.FETCH else 'features/ in the lake'}"
        )
    if run.state.active:
        jobs = job_totals(ledger.counts(run.id))
        raise GiveUp(
            f"{run.id} has not finished ({jobs.settled} of {jobs.total} jobs settled); "
            f"follow it with: alphamill status {run.id} --wait"
        )
    if run.state is not RunState.DONE:
        ended = "was cancelled" if run.state is RunState.CANCELLED else "failed"
        raise GiveUp(
            f"{run.id} {ended}; see why with: alphamill status {run.id}; "
            f"go on with: alphamill resume {run.id}"
        )
    return PublishedRun.open(Lake(run.spec["lake"]), run.id)


def published_run(
    lake: Lake, text: str | None, kinds: Sequence[RunKind] = ()
) -> PublishedRun | None:
    """The run in the lake that is named or, for None, the newest; None if none or several fit."""
    run_id = published_id(lake, text, kinds)
    return None if run_id is None else PublishedRun.open(lake, run_id)


def published_runs(lake: Lake, text: str = "", kinds: Sequence[RunKind] = ()) -> list[str]:
    """Ids that begin with `text`, of runs whose results are in the lake, the newest first.

    kinds: those alone; default: any.
    """
    found: list[tuple[int, str]] = []
    for key in lake.list("runs"):
        run_id = key.removesuffix(f"/{SUMMARY}").removeprefix("runs/run=")
        kind = run_id.partition("-")[0]
        wanted = (not kinds or kind in kinds) and run_id.startswith(text)
        stat = lake.stat(key) if key.endswith(f"/{SUMMARY}") and wanted else None
        if stat is not None:
            found.append((stat.written_ns, run_id))
    return [run_id for _, run_id in sorted(found, reverse=True)]


def published_id(lake: Lake, text: str | None, kinds: Sequence[RunKind]) -> str | None:
    """The id of the run whose results are in the lake; None if none fits, or more than one does."""
    fitting = published_runs(lake, text or "", kinds)
    if not fitting or (text and len(fitting) > 1):
        return None
    return fitting[0]
