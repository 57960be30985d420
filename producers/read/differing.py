"""What whoever waits for a run is told of workers that are not as this shell."""

from __future__ import annotations

from collections.abc import Iterable

import redis

from alphamill.fleet.differences import compared
from alphamill.ledger import JobRecord, RunRecord
from alphamill.ledger.presence import Presence, Worker
from alphamill.runs.builds import builds_line, shares
from alphamill.runs.failures import KEY_REFUSED
from alphamill.settings import Settings
from alphamill.stages.registry import STAGES

_SHOWN = 4


def differing_lines(client: redis.Redis, settings: Settings, run: RunRecord) -> list[str]:
    """Of the workers that do this run's jobs, what is not as here and matters, with the cure."""
    presence = Presence(client)
    found = compared(presence, settings, _workers_of(run, presence.here()))
    lines = [f"{one}; {one.cure}" for one in found if one.difference.matters]
    hidden = len(lines) - _SHOWN
    return lines[:_SHOWN] + ([f"{hidden} more differences: alphamill doctor"] if hidden > 0 else [])


def computed_lines(client: redis.Redis, run: RunRecord) -> list[str]:
    """That jobs of the run were done by different code, if they were."""
    if not run.builds:
        return []
    line = builds_line(shares(run, Presence(client).builds(run.builds)))
    return [line] if line else []


def refused_key_lines(
    client: redis.Redis, settings: Settings, failed: Iterable[JobRecord]
) -> list[str]:
    """Whose key an endpoint refused, where one did: a worker's is not always this shell's."""
    refused = [job for job in failed if KEY_REFUSED in job.error]
    if not refused:
        return []
    presence = Presence(client)
    asking = [one for one in presence.here() if one.pool in ("llm", "")]
    found = compared(presence, settings, asking)
    lines = [f"{one}; {one.cure}" for one in found if one.difference.kind == "key"]
    if lines:
        return lines
    hosts = sorted({job.worker.rpartition(":")[0] for job in refused} - {""})
    return [
        f"the key is that of the llm worker on {', '.join(hosts) or 'another machine'}, as it was "
        "when that started: after a change restart it, then resume the run"
    ]


def _workers_of(run: RunRecord, here: Iterable[Worker]) -> list[Worker]:
    """Those that read a queue in which jobs of the run wait at some time."""
    queues = {STAGES[stage].queue.value for stage in run.counts if stage in STAGES}
    return [worker for worker in here if queues & set(worker.queues)]
