"""Which finished run is meant. Results lie in the lake: what is there needs no Redis."""

from __future__ import annotations

from collections.abc import Sequence

from alphamill.errors import GiveUp
from alphamill.jobs import RunKind
from alphamill.lake import Lake
from alphamill.ledger import RunRecord, RunState
from alphamill.runs.published import PublishedRun
from alphamill.runs.schemas import SUMMARY
from alphamill.settings import Settings


def finished_run(settings: Settings, text: str | None, kinds: Sequence[RunKind]) -> PublishedRun:
    """The run that was named, or the newest of those kinds; it must be done.

    Raises GiveUp, saying what to do, for a run of another kind or one that has no result.
    """
    lake = Lake(settings.lake_uri)
    run_id = published_id(lake, text, kinds)
    if run_id is not None:
        return PublishedRun.open(lake, run_id)
    other = published_id(lake, text, ()) if text else None
    if other is not None:
        raise GiveUp(_of_another_kind(other, kinds))
    run = _done_elsewhere(settings, text, kinds)
    return PublishedRun.open(Lake(run.spec["lake"]), run.id)


def _done_elsewhere(settings: Settings, text: str | None, kinds: Sequence[RunKind]) -> RunRecord:
    """The run as the ledger has it: one whose results are not in this lake, if it has any."""
    # Only who is not answered by the lake pays for a client of Redis.
    from alphamill.ledger import RedisLedger
    from alphamill.redis_store import connect
    from alphamill.runs.find import find_run
    from alphamill.runs.under_way import job_totals

    ledger = RedisLedger(connect(settings), settings.ledger)
    run = find_run(ledger, text, () if text else kinds)
    if run.kind not in kinds:
        raise GiveUp(_of_another_kind(run.id, kinds))
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
    return run


def _of_another_kind(run_id: str, kinds: Sequence[RunKind]) -> str:
    """That it is none of those, and how what it has is seen."""
    kind = RunKind(run_id.partition("-")[0])
    said = f"{run_id} is a {kind} run, where a {' or '.join(kinds)} run is wanted"
    if kind is RunKind.FETCH:
        return f"{said}; see what it brought with: alphamill gaps"
    if kind in (RunKind.FEATURES, RunKind.BARS):
        return f"{said}; its data: {kind}/ in the lake"
    return f"{said}; see it with: alphamill factors {run_id}"


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
