"""propose: ask a model for candidates and read its reply; nothing of it is executed.

quick_scan is asked once a symbol, with that symbol's last discovery bars in view;
detailed_analysis once a round, about the best so far. Both are told discovery numbers only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from alphamill.errors import FactorError
from alphamill.factors import check
from alphamill.jobs import ProposeJob, RunSpec
from alphamill.lake import Lake
from alphamill.llm.budget import BudgetExhausted
from alphamill.llm.gateway import Answer, Call
from alphamill.llm.messages import Message
from alphamill.llm.prompts import (
    PROMPT_VERSION,
    Feedback,
    Tried,
    detailed_analysis_prompt,
    quick_scan_prompt,
)
from alphamill.llm.repair import repair_expression
from alphamill.llm.replies import Candidate, Proposal, json_schema, read_proposal
from alphamill.settings import Tier
from alphamill.stages.language import language_manual, read_expression
from alphamill.stages.panels import load_last_bars
from alphamill.stages.trials import (
    PROPOSALS,
    Row,
    proposals_key,
    read_trials,
    write_rows,
)

_BEST = 10
_FAILED_SHOWN = 8
_BAR_FIELDS = ("open", "high", "low", "close", "volume", "quote_volume")


class Asks(Protocol):
    """The way to a model: `llm.gateway.Gateway`."""

    def ask(self, call: Call) -> Answer: ...


@dataclass(frozen=True, slots=True)
class ProposeDeps:
    """What the stage works with. day_budget_usd_micros: the cap over all runs of a UTC day."""

    lake: Lake
    run_id: str
    spec: RunSpec
    gateway: Asks
    day_budget_usd_micros: int
    call_id: str  # of the job: asked again, it is answered from the journal
    retries: int = 0


def run(job: ProposeJob, deps: ProposeDeps) -> dict[str, Any]:
    """Write the candidates of one call; returns how many were asked for, read and refused.

    An exhausted budget ends the asking, not the run: the file is then empty and says why.
    """
    messages = _prompt(job, deps)
    if messages is None:
        return _keep(job, deps, [], {"stopped": f"no bars of {job.symbol} in the panel"})
    call = Call(
        run=deps.run_id,
        call_id=deps.call_id,
        tier=job.tier.value,
        tier_settings=deps.spec.tiers[job.tier],
        messages=messages,
        run_budget_usd_micros=deps.spec.budget_usd_micros,
        day_budget_usd_micros=deps.day_budget_usd_micros,
        schema=json_schema(Proposal),
        prompt_version=PROMPT_VERSION,
        retries=deps.retries,
    )
    try:
        answer = deps.gateway.ask(call)
    except BudgetExhausted as error:
        return _keep(job, deps, [], {"stopped": str(error)})
    reading = read_proposal(answer.reply.text, answer.reply.finish_reason)
    rows = [_row(job, deps, candidate) for candidate in reading.candidates]
    rows += [
        _blank(job, deps) | {"proposed": problem.excerpt, "status": "unreadable",
                             "reason": problem.reason}
        for problem in reading.problems
    ]  # fmt: skip
    return _keep(job, deps, rows, {"cost_usd_micros": answer.cost_usd_micros})


def _keep(
    job: ProposeJob, deps: ProposeDeps, rows: Sequence[Row], facts: Mapping[str, Any]
) -> dict[str, Any]:
    key = proposals_key(deps.run_id, job.interval, job.round, job.tier, job.symbol)
    write_rows(deps.lake, key, rows, PROPOSALS)
    counts: dict[str, int] = {}
    for row in rows:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    return {"key": key, **counts, **facts}


def _prompt(job: ProposeJob, deps: ProposeDeps) -> tuple[Message, ...] | None:
    feedback = _feedback(read_trials(deps.lake, deps.run_id, job.interval))
    if job.tier is Tier.DETAILED_ANALYSIS:
        return detailed_analysis_prompt(
            language_manual(),
            job.interval.value,
            feedback.worked,
            feedback.failed,
            deps.spec.strategy,
            deps.spec.candidates,
        )
    rows = load_last_bars(deps.lake, deps.run_id, job.interval, job.symbol).to_pylist()
    rows = [row for row in rows if math.isfinite(row["close"])]
    if not rows:
        return None
    bars = [{name: row[name] for name in _BAR_FIELDS} for row in rows]
    last = {
        name: value
        for name, value in rows[-1].items()
        if isinstance(value, float) and name not in _BAR_FIELDS and math.isfinite(value)
    }
    return quick_scan_prompt(
        language_manual(),
        job.symbol,
        job.interval.value,
        bars,
        last,
        feedback,
        deps.spec.strategy,
        deps.spec.candidates,
    )


def _feedback(trials: Sequence[Row]) -> Feedback:
    """The best trials and a few of the failures, from their discovery numbers."""
    measured = [row for row in trials if row["status"] == "evaluated"]
    measured.sort(key=lambda row: -abs(row["rank_ic_t"] or 0.0))
    broken = [row for row in trials if row["status"] in ("unclean", "invalid", "fault")]
    worst = measured[_BEST:][-_FAILED_SHOWN // 2 :]
    return Feedback(
        worked=tuple(tried(row) for row in measured[:_BEST]),
        failed=tuple(tried(row) for row in [*broken[-_FAILED_SHOWN // 2 :], *worst]),
    )


def tried(row: Row) -> Tried:
    """A trial as a prompt may name it: discovery numbers only."""
    return Tried(
        expression=row["expression"] or row["proposed"],
        ic=row["rank_ic_mean"],
        ic_t=row["rank_ic_t"],
        turnover_frac=row["turnover_per_bar"],
        hypothesis=row["hypothesis"] or "",
        problem=row["reason"] or "",
    )


def _blank(job: ProposeJob, deps: ProposeDeps) -> Row:
    return {
        "interval": job.interval.value,
        "tier": job.tier.value,
        "symbol": job.symbol,
        "call_id": deps.call_id,
        "round": job.round,
    }


def _row(job: ProposeJob, deps: ProposeDeps, candidate: Candidate) -> Row:
    """A candidate parsed, mended where that is free, checked; or the reason why it is not."""
    row = _blank(job, deps) | {
        "proposed": candidate.expression,
        "hypothesis": candidate.hypothesis,
    }
    repaired = repair_expression(candidate.expression, read_expression)
    if repaired.error is not None:
        return row | {"status": "invalid", "reason": str(repaired.error)}
    try:
        factor = read_expression(repaired.text)
    except FactorError as error:
        return row | {"status": "invalid", "reason": str(error)}
    row |= {"expression": factor.text, "hash": factor.hash}
    faults = check(factor)
    if faults:
        return row | {"status": "unclean", "reason": "; ".join(faults)}
    mended = repaired.text != candidate.expression
    return row | {"status": "repaired" if mended else "parsed", "reason": ""}
