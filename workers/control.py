"""The control pool's doorways: the sweep that beat asks for, and publication."""

from __future__ import annotations

from alphamill.errors import RetryLater
from alphamill.jobs import PublishJob
from alphamill.stages import publish as publication
from workers.app import app
from workers.publish import publish
from workers.resources import Resources, resources
from workers.task import Facts, task


@app.task(name="alphamill.sweep")  # type: ignore[untyped-decorator]  # Celery has no types
def sweep() -> str:
    """Publish again what lapsed, feed what is ready. Any number at once does no harm."""
    try:
        sent = publish(resources().ledger.sweep())
    except RetryLater as error:  # the next tick is a second away
        return str(error)
    return f"{sent} published"


@task("publish", PublishJob)
def publish_run(job: PublishJob, run_id: str, tools: Resources) -> Facts:
    """Gather the run's results into its parquet files. Safe to repeat."""
    spec = tools.spec(run_id)
    missing = [
        {"stage": job.stage, "id": job.id, "message": job.message, "reason": job.error}
        for job in tools.ledger.dead(run_id)
    ]
    missing.sort(key=lambda row: str(row["id"]))
    deps = publication.PublishDeps(
        tools.lake(spec.lake), run_id, spec, tools.journal.calls(run_id), missing
    )
    return publication.run(job, deps)
