"""The LLM pool's doorways, one queue a tier."""

from __future__ import annotations

from alphamill.jobs import ProposeJob, VetoJob
from alphamill.stages import propose, veto
from workers.task import Facts, JobContext, task


def _deps(at: JobContext) -> propose.ProposeDeps:
    tools, spec = at.tools, at.tools.spec(at.run_id)
    run = tools.ledger.run(at.run_id)
    return propose.ProposeDeps(
        lake=tools.lake(spec.lake),
        run_id=at.run_id,
        spec=spec,
        gateway=tools.gateway,
        day_budget_usd_micros=int(tools.settings.budget.day_usd * 1_000_000),
        call_id=at.job_id,
        retries=at.attempt - 1,
        age_s=(tools.clock.now_ms() - run.created_ms) / 1000 if run else 0.0,
    )


@task("propose.quick_scan", ProposeJob)
def quick_scan(job: ProposeJob, at: JobContext) -> Facts:
    """Ask the cheap tier for ideas about one symbol. A settled call is not paid again."""
    return propose.run(job, _deps(at))


@task("propose.detailed_analysis", ProposeJob)
def detailed_analysis(job: ProposeJob, at: JobContext) -> Facts:
    """Ask the better tier to refine the best. A settled call is not paid again."""
    return propose.run(job, _deps(at))


@task("veto", VetoJob)
def final_verification(job: VetoJob, at: JobContext) -> Facts:
    """Ask which finalists to stop. A settled call is not paid again."""
    return veto.run(job, _deps(at))
