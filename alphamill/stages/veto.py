"""veto: final_verification names what it would keep and may stop a finalist, with a reason.

It is told the finalists' discovery numbers, never why they are finalists. What it keeps is noted
and raises no score.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from alphamill.jobs import VetoJob
from alphamill.language import language_manual
from alphamill.llm.call import Call
from alphamill.llm.journal.budget import BudgetExhausted
from alphamill.llm.prompts import PROMPT_VERSION, Setting, final_verification_prompt
from alphamill.llm.replies import Verification, json_schema, read_review
from alphamill.runs.schemas import VETO, Row, interval_key, read_trials, write_rows
from alphamill.search.feedback import tried
from alphamill.settings import Tier
from alphamill.stages.propose import ProposeDeps


def run(job: VetoJob, deps: ProposeDeps) -> dict[str, Any]:
    """Write one row a finalist; without a budget nothing is vetoed and the facts say so."""
    finalists = _finalists(job, deps)
    key = interval_key(deps.run_id, "veto", job.interval, "veto")
    facts: dict[str, Any] = {"key": key, "finalists": len(finalists)}
    kept: Sequence[int] = ()
    vetoes: dict[int, str] = {}
    if finalists:
        try:
            answer = deps.gateway.ask(_call(job, deps, finalists))
        except BudgetExhausted as error:
            facts["stopped"] = str(error)
        else:
            review = read_review(answer.reply.text, answer.reply.finish_reason, len(finalists))
            kept, vetoes = review.keep, dict(review.veto)
            facts |= {"kept": len(kept), "vetoed": len(vetoes)}
    rows = [
        {"hash": row["hash"], "kept": at in kept, "vetoed": at in vetoes,
         "reason": vetoes.get(at, "")}
        for at, row in enumerate(finalists)
    ]  # fmt: skip
    write_rows(deps.lake, key, rows, VETO)
    return facts


def _finalists(job: VetoJob, deps: ProposeDeps) -> list[Row]:
    """Their discovery rows, in the order of their first appearance, which tells nothing."""
    key = interval_key(deps.run_id, "ranking", job.interval, "ranking")
    ranking = deps.lake.read(key, ["hash", "finalist"]).to_pylist()
    chosen = {row["hash"] for row in ranking if row["finalist"]}
    trials = read_trials(deps.lake, deps.run_id, job.interval)
    return [row for row in trials if row["status"] == "evaluated" and row["hash"] in chosen]


def _call(job: VetoJob, deps: ProposeDeps, finalists: Sequence[Row]) -> Call:
    tier = Tier.FINAL_VERIFICATION
    return Call(
        run=deps.run_id,
        call_id=deps.call_id,
        tier=tier.value,
        tier_settings=deps.spec.tiers[tier],
        messages=final_verification_prompt(
            language_manual(),
            Setting(job.interval.value, deps.spec.strategy, sorted(deps.spec.groups)),
            [tried(row) for row in finalists],
        ),
        run_budget_usd_micros=deps.spec.budget_usd_micros,
        day_budget_usd_micros=deps.day_budget_usd_micros,
        schema=json_schema(Verification),
        prompt_version=PROMPT_VERSION,
        retries=deps.retries,
    )
