"""propose: ask a model for candidates and read its reply; nothing of it is executed.

quick_scan is asked once a symbol, with that symbol's last discovery bars in view;
detailed_analysis once a round, about the best so far. Both are told discovery numbers only. What
does not parse is mended by rule, then by one call for all of it, then dropped with its reason.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from alphamill.errors import FactorError, GiveUp, RetryLater
from alphamill.evaluation import one_way_bps
from alphamill.factors import check
from alphamill.factors.mend import mend
from alphamill.factors.wide import wide_units
from alphamill.frames import Interval, Wide
from alphamill.jobs import Facts, ProposeJob, RunSpec
from alphamill.language import language_manual, names_anything, read_expression
from alphamill.llm.journal.budget import BudgetExhausted
from alphamill.llm.messages import Message
from alphamill.llm.prompts import Broken, detailed_analysis_prompt, quick_scan_prompt, repair_prompt
from alphamill.llm.replies import (
    MAX_CANDIDATES,
    Candidate,
    Proposal,
    Repairs,
    read_proposal,
    read_repairs,
)
from alphamill.runs.library import KNOWN, Moment, recorded
from alphamill.runs.panels import load_last_bars
from alphamill.runs.rows import Admission, Trial
from alphamill.runs.schemas import PROPOSALS, RunDeps, proposals_key, read_trials, write_rows
from alphamill.search.feedback import feedback, theme_of
from alphamill.search.stopping import why_stop
from alphamill.settings import Tier
from alphamill.stages.asking import AskingDeps

# One of each kind: another of the same kind says the same, and data are paid for in every call.
SHOWN = (
    "returns_1d",
    "roc_10",
    "rsi_14",
    "mfi_14",
    "volume_zscore_20",
    "obv_flow_20",
    "price_volume_corr_20",
    "vwap_gap",
    "taker_imbalance_20",
    "taker_imbalance_z_20",
    "trade_size_ratio_20",
    "trades_ratio_20",
    "ema_gap_50",
    "adx_14",
    "aroon_osc_14",
    "efficiency_ratio_10",
    "volatility_1d",
    "bb_width",
    "donchian_position_20",
    "bar_range",
)

_REPEATED = "proposed before in this run"


@dataclass(frozen=True, slots=True)
class ProposeFacts(Facts):
    """The file of the candidates, and how many have which status.

    stopped: why no model was asked, else None. cost_usd_micros: with the repairs.
    repair_stopped: why none was asked to mend what does not parse, though a budget alone was in the
    way. unfunded: which budget kept it from asking ("run", "day"), needs_usd_micros: what the call
    may cost that it could not pay for.
    """

    key: str
    counts: dict[str, int]
    stopped: str | None = None
    cost_usd_micros: int | None = None
    repair_stopped: str | None = None
    unfunded: str | None = None
    needs_usd_micros: int | None = None


def run(job: ProposeJob, deps: AskingDeps) -> ProposeFacts:
    """Write the candidates of one call.

    An exhausted budget ends the asking, not the run: the file is then empty and says why. What was
    answered already is read again whatever a stopping rule says by now: a candidate once tried
    stays a trial.
    """
    all_trials = read_trials(deps.lake, deps.run_id, job.interval)
    # Of earlier steps alone: a job done again must ask the same again.
    trials = [trial for trial in all_trials if trial.before(job.round, job.tier)]
    stopped = why_stop(job.round, trials, deps.spec.search, deps.age_s)
    if stopped and deps.answered() is None:
        return _keep(job, deps, [], stopped=stopped)
    library = recorded(deps.lake, deps.run_id, job.interval, Moment.START) or []
    messages = _prompt(job, deps, trials, library)
    if messages is None:
        return _keep(job, deps, [], stopped=f"no bars of {job.symbol} in the panel")
    try:
        answer = deps.ask(job.tier, messages, Proposal)
    except BudgetExhausted as error:
        return replace(_keep(job, deps, [], stopped=str(error)), **_unfunded(error))
    reading = read_proposal(answer.reply.text, answer.reply.finish_reason)
    proposals = [_proposal(job, deps, candidate) for candidate in reading.candidates]
    short_of: BudgetExhausted | None = None
    cost = answer.cost_usd_micros
    try:
        cost += _mend(proposals, deps, trials)
    except BudgetExhausted as error:
        short_of = error
    proposals += [
        replace(_blank(job, deps, problem.excerpt), status="unreadable", reason=problem.reason)
        for problem in reading.problems
    ]
    judged = _without_known(proposals, trials, library)
    paid = [replace(proposal, call_cost_usd_micros=cost) for proposal in judged]
    facts = _keep(job, deps, paid, cost_usd_micros=cost)
    if short_of is None:
        return facts
    return replace(facts, repair_stopped=str(short_of), **_unfunded(short_of))


def _unfunded(error: BudgetExhausted) -> dict[str, Any]:
    return {"unfunded": error.budget, "needs_usd_micros": error.needs_usd_micros}


def _mend(proposals: list[Trial], deps: AskingDeps, trials: Sequence[Trial]) -> int:
    """Ask the cheapest tier once for what does not parse; its cost in micro-dollars.

    trials: of earlier steps. Proposals that it mends are replaced. A call that fails is not
    repeated: what it would have mended keeps its first reason. Raises BudgetExhausted.
    """
    broken = _to_mend(proposals, trials, deps)
    if not broken:
        return 0
    messages = _repair_prompt(proposals, broken, deps)
    try:
        answer = deps.ask(Tier.QUICK_SCAN, messages, Repairs, part="repair")
    except BudgetExhausted:
        raise
    except GiveUp:
        return 0
    except RetryLater as error:
        if not error.counts:  # nothing was sent
            raise
        return 0
    repairs = read_repairs(answer.reply.text, answer.reply.finish_reason, len(broken))
    for number, text in repairs.mended.items():
        at = broken[number]
        mended = _read(proposals[at], text or "", deps.spec, "model")
        if mended.status != "invalid":
            proposals[at] = mended
    for number, why in repairs.unread.items():
        at = broken[number]
        proposals[at] = replace(proposals[at], repair_unread=why)
    return answer.cost_usd_micros


def _to_mend(proposals: Sequence[Trial], trials: Sequence[Trial], deps: AskingDeps) -> list[int]:
    """Which proposals do not parse and are worth a call.

    Prose, such as the prompt's own words, is not, nor is what was proposed, and so was mended or
    could not be, in an earlier step. A call that was answered before such a step was asked at last,
    for which more money came, answers the list of then.
    """
    broken = [
        at
        for at, proposal in enumerate(proposals)
        if proposal.status == "invalid" and names_anything(proposal.text)
    ]
    texts = {proposals[at].proposed for at in broken}
    told = {trial.proposed: trial for trial in reversed(trials) if trial.proposed in texts}
    new = [at for at in broken if proposals[at].proposed not in told][:MAX_CANDIDATES]
    before = deps.answered("repair") if told else None
    if before is None:
        return new
    calls = {trial.call_id or "" for trial in told.values()}
    records = (deps.gateway.answered(deps.run_id, call) for call in calls)
    then = {one.call_id for one in records if one and one.started_ms < before.started_ms}
    sent = [
        at
        for at in broken
        if (known := told.get(proposals[at].proposed)) is None or known.call_id not in then
    ][:MAX_CANDIDATES]
    (*_, (_, digest)) = before.message_digests
    same = sent and _repair_prompt(proposals, sent, deps)[-1].digest == digest
    return sent if same else new


def _repair_prompt(
    proposals: Sequence[Trial], broken: Sequence[int], deps: AskingDeps
) -> tuple[Message, ...]:
    said = [Broken(proposals[at].text, proposals[at].reason or "") for at in broken]
    return repair_prompt(language_manual(deps.spec.wide), deps.setting(proposals[0].interval), said)


def _without_known(
    proposals: Sequence[Trial], trials: Sequence[Trial], library: Sequence[Admission]
) -> list[Trial]:
    """What is known or repeated is marked a duplicate and costs no evaluation."""
    seen: dict[str | None, str] = {trial.hash: _REPEATED for trial in trials if trial.scored}
    seen |= {admission.hash: f"{KNOWN} {admission.run}" for admission in library}
    kept = []
    for proposal in proposals:
        known = seen.get(proposal.hash) if proposal.ready else None
        if proposal.ready:
            seen.setdefault(proposal.hash, _REPEATED)
        kept.append(replace(proposal, status="duplicate", reason=known) if known else proposal)
    return kept


def _keep(
    job: ProposeJob,
    deps: RunDeps,
    proposals: Sequence[Trial],
    stopped: str | None = None,
    cost_usd_micros: int | None = None,
) -> ProposeFacts:
    key = proposals_key(deps.run_id, job.interval, job.round, job.tier, job.symbol)
    write_rows(deps.lake, key, proposals, PROPOSALS)
    counts = dict(Counter(proposal.status for proposal in proposals))
    return ProposeFacts(key, counts, stopped, cost_usd_micros)


def _prompt(
    job: ProposeJob, deps: AskingDeps, trials: Sequence[Trial], library: Sequence[Admission]
) -> tuple[Message, ...] | None:
    learned = feedback(trials, library, one_way_bps(deps.spec.fees))
    setting = deps.setting(job.interval)
    wanted, manual = deps.spec.candidates, language_manual(deps.spec.wide)
    if job.tier is Tier.DETAILED_ANALYSIS:
        return detailed_analysis_prompt(manual, setting, learned, wanted)
    rows = load_last_bars(deps.lake, deps.run_id, job.interval, job.symbol).to_pylist()
    bars = [row for row in rows if math.isfinite(row["close"])]
    if not bars:
        return None
    theme = theme_of(deps.spec.told_symbols, job.symbol, job.round)
    indicators = _indicators(bars[-1], deps.spec.wide)
    return quick_scan_prompt(manual, setting, learned, job.symbol, bars, indicators, wanted, theme)


def _indicators(bar: Mapping[str, Any], wide: Collection[Wide]) -> dict[str, float]:
    """A bar's indicators that prompts show, and what is a ratio beside bars; no price or amount."""
    beside = [name for name, unit in wide_units(wide).items() if unit == "ratio"]
    shown = {name: bar.get(name) for name in (*SHOWN, *beside)}
    return {
        name: value
        for name, value in shown.items()
        if isinstance(value, float) and math.isfinite(value)
    }


def _blank(job: ProposeJob, deps: AskingDeps, proposed: str) -> Trial:
    """A candidate of the job's call, before it was read."""
    return Trial(
        interval=job.interval,
        status="invalid",
        tier=job.tier.value,
        symbol=job.symbol,
        call_id=deps.call_id,
        round=job.round,
        proposed=proposed,
    )


def _proposal(job: ProposeJob, deps: AskingDeps, candidate: Candidate) -> Trial:
    """A candidate parsed, mended where that is free, checked; or the reason why it is not."""
    text, blank = candidate.expression, _blank(job, deps, candidate.expression)
    told = replace(blank, hypothesis=candidate.hypothesis, repair="", cut=candidate.cut)
    return _read(told, text, deps.spec)


def _read(proposal: Trial, text: str, spec: RunSpec, repair: str = "") -> Trial:
    """With what `text` says in the run's groups and fields; repair: who wrote it, if anyone did."""
    read = partial(read_expression, groups=spec.groups, wide=spec.wide)
    interval = proposal.interval
    bar_ms = None if interval is Interval.MO1 else interval.ms
    repaired = mend(text, read, bar_ms)
    if repaired.error is not None:
        return replace(proposal, status="invalid", reason=str(repaired.error))
    try:
        factor = read(repaired.text)
    except FactorError as error:
        return replace(proposal, status="invalid", reason=str(error))
    by = repair or ("free" if repaired.text != text else "")
    known = replace(proposal, expression=factor.text, hash=factor.hash, repair=by)
    faults = check(factor)
    if faults:
        return replace(known, status="unclean", reason="; ".join(faults))
    return replace(known, status="repaired" if by else "parsed", reason="")
