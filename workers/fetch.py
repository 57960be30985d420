"""The fetch pool's doorways."""

from __future__ import annotations

from alphamill.jobs import FetchJob, ReverifyJob
from alphamill.market import Exchange
from alphamill.stages import fetch, reverify
from workers.resources import Resources
from workers.task import Facts, task


@task("fetch", FetchJob)
def fetch_klines(job: FetchJob, run_id: str, tools: Resources) -> Facts:
    """Bring one symbol-month of klines into the lake. Safe to repeat."""
    lake = tools.lake(tools.spec(run_id).lake)
    exchange, archive = tools.exchange(job.market), tools.archive(job.market)
    deps = fetch.FetchDeps(exchange, lake, archive, tools.clock)
    facts = fetch.run(job, deps)
    bars = 0 if facts.skipped else facts.rows
    _count(tools, exchange, run_id, {"bars": bars, "requests": facts.requests})
    return facts.to_message()


@task("reverify", ReverifyJob)
def reverify_klines(job: ReverifyJob, run_id: str, tools: Resources) -> Facts:
    """Compare a month with the exchange and replace what it has corrected. Safe to repeat."""
    lake = tools.lake(tools.spec(run_id).lake)
    exchange = tools.exchange(job.market)
    facts = reverify.run(job, reverify.ReverifyDeps(exchange, lake)).to_message()
    _count(tools, exchange, run_id, facts)
    return facts


def _count(tools: Resources, exchange: Exchange, run_id: str, counts: Facts) -> None:
    """For whoever watches the run. The limit is known once the exchange was asked for anything."""
    limit = exchange.weight_limit() if counts["requests"] else 0
    tools.bars.add(run_id, counts, limit, tools.clock.now_ms())
