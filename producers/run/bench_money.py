"""What control arms ask of models: from where, for how much, and never more than was said."""

from __future__ import annotations

from collections.abc import Iterable
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
from alphamill.settings import Settings
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


def budget_a_search(run: PublishedRun, asked: Asked, searches: int, settings: Settings) -> int:
    """Micro-dollars that each search may spend; 0 for the offline proposer, which costs nothing.

    Each has a budget of its own, so that all together cannot exceed what was given. What they will
    cost is told beforehand, by the tokens that the run's own calls took. Raises click.UsageError
    without a budget, and for one that could not pay for a search as the run's was.
    """
    if asked.offline or run.offline:
        return 0
    check_models(settings)
    prices = PriceTable.shipped(settings.llm.prices)
    each, paid = measured_micros(run.calls, run.spec, prices), sum(c.paid for c in run.calls)
    models = ", ".join(sorted({tier.model for tier in run.spec.tiers.values()}))
    expected = (
        f"{whole(searches)} x {models}: about {usd(each * searches)}, {usd(each)} a search by the "
        f"tokens of {run.id}'s own {counted(paid, 'call')}"
    )
    if asked.budget_usd is None:
        raise click.UsageError(
            f"{expected}. Give --budget-usd, which is never exceeded, or --offline for the offline "
            "proposer, which costs nothing"
        )
    allowed = micros(asked.budget_usd) // max(searches, 1)
    if allowed < max(each, 1):
        raise click.UsageError(
            f"{expected}. --budget-usd leaves {usd(allowed)} for each, which would cut them short: "
            "give more, or fewer --seeds"
        )
    click.echo(f"{expected}; at most {usd(allowed)} each", err=True)
    return allowed


def measured_micros(calls: Iterable[CallRecord], spec: RunSpec, prices: PriceTable) -> int:
    """What the run's paid calls would cost today: their measured tokens at their tiers' prices."""
    total = 0
    for call in calls:
        if call.paid:
            tokens = TokenUsage(call.prompt_tokens, call.cached_tokens, call.completion_tokens)
            tier = next(own for name, own in spec.tiers.items() if name.value == call.tier)
            total += prices.of(tier).cost_micros(tokens)
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
