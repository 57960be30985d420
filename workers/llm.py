"""The LLM pool's doorways, one queue a tier."""

from __future__ import annotations

from alphamill.jobs import Message, ProposeJob, VetoJob, content_id
from alphamill.stages import propose, veto
from workers.resources import Resources
from workers.task import Facts, task


def _deps(stage: str, job: Message, run_id: str, tools: Resources) -> propose.ProposeDeps:
    spec = tools.spec(run_id)
    return propose.ProposeDeps(
        lake=tools.lake(spec.lake),
        run_id=run_id,
        spec=spec,
        gateway=tools.gateway,
        day_budget_usd_micros=int(tools.settings.budget.day_usd * 1_000_000),
        call_id=content_id(stage, job.to_message()),
    )


@task("propose.quick_scan", ProposeJob)
def quick_scan(job: ProposeJob, run_id: str, tools: Resources) -> Facts:
    """Ask the cheap tier for ideas about one symbol. A settled call is not paid again."""
    return propose.run(job, _deps("quick_scan", job, run_id, tools))


@task("propose.detailed_analysis", ProposeJob)
def detailed_analysis(job: ProposeJob, run_id: str, tools: Resources) -> Facts:
    """Ask the better tier to refine the best. A settled call is not paid again."""
    return propose.run(job, _deps("detailed_analysis", job, run_id, tools))


@task("veto", VetoJob)
def final_verification(job: VetoJob, run_id: str, tools: Resources) -> Facts:
    """Ask which finalists to stop. A settled call is not paid again."""
    return veto.run(job, _deps("veto", job, run_id, tools))
