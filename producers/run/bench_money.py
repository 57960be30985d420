"""What control arms ask of models: from where, for how much, and never more than was said."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import click

from alphamill import controls
from alphamill.clock import SystemClock
from alphamill.jobs import RunSpec
from alphamill.llm.journal.records import CallRecord
from alphamill.llm.messages import TokenUsage
from alphamill.llm.prices import PriceTable
from alphamill.mill import InProcess
from alphamill.report.values import counted, usd, whole
from alphamill.runs.published import PublishedRun, asks_offline
from alphamill.settings import Settings, Tier, TierSettings
from alphamill.sim.llm.proposer import NAME as PROPOSER
from producers.options import micros
from producers.submit.endpoints import check_models

budget_option = click.option(
    "--budget-usd", type=float, metavar="USD", help="What all calls together may cost."
)
offline_option = click.option(
    "--offline", is_flag=True, help="Ask the offline proposer, not the run's models."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who proposes. budget_usd: of all searches; None where it was not given."""

    offline: bool
    budget_usd: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """Searches that ask models. each_usd_micros: what one is expected to cost. by: how it is known.

    Of the offline proposer: 0, which is never asked for a budget.
    """

    models: str
    searches: int
    each_usd_micros: int = 0
    by: str = ""
    offline: bool = False

    def __str__(self) -> str:
        expected = self.each_usd_micros * self.searches
        return (
            f"{whole(self.searches)} x {self.models}: about {usd(expected)}, "
            f"{usd(self.each_usd_micros)} a search by {self.by}"
        )


def plan_of(run: PublishedRun, asked: Asked, searches: int, settings: Settings) -> Plan:
    """Searches by the run's own models, at what its own calls took."""
    if asked.offline or run.offline:
        return Plan(PROPOSER, searches, offline=True)
    check_models(settings)
    return Plan(
        named(run.spec.tiers),
        searches,
        measured_micros(run.calls, run.spec.tiers, PriceTable.shipped(settings.llm.prices)),
        measured_by(run),
    )


def measured_by(run: PublishedRun) -> str:
    """In words: whose tokens an estimate is made of."""
    return f"the tokens of {run.id}'s own {counted(sum(call.paid for call in run.calls), 'call')}"


def named(tiers: Mapping[Tier, TierSettings]) -> str:
    """The tiers' models, each once."""
    return ", ".join(dict.fromkeys(tiers[tier].model for tier in Tier))


def budget_a_search(plans: Sequence[Plan], budget_usd: float | None) -> int:
    """Micro-dollars that each search may spend; 0 where none asks a model that costs anything.

    Each has a budget of its own, so that all together cannot exceed what was given. What they will
    cost is told beforehand. Raises click.UsageError without a budget, and for one that could not
    pay for what is expected.
    """
    asking = [plan for plan in plans if not plan.offline and plan.searches]
    if not asking:
        return 0
    expected = "; ".join(map(str, asking))
    if budget_usd is None:
        raise click.UsageError(
            f"{expected}. Give --budget-usd, which is never exceeded; the offline proposer costs "
            "nothing"
        )
    allowed = micros(budget_usd) // sum(plan.searches for plan in asking)
    if allowed < max(1, *(plan.each_usd_micros for plan in asking)):
        raise click.UsageError(
            f"{expected}. --budget-usd leaves {usd(allowed)} for each, which would cut them short: "
            "give more, or fewer --seeds"
        )
    click.echo(f"{expected}; at most {usd(allowed)} each", err=True)
    return allowed


def measured_micros(
    calls: Iterable[CallRecord], tiers: Mapping[Tier, TierSettings], prices: PriceTable
) -> int:
    """What paid calls would cost today: their measured tokens at the prices of these tiers."""
    total = 0
    for call in calls:
        if call.paid:
            tokens = TokenUsage(call.prompt_tokens, call.cached_tokens, call.completion_tokens)
            total += prices.of(tiers[Tier(call.tier)]).cost_micros(tokens)
    return total


def process_of(spec: RunSpec, settings: Settings) -> InProcess:
    """What answers a search: the offline proposer, or the models by the fleet's own way to them.

    That is its limits, its circuits, its journal and its budget of the day, all in Redis.
    """
    if asks_offline(spec.to_message()):
        return controls.offline_process(spec)
    from workers.resources import Resources

    fleet = Resources(settings)
    gateway = controls.Patient(fleet.gateway, fleet.clock, settings.ledger.max_attempts)
    return InProcess(
        gateway,
        journal=fleet.journal,
        clock=SystemClock(),
        day_budget_usd_micros=fleet.day_budget_usd_micros,
    )
