"""The fetch pool's doorways."""

from __future__ import annotations

from alphamill.jobs import FetchJob, FundingJob, ReverifyJob
from alphamill.market import Exchange
from alphamill.stages import fetch, funding, reverify
from workers.resources import Resources
from workers.task import Facts, JobContext, task


@task("fetch", FetchJob)
def fetch_klines(job: FetchJob, at: JobContext) -> Facts:
    """Bring one symbol-month of klines into the lake. Safe to repeat."""
    lake = at.tools.lake(at.tools.spec(at.run_id).lake)
    exchange, archive = at.tools.exchange(job.market), at.tools.archive(job.market)
    deps = fetch.FetchDeps(exchange, lake, archive, at.tools.clock)
    facts = fetch.run(job, deps)
    bars = 0 if facts.skipped else facts.rows
    _count(at.tools, exchange, at.run_id, {"bars": bars, "requests": facts.requests})
    return facts.to_message()


@task("funding", FundingJob)
def fetch_funding(job: FundingJob, at: JobContext) -> Facts:
    """Bring a contract's settlements of funding into the lake. Safe to repeat."""
    lake = at.tools.lake(at.tools.spec(at.run_id).lake)
    exchange, archive = at.tools.funding(job.market), at.tools.archive(job.market)
    deps = funding.FundingDeps(exchange, lake, archive, at.tools.clock)
    facts = funding.run(job, deps)
    settlements = 0 if facts.skipped else facts.settlements
    counts = {"settlements": settlements, "requests": facts.requests}
    _count(at.tools, at.tools.exchange(job.market), at.run_id, counts)
    return facts.to_message()


@task("reverify", ReverifyJob)
def reverify_klines(job: ReverifyJob, at: JobContext) -> Facts:
    """Compare a month with API and archive and replace what was corrected. Safe to repeat."""
    lake = at.tools.lake(at.tools.spec(at.run_id).lake)
    exchange, archive = at.tools.exchange(job.market), at.tools.archive(job.market)
    deps = reverify.ReverifyDeps(exchange, lake, archive, at.tools.clock)
    facts = reverify.run(job, deps).to_message()
    _count(at.tools, exchange, at.run_id, facts)
    return facts


def _count(tools: Resources, exchange: Exchange, run_id: str, counts: Facts) -> None:
    """For whoever watches the run. The limit is known once the exchange was asked for anything."""
    limit = exchange.weight_limit() if counts["requests"] else 0
    tools.bars.add(run_id, counts, limit, tools.clock.now_ms())
