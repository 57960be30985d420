"""`alphamill cost`: what model calls cost, at list prices and by the tiers' settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from alphamill.clock import SystemClock
from alphamill.llm.messages import TokenUsage
from alphamill.llm.prices import ListedPrice, PriceTable
from alphamill.report.terminal.tables import empty_table
from alphamill.report.values import NOTHING, plain, usd, whole
from alphamill.settings import Settings, Tier
from producers import options

_VOLUMES = {10_000: "10k calls", 100_000: "100k calls", 1_000_000: "1M calls"}


@dataclass(frozen=True, slots=True)
class Plan:
    """A mining run's model calls. `symbols` are asked about one by one in each round."""

    symbols: int
    rounds: int
    candidates: int
    intervals: int

    @property
    def calls(self) -> dict[Tier, int]:
        """Calls a tier, if none has to be repeated."""
        return {
            Tier.QUICK_SCAN: self.symbols * self.rounds * self.intervals,
            Tier.DETAILED_ANALYSIS: self.rounds * self.intervals,
            Tier.FINAL_VERIFICATION: self.intervals,
        }


@click.command()
@click.option("--prompt-tokens", type=click.IntRange(1), default=3300, show_default=True)
@click.option("--completion-tokens", type=click.IntRange(0), default=350, show_default=True)
@click.option(
    "--cached-frac",
    type=click.FloatRange(0, 1),
    default=0.8,
    show_default=True,
    help="Share of the prompt that the provider has cached.",
)
@click.option("--symbols", type=click.IntRange(1), help="Plan a mining run over so many symbols.")
@click.option("--rounds", type=click.IntRange(1), default=2, show_default=True)
@click.option("--candidates", type=click.IntRange(1), default=8, show_default=True)
@click.option("--intervals", type=click.IntRange(1), default=1, show_default=True)
@options.json_option
@options.exits
def cost(
    prompt_tokens: int,
    completion_tokens: int,
    cached_frac: float,
    symbols: int | None,
    rounds: int,
    candidates: int,
    intervals: int,
    as_json: bool,
) -> None:
    """Estimate what model calls cost, of every priced model and of a planned run.

    The default tokens are typical of quick_scan, whose manual the provider caches.

    \b
    Example:
      alphamill cost --symbols 20 --rounds 3
    """
    settings = options.settings()
    prices = PriceTable.shipped(settings.llm.prices)
    tokens = TokenUsage(prompt_tokens, round(prompt_tokens * cached_frac), completion_tokens)
    rows = [_cost_row(listed, tokens) for listed in prices]
    rows.sort(key=lambda row: (row["request_usd_micros"], row["model"]))
    plan = Plan(symbols, rounds, candidates, intervals) if symbols else None
    planned = planned_cost(plan, settings, prices, tokens) if plan else None
    if as_json:
        request = {
            "prompt": tokens.prompt,
            "cached": tokens.cached,
            "completion": tokens.completion,
        }
        options.print_json({"tokens": request, "models": rows, "plan": planned})
        return
    console = Console()
    _show_models(rows, tokens, console)
    if plan and planned:
        _show_plan(plan, planned, console)


def _show_models(rows: Iterable[dict[str, Any]], tokens: TokenUsage, console: Console) -> None:
    head = (
        f"A request of {whole(tokens.prompt)} prompt tokens, {whole(tokens.cached)} of them "
        f"cached, and {whole(tokens.completion)} of completion; list prices"
    )
    console.print(Text(head))
    table = empty_table(
        "model", "price of", *(f">{words}" for words in _VOLUMES.values()), "retires"
    )
    _fold(table, 0)
    for row in rows:
        nominal = " (nominal)" if row["source"] == "nominal" else ""
        table.add_row(
            Text(plain(row["model"], 40) + nominal),
            Text(row["as_of"] or NOTHING),
            *(Text(_dollars(row["usd_micros"][str(volume)])) for volume in _VOLUMES),
            Text(row["retires"] or NOTHING),
        )
    console.print(table)


def _cost_row(listed: ListedPrice, tokens: TokenUsage) -> dict[str, Any]:
    each = listed.cost_micros(tokens)
    return {
        "model": listed.model,
        "as_of": listed.price.as_of,
        "source": listed.source,
        "retires": listed.retires,
        "note": listed.note,
        "request_usd_micros": each,
        "usd_micros": {str(volume): each * volume for volume in _VOLUMES},
    }


def planned_cost(
    plan: Plan, settings: Settings, prices: PriceTable, tokens: TokenUsage
) -> dict[str, Any]:
    """What a run costs by the tiers' settings: expected, and at most if no call is repeated.

    At most: nothing cached and every allowed token written. Raises Misconfigured for a tier whose
    model has no price.
    """
    tiers = []
    for tier, calls in plan.calls.items():
        chosen = settings.llm.tiers[tier]
        written = min(tokens.completion, chosen.max_tokens)
        usual = TokenUsage(tokens.prompt, tokens.cached, written)
        price = prices.of(chosen)
        now_ms = SystemClock().now_ms()
        most = price.worst_case_micros(tokens.prompt, chosen.max_tokens, now_ms)
        tiers.append(
            {
                "tier": tier.value,
                "model": chosen.model,
                "as_of": price.price.as_of,
                "calls": calls,
                "expected_usd_micros": calls * price.cost_micros(usual),
                "most_usd_micros": calls * most,
            }
        )
    return {
        "tiers": tiers,
        "candidates": plan.calls[Tier.QUICK_SCAN] * plan.candidates,
        "expected_usd_micros": sum(row["expected_usd_micros"] for row in tiers),
        "most_usd_micros": sum(row["most_usd_micros"] for row in tiers),
        "run_budget_usd_micros": round(settings.budget.run_usd * 1_000_000),
    }


def _show_plan(plan: Plan, planned: dict[str, Any], console: Console) -> None:
    console.print(
        Text(
            f"\nA mining run: {whole(plan.symbols)} symbols, {plan.rounds} rounds, "
            f"{plan.intervals} interval(s); quick_scan is asked for "
            f"{whole(planned['candidates'])} candidates",
            style="bold",
        )
    )
    table = empty_table("tier", "model", "price of", ">calls", ">expected", ">at most")
    _fold(table, 1)
    for row in planned["tiers"]:
        cells = (row["tier"], plain(row["model"], 40), row["as_of"] or NOTHING, whole(row["calls"]))
        table.add_row(*map(Text, (*cells, *_costs(row))))
    table.add_section()
    calls = sum(row["calls"] for row in planned["tiers"])
    table.add_row("total", "", "", whole(calls), *_costs(planned))
    console.print(table)
    cap = planned["run_budget_usd_micros"]
    text = (
        "At most: nothing cached, every allowed token written, no call repeated. "
        f"Whatever happens, budget.run_usd stops the run at {usd(cap).rstrip('0').rstrip('.')}"
    )
    if planned["most_usd_micros"] > cap:
        text += ", which may be before its last call: raise it, or give mine a --budget-usd"
    console.print(Text(text + ".", style="dim"))


def _fold(table: Table, column: int) -> None:
    """A model's name may go on in the next line, so that no date or figure is cut."""
    table.columns[column].no_wrap = False
    table.columns[column].overflow = "fold"


def _costs(row: Mapping[str, Any]) -> list[str]:
    return [_dollars(row["expected_usd_micros"]), _dollars(row["most_usd_micros"])]


def _dollars(micros: int) -> str:
    """Dollars to the cent from a dollar on, else to a hundredth of a cent."""
    return f"${micros / 1e6:,.2f}" if micros >= 1_000_000 else f"${micros / 1e6:.4f}"
