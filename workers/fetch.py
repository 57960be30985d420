"""The fetch pool's doorways."""

from __future__ import annotations

from alphamill.jobs import FetchJob, ReverifyJob
from alphamill.stages import fetch, reverify
from workers.resources import Resources
from workers.task import Facts, task


@task("fetch", FetchJob)
def fetch_klines(job: FetchJob, run_id: str, tools: Resources) -> Facts:
    """Bring one symbol-month of klines into the lake. Safe to repeat."""
    lake = tools.lake(tools.spec(run_id).lake)
    exchange, archive = tools.exchange(job.market), tools.archive(job.market)
    deps = fetch.FetchDeps(exchange, lake, archive, tools.clock)
    return fetch.run(job, deps).to_message()


@task("reverify", ReverifyJob)
def reverify_klines(job: ReverifyJob, run_id: str, tools: Resources) -> Facts:
    """Compare a month with the exchange and replace what it has corrected. Safe to repeat."""
    lake = tools.lake(tools.spec(run_id).lake)
    deps = reverify.ReverifyDeps(tools.exchange(job.market), lake)
    return reverify.run(job, deps).to_message()
