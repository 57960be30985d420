"""veto: final_verification names what it would keep and may stop a finalist, with a reason.

It is told the finalists' discovery numbers, never why they are finalists. What it keeps is noted
and raises no score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from alphamill.jobs import Facts, VetoJob
from alphamill.language import language_manual
from alphamill.llm.journal.budget import BudgetExhausted
from alphamill.llm.prompts import final_verification_prompt
from alphamill.llm.replies import Verification, problem_lines, read_review
from alphamill.runs.rows import RankedTrial, ReviewedFinalist, Trial
from alphamill.runs.schemas import VETO, interval_key, read_interval, read_trials, write_rows
from alphamill.search.feedback import tried
from alphamill.settings import Tier
from alphamill.stages.asking import AskingDeps


@dataclass(frozen=True, slots=True)
class VetoFacts(Facts):
    """The file of the vetoes; kept, vetoed: None where no model was asked. stopped: why not.

    unread: what of the reply could not be read, a line a problem; None where all was. unfunded,
    needs_usd_micros: which budget could not pay for the call ("run", "day"), and what it may cost.
    """

    key: str
    finalists: int
    stopped: str | None = None
    kept: int | None = None
    vetoed: int | None = None
    unread: str | None = None
    unfunded: str | None = None
    needs_usd_micros: int | None = None


def run(job: VetoJob, deps: AskingDeps) -> VetoFacts:
    """Write one row a finalist; without a budget nothing is vetoed and the facts say so."""
    finalists = _finalists(job, deps)
    key = interval_key(deps.run_id, "veto", job.interval, "veto")
    facts = VetoFacts(key, len(finalists))
    kept: Sequence[int] = ()
    vetoes: dict[int, str] = {}
    if finalists:
        setting, shown = deps.setting(job.interval), [tried(trial) for trial in finalists]
        messages = final_verification_prompt(language_manual(deps.spec.wide), setting, shown)
        try:
            reply = deps.ask(Tier.FINAL_VERIFICATION, messages, Verification).reply
        except BudgetExhausted as error:
            facts = replace(
                facts,
                stopped=str(error),
                unfunded=error.budget,
                needs_usd_micros=error.needs_usd_micros,
            )
        else:
            review = read_review(reply.text, reply.finish_reason, len(finalists))
            kept, vetoes = review.keep, dict(review.veto)
            unread = problem_lines(review.problems) or None
            facts = replace(facts, kept=len(kept), vetoed=len(vetoes), unread=unread)
    reviewed = (
        ReviewedFinalist(
            hash=finalist.hash or "",
            kept=at in kept,
            vetoed=at in vetoes,
            reason=vetoes.get(at, ""),
            unread=facts.unread,
        )
        for at, finalist in enumerate(finalists)
    )
    write_rows(deps.lake, key, reviewed, VETO)
    return facts


def _finalists(job: VetoJob, deps: AskingDeps) -> list[Trial]:
    """Their discovery rows, in the order of their first appearance, which tells nothing."""
    ranking = read_interval(deps.lake, deps.run_id, "ranking", job.interval, RankedTrial)
    chosen = {ranked.hash for ranked in ranking if ranked.finalist}
    trials = read_trials(deps.lake, deps.run_id, job.interval)
    return [trial for trial in trials if trial.evaluated and trial.hash in chosen]
