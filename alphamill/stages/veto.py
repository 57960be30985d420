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
from alphamill.llm.replies import Verification, read_review
from alphamill.runs.schemas import VETO, Row, interval_key, read_trials, write_rows
from alphamill.search.feedback import tried
from alphamill.settings import Tier
from alphamill.stages.asking import AskingDeps


@dataclass(frozen=True, slots=True)
class VetoFacts(Facts):
    """The file of the vetoes; kept, vetoed: None where no model was asked. stopped: why not."""

    key: str
    finalists: int
    stopped: str | None = None
    kept: int | None = None
    vetoed: int | None = None


def run(job: VetoJob, deps: AskingDeps) -> VetoFacts:
    """Write one row a finalist; without a budget nothing is vetoed and the facts say so."""
    finalists = _finalists(job, deps)
    key = interval_key(deps.run_id, "veto", job.interval, "veto")
    facts = VetoFacts(key, len(finalists))
    kept: Sequence[int] = ()
    vetoes: dict[int, str] = {}
    if finalists:
        setting, shown = deps.setting(job.interval), [tried(row) for row in finalists]
        messages = final_verification_prompt(language_manual(), setting, shown)
        try:
            reply = deps.ask(Tier.FINAL_VERIFICATION, messages, Verification).reply
        except BudgetExhausted as error:
            facts = replace(facts, stopped=str(error))
        else:
            review = read_review(reply.text, reply.finish_reason, len(finalists))
            kept, vetoes = review.keep, dict(review.veto)
            facts = replace(facts, kept=len(kept), vetoed=len(vetoes))
    rows = [
        {"hash": row["hash"], "kept": at in kept, "vetoed": at in vetoes,
         "reason": vetoes.get(at, "")}
        for at, row in enumerate(finalists)
    ]  # fmt: skip
    write_rows(deps.lake, key, rows, VETO)
    return facts


def _finalists(job: VetoJob, deps: AskingDeps) -> list[Row]:
    """Their discovery rows, in the order of their first appearance, which tells nothing."""
    key = interval_key(deps.run_id, "ranking", job.interval, "ranking")
    ranking = deps.lake.read(key, ["hash", "finalist"]).to_pylist()
    chosen = {row["hash"] for row in ranking if row["finalist"]}
    trials = read_trials(deps.lake, deps.run_id, job.interval)
    return [row for row in trials if row["status"] == "evaluated" and row["hash"] in chosen]
