"""The control pool's doorways: the sweep that beat asks for, and publication."""

from __future__ import annotations

import redis

from alphamill.errors import RetryLater
from alphamill.jobs import PublishJob
from alphamill.ledger.presence import Presence
from alphamill.stages import publish as publication
from workers.app import app
from workers.resources import resources
from workers.send import publish
from workers.task import Facts, JobContext, task


@app.task(name="alphamill.sweep")  # type: ignore[untyped-decorator]  # Celery has no types
def sweep() -> str:
    """Publish again what lapsed, feed what is ready. Any number at once does no harm."""
    tools = resources()
    try:
        sent = publish(tools.ledger.sweep())
        Presence(tools.redis).swept(tools.clock.now_ms())
    except (RetryLater, redis.RedisError) as error:  # the next tick is a second away
        return str(error)
    return f"{sent} published"


@task("publish", PublishJob)
def publish_run(job: PublishJob, at: JobContext) -> Facts:
    """Gather the run's results into its parquet files. Safe to repeat."""
    spec = at.tools.spec(at.run_id)
    missing = [
        {
            "stage": job.stage,
            "id": job.id,
            "state": job.state.value,
            "message": job.message,
            "reason": job.error,
        }
        for job in at.tools.ledger.dead(at.run_id)
    ]
    missing.sort(key=lambda row: str(row["id"]))
    deps = publication.PublishDeps(
        at.tools.lake(spec.lake), at.run_id, spec, at.tools.journal.calls(at.run_id), missing
    )
    return publication.run(job, deps)
